"""The database: opening it, its transactions, and what every query needs.

Where SQLite and PostgreSQL differ is in `sqlite.py` and `postgres.py`, the two classes of one shape,
and nowhere else.
"""

import os
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import peewee

from . import sqlite
from .errors import (
    PROBLEM_TEXT,
    Busy,
    DatabaseNotReady,
    DatabaseUnusable,
    problem,
)
from .sqlite import PRAGMAS

__all__ = ["PRAGMAS", "PROBLEM_TEXT", "Busy", "DatabaseNotReady", "DatabaseUnusable", "db", "problem"]

KEYS_PER_QUERY = 500

db = peewee.DatabaseProxy()


def connect(url: str, instance: Path) -> None:
    """Bind `db` to the database at `url`.  Raises DatabaseUnusable."""
    db.initialize(from_url(url, instance))


def from_url(url: str, instance: Path) -> peewee.Database:
    """The database at `url`: `sqlite:///path`, relative to the working directory, or
    `postgresql://user:password@host/database`.

    An empty url is `pdpp-ref.sqlite3` in the instance folder.  Raises DatabaseUnusable.
    """
    try:
        url.encode()
        scheme = urlsplit(url).scheme
    except ValueError:  # UnicodeEncodeError is one
        raise DatabaseUnusable("PDPP_DATABASE_URL is not a URL") from None
    if scheme in ("postgresql", "postgres"):
        return _postgres(url)
    if scheme == "sqlite" or not url:
        return sqlite.from_url(url, instance)
    raise DatabaseUnusable(
        f"PDPP_DATABASE_URL starts with {scheme!r}; use sqlite:///path/to/file.sqlite3 "
        "or postgresql://user:password@host/database"
    )


def _postgres(url: str) -> peewee.Database:
    """Imports the driver, which not every installation has, and which is slow to import."""
    try:
        from . import postgres
    except ImportError:
        raise DatabaseUnusable(
            "PostgreSQL needs its driver; run: pip install 'pdpp-ref[postgres]'"
        ) from None
    return postgres.from_url(url)


@contextmanager
def using(other: peewee.Database) -> Iterator[None]:
    """Binds `db` to another database for a while.  For a program of one thread."""
    before = db.obj
    db.initialize(other)
    try:
        yield
    finally:
        db.initialize(before)


def why_unusable(error: BaseException) -> str:
    """Why the bound database can't be opened or prepared, for the operator, and what to do."""
    return str(db.why_unusable(error))


def _after_fork() -> None:
    """A connection must not be used, nor closed, by a child of the process that opened it."""
    if db.obj is not None:
        _left_alone.append(db.obj._state.conn)
        db.obj.dispose()


_left_alone: list[Any] = []
os.register_at_fork(after_in_child=_after_fork)


# ---- transactions ------------------------------------------------------------------------------


@contextmanager
def _translate_busy() -> Iterator[None]:
    """Busy for what a database says of others' locks, deadlocks included: all is rolled back."""
    try:
        yield
    except peewee.OperationalError as error:
        if problem(error) == "busy":
            raise Busy from error
        raise


@contextmanager
def write_transaction() -> Iterator[None]:
    """One transaction.  Raises Busy where other writers hold what it needs for longer than 5 s.

    On SQLite it holds the right to write from its first statement; on PostgreSQL rows are locked one
    by one, always in this order: connection, streams by id, then the projection's rows of streams by
    id, of the connection, and the global one.
    """
    with _translate_busy(), db.write_transaction():
        yield


@contextmanager
def reconcile_transaction(*, wait: bool, seconds: float) -> Iterator[None]:
    """The one write transaction that repairs; no other process runs one at the same time.

    `wait=False` raises Busy at once where SQLite has another writer or PostgreSQL another repair, and
    then waits for no row for longer than `seconds`.
    """
    with _translate_busy(), db.reconcile_transaction(wait, seconds):
        yield


@contextmanager
def exclusive_transaction() -> Iterator[None]:
    """A write transaction during which there is no other, nor a read on PostgreSQL: for changes of the
    schema, and of what a database is used for.
    """
    with _translate_busy(), db.exclusive_transaction():
        yield


@contextmanager
def lock_attempt() -> Iterator[None]:
    """Inside a transaction, for one lock: raises Busy where it is not to be had, and all else stands."""
    with _translate_busy(), db.lock_attempt():
        yield


def read_snapshot() -> Any:
    """A context in which all reads see one moment; it never waits for a writer.

    Raises DatabaseNotReady, as each kind of transaction does, if the database is no longer what was
    prepared.
    """
    return db.read_snapshot()


def check_ready() -> None:
    """Raises DatabaseNotReady where the database is no longer what was prepared."""
    with read_snapshot():
        pass


def is_replica() -> bool:
    """Whether the database follows another one and can't be written to; asked inside a snapshot."""
    return bool(db.is_replica())


def replicated_until() -> str | None:
    """On a replica, a time of which all commits have arrived in this snapshot; None where none is known."""
    found: str | None = db.replicated_until()
    return found


