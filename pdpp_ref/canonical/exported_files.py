"""Binding the files of an export to the records that have them, deleted ones included."""

from collections.abc import Iterator

from ..database import fetch_as, write_transaction
from ..models import locking
from ..parsing.messages import FileReference
from . import blobs
from .blobs import Holder, Reference
from .erased import Names, is_file_erased
from .errors import RecordNotFound, StreamNotFound
from .records import known_stream


def is_settled(connection: str, stream: str, key: str, sha256: str) -> bool:
    """Whether the record has the file already, or one of them was erased.  Raises StreamNotFound."""
    return _is_settled(known_stream(connection, stream).id, Names(connection, stream, key), sha256)


def _is_settled(stream_id: int, names: Names, sha256: str) -> bool:
    return blobs.is_bound(stream_id, names.key, sha256) or is_file_erased(names, sha256)


def bind(
    connection: str, stream: str, key: str, reference: FileReference, blocks: Iterator[bytes] | None
) -> bool:
    """Store a file and bind it to a record, as the export says.  False if there are no blocks.

    Raises NotFound, BlobTooLarge, DigestMismatch, TempStorageFull, Busy or peewee.DatabaseError.
    """
    if blocks is None:
        return False
    with blobs.received(blocks, reference.sha256) as received, write_transaction():
        locked = locking.lock_stream_for_update(known_stream(connection, stream).id)
        if locked is None:
            raise StreamNotFound
        if not _is_settled(locked.id, Names(connection, stream, key), received.sha256):
            holder = _holder(locked.id, key)
            holder = holder._replace(version=reference.history_version or holder.version)
            said = Reference(reference.mime_type, reference.json_path)
            blobs.bind(locked, key, holder, received, said)
    return True


def _holder(stream_id: int, key: str) -> Holder:
    """The newest version of a key, a tombstone included.  Raises RecordNotFound."""
    found = fetch_as(
        Holder,
        """
        SELECT version, has_rollup
        FROM records
        WHERE stream_id = ? AND key = ?
        """,
        (stream_id, key),
    ) or fetch_as(
        Holder,
        """
        SELECT version, TRUE
        FROM retained_size_record
        WHERE stream_id = ? AND key = ? AND record_count = 0
        """,
        (stream_id, key),
    )
    if not found:
        raise RecordNotFound
    return found[0]
