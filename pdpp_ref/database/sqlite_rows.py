"""SQLite's statements for many rows, one after the other."""

from collections.abc import Sequence
from functools import cache

from .statements import equal_to_given, with_given


@cache
def update_text(table: str, columns: tuple[str, ...], identity: tuple[str, ...], sets: str) -> str:
    sql = f"UPDATE {table} SET {sets} WHERE {equal_to_given(identity)}"
    return with_given(sql, lambda name: f"?{columns.index(name) + 1}")


@cache
def delete_text(table: str, identity: tuple[str, ...]) -> str:
    sql = f"DELETE FROM {table} WHERE {equal_to_given(identity)}"
    return with_given(sql, lambda name: f"?{identity.index(name) + 1}")


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
