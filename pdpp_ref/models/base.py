"""What all tables share."""

import secrets

import peewee
from peewee import SQL, BigIntegerField, BooleanField, TextField

from ..database import db
from .measures import TOTAL, TOTAL_SQL


class Table(peewee.Model):
    class Meta:
        database = db
        legacy_table_names = False


def count() -> BigIntegerField:
    return BigIntegerField(default=0, constraints=[SQL("DEFAULT 0")])


def flag(*, default: bool = False) -> BooleanField:
    return BooleanField(default=default, constraints=[SQL(f"DEFAULT {str(default).upper()}")])


def random_id() -> TextField:
    """64 random bits in hex: two rows that were made apart never have the same."""
    return TextField(default=new_id, constraints=[SQL("DEFAULT ''")])


def new_id() -> str:
    return secrets.token_hex(8)


def secret() -> TextField:
    """256 random bits in hex, which nobody can guess."""
    return TextField(default=new_secret, constraints=[SQL("DEFAULT ''")])


def new_secret() -> str:
    return secrets.token_hex(32)


def rank(table: str, measure: str, then: str = "", where: str = "") -> SQL:
    """An index that finds the largest of a table by a measure, whatever its size.

    `then` is the rest of its columns, and says which way the measure goes.
    """
    expression = TOTAL_SQL if measure == TOTAL else measure
    name = f"{table}_by_{measure}"
    return SQL(f"CREATE INDEX IF NOT EXISTS {name} ON {table} ({expression}{then}){where}")


def name() -> TextField:
    """A copy of a name that never changes, so that an index can order rows by it."""
    return TextField(default="", constraints=[SQL("DEFAULT ''")])
