"""A record's references to its files, and when they end."""

from collections.abc import Sequence
from typing import NamedTuple

from ..database import (
    ANY_NUMBER,
    execute_many,
    execute_one,
    fetch_each,
)
from ..projection.deltas import Delta


class BoundFile(NamedTuple):
    """A file of a record; `version` is the record's when it was bound."""

    sha256: str
    version: int
    byte_length: int


def of_record(stream_id: int, key: str) -> list[BoundFile]:
    """All files of a record."""
    return of_records(stream_id, [key]).get(key, [])


def of_records(stream_id: int, keys: Sequence[str]) -> dict[str, list[BoundFile]]:
    """All files of those of the records that have any."""
    rows = fetch_each(
        """
        SELECT key, sha256, version, byte_length
        FROM blob_bindings
        WHERE stream_id = ? AND key = :each
        """,
        [stream_id],
        keys,
        ANY_NUMBER,
    )
    found: dict[str, list[BoundFile]] = {}
    for key, *file in rows:
        found.setdefault(key, []).append(BoundFile(*file))
    return found


def only_named_by(
    stream_id: int, files: Sequence[BoundFile], old: Sequence[int], retained: Sequence[int]
) -> list[BoundFile]:
    """Those of a record's files that old versions name in their data, and retained ones do not.

    A file that was bound to a retained version stays; so does one that no version names: it belongs to the
    record as a whole.
    """
    before = min(retained)
    return [
        file
        for file in files
        if file.version < before
        and _is_named(stream_id, file, old)
        and not _is_named(stream_id, file, retained)
    ]


def _is_named(stream_id: int, file: BoundFile, versions: Sequence[int]) -> bool:
    found = fetch_each(
        """
        SELECT version
        FROM record_changes
        WHERE stream_id = ? AND data LIKE ? AND version = :each
        """,
        (stream_id, f"%{file.sha256}%"),
        versions,
    )
    return bool(found)


def end(stream_id: int, key: str, files: Sequence[BoundFile], delta: Delta) -> list[str]:
    """Unbind files of a record.  Returns their digests."""
    if not files:
        return []
    for file in files:
        delta.add_files(file.version, -1, -file.byte_length)
    execute_many(
        "DELETE FROM blob_bindings WHERE stream_id = ? AND key = ? AND sha256 = ?",
        [(stream_id, key, file.sha256) for file in files],
    )
    left = of_record(stream_id, key)
    execute_one(
        """
        UPDATE retained_size_record
        SET blob_count = ?,
            blob_bytes = ?,
            changed_at = (
                SELECT ingested_at
                FROM record_changes c
                WHERE c.stream_id = retained_size_record.stream_id
                    AND c.version = retained_size_record.version
            )
        WHERE stream_id = ? AND key = ?
        """,
        (len(left), sum(file.byte_length for file in left), stream_id, key),
    )
    return [file.sha256 for file in files]
