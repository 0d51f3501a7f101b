"""Files: stored once by their SHA-256, in the database, and bound to the records that have them.

A file counts once for each record that it is bound to, at every grain, so that parts add up to the
whole, although its bytes are stored once.  A deleted record keeps its files as it keeps its history,
until pruning leaves only its tombstone.

A file may be uploaded before its record.  It waits in `unclaimed_files`, and no measure counts it, until
the record claims it (`claims.py`) or a cleanup removes it (`cleanup.py`).
"""

import hashlib
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, NamedTuple

from ..database import (
    execute,
    execute_many,
    execute_one,
    fetch_all,
    fetch_as,
    fetch_column,
    fetch_each,
    write_transaction,
)
from ..models import BlobBinding, StoredStream, UnclaimedFile, locking
from ..projection import deltas, marks, ranked
from ..projection.deltas import Delta
from ..timestamps import utc_now
from . import claims
from .erased import Names, is_erased, is_file_erased
from .errors import BlobTooLarge, DigestMismatch, RecordNotFound, StreamNotFound, TempStorageFull
from .records import Target, known_stream, lock_connection

MAX_BYTES = 1024**3
CHUNK_BYTES = 1024 * 1024
IN_MEMORY_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Stored:
    """`created` is False if the record already had the file, or it was erased and is not stored."""

    sha256: str
    byte_length: int
    created: bool


class Reference(NamedTuple):
    """What its sender says about a record's file; None: nothing."""

    mime_type: str | None = None
    json_path: str | None = None


NOTHING_SAID = Reference()


class Holder(NamedTuple):
    """A record that a file is bound to; `version` is the one that it is bound with."""

    version: int
    has_rollup: bool


class Received(NamedTuple):
    """A file that has arrived, whole."""

    sha256: str
    size: int
    file: IO[bytes]


def store(
    connection: str,
    stream: str,
    key: str,
    blocks: Iterator[bytes],
    sha256: str | None = None,
    reference: Reference = NOTHING_SAID,
) -> Stored:
    """Store a file that arrives in blocks and bind it to a live record, in one transaction.

    The bytes are gathered in a temporary file first, so that a slow sender holds no lock and an
    interrupted upload leaves nothing.  A file that was erased, or of an erased record, is accepted and
    not stored.  Raises NotFound, BlobTooLarge, DigestMismatch, TempStorageFull, Busy or
    peewee.DatabaseError; after the last three the same call can be repeated.
    """
    names = Names(connection, stream, key)
    if not is_erased(names):
        _live_record(known_stream(connection, stream).id, key)
    with received(blocks, sha256) as arrived, write_transaction():
        row = locking.lock_stream_for_update(known_stream(connection, stream).id)
        if row is None:
            raise StreamNotFound
        created = not is_file_erased(names, arrived.sha256) and bind(
            row, key, _live_record(row.id, key), arrived, reference
        )
    return Stored(arrived.sha256, arrived.size, created)


def store_early(
    target: Target,
    stream: str,
    key: str,
    blocks: Iterator[bytes],
    sha256: str | None = None,
    reference: Reference = NOTHING_SAID,
) -> Stored:
    """The same for a record that may not exist yet; the connection is created if it does not exist.

    Raises ConnectorMismatch, and what `store` raises except NotFound.
    """
    with received(blocks, sha256) as arrived, write_transaction():
        connection = lock_connection(target, create=True)
        assert connection is not None, "it is created"
        row = _lock_stream(connection.id, stream)
        record = None if row is None else _find_live_record(row.id, key)
        if is_file_erased(Names(target.connection, stream, key), arrived.sha256):
            created = False
        elif row is None or record is None:
            created = _store_unclaimed(connection.id, stream, key, arrived, reference)
        else:
            created = bind(row, key, record, arrived, reference)
    return Stored(arrived.sha256, arrived.size, created)


def _lock_stream(connection_id: int, name: str) -> StoredStream | None:
    """Lock the stream; if there is none, nobody can create it until the transaction ends."""
    found = locking.lock_streams_for_update(connection_id, [name])
    if not found:
        locking.lock_connection_for_update(connection_id)
        found = locking.lock_streams_for_update(connection_id, [name])
    return found[0] if found else None


@contextmanager
def received(blocks: Iterator[bytes], sha256: str | None) -> Iterator[Received]:
    """Gather a file.  Raises DigestMismatch, BlobTooLarge or TempStorageFull."""
    file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115
    try:
        digest, size = _gather(blocks, file)
        if sha256 is not None and sha256.lower() != digest:
            raise DigestMismatch
        yield Received(digest, size, file)
    finally:
        with suppress(OSError):  # what could not be written before
            file.close()


