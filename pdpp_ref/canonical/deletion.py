"""Deleting records, streams and connections.  Each call is one transaction, files and measures included."""

from ..database import execute, fetch_column, fetch_value, write_transaction
from ..models import locking
from ..parsing.messages import Change
from ..projection import marks
from . import blobs
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


def delete_stream(connection: str, stream: str) -> None:
    """Delete a stream with all its records and their history.  Raises NotFound.

    The effect on the rows above is not computed: they are marked in the same transaction, and the next
    read sums them.
    """
    with write_transaction():
        row = known_stream(connection, stream)
        if not locking.lock_stream_for_delete(row.id):
            raise StreamNotFound
        digests = fetch_column("SELECT DISTINCT sha256 FROM blob_bindings WHERE stream_id = ?", [row.id])
        locking.lock_files_for_delete(
            digests
        )  # before the delete, which removes rows of the projection too
        execute("DELETE FROM streams WHERE id = ?", [row.id])
        blobs.drop_unbound(digests)
        marks.mark_connection(row.connection_id)


def delete_connection(connection: str) -> None:
    """Delete a connection with all its streams.  Raises ConnectionNotFound."""
    with write_transaction():
        connection_id = fetch_value(
            "SELECT id FROM connections WHERE connector_instance_id = ?", [connection]
        )
        if connection_id is None or not locking.lock_connection_for_delete(connection_id):
            raise ConnectionNotFound
        digests = fetch_column(
            """
            SELECT DISTINCT sha256
            FROM blob_bindings
            WHERE stream_id IN (SELECT id FROM streams WHERE connection_id = ?)
            """,
            [connection_id],
        )
        locking.lock_files_for_delete(digests)
        execute("DELETE FROM connections WHERE id = ?", [connection_id])
        blobs.drop_unbound(digests)
        marks.mark_global()
