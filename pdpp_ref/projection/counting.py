"""Counting a stream's measures from its canonical rows, and summing those of the grains above."""

from collections.abc import Iterable, Sequence

from ..database import fetch_all
from ..models.measures import COUNT_MEASURES, MEASURES, Measure
from .grains import CONNECTION, GLOBAL, STREAM, Grain


def count_versions(stream_id: int, after: int, through: int) -> dict[str, int]:
    """The measures of a stream's versions in (after, through], from covering indexes alone."""
    counted: dict[str, int] = {}
    for table in dict.fromkeys(measure.table for measure in MEASURES):
        measures = [measure for measure in MEASURES if measure.table == table]
        (row,) = fetch_all(count_query(table, measures), (stream_id, after, through))
        for measure, value in zip(measures, row, strict=True):
            counted[measure.name] = int(value or 0)
    return counted


def count_query(table: str, measures: Iterable[Measure]) -> str:
    """Counts measures of one canonical table.  Values: the stream, after and through which version."""
    return f"""
        SELECT {", ".join(measure.expression for measure in measures)}
        FROM {table}
        WHERE stream_id = ? AND version > ? AND version <= ?
        """


def sum_of_streams(connection_id: int) -> dict[str, int]:
    """The columns of a connection, summed over its streams."""
    (row,) = fetch_all(
        f"""
        SELECT
            {_sums(STREAM)},
            COUNT(CASE WHEN {_RETAINS_ANYTHING} THEN 1 END)
        FROM retained_size_stream
        WHERE connection_id = ?
        """,
        [connection_id],
    )
    return _by_column(CONNECTION, row)


def sum_of_connections() -> dict[str, int]:
    """The columns of the global row, summed over all connections."""
    (row,) = fetch_all(
        f"""
        SELECT
            {_sums(CONNECTION)},
            COUNT(CASE WHEN {_RETAINS_ANYTHING} THEN 1 END)
        FROM retained_size_connection
        """
    )
    return _by_column(GLOBAL, row)


def _sums(grain: Grain) -> str:
    return ", ".join(f"COALESCE(SUM({name}), 0)" for name in grain.columns)


def _by_column(grain: Grain, row: Sequence[int]) -> dict[str, int]:
    return {name: int(value) for name, value in zip(grain.columns, row, strict=True)}


_RETAINS_ANYTHING = " OR ".join(f"{measure.name} > 0" for measure in COUNT_MEASURES)
