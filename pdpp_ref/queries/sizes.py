"""The measures at each grain, and the live records of each connector's streams."""

from array import array
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

from ..database import fetch_all, fetch_column, placeholders
from ..models.measures import EXTENTS, TimeExtent
from ..projection.rows import (
    CONNECTION_COLUMNS,
    STREAM_COLUMNS,
    ConnectionRow,
    ProjectionRow,
    StreamRow,
    fetch_rows,
    global_row,
    valid_time,
)

BATCH_ROWS = 500


def batches(
    grain: str, connection: str | None = None, stream: str | None = None
) -> Iterator[Sequence[ProjectionRow]]:
    """The rows of a grain (global, connection or stream), in the order of their names, some at a time.

    `connection` and `stream` select rows of that name, at the grains that have it; an unknown name
    selects none.  The snapshot must last until all are read.  Raises KeyError for an unknown grain.
    """
    match grain:
        case "global":
            return iter([[global_row()]])
        case "connection":
            return map(_connections, in_batches(_connection_ids(connection)))
        case "stream":
            return map(
                _streams, in_batches(stream_ids({"c.connector_instance_id": connection, "s.name": stream}))
            )
    raise KeyError(grain)


def rows(grain: str, connection: str | None = None, stream: str | None = None) -> list[ProjectionRow]:
    """All of these rows."""
    return list(chain.from_iterable(batches(grain, connection, stream)))


def in_batches(ids: list[int]) -> Iterator[Sequence[int]]:
    """The ids, so many at a time that a statement can name them."""
    compact = array("q", ids)  # of millions, a list takes ten times as much
    return (compact[start : start + BATCH_ROWS] for start in range(0, len(compact), BATCH_ROWS))


def _connection_ids(connection: str | None) -> list[int]:
    where, values = where_equal({"connector_instance_id": connection})
    return fetch_column(
        f"""
        SELECT id
        FROM connections
        {where}
        ORDER BY connector_instance_id
        """,
        values,
    )


def _connections(ids: Sequence[int]) -> list[ConnectionRow]:
    return fetch_rows(
        ConnectionRow,
        f"""
        SELECT {CONNECTION_COLUMNS}
        FROM retained_size_connection r
        JOIN connections c ON c.id = r.connection_id
        WHERE r.connection_id IN ({placeholders(ids)})
        ORDER BY c.connector_instance_id
        """,
        ids,
    )


def _streams(ids: Sequence[int]) -> list[StreamRow]:
    return fetch_rows(
        StreamRow,
        f"""
        SELECT {STREAM_COLUMNS}
        FROM retained_size_stream r
        JOIN connections c ON c.id = r.connection_id
        JOIN streams s ON s.id = r.stream_id
        WHERE r.stream_id IN ({placeholders(ids)})
        ORDER BY c.connector_instance_id, s.name
        """,
        ids,
    )


def stream_ids(wanted: dict[str, str | None]) -> list[int]:
    """Of the streams `s` of connections `c` with these values, if given, by connection and name."""
    where, values = where_equal(wanted)
    return fetch_column(
        f"""
        SELECT s.id
        FROM connections c
        JOIN streams s ON s.connection_id = c.id
        {where}
        ORDER BY c.connector_instance_id, s.name
        """,
        values,
    )


def where_equal(wanted: dict[str, str | None]) -> tuple[str, list[str]]:
    """A WHERE clause for the columns that a value is given for, and the values."""
    given = {column: value for column, value in wanted.items() if value is not None}
    conditions = " AND ".join(f"{column} = ?" for column in given)
    return f"WHERE {conditions}" if given else "", list(given.values())


class ConnectorStream(NamedTuple):
    """A connector's streams of one name, summed over its connections.

    It is as old as the oldest of them, and an extent is None if one of them has none.
    `undated_records`: some have no record time.
    """

    connector_id: str
    stream: str
    record_count: int
    current_record_json_bytes: int
    earliest_ingested_at: str | None
    latest_ingested_at: str | None
    earliest_record_time: str | None
    latest_record_time: str | None
    computed_at: str | None
    record_time_field: str | None
    undated_records: bool


def connector_streams(connector: str | None = None) -> list[ConnectorStream]:
    """The streams of all connectors or of one, in the order of their names."""
    where, values = where_equal({"c.connector_id": connector})
    found = fetch_all(
        f"""
        SELECT c.connector_id, s.name,
            SUM(r.record_count), SUM(r.current_record_json_bytes),
            {_EXTENTS},
            MIN(r.computed_at), MAX(s.record_time_field), MAX(s.undated_records)
        FROM retained_size_stream r
        JOIN connections c ON c.id = r.connection_id
        JOIN streams s ON s.id = r.stream_id
        {where}
        GROUP BY c.connector_id, s.name
        ORDER BY c.connector_id, s.name
        """,
        values,
    )
    return [_connector_stream(row) for row in found]


def _connector_stream(row: tuple[Any, ...]) -> ConnectorStream:
    stream = ConnectorStream(*row)
    return stream._replace(
        undated_records=bool(stream.undated_records),
        earliest_ingested_at=valid_time(stream.earliest_ingested_at),
        latest_ingested_at=valid_time(stream.latest_ingested_at),
        earliest_record_time=valid_time(stream.earliest_record_time),
        latest_record_time=valid_time(stream.latest_record_time),
        computed_at=valid_time(stream.computed_at),
    )


def _extent(extent: TimeExtent) -> str:
    """An extent over part of the records is none: one stream without record times is enough."""
    found = f"{'MAX' if extent.latest else 'MIN'}(r.{extent.name})"
    if extent.of == "ingested_at":
        return found
    return f"CASE WHEN MAX(CASE WHEN r.record_times_unknown THEN 1 ELSE 0 END) = 0 THEN {found} END"


_EXTENTS = ", ".join(map(_extent, EXTENTS))
