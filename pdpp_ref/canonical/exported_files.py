"""Binding the files of an export to the records that have them, deleted ones included."""

import tempfile
from collections.abc import Iterator
from typing import IO, NamedTuple

from ..database import execute, fetch_as, write_transaction
from ..models import BlobBinding, StoredStream, locking
from ..parsing.messages import FileReference
from ..projection import deltas, marks
from ..projection.deltas import Delta
from ..timestamps import utc_now
from . import blobs, erased
from .erased import Names
from .errors import DigestMismatch, RecordNotFound, StreamNotFound
from .records import known_stream


class _Newest(NamedTuple):
    """A key's newest version; `is_live` unless that is a tombstone."""

    version: int
    is_live: bool
    has_rollup: bool


def is_settled(connection: str, stream: str, key: str, sha256: str) -> bool:
    """Whether the record has the file already, or one of them was erased.  Raises StreamNotFound."""
    is_bound = blobs.is_bound(known_stream(connection, stream).id, key, sha256)
    return is_bound or _is_erased(connection, stream, key, sha256)


def _is_erased(connection: str, stream: str, key: str, sha256: str) -> bool:
    return erased.is_erased(Names(connection, stream, key), Names(connection, stream, key, sha256))


def bind(
    connection: str, stream: str, key: str, reference: FileReference, blocks: Iterator[bytes] | None
) -> bool:
    """Store a file and bind it to a record, as the export says.  False if there are no blocks.

    Raises NotFound, BlobTooLarge, DigestMismatch, TempStorageFull, Busy or peewee.DatabaseError.
    """
    if blocks is None:
        return False
    with tempfile.SpooledTemporaryFile(blobs.IN_MEMORY_BYTES) as file:
        digest, size = blobs.gather(blocks, file)
        if digest != reference.sha256:
            raise DigestMismatch
        with write_transaction():
            locked = locking.lock_stream_for_update(known_stream(connection, stream).id)
            if locked is None:
                raise StreamNotFound
            if not (blobs.is_bound(locked.id, key, digest) or _is_erased(connection, stream, key, digest)):
                _bind(locked, key, reference, size, file)
    return True


def _bind(stream: StoredStream, key: str, reference: FileReference, size: int, file: IO[bytes]) -> None:
    newest = _newest(stream.id, key)
    version = reference.history_version or newest.version
    now = utc_now()
    blobs.store_file(reference.sha256, size, now, file)
    BlobBinding.insert(
        stream=stream.id,
        key=key,
        blob=reference.sha256,
        version=version,
        byte_length=size,
        bound_at=now,
        mime_type=reference.mime_type,
        json_path=reference.json_path,
    ).execute()
    is_new_rollup = blobs.add_to_rollup(stream.id, key, size, now)
    execute("UPDATE records SET has_rollup = TRUE WHERE stream_id = ? AND key = ?", (stream.id, key))
    delta = Delta()
    delta.add_files(version, 1, size)
    deltas.record(stream.connection_id, {stream.id: delta})
    # A record has a rollup if and only if `has_rollup` is set; otherwise one of the two is wrong.
    if newest.is_live and is_new_rollup == newest.has_rollup:
        marks.mark_rollups(stream.id, stream.connection_id, key)


def _newest(stream_id: int, key: str) -> _Newest:
    """Raises RecordNotFound."""
    found = fetch_as(
        _Newest,
        """
        SELECT version, TRUE, has_rollup
        FROM records
        WHERE stream_id = ? AND key = ?
        """,
        (stream_id, key),
    ) or fetch_as(
        _Newest,
        """
        SELECT version, FALSE, TRUE
        FROM retained_size_record
        WHERE stream_id = ? AND key = ? AND record_count = 0
        """,
        (stream_id, key),
    )
    if not found:
        raise RecordNotFound
    return found[0]
