"""Summing streams for their connections, and connections for the global row."""

from collections.abc import Sequence

from ..database import fetch_all, fetch_each
from ..models.measures import COUNT_MEASURES
from .grains import CONNECTION, GLOBAL, STREAM, Grain


def sum_of_streams(connection_ids: Sequence[int]) -> dict[int, dict[str, int]]:
    """The columns of each connection, summed over its streams."""
    rows = fetch_each(
        f"""
        SELECT
            connection_id,
            {_sums(STREAM)},
            COUNT(CASE WHEN {_RETAINS_ANYTHING} THEN 1 END)
        FROM retained_size_stream
        WHERE connection_id = :each
        GROUP BY connection_id
        """,
        [],
        connection_ids,
    )
    nothing = [0] * len(CONNECTION.columns)
    sums = {connection_id: row for connection_id, *row in rows}
    return {each: _by_column(CONNECTION, sums.get(each, nothing)) for each in connection_ids}


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
