"""Deleting records, streams and connections.  Each call is one transaction, measures included.

A stream is deleted by taking it from its connection: from then on nothing finds it, a new stream may have
its name, and its rows are removed later (`removal.py`), however many there are.  Unclaimed files are taken
from a deleted connection in the same way (`cleanup.py`).
"""

from ..database import execute, fetch_value, write_transaction
from ..models import locking
from ..parsing.messages import Change
from ..projection import deltas
from .errors import ConnectionNotFound, RecordNotFound, StreamNotFound
from .records import (
    Target,
    known_stream,
    write,
)


def delete_record(connection: str, stream: str, key: str) -> None:
    """Delete one record; its history stays, with a tombstone.  Raises NotFound."""
    known_stream(connection, stream)
    owner = fetch_value(
        "SELECT connector_id FROM connections WHERE connector_instance_id = ?", [connection]
    )
    target = Target(connection, connection if owner is None else owner)
    if not write(target, [Change(stream, key, None)]).counts.deleted:
        raise RecordNotFound


def delete_stream(connection: str, stream: str, incarnation: str | None = None) -> None:
    """Delete a stream with all its records and their history.

    With an `incarnation`, only the stream that has it, and no later one of its name.  Raises NotFound.
    """
    with write_transaction():
        row = known_stream(connection, stream)
        if not locking.lock_stream_for_delete(row.id):
            raise StreamNotFound
        if incarnation is not None and incarnation != fetch_value(
            "SELECT incarnation FROM streams WHERE id = ?", [row.id]
        ):
            raise StreamNotFound
        execute("UPDATE streams SET connection_id = NULL WHERE id = ?", [row.id])
        deltas.remove_stream(row.id, row.connection_id)


def delete_connection(connection: str, created_at: str | None = None) -> None:
    """Delete a connection with its streams, state and unclaimed files.

    With `created_at`, only the one of that time, and no later one of its name.  Raises ConnectionNotFound.
    """
    with write_transaction():
        connection_id = fetch_value(
            """
            SELECT id
            FROM connections
            WHERE connector_instance_id = ? AND created_at = COALESCE(?, created_at)
            """,
            (connection, created_at),
        )
        if connection_id is None or not locking.lock_connection_for_delete(connection_id):
            raise ConnectionNotFound
        for table in ("streams", "unclaimed_files"):
            execute(f"UPDATE {table} SET connection_id = NULL WHERE connection_id = ?", [connection_id])
        deltas.remove_connection(connection_id)
        execute("DELETE FROM connections WHERE id = ?", [connection_id])
