"""The database: opening it, its transactions, and every place where SQLite and PostgreSQL differ.

SQLite runs through APSW, whose wheels carry a current SQLite: the one in a system Python may still
have the WAL-reset corruption bug that 3.51.3 fixed.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import apsw
import peewee
from playhouse import db_url
from playhouse.apsw_ext import APSWDatabase

db = peewee.DatabaseProxy()

MINIMUM_SQLITE = (3, 51, 3)

# `synchronous=full`: a STATE line tells its sender to forget the records before it, so those must
# survive a power cut, which WAL with `normal` does not promise.
PRAGMAS = {
    "synchronous": "full",
    "foreign_keys": 1,
    "busy_timeout": 5000,
    "cache_size": -32768,
    "temp_store": "memory",
}


class DatabaseUnusable(Exception):
    """The configured database can't be opened as ours.  The message is for the operator."""


class Busy(Exception):
    """Another writer holds the database; nothing was done."""


class Sqlite(APSWDatabase):  # type: ignore[misc]  # playhouse has no stubs for it
    def commit(self) -> bool:
        """Commit, or raise OperationalError where SQLite has already rolled back by itself.

        A full disk or an I/O error ends the whole transaction inside SQLite.  The driver's own
        commit is silent then, and lost writes would be acknowledged.
        """
        if self.connection().getautocommit():
            raise peewee.OperationalError("the database ended the transaction by itself")
        return bool(super().commit())


def connect(url: str, instance: Path) -> None:
    """Bind `db` to the database at `url`: `sqlite:///path`, relative to the working directory.

    An empty url is `pdpp-ref.sqlite3` in the instance folder.  Raises DatabaseUnusable.
    """
    if not url:
        db.initialize(_sqlite(str(instance / "pdpp-ref.sqlite3")))
        return
    try:
        url.encode()
        scheme = urlsplit(url).scheme
    except ValueError:  # UnicodeEncodeError is one
        raise DatabaseUnusable("PDPP_DATABASE_URL is not a URL") from None
    if scheme != "sqlite":
        raise DatabaseUnusable(
            f"PDPP_DATABASE_URL starts with {scheme!r}; use sqlite:///path/to/file.sqlite3"
        )
    path = db_url.parse(url)["database"]
    if not path or path == ":memory:" or urlsplit(url).netloc:
        raise DatabaseUnusable(
            "PDPP_DATABASE_URL must name a file: sqlite:///relative.sqlite3 or sqlite:////absolute.sqlite3"
        )
    db.initialize(_sqlite(path))


def _sqlite(path: str) -> Sqlite:
    if Sqlite.server_version < MINIMUM_SQLITE:
        wanted = ".".join(map(str, MINIMUM_SQLITE))
        raise DatabaseUnusable(f"SQLite is older than {wanted}; run: pip install --upgrade apsw")
    parent = os.path.dirname(path)
    if parent and not os.path.isdir(parent):
        raise DatabaseUnusable(
            "the folder of the database file does not exist; create it or change PDPP_DATABASE_URL"
        )
    return Sqlite(path, pragmas=PRAGMAS, lock_type="IMMEDIATE")


@contextmanager
def write_transaction(*, wait: bool = True) -> Iterator[None]:
    """One transaction that holds the right to write from its first statement.

    `wait=False` raises Busy at once where another writer is at work; otherwise the database's own
    time-out (5 s) applies and then Busy is raised too.
    """
    if not wait:
        db.execute_sql("PRAGMA busy_timeout = 0")
    try:
        transaction = db.transaction()
        try:
            transaction.__enter__()
        except peewee.OperationalError as error:
            if problem(error) == "busy":
                raise Busy from error
            raise
    finally:
        if not wait:
            db.execute_sql(f"PRAGMA busy_timeout = {PRAGMAS['busy_timeout']}")
    try:
        yield
    except BaseException as error:
        transaction.__exit__(type(error), error, error.__traceback__)
        raise
    transaction.__exit__(None, None, None)


def use_write_ahead_log() -> None:
    """Readers and the writer don't wait for each other from here on; the file remembers it."""
    db.execute_sql("PRAGMA journal_mode = wal")


def read_snapshot() -> Any:
    """A context in which all reads see one moment; it never waits for a writer."""
    return db.transaction("DEFERRED")


def transaction_lost() -> bool:
    """True where the database has ended, by itself, a transaction that we still believe open."""
    return bool(db.connection().getautocommit())


def dicts(query: Any) -> list[dict[str, Any]]:
    """A query's rows by column name."""
    return list(query.dicts())


def tuples(query: Any) -> list[tuple[Any, ...]]:
    return list(query.tuples())


def first(query: Any) -> dict[str, Any] | None:
    """A query's first row by column name, or None."""
    return next(iter(dicts(query.limit(1))), None)


def row_lock() -> str:
    """What a SELECT ends with to lock its rows until the transaction ends.

    Nothing on SQLite: a write transaction there holds the whole file.
    """
    return ""


def for_update(query: Any) -> Any:
    """The same SELECT, its rows locked until the transaction ends (SQLite locks the whole file)."""
    return query


def execute_many(sql: str, rows: Sequence[Iterable[Any]]) -> None:
    """Run one statement, with `?` for its values, for each row.

    peewee's `insert_many` builds a new statement for every batch and is four times slower.
    """
    with peewee.__exception_wrapper__:  # type: ignore[attr-defined]
        db.connection().cursor().executemany(_placed(sql), rows)


def execute(sql: str, values: Sequence[Any] = ()) -> int:
    """One statement, written with `?` for its values.  Returns how many rows it changed."""
    return int(db.rows_affected(db.execute_sql(_placed(sql), values)))


def execute_one(sql: str, values: Sequence[Any] = ()) -> None:
    """One statement that must change one row.  Raises peewee.OperationalError where it did not."""
    if execute(sql, values) != 1:
        raise peewee.OperationalError("a row that was to be changed was not")


def fetch_dicts(sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
    """The rows of one SELECT, by column name."""
    cursor = db.execute_sql(_placed(sql), values)
    try:
        names = [column[0] for column in cursor.description]
    except apsw.ExecutionCompleteError:  # how APSW says that there are no rows
        return []
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def fetch_all(sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """The rows of one SELECT, written with `?` for its values."""
    return list(db.execute_sql(_placed(sql), values).fetchall())


def _placed(sql: str) -> str:
    return sql.replace("?", db.param)


def byte_length(column: str) -> str:
    """SQL for the UTF-8 length of a text column; SQLite's own length() counts characters."""
    return f"length(CAST({column} AS BLOB))"


_PROBLEMS = {
    "BusyError": "busy",
    "LockedError": "busy",
    "ReadOnlyError": "read_only",
    "FullError": "full",
    "CorruptError": "corrupt",
    "NotADBError": "not_a_database",
    "CantOpenError": "cannot_open",
    "ConstraintError": "constraint",
    "IOError": "input_output",
}

PROBLEM_TEXT = {
    "busy": "the database is busy with another writer",
    "read_only": "the database is read-only",
    "full": "the disk or the database is full",
    "corrupt": "the database file is damaged",
    "not_a_database": "the file is not a database",
    "cannot_open": "the database file can't be opened",
    "constraint": "the database refused a value",
    "input_output": "reading or writing the database file failed",
    "other": "the database reported an error",
}


def problem(error: BaseException) -> str:
    """A database error as one word of a fixed list, so that nothing of its text travels on."""
    original = getattr(error, "orig", None) or error
    return _PROBLEMS.get(type(original).__name__, "other")
