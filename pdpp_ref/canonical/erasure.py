"""Erasing a record, or one file of it: nothing of it stays, and it does not come back.

Each call is one transaction, measures included.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from ..database import (
    execute,
    execute_many,
    fetch_all,
    fetch_as,
    fetch_column,
    fetch_version_chains,
    write_transaction,
)
from ..models import StoredStream, locking
from ..projection import deltas, ranked, record_rollups
from ..projection.deltas import Delta
from . import blobs, erased, file_references
from .erased import Names
from .errors import StreamNotFound
from .file_references import BoundFile
from .records import known_stream


class Erased(NamedTuple):
    """How many versions and files were removed; other records have `shared_files` of these files too."""

    versions: int = 0
    files: int = 0
    shared_files: int = 0


class _Version(NamedTuple):
    version: int
    json_bytes: int


class _Live(NamedTuple):
    version: int
    json_bytes: int
    record_time: str | None
    ranked: bool


def erase(names: Names) -> Erased:
    """Remove a record with its versions, tombstones and files, or one file of it, for good.

    It does not have to be stored: then it stays away.  Repeating it changes nothing.  Raises
    StreamNotFound, Busy or peewee.DatabaseError.
    """
    with write_transaction():
        stream = _locked(names)
        every = [names._replace(key=key) for key in _spellings(stream, names.key)]
        removal = _Removal(stream, every)
        if removal.has_removed or not all(map(erased.is_erased, every)):
            for each in every:
                erased.add(each)
            removal.finish()
        return removal.outcome()


def erase_again(names: Names) -> None:
    """Remove what is on the list already.  Raises Busy or peewee.DatabaseError."""
    with write_transaction():
        removal = _Removal(_locked(names), [names])
        if removal.has_removed:
            removal.finish()


def allow(names: Names) -> bool:
    """Let an erased record or file arrive again, whether or not its stream exists.  False if it was not
    erased.  Raises Busy or peewee.DatabaseError.
    """
    with write_transaction():
        try:
            spellings = _spellings(_locked(names), names.key)
        except StreamNotFound:
            spellings = [names.key]
        allowed = [key for key in spellings if erased.allow(names._replace(key=key))]
    return bool(allowed)


def _locked(names: Names) -> StoredStream:
    stream = locking.lock_stream_for_update(known_stream(names.connection, names.stream).id)
    if stream is None:
        raise StreamNotFound
    return stream


def _spellings(stream: StoredStream, key: str) -> list[str]:
    """The key, and how else a sender may spell it."""
    if not stream.respelled_keys:
        return [key]
    others = fetch_all(
        """
        SELECT key, spelling
        FROM key_spellings
        WHERE stream_id = ? AND (key = ? OR spelling = ?)
        """,
        (stream.id, key, key),
    )
    return sorted({key, *(each for row in others for each in row)})


def _count_stored(digests: Collection[str]) -> int:
    return sum(bool(fetch_all("SELECT 1 FROM blobs WHERE sha256 = ?", [each])) for each in digests)


class _Removal:
    """Removes rows of one stream, which is locked; `delta` is the effect, `files` are the unbound ones."""

    def __init__(self, stream: StoredStream, every: Sequence[Names]) -> None:
        self.stream = stream
        self.delta = Delta()
        self.versions = 0
        self.files: set[str] = set()
        for names in every:
            if names.sha256 is None:
                self._remove_record(names.key)
            else:
                self._remove_file(names.key, names.sha256)

    @property
    def has_removed(self) -> bool:
        return bool(self.versions or self.files)

    def finish(self) -> None:
        """Mark the history: a follower must not miss that something is gone.  Then change the totals."""
        removed_through = self.stream.last_version + 1
        execute(
            """
            UPDATE streams
            SET last_version = ?, removed_through = ?, undated_records = ?
            WHERE id = ?
            """,
            (removed_through, removed_through, self.stream.undated_records, self.stream.id),
        )
        blobs.drop_unbound(self.files)
        deltas.record(self.stream.connection_id, {self.stream.id: self.delta})

    def outcome(self) -> Erased:
        return Erased(self.versions, len(self.files), _count_stored(self.files))

    def _remove_record(self, key: str) -> None:
        versions = _versions(self.stream.id, key)
        self._remove_files(key, file_references.of_record(self.stream.id, key))
        self._remove_unclaimed(key)
        self._remove_live(key)
        for one in versions:
            self.delta.remove_version(one.version, one.json_bytes)
        execute_many(
            "DELETE FROM record_changes WHERE stream_id = ? AND version = ?",
            [(self.stream.id, one.version) for one in versions],
        )
        self.versions += len(versions)
        self._remove_traces(key)

    def _remove_file(self, key: str, sha256: str) -> None:
        self._remove_files(
            key, [each for each in file_references.of_record(self.stream.id, key) if each.sha256 == sha256]
        )
        self._remove_unclaimed(key, sha256)

    def _remove_live(self, key: str) -> None:
        of_key = (self.stream.id, key)
        live = fetch_as(
            _Live,
            """
            SELECT version, json_bytes, record_time, ranked
            FROM records
            WHERE stream_id = ? AND key = ?
            """,
            of_key,
        )
        for record in live:
            self.delta.remove_current(record.version, record.json_bytes)
            if _is_undated(self.stream, record):
                self.stream.undated_records -= 1
        execute("DELETE FROM records WHERE stream_id = ? AND key = ?", of_key)
        ranked.take_out(self.stream.id, [record.version for record in live if record.ranked])

    def _remove_files(self, key: str, files: Sequence[BoundFile]) -> None:
        for each in files:
            self.delta.add_files(each.version, -1, -each.byte_length)
            self.files.add(each.sha256)
            _unbind(self.stream.id, key, each)

    def _remove_unclaimed(self, key: str, sha256: str | None = None) -> None:
        """Files that were uploaded for the record and that it does not refer to."""
        removed = fetch_column(
            """
            DELETE FROM unclaimed_files
            WHERE connection_id = ? AND stream_name = ? AND key = ? AND sha256 = COALESCE(?, sha256)
            RETURNING sha256
            """,
            (self.stream.connection_id, self.stream.name, key, sha256),
        )
        self.files.update(removed)

    def _remove_traces(self, key: str) -> None:
        """Whatever else names the key; a count of rollups that has just come to it begins again."""
        of_key = (self.stream.id, key)
        execute("DELETE FROM retained_size_record WHERE stream_id = ? AND key = ?", of_key)
        execute("DELETE FROM retained_size_record_counts WHERE stream_id = ? AND key = ?", of_key)
        execute("DELETE FROM retained_size_record_recounts WHERE stream_id = ? AND after_key = ?", of_key)
        execute("DELETE FROM key_spellings WHERE stream_id = ? AND spelling = ?", of_key)
        execute("DELETE FROM key_spellings WHERE stream_id = ? AND key = ?", of_key)


def _is_undated(stream: StoredStream, record: _Live) -> bool:
    """Whether the stream counts the record among those stored before its time field was declared."""
    return (
        record.record_time is None
        and stream.record_time_field is not None
        and record.version <= stream.record_time_field_since
    )


def _versions(stream_id: int, key: str) -> list[_Version]:
    """All versions of a key, along their links if these are right.

    Otherwise, and if there seem to be none, the whole stream is searched: nothing may stay.
    """
    heads = fetch_column(
        """
        SELECT version
        FROM records
        WHERE stream_id = ? AND key = ?
        UNION
        SELECT version
        FROM retained_size_record
        WHERE stream_id = ? AND key = ?
        """,
        (stream_id, key, stream_id, key),
    )
    chain = fetch_version_chains(("version", "json_bytes", "key"), stream_id, heads)
    versions = [_Version(version, size) for _, version, size, of_key in chain if of_key == key]
    is_whole = len(heads) == 1 and len(versions) == len(chain) and _adds_up(stream_id, key, versions)
    return versions if is_whole and not record_rollups.is_dirty(stream_id) else _search(stream_id, key)


def _adds_up(stream_id: int, key: str, versions: Sequence[_Version]) -> bool:
    """Whether the versions are those that the record's rollup counts; without one there is at most one."""
    rollups = fetch_all(
        """
        SELECT record_history_count, record_history_json_bytes
        FROM retained_size_record
        WHERE stream_id = ? AND key = ?
        """,
        (stream_id, key),
    )
    found = (len(versions), sum(one.json_bytes for one in versions))
    return rollups == [found] if rollups else len(versions) < 2


