"""The state that a connector stores, a value for each stream, so that its next run continues from there."""

from collections.abc import Mapping
from typing import NamedTuple

from ..database import (
    execute_many,
    fetch_as,
    insert_many,
    read_snapshot,
    write_transaction,
)
from ..models import ConnectorState, locking
from ..timestamps import utc_now
from . import contacts
from .records import Target, check_connector, lock_connection


class StreamState(NamedTuple):
    """`value` is JSON, as received."""

    stream: str
    value: str
    updated_at: str


def load(target: Target) -> list[StreamState]:
    """A connection's state, by stream.  Raises ConnectorMismatch."""
    with read_snapshot():
        owners = fetch_as(
            str, "SELECT connector_id FROM connections WHERE connector_instance_id = ?", [target.connection]
        )
        for owner in owners:
            check_connector(target, owner)
        return _of_connection(target.connection)


def _of_connection(name: str) -> list[StreamState]:
    return fetch_as(
        StreamState,
        """
        SELECT s.stream_name, s.value, s.updated_at
        FROM connector_states s
        JOIN connections c ON c.id = s.connection_id
        WHERE c.connector_instance_id = ?
        ORDER BY s.stream_name
        """,
        [name],
    )


def merge(target: Target, values: Mapping[str, str]) -> list[StreamState]:
    """Replace the values of these streams, and return the whole state; the connection is created if needed.

    Calls for different streams do not undo each other.  Raises ConnectorMismatch, Busy or
    peewee.DatabaseError.
    """
    now = utc_now()
    with write_transaction():
        connection = lock_connection(target, create=True)
        assert connection is not None, "it is created"
        streams = locking.lock_streams_for_update(connection.id, sorted(values))
        insert_many(
            ConnectorState,
            ("connection_id", "stream_name", "value", "updated_at"),
            [(connection.id, stream, value, now) for stream, value in sorted(values.items())],
            ("connection_id", "stream_name"),
        )
        execute_many(
            "UPDATE streams SET last_contact_at = ? WHERE id = ?", [(now, stream.id) for stream in streams]
        )
        contacts.note(connection.id, now)
        return _of_connection(target.connection)
