"""Files: stored once by their SHA-256, in the database, and bound to the records that have them.

A file counts once for each record that it is bound to, at every grain, so that parts add up to the
whole, although its bytes are stored once.  A deleted record keeps its files as it keeps its history,
until pruning leaves only its tombstone.
"""

import hashlib
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import IO, NamedTuple

from ..database import (
    execute,
    execute_many,
    execute_one,
    fetch_all,
    fetch_as,
    write_transaction,
)
from ..models import BlobBinding, StoredStream, locking
from ..projection import deltas, marks
from ..projection.deltas import Delta
from ..timestamps import utc_now
from .errors import BlobTooLarge, DigestMismatch, RecordNotFound, StreamNotFound, TempStorageFull
from .records import known_stream

MAX_BYTES = 256 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024
IN_MEMORY_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Stored:
    """`created` is False if the record already had the file."""

    sha256: str
    byte_length: int
    created: bool


class _LiveRecord(NamedTuple):
    version: int
    has_rollup: bool


def store(
    connection: str, stream: str, key: str, blocks: Iterator[bytes], sha256: str | None = None
) -> Stored:
    """Store a file that arrives in blocks and bind it to a live record, in one transaction.

    The bytes are gathered in a temporary file first, so that a slow sender holds no lock and an
    interrupted upload leaves nothing.  Raises NotFound, BlobTooLarge, DigestMismatch,
    TempStorageFull, Busy or peewee.DatabaseError; after the last three the same call can be repeated.
    """
    _live_record(known_stream(connection, stream).id, key)
    with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES) as file:
        digest, size = gather(blocks, file)
        if sha256 is not None and sha256.lower() != digest:
            raise DigestMismatch
        with write_transaction():
            created = _bind(known_stream(connection, stream), key, digest, size, file)
    return Stored(digest, size, created)


def gather(blocks: Iterator[bytes], file: IO[bytes]) -> tuple[str, int]:
    """Write blocks to a file.  Returns their digest and size; raises BlobTooLarge or TempStorageFull."""
    digest, size = hashlib.sha256(), 0
    for block in blocks:
        size += len(block)
        if size > MAX_BYTES:
            raise BlobTooLarge
        digest.update(block)
        try:
            file.write(block)
        except OSError as error:
            raise TempStorageFull from error
    return digest.hexdigest(), size


def _bind(stream: StoredStream, key: str, sha256: str, size: int, file: IO[bytes]) -> bool:
    """Store the file if it is new and bind it.  False if the record already has it."""
    if locking.lock_stream_for_update(stream.id) is None:
        raise StreamNotFound
    record = _live_record(stream.id, key)
    if is_bound(stream.id, key, sha256):
        return False
    now = utc_now()
    store_file(sha256, size, now, file)
    BlobBinding.insert(
        stream=stream.id, key=key, blob=sha256, version=record.version, byte_length=size, bound_at=now
    ).execute()
    is_new_rollup = add_to_rollup(stream.id, key, size, now)
    if not record.has_rollup:
        execute_one(
            "UPDATE records SET has_rollup = TRUE WHERE stream_id = ? AND key = ?", (stream.id, key)
        )
    delta = Delta()
    delta.add_files(record.version, 1, size)
    deltas.record(stream.connection_id, {stream.id: delta})
    # A record has a rollup if and only if `has_rollup` is set; otherwise one of the two is wrong.
    if is_new_rollup == record.has_rollup:
        marks.mark_rollups(stream.id, stream.connection_id, key)
    return True


def is_bound(stream_id: int, key: str, sha256: str) -> bool:
    """Whether the record has the file already."""
    rows = fetch_all(
        """
        SELECT 1
        FROM blob_bindings
        WHERE stream_id = ? AND key = ? AND sha256 = ?
        """,
        (stream_id, key, sha256),
    )
    return bool(rows)


def add_to_rollup(stream_id: int, key: str, size: int, now: str) -> bool:
    """Count the file in the record's rollup.  True if that is new: then the record has one version."""
    is_new = execute(
        """
        INSERT INTO retained_size_record (
            stream_id, key, version, changed_at,
            record_count, current_record_json_bytes, record_history_count, record_history_json_bytes
        )
        SELECT stream_id, key, version, ?, 1, json_bytes, 1, json_bytes
        FROM records
        WHERE stream_id = ? AND key = ?
        ON CONFLICT DO NOTHING
        """,
        (now, stream_id, key),
    )
    execute_one(
        """
        UPDATE retained_size_record
        SET blob_count = blob_count + 1, blob_bytes = blob_bytes + ?, changed_at = ?
        WHERE stream_id = ? AND key = ?
        """,
        (size, now, stream_id, key),
    )
    return bool(is_new)


def store_file(sha256: str, size: int, now: str, file: IO[bytes]) -> None:
    """Make sure that the file is stored and can't be deleted before it is bound."""
    while True:
        added = execute(
            """
            INSERT INTO blobs (sha256, byte_length, created_at)
            VALUES (?, ?, ?)
            ON CONFLICT DO NOTHING
            """,
            (sha256, size, now),
        )
        if added:
            _write_chunks(sha256, file)
            return
        if locking.lock_file_shared(sha256):
            return


def _live_record(stream_id: int, key: str) -> _LiveRecord:
    """Raises RecordNotFound."""
    records = fetch_as(
        _LiveRecord,
        """
        SELECT version, has_rollup
        FROM records
        WHERE stream_id = ? AND key = ?
        """,
        (stream_id, key),
    )
    if not records:
        raise RecordNotFound
    return records[0]


def _write_chunks(sha256: str, file: IO[bytes]) -> None:
    file.seek(0)
    for number, data in enumerate(iter(lambda: file.read(CHUNK_BYTES), b"")):
        execute_many(
            "INSERT INTO blob_chunks (sha256, number, data) VALUES (?, ?, ?)", [(sha256, number, data)]
        )


def drop_unbound(digests: Collection[str]) -> None:
    """Delete the files among these that no record has any more."""
    locking.lock_files_for_delete(digests)
    execute_many(
        """
        DELETE FROM blobs
        WHERE sha256 = ?
            AND NOT EXISTS (SELECT 1 FROM blob_bindings b WHERE b.sha256 = blobs.sha256)
        """,
        [(sha256,) for sha256 in digests],
    )
