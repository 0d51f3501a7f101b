"""The text of an INSERT, the same on both databases but for where its rows come from."""

from collections.abc import Sequence
from functools import cache


@cache
def insert(table: str, columns: Sequence[str], identity: Sequence[str], rows: str) -> str:
    """Inserts `rows` (VALUES or SELECT); one of an identity that is there replaces its other columns."""
    sql = f"INSERT INTO {table} ({', '.join(columns)}) {rows}"
    if not identity:
        return sql
    changed = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in identity)
    return f"{sql} ON CONFLICT ({', '.join(identity)}) DO UPDATE SET {changed}"