def transaction_lost() -> bool:
    """True where the database has ended, by itself, a transaction that we still believe open."""
    return bool(db.transaction_lost())


def for_no_key_update(of: str = "", *, wait: bool = True) -> str:
    """What a SELECT ends with to lock its rows, or those of one of its tables, until the transaction
    ends; `wait=False` leaves out those that others hold.

    Nothing on SQLite: a write transaction there holds the whole file.
    """
    return str(db.lock("NO KEY UPDATE", of, wait))


def for_key_share(of: str = "", *, wait: bool = True) -> str:
    """Like for_no_key_update, but it keeps rows only from being deleted."""
    return str(db.lock("KEY SHARE", of, wait))


def for_update() -> str:
    """Like for_no_key_update, for rows that are going to be deleted."""
    return str(db.lock("UPDATE", "", True))


# ---- statements --------------------------------------------------------------------------------


@contextmanager
def _fetching() -> Iterator[None]:
    """What goes wrong while rows are fetched is told as what goes wrong in a statement.

    peewee sees to statements alone; and text of a damaged file may be no text.
    """
    try:
        with peewee.__exception_wrapper__:  # type: ignore[attr-defined]
            yield
    except UnicodeDecodeError as error:
        raise peewee.DatabaseError(error) from error


def dicts(query: Any) -> list[dict[str, Any]]:
    """A query's rows by column name."""
    with _fetching():
        return list(query.dicts())


def tuples(query: Any) -> list[tuple[Any, ...]]:
    with _fetching():
        return list(query.tuples())


def scalar(query: Any) -> Any:
    """The only value of a query's only row, or None."""
    return next((value for (value,) in tuples(query)), None)


def first(query: Any) -> dict[str, Any] | None:
    """A query's first row by column name, or None."""
    return next(iter(dicts(query.limit(1))), None)


def insert_many(
    model: type[peewee.Model],
    columns: tuple[str, ...],
    rows: Sequence[Sequence[Any]],
    identity: tuple[str, ...] = (),
) -> None:
    """Insert rows; one of an `identity` that is there replaces its other columns.

    No two of the rows are of one identity.  peewee's own builds a new statement for every batch, and is
    four times slower.
    """
    if rows:
        with peewee.__exception_wrapper__:  # type: ignore[attr-defined]
            db.insert_rows(model, columns, rows, identity)


def execute_many(sql: str, rows: Sequence[Iterable[Any]]) -> None:
    """Run one statement, with `?` for its values, for each row."""
    if rows:
        with peewee.__exception_wrapper__:  # type: ignore[attr-defined]
            db.execute_each(sql, rows)


def execute(sql: str, values: Sequence[Any] = ()) -> int:
    """One statement, written with `?` for its values.  Returns how many rows it changed."""
    return int(db.rows_affected(db.execute_sql(db.translate_placeholders(sql), values)))


def execute_one(sql: str, values: Sequence[Any] = ()) -> None:
    """One statement that must change one row.  Raises peewee.OperationalError where it did not."""
    if execute(sql, values) != 1:
        raise peewee.OperationalError("a row that was to be changed was not")


def fetch_dicts(sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
    """The rows of one SELECT, by column name."""
    with _fetching():
        cursor = db.execute_sql(db.translate_placeholders(sql), values)
        names = db.columns(cursor)
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()] if names else []


def fetch_all(sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """The rows of one SELECT, written with `?` for its values."""
    with _fetching():
        return list(db.execute_sql(db.translate_placeholders(sql), values).fetchall())


def fetch_version_chains(
    columns: Sequence[str], stream_id: int, versions: Sequence[int]
) -> list[tuple[Any, ...]]:
    """Rows of record_changes, from each of the versions back along `previous_version`.

    Before its columns, each row has the version that its chain begins with.
    """
    found: list[tuple[Any, ...]] = []
    for part in _parts(versions):
        with _fetching():
            rows = db.execute_sql(*db.chains(columns, stream_id, part)).fetchall()
            found += [row[: len(columns) + 1] for row in rows]
    return found


def fetch_each(
    sql: str, values: Sequence[Any], keys: Sequence[str] | Sequence[int]
) -> list[tuple[Any, ...]]:
    """The rows of a SELECT that ends with the name of a column, which is to be one of the keys.

    There is at most one row for a key, and each is one look-up, whatever else a planner may expect.
    """
    found: list[tuple[Any, ...]] = []
    for part in _parts(keys):
        with _fetching():
            found += db.execute_sql(*db.look_up(sql, values, part)).fetchall()
    return found


def _parts(keys: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """As many as one statement asks for."""
    for start in range(0, len(keys), KEYS_PER_QUERY):
        yield keys[start : start + KEYS_PER_QUERY]


def placeholders(values: Sized) -> str:
    """`?, ?, ?`: one for each value."""
    return ", ".join("?" * len(values))


def byte_length(column: str) -> str:
    """SQL for the UTF-8 length of a text column, on either database."""
    return f"octet_length({column})"
