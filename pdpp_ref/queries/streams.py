"""The streams that a reader may choose from, each with what its records were counted to be."""

from typing import Any

import msgspec

from ..database import fetch_all, fetch_value
from ..projection.rows import valid_time
from .sizes import where_equal


class ReadStream(msgspec.Struct, frozen=True):
    """A stream and its row of the projection.

    `record_count` is None if it was never counted, and as of an earlier time if `dirty`.
    `rollups_dirty`: which keys were deleted is not known for certain.
    """

    id: int
    name: str
    connection: str
    connector: str
    incarnation: str
    last_version: int
    removed_through: int
    last_ingested_at: str | None
    last_contact_at: str | None
    record_time_field: str | None
    key_schema: str | None
    record_count: int | None
    dirty: bool
    rollups_dirty: bool


def find(connector: str | None, connection: str | None, name: str | None) -> list[ReadStream]:
    """The streams of a connector, of a connection and of a name, if given, by connection and name."""
    where, values = where_equal(
        {"c.connector_instance_id": connection, "c.connector_id": connector, "s.name": name}
    )
    rows = fetch_all(
        f"""
        SELECT s.id, s.name, c.connector_instance_id, c.connector_id, s.incarnation, s.last_version,
            s.removed_through, s.last_ingested_at, s.last_contact_at, s.record_time_field, s.key_schema,
            CASE WHEN r.computed_at IS NOT NULL THEN r.record_count END,
            COALESCE(r.dirty, TRUE), COALESCE(r.rollups_dirty, TRUE)
        FROM connections c
        JOIN streams s ON s.connection_id = c.id
        LEFT JOIN retained_size_stream r ON r.stream_id = s.id
        {where}
        ORDER BY c.connector_instance_id, s.name
        """,
        values,
    )
    return [_stream(row) for row in rows]


def _stream(row: tuple[Any, ...]) -> ReadStream:
    stream = ReadStream(*row)
    return msgspec.structs.replace(
        stream,
        last_ingested_at=valid_time(stream.last_ingested_at),
        last_contact_at=valid_time(stream.last_contact_at),
        dirty=bool(stream.dirty),
        rollups_dirty=bool(stream.rollups_dirty),
    )


def is_connection(connection: str, connector: str | None) -> bool:
    """Whether there is a connection of that name, and of that connector, if given."""
    owner = fetch_value(
        "SELECT connector_id FROM connections WHERE connector_instance_id = ?", [connection]
    )
    return owner is not None and connector in (None, owner)
