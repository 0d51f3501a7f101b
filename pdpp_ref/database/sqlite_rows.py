"""SQLite's statements for many rows, one after the other."""

from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any

from .statements import equal_to_given, placeholders, with_given


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
