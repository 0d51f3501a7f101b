"""SQLite's statements for many rows."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any

from .statements import equal_to_given, insert_text, placeholders, with_given

# To run a statement takes longer than to add one more row to it.
ROWS_AT_ONCE = 100


def inserts(
    table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], identity: Sequence[str]
) -> Iterator[tuple[str, Sequence[Any]]]:
    """Statements and their values; see `insert_many`.  Rows that fill no statement are added one by one."""
    grouped = len(rows) - len(rows) % ROWS_AT_ONCE
    if grouped:
        sql = insert_text(table, columns, identity, _values(len(columns), ROWS_AT_ONCE))
        for start in range(0, grouped, ROWS_AT_ONCE):
            yield sql, tuple(chain.from_iterable(rows[start : start + ROWS_AT_ONCE]))
    sql = insert_text(table, columns, identity, _values(len(columns), 1))
    for row in rows[grouped:]:
        yield sql, row


@cache
def _values(columns: int, rows: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return f"VALUES {', '.join([row] * rows)}"


@cache
def update_text(table: str, columns: tuple[str, ...], identity: tuple[str, ...], sets: str) -> str:
    sql = f"UPDATE {table} SET {sets} WHERE {equal_to_given(identity)}"
    return with_given(sql, lambda name: f"?{columns.index(name) + 1}")


@cache
def delete_text(table: str, identity: tuple[str, ...]) -> str:
    sql = f"DELETE FROM {table} WHERE {equal_to_given(identity)}"
    return with_given(sql, lambda name: f"?{identity.index(name) + 1}")


def look_up_text(sql: str, keys: Sequence[Any]) -> str:
    """A SELECT that ends with `= :each`, for so many keys, or pairs."""
    if isinstance(keys[0], tuple):
        return sql.replace("= :each", f"IN (VALUES {', '.join(['(?, ?)'] * len(keys))})")
    return sql.replace("= :each", f"IN ({placeholders(keys)})")


def among(column: str) -> str:
    return f"{column} IN (SELECT value FROM json_each(?))"


def id_list(ids: Iterable[int]) -> str:
    return f"[{','.join(map(str, ids))}]"


def flat(keys: Sequence[Any]) -> Sequence[Any]:
    """The values of keys, or of pairs."""
    return [*chain.from_iterable(keys)] if isinstance(keys[0], tuple) else keys


def chains_text(columns: Sequence[str], heads: int) -> str:
    """Values: the stream, the heads, the stream, how many versions of each, the stream."""
    return f"""
        WITH RECURSIVE chain(head, place, at, previous) AS (
            SELECT version, 1, version, previous_version
            FROM record_changes
            WHERE stream_id = ? AND version IN ({", ".join("?" * heads)})
            UNION ALL
            SELECT chain.head, chain.place + 1, c.version, c.previous_version
            FROM chain
            JOIN record_changes c
                ON c.stream_id = ? AND c.version = chain.previous AND c.version < chain.at
            WHERE chain.place < ?
        )
        SELECT chain.head, {", ".join(columns)}
        FROM chain
        JOIN record_changes ON stream_id = ? AND version = chain.at
        """
