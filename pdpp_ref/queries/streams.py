"""The streams that a reader may choose from, each with what its records were counted to be."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from ..database import fetch_all, fetch_value, placeholders
from ..projection.rows import valid_time
from .sizes import in_batches, stream_ids, where_equal


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
    record_time_field: str | None
    key_schema: str | None
    record_count: int | None
    last_ingested_at: str | None
    last_contact_at: str | None
    dirty: bool
    rollups_dirty: bool


def batches(connector: str | None, connection: str | None) -> Iterator[list[ReadStream]]:
    """The streams of a connector and of a connection, if given, by connection and name, some at a time.

    The snapshot must last until all are read.
    """
    ids = stream_ids({"c.connector_instance_id": connection, "c.connector_id": connector})
    return (_find(f"WHERE s.id IN ({placeholders(batch)})", batch) for batch in in_batches(ids))


def find(connector: str | None, connection: str | None, name: str) -> list[ReadStream]:
    """The streams of that name, of a connector and of a connection, if given, by connection."""
    where, values = where_equal(
        {"c.connector_instance_id": connection, "c.connector_id": connector, "s.name": name}
    )
    return _find(where, values)


def _find(where: str, values: Sequence[Any]) -> list[ReadStream]:
    rows = fetch_all(
        f"""
        SELECT s.id, s.name, c.connector_instance_id, c.connector_id, s.incarnation, s.last_version,
            s.removed_through, s.record_time_field, s.key_schema,
            CASE WHEN r.computed_at IS NOT NULL THEN r.record_count END,
            s.last_ingested_at, s.last_contact_at,
            COALESCE(r.dirty, TRUE), COALESCE(r.rollups_dirty, TRUE)
        FROM connections c
        JOIN streams s ON s.connection_id = c.id
        LEFT JOIN retained_size_stream r ON r.stream_id = s.id
        {where}
        ORDER BY c.connector_instance_id, s.name
        """,
        values,
    )
    return list(map(_stream, rows))


def _stream(row: tuple[Any, ...]) -> ReadStream:
    *others, ingested_at, contact_at, dirty, rollups_dirty = row
    times = valid_time(ingested_at), valid_time(contact_at)
    return ReadStream(*(*others, *times, bool(dirty), bool(rollups_dirty)))


def is_connection(connection: str, connector: str | None) -> bool:
    """Whether there is a connection of that name, and of that connector, if given."""
    owner = fetch_value(
        "SELECT connector_id FROM connections WHERE connector_instance_id = ?", [connection]
    )
    return owner is not None and connector in (None, owner)