def _search(stream_id: int, key: str) -> list[_Version]:
    """Reads all versions of the stream: the table has no index by key."""
    return fetch_as(
        _Version,
        """
        SELECT version, json_bytes
        FROM record_changes
        WHERE stream_id = ? AND key = ?
        """,
        (stream_id, key),
    )


def _unbind(stream_id: int, key: str, file: BoundFile) -> None:
    """The record is then dated by its newest version, or its newest other file."""
    execute(
        "DELETE FROM blob_bindings WHERE stream_id = ? AND key = ? AND sha256 = ?",
        (stream_id, key, file.sha256),
    )
    execute(
        """
        UPDATE retained_size_record
        SET blob_count = blob_count - 1,
            blob_bytes = blob_bytes - ?,
            changed_at = COALESCE(
                (
                    SELECT MAX(b.bound_at)
                    FROM blob_bindings b
                    WHERE b.stream_id = retained_size_record.stream_id
                        AND b.key = retained_size_record.key
                        AND b.bound_at = retained_size_record.changed_at
                ),
                (
                    SELECT c.ingested_at
                    FROM record_changes c
                    WHERE c.stream_id = retained_size_record.stream_id
                        AND c.version = retained_size_record.version
                ),
                changed_at
            )
        WHERE stream_id = ? AND key = ?
        """,
        (file.byte_length, stream_id, key),
    )