def _gather(blocks: Iterator[bytes], file: IO[bytes]) -> tuple[str, int]:
    """Write blocks to a file.  Returns their digest and size; raises BlobTooLarge or TempStorageFull."""
    digest, size = hashlib.sha256(), 0
    for block in blocks:
        size += len(block)
        if size > MAX_BYTES:
            raise BlobTooLarge
        digest.update(block)
        with _storing():
            file.write(block)
    with _storing():
        file.flush()
    return digest.hexdigest(), size


@contextmanager
def _storing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TempStorageFull from error


def bind(stream: StoredStream, key: str, record: Holder, received: Received, reference: Reference) -> bool:
    """Store the file if it is new and bind it; the stream is locked.  False if the record has it."""
    sha256, size, file = received
    if is_bound(stream.id, key, sha256):
        claims.describe(stream.id, key, sha256, *reference)
        return False
    now = utc_now()
    _store_file(sha256, size, now, file)
    BlobBinding.insert(
        stream=stream.id,
        key=key,
        blob=sha256,
        version=record.version,
        byte_length=size,
        bound_at=now,
        **reference._asdict(),
    ).execute()
    _count(stream, key, record, size, now)
    return True


def _count(stream: StoredStream, key: str, record: Holder, size: int, now: str) -> None:
    """Add a file that has been bound to the record's rollup and to the totals."""
    is_new_rollup = _add_to_rollup(stream.id, key, size, now)
    if is_new_rollup or not record.has_rollup:
        (version,) = fetch_column(
            """
            UPDATE records
            SET has_rollup = TRUE, ranked = TRUE
            WHERE stream_id = ? AND key = ?
            RETURNING version
            """,
            (stream.id, key),
        )
        ranked.take_out(stream.id, [version])
    delta = Delta()
    delta.add_files(record.version, 1, size)
    deltas.record(stream.connection_id, {stream.id: delta})
    # A record has a rollup if and only if `has_rollup` is set; otherwise one of the two is wrong.
    if is_new_rollup == record.has_rollup:
        marks.mark_rollups(stream.id, stream.connection_id, key)


def _store_unclaimed(
    connection_id: int, stream: str, key: str, received: Received, reference: Reference
) -> bool:
    """Store a file until its record comes.  False if it is there already; then its wait begins again."""
    now = utc_now()
    # Not by a DELETE: PostgreSQL might read all waiting files of this digest.
    known = fetch_each(
        """
        SELECT id
        FROM unclaimed_files
        WHERE connection_id = ? AND stream_name = ? AND sha256 = ? AND key = :each
        """,
        (connection_id, stream, received.sha256),
        [key],
    )
    execute_many("DELETE FROM unclaimed_files WHERE id = ?", known)
    _store_file(received.sha256, received.size, now, received.file)
    UnclaimedFile.insert(
        connection=connection_id,
        stream_name=stream,
        key=key,
        blob=received.sha256,
        byte_length=received.size,
        uploaded_at=now,
        **reference._asdict(),
    ).execute()
    return not known


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


def _add_to_rollup(stream_id: int, key: str, size: int, now: str) -> bool:
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


def _store_file(sha256: str, size: int, now: str, file: IO[bytes]) -> None:
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


def _live_record(stream_id: int, key: str) -> Holder:
    """Raises RecordNotFound."""
    record = _find_live_record(stream_id, key)
    if record is None:
        raise RecordNotFound
    return record


def _find_live_record(stream_id: int, key: str) -> Holder | None:
    records = fetch_as(
        Holder,
        """
        SELECT version, has_rollup
        FROM records
        WHERE stream_id = ? AND key = ?
        """,
        (stream_id, key),
    )
    return records[0] if records else None


def _write_chunks(sha256: str, file: IO[bytes]) -> None:
    file.seek(0)
    for number, data in enumerate(iter(lambda: file.read(CHUNK_BYTES), b"")):
        execute_many(
            "INSERT INTO blob_chunks (sha256, number, data) VALUES (?, ?, ?)", [(sha256, number, data)]
        )


def drop_unbound(digests: Collection[str]) -> None:
    """Delete the files among these that no record has any more, and that wait for none."""
    locking.lock_files_for_delete(digests)
    execute_many(
        """
        DELETE FROM blobs
        WHERE sha256 = ?
            AND NOT EXISTS (SELECT 1 FROM blob_bindings b WHERE b.sha256 = blobs.sha256)
            AND NOT EXISTS (SELECT 1 FROM unclaimed_files u WHERE u.sha256 = blobs.sha256)
        """,
        [(sha256,) for sha256 in digests],
    )
