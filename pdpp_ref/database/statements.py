"""Running SQL statements, and the parts of a statement that depend on its values or on the database.

A statement is written whole, with `?` for its values; each driver gets the placeholders that it knows.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from functools import cache
from itertools import starmap
from typing import Any, TypeVar

import peewee

from .proxy import db

KEYS_PER_QUERY = 500
ANY_NUMBER = 2**62

T = TypeVar("T")


@contextmanager
def fetching() -> Iterator[None]:
    """Raise peewee's errors for failures while rows are fetched, as for failures of a statement.

    peewee itself translates only the latter.  Text of a corrupt file may not be UTF-8.
    """
    try:
        with peewee.__exception_wrapper__:  # type: ignore[attr-defined]
            yield
    except UnicodeDecodeError as error:
        raise peewee.DatabaseError(error) from error


def execute(sql: str, values: Sequence[Any] = ()) -> int:
    """Run one statement.  Returns how many rows it changed."""
    return int(db.rows_affected(db.execute_sql(db.translate_placeholders(sql), values)))


def execute_one(sql: str, values: Sequence[Any] = ()) -> None:
    """Run a statement that must change one row.  Raises peewee.OperationalError if it does not."""
    if execute(sql, values) != 1:
        raise peewee.OperationalError("a row that was to be changed was not")


def execute_many(sql: str, rows: Sequence[Iterable[Any]]) -> None:
    """Run one statement for each row of values."""
    if rows:
        with peewee.__exception_wrapper__:  # type: ignore[attr-defined]
            db.execute_each(sql, rows)


def fetch_all(sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """The rows of one SELECT, or of a statement with RETURNING."""
    with fetching():
        return list(db.execute_sql(db.translate_placeholders(sql), values).fetchall())


def fetch_as(kind: Callable[..., T], sql: str, values: Sequence[Any] = ()) -> list[T]:
    """The rows of one SELECT, each as `kind(*row)`: its columns are in the order of the type's fields."""
    return list(starmap(kind, fetch_all(sql, values)))


def fetch_column(sql: str, values: Sequence[Any] = ()) -> list[Any]:
    """The values of a SELECT with one column."""
    return [value for (value,) in fetch_all(sql, values)]


def fetch_value(sql: str, values: Sequence[Any] = ()) -> Any:
    """The first value of a SELECT with one column, or None."""
    return next(iter(fetch_column(sql, values)), None)


def fetch_dicts(sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
    """The rows of one SELECT, by column name."""
    with fetching():
        cursor = db.execute_sql(db.translate_placeholders(sql), values)
        names = db.columns(cursor)
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()] if names else []


Keys = Sequence[str] | Sequence[int] | Sequence[tuple[int, str]] | Sequence[tuple[int, int]]


def fetch_each(sql: str, values: Sequence[Any], keys: Keys, most: int = 1) -> list[tuple[Any, ...]]:
    """The rows of a SELECT that ends with `column = :each`, which stands for each of the keys.

    Keys of two columns are pairs: `(stream_id, key) = :each`.  Each key has at most `most` rows, and gets
    its own index look-up, whatever the planner expects.
    """
    rows: list[tuple[Any, ...]] = []
    for part in _parts(keys):
        with fetching():
            rows += db.execute_sql(*db.look_up(sql, values, part, most)).fetchall()
    return rows


def fetch_version_chains(
    columns: Sequence[str], stream_id: int, versions: Sequence[int], most: int = ANY_NUMBER
) -> list[tuple[Any, ...]]:
    """Rows of record_changes, from each of the versions back along `previous_version`, so many at most.

    Each row begins with the version at the head of its chain; its columns follow.
    """
    rows: list[tuple[Any, ...]] = []
    for part in _parts(versions):
        with fetching():
            rows += db.execute_sql(*db.chains(columns, stream_id, part, most)).fetchall()
    return rows


