"""Taking canonical rows away.  Each call is one transaction, files and figures included."""

from ..database import fetch_all, first, write_transaction
from ..models import Connection, Stream, locking
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
    """Delete one record; its history keeps it, and a tombstone.  Raises NotFound."""
    known_stream(connection, stream)
    owner = first(Connection.select().where(Connection.connector_instance_id == connection))
    target = Target(connection, owner["connector_id"] if owner else connection)
    if not write(target, [Change(stream, key, None)]).counts.deleted:
        raise RecordNotFound


def delete_stream(connection: str, stream: str) -> None:
    """Take a stream away with all it holds, history included.  Raises NotFound.

    What that takes from the figures above is not worked out: they are marked, in the same
    transaction, and the next read sums them anew.
    """
    with write_transaction():
        found = known_stream(connection, stream)
        if not locking.lock_stream_for_delete(found["id"]):
            raise StreamNotFound
        bound = fetch_all(f"{_BOUND} WHERE stream_id = ?", [found["id"]])
        locking.lock_files_for_delete(bound)  # before the delete, which takes the figures' rows along
        Stream.delete().where(Stream.id == found["id"]).execute()
        blobs.drop_unbound(bound)
        marks.mark_connection(found["connection"])


def delete_connection(connection: str) -> None:
    """Take a connection away with all it holds.  Raises NotFound."""
    with write_transaction():
        found = first(Connection.select().where(Connection.connector_instance_id == connection))
        if found is None or not locking.lock_connection_for_delete(found["id"]):
            raise ConnectionNotFound
        of_connection = "WHERE stream_id IN (SELECT id FROM streams WHERE connection_id = ?)"
        bound = fetch_all(f"{_BOUND} {of_connection}", [found["id"]])
        locking.lock_files_for_delete(bound)
        Connection.delete().where(Connection.id == found["id"]).execute()
        blobs.drop_unbound(bound)
        marks.mark_global()


_BOUND = "SELECT DISTINCT sha256 FROM blob_bindings"
