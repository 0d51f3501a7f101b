"""Counting a stream's measures from its canonical rows."""

from collections.abc import Iterable

from ..database import fetch_all
from ..models.measures import MEASURES, Measure


def count_versions(stream_id: int, after: int, through: int) -> dict[str, int]:
    """The measures of a stream's versions in (after, through], from covering indexes alone."""
    figures: dict[str, int] = {}
    for table in dict.fromkeys(each.table for each in MEASURES):
        measures = [each for each in MEASURES if each.table == table]
        (row,) = fetch_all(count_query(table, measures), (stream_id, after, through))
        for each, value in zip(measures, row, strict=True):
            figures[each.name] = int(value or 0)
    return figures


def count_query(table: str, measures: Iterable[Measure]) -> str:
    """SQL for measures of one canonical table; values: the stream, after and through which version."""
    columns = ", ".join(each.expression for each in measures)
    return f"SELECT {columns} FROM {table} WHERE stream_id = ? AND version > ? AND version <= ?"
