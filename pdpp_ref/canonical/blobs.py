"""Files: stored once by their SHA-256, in the database, and bound to the records that hold them.

A file counts once for each record that it is bound to, at every grain, so that parts add up to the
whole; its bytes are stored once all the same.  A record that is deleted keeps its files as it keeps
its history, until pruning leaves nothing of it but the tombstone.
"""

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from ..database import (
    execute,
    execute_many,
    execute_one,
    fetch_all,
    write_transaction,
)
from ..models import BlobBinding, locking
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
    """`created` is False where the record held the file already."""

    sha256: str
    byte_length: int
    created: bool


def store(
    connection: str, stream: str, key: str, blocks: Iterator[bytes], sha256: str | None = None
) -> Stored:
    """Store what comes in blocks and bind it to a live record, in one transaction.

    The bytes are gathered in a temporary file first, so that a slow sender holds no lock and an
    upload that breaks off leaves nothing.  Raises NotFound, BlobTooLarge, DigestMismatch,
    TempStorageFull, Busy or peewee.DatabaseError; after the last three the same call can be repeated.
    """
    _record(known_stream(connection, stream)["id"], key)
    with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES) as file:
        digest, size = _gather(blocks, file)
        if sha256 is not None and sha256.lower() != digest:
            raise DigestMismatch
        with write_transaction():
            found = known_stream(connection, stream)
            created = _bind(found, key, digest, size, file)
    return Stored(digest, size, created)


def _gather(blocks: Iterator[bytes], file: IO[bytes]) -> tuple[str, int]:
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


def _bind(stream: dict[str, Any], key: str, sha256: str, size: int, file: IO[bytes]) -> bool:
    stream_id = stream["id"]
    if locking.lock_stream_for_update(stream_id) is None:
        raise StreamNotFound
    record = _record(stream_id, key)
    of_record = "stream_id = ? AND key = ?"
    if fetch_all(f"SELECT 1 FROM blob_bindings WHERE {of_record} AND sha256 = ?", (stream_id, key, sha256)):
        return False
    now = utc_now()
    _keep(sha256, size, now, file)
    BlobBinding.insert(
        stream=stream_id, key=key, blob=sha256, version=record["version"], byte_length=size, bound_at=now
    ).execute()
    # A record with `has_rollup` has a row of figures, or one of the two is wrong.
    is_new = bool(execute(_SET_HAS_ROLLUP, (now, stream_id, key)))
    if not record["has_rollup"]:
        execute_one(f"UPDATE records SET has_rollup = TRUE WHERE {of_record}", (stream_id, key))
    add = "SET blob_count = blob_count + 1, blob_bytes = blob_bytes + ?, changed_at = ?"
    execute_one(f"UPDATE retained_size_record {add} WHERE {of_record}", (size, now, stream_id, key))
    delta = Delta()
    delta.add_files(record["version"], 1, size)
    deltas.record(stream["connection"], {stream_id: delta})
    if is_new == bool(record["has_rollup"]):
        marks.mark_rollups(stream_id, stream["connection"], key)
    return True


def _keep(sha256: str, size: int, now: str, file: IO[bytes]) -> None:
    """The file is there, and stays until the binding is."""
    while True:
        if execute(_ADD_FILE, (sha256, size, now)):
            _write_chunks(sha256, file)
            return
        if locking.lock_file_shared(sha256):
            return


def _record(stream_id: int, key: str) -> dict[str, Any]:
    found = fetch_all(
        "SELECT version, has_rollup FROM records WHERE stream_id = ? AND key = ?", (stream_id, key)
    )
    if not found:
        raise RecordNotFound
    return dict(zip(("version", "has_rollup"), found[0], strict=True))


def _write_chunks(sha256: str, file: IO[bytes]) -> None:
    file.seek(0)
    for number, data in enumerate(iter(lambda: file.read(CHUNK_BYTES), b"")):
        execute_many(
            "INSERT INTO blob_chunks (sha256, number, data) VALUES (?, ?, ?)", [(sha256, number, data)]
        )


def drop_unbound(digests: Sequence[tuple[str, ...]]) -> None:
    """Remove those of the files (rows of one digest each) that no record holds any more."""
    locking.lock_files_for_delete(digests)
    unbound = "NOT EXISTS (SELECT 1 FROM blob_bindings b WHERE b.sha256 = blobs.sha256)"
    execute_many(f"DELETE FROM blobs WHERE sha256 = ? AND {unbound}", digests)


_ADD_FILE = "INSERT INTO blobs (sha256, byte_length, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
# The row of a record that has none: what one version is.
_SET_HAS_ROLLUP = (
    "INSERT INTO retained_size_record (stream_id, key, version, changed_at, record_count, "
    "current_record_json_bytes, record_history_count, record_history_json_bytes) "
    "SELECT stream_id, key, version, ?, 1, json_bytes, 1, json_bytes FROM records "
    "WHERE stream_id = ? AND key = ? ON CONFLICT DO NOTHING"
)
