"""Many owners in one PostgreSQL database, each with a schema of their own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from pdpp_ref import database, migrations
from pdpp_ref.database import using


def name_of(number: int) -> str:
    return f"owner_{number}"


def open_owner(url: str, number: int) -> Any:
    """The database of one owner, which exists already; for `using`."""
    return database.from_url(f"{url}&options=-csearch_path%3D{name_of(number)}", Path())


def create(url: str, number: int) -> Any:
    """The database of a new owner, empty.  `url` has a `?`."""
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"CREATE SCHEMA IF NOT EXISTS {name_of(number)}")
    owner = open_owner(url, number)
    with using(owner):
        migrations.prepare()
    return owner


@contextmanager
def created(url: str, *numbers: int) -> Iterator[list[Any]]:
    """The databases of new owners; they are removed at the end."""
    owners = [create(url, number) for number in numbers]
    try:
        yield owners
    finally:
        for owner in owners:
            owner.close()
        with psycopg.connect(url, autocommit=True) as admin:
            for number in numbers:  # one by one: each has a hundred relations to lock
                admin.execute(f"DROP SCHEMA {name_of(number)} CASCADE")