def _parts(keys: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """The keys in groups that fit one statement."""
    for start in range(0, len(keys), KEYS_PER_QUERY):
        yield keys[start : start + KEYS_PER_QUERY]


def insert_many(
    model: type[peewee.Model],
    columns: tuple[str, ...],
    rows: Sequence[Sequence[Any]],
    identity: tuple[str, ...] = (),
) -> None:
    """Insert rows; if a row with the same `identity` exists, its other columns are replaced.

    No two of the rows have the same identity.  peewee's own method builds a new statement for every
    batch and takes four times as long.
    """
    if rows:
        with peewee.__exception_wrapper__:  # type: ignore[attr-defined]
            db.insert_rows(model, columns, rows, identity)


def update_many(
    model: type[peewee.Model],
    columns: tuple[str, ...],
    rows: Sequence[Sequence[Any]],
    identity: tuple[str, ...],
    sets: str = "",
) -> int:
    """Change rows that the transaction has locked, each found by its `identity`.  Returns how many.

    `sets` is the SET clause, in which `:name` is the value given for a column; without it, the columns
    get these values.  On PostgreSQL this is one statement for all rows.
    """
    if not rows:
        return 0
    sets = sets or ", ".join(f"{name} = :{name}" for name in columns if name not in identity)
    with peewee.__exception_wrapper__:  # type: ignore[attr-defined]
        return int(db.update_rows(model, columns, rows, identity, sets))


def delete_many(model: type[peewee.Model], identity: tuple[str, ...], rows: Sequence[Sequence[Any]]) -> int:
    """Delete rows that the transaction has locked, each found by its `identity`.  Returns how many."""
    if not rows:
        return 0
    with peewee.__exception_wrapper__:  # type: ignore[attr-defined]
        return int(db.delete_rows(model, identity, rows))


# ---- parts of a statement ----------------------------------------------------------------------


def placeholders(values: Sized) -> str:
    """`?, ?, ?`: one for each value.  For values whose number does not grow with what is stored."""
    return ", ".join("?" * len(values))


def among(column: str) -> str:
    """A condition with one `?`, for an `id_list`: the column is one of its numbers, however many they are.

    A placeholder for each would exceed what a statement may have: 32,766 on SQLite.
    """
    return str(db.among(column))


def id_list(ids: Iterable[int]) -> Any:
    """The one value that `among` compares with."""
    return db.id_list(ids)


def byte_length(column: str) -> str:
    """The UTF-8 length of a text column."""
    return f"octet_length({column})"


def equal_to_given(names: Sequence[str]) -> str:
    """`a = :a AND b = :b`"""
    return " AND ".join(f"{name} = :{name}" for name in names)


_GIVEN = re.compile(r":(\w+)")


def with_given(sql: str, value: Callable[[str], str]) -> str:
    """SQL with each `:name` replaced by `value(name)`."""
    return _GIVEN.sub(lambda match: value(match[1]), sql)


def for_no_key_update(of: str = "", *, wait: bool = True) -> str:
    """The end of a SELECT that locks its rows, or those of table `of`, until the transaction ends.

    `wait=False` skips rows that others have locked.  Empty on SQLite: a write transaction there locks
    the whole file.
    """
    return str(db.lock("NO KEY UPDATE", of, wait))


def for_key_share(of: str = "", *, wait: bool = True) -> str:
    """Like for_no_key_update, but it only prevents rows from being deleted."""
    return str(db.lock("KEY SHARE", of, wait))


def for_update(*, wait: bool = True) -> str:
    """Like for_no_key_update, for rows that are about to be deleted."""
    return str(db.lock("UPDATE", "", wait))


@cache
def insert_text(table: str, columns: Sequence[str], identity: Sequence[str], rows: str) -> str:
    """An INSERT of `rows`, a VALUES or SELECT clause; see insert_many for `identity`."""
    sql = f"INSERT INTO {table} ({', '.join(columns)}) {rows}"
    if not identity:
        return sql
    changed = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in identity)
    return f"{sql} ON CONFLICT ({', '.join(identity)}) DO UPDATE SET {changed}"
