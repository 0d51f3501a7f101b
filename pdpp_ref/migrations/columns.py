"""Steps that several migrations need."""

from ..database import db, execute


def add_column(table: str, name: str, kind: str) -> None:
    """Add a column, unless an earlier step has just created the table with it."""
    if table in db.get_tables() and name not in {column.name for column in db.get_columns(table)}:
        execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")


def number() -> str:
    return str(db.field_types.get("BIGINT", "BIGINT"))


def count() -> str:
    return f"{number()} NOT NULL DEFAULT 0"


def flag(*, default: bool = False) -> str:
    return f"{db.field_types.get('BOOL', 'BOOLEAN')} NOT NULL DEFAULT {str(default).upper()}"


def text() -> str:
    return str(db.field_types.get("TEXT", "TEXT"))
