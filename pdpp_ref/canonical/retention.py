"""Pruning old versions.  The newest versions of each record stay, and all measures stay exact.

It runs in small, independent transactions: an interrupted run has pruned less, and can be run again.

Long histories are found by their rollups.  If these can't be right, they are derived again first.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ..database import (
    execute_many,
    execute_one,
    fetch_all,
    fetch_as,
    fetch_value,
    read_snapshot,
    write_transaction,
)
from ..models import STORED_STREAM_COLUMNS, StoredStream, locking
from ..models.measures import MEASURE_NAMES
from ..projection import counting, deltas, marks, record_rollups
from ..projection.deltas import Delta
from . import blobs, file_references
from .file_references import BoundFile

KEYS_PER_TRANSACTION = 500
VERSIONS_PER_TRANSACTION = 2_000
DERIVING_SECONDS = 0.1
ANY_VERSION = 2**62


class Pruned(NamedTuple):
    """The number of versions that were pruned, and the bytes of their data, without files."""

    versions: int = 0
    json_bytes: int = 0


class _Rollup(NamedTuple):
    """A key's rollup: its newest version, how many there are, the live one's measures, and its files."""

    key: str
    version: int
    record_count: int
    current_json_bytes: int
    versions: int
    history_json_bytes: int
    files: int


class _History(NamedTuple):
    """A key's newest versions, newest first; `is_live`: it has a live record."""

    versions: list["_Version"]
    is_live: bool


class _Version(NamedTuple):
    """A version; `at` is when it was emitted, or else arrived."""

    version: int
    key: str
    previous: int | None
    json_bytes: int
    at: str
    pruned_at: str | None
    pruned_digest: str | None


def prune(
    keep: int,
    connection: str | None = None,
    stream: str | None = None,
    progress: Callable[[Pruned], None] = lambda _: None,
) -> Pruned:
    """Keep the newest `keep` (at least 1) versions of each record; a tombstone counts as a version.

    If only the tombstone of a deleted record stays, its files are deleted too.  `connection` and
    `stream` restrict pruning to those of that name.  Raises Busy or peewee.DatabaseError; versions
    pruned before that stay pruned.
    """
    total = Pruned()
    for row in _streams(connection, stream):
        for done in _StreamPruning(row, keep).steps():
            total = Pruned(total.versions + done.versions, total.json_bytes + done.json_bytes)
            progress(total)
    return total


def _streams(connection: str | None, stream: str | None) -> list[StoredStream]:
    return fetch_as(
        StoredStream,
        f"""
        SELECT {STORED_STREAM_COLUMNS}
        FROM streams
        JOIN connections ON connections.id = streams.connection_id
        WHERE connections.connector_instance_id = COALESCE(?, connections.connector_instance_id)
            AND streams.name = COALESCE(?, streams.name)
        ORDER BY streams.id
        """,
        (connection, stream),
    )


class _StreamPruning:
    """Pruning one stream; keys up to `after` are done.  `wrong` is a key whose rollup was wrong."""

    def __init__(self, stream: StoredStream, keep: int) -> None:
        self.stream, self.keep = stream, keep
        self.after = ""
        self.wrong: str | None = None
        self.is_done = False

    def steps(self) -> Iterator[Pruned]:
        """One for each transaction that has pruned something."""
        is_wrong = not _rollups_add_up(self.stream.id)
        while not self.is_done:
            with write_transaction():
                stream = locking.lock_stream_for_update(self.stream.id)
                if stream is None or not self._is_still(stream):
                    return
                if is_wrong:
                    self._mark_rollups("")
                is_wrong = False
                if record_rollups.is_dirty(stream.id):
                    deadline = time.monotonic() + DERIVING_SECONDS
                    record_rollups.derive_stream(stream.id, stream.last_version, deadline)
                    done = Pruned()
                else:
                    done = self._prune()
            if done.versions:
                yield done

    def _is_still(self, stream: StoredStream) -> bool:
        """SQLite reuses the id of the last stream for the next one, once it is deleted."""
        before = self.stream
        return (stream.connection_id, stream.name, stream.created_at) == (
            before.connection_id,
            before.name,
            before.created_at,
        )

    def _prune(self) -> Pruned:
        """Prune some records, within the limits of a transaction."""
        delta, done, unbound = Delta(), Pruned(), set[str]()
        wrong = None
        rollups = self._next_rollups()
        self.is_done = not rollups
        for rollup in rollups:
            room = VERSIONS_PER_TRANSACTION - done.versions
            history = _load_history(self.stream.id, rollup, self.keep + room)
            if history is None:
                wrong = rollup.key
                break
            retained, gone = history.versions[: self.keep], history.versions[self.keep :]
            ended = self._ended_files(rollup, history.is_live, retained, gone)
            _remove(self.stream.id, rollup, retained, gone, delta)
            unbound.update(file_references.end(self.stream.id, rollup.key, ended, delta))
            sizes = sum(one.json_bytes for one in gone)
            done = Pruned(done.versions + len(gone), done.json_bytes + sizes)
            if len(gone) == room:
                break  # this record may have more: the next transaction begins with it
            self.after = rollup.key
        blobs.drop_unbound(unbound)
        if done.versions:
            deltas.record(self.stream.connection_id, {self.stream.id: delta})
        if wrong is not None:
            self._mark_wrong(wrong)
        return done

    def _ended_files(
        self, rollup: _Rollup, is_live: bool, retained: Sequence[_Version], gone: Sequence[_Version]
    ) -> list[BoundFile]:
        """The files that the record refers to no more."""
        if not is_live and rollup.versions - len(gone) == 1:
            return file_references.of_record(self.stream.id, rollup.key)
        if not (rollup.files and gone):
            return []
        old, new = ([one.version for one in versions] for versions in (gone, retained))
        return file_references.only_named_by(self.stream.id, rollup.key, old, new)

    def _next_rollups(self) -> list[_Rollup]:
        """Rollups of the next keys with more than `keep` versions."""
        return fetch_as(
            _Rollup,
            """
            SELECT
                key, version, record_count, current_record_json_bytes, record_history_count,
                record_history_json_bytes, blob_count
            FROM retained_size_record
            WHERE stream_id = ? AND key > ? AND record_history_count > ?
            ORDER BY key
            LIMIT ?
            """,
            (self.stream.id, self.after, self.keep, KEYS_PER_TRANSACTION),
        )

    def _mark_wrong(self, key: str) -> None:
        """Derive the rollups again; a key that is still wrong after that is skipped, and stays marked."""
        self._mark_rollups(key)
        if key == self.wrong:
            self.after = key
        self.wrong = key

    def _mark_rollups(self, key: str) -> None:
        marks.mark_rollups(self.stream.id, self.stream.connection_id, key)


def _rollups_add_up(stream_id: int) -> bool:
    """Whether the rollups of a stream can be right: with the other records, they add up to its measures."""
    columns = ", ".join(MEASURE_NAMES)
    sums = ", ".join(f"COALESCE(SUM({name}), 0)" for name in MEASURE_NAMES)
    with read_snapshot():
        rows = fetch_all(
            f"""
            SELECT dirty, {columns}
            FROM retained_size_stream
            WHERE stream_id = ?
            """,
            [stream_id],
        )
        if not rows:
            return False
        dirty, *whole = rows[0]
        if dirty:
            counted = counting.count_versions(stream_id, 0, ANY_VERSION)
            whole = [counted[name] for name in MEASURE_NAMES]
        (of_rollups,) = fetch_all(
            f"""
            SELECT {sums}
            FROM (
                SELECT {columns}
                FROM retained_size_record
                WHERE stream_id = ?
            ) AS rollups
            """,
            [stream_id],
        )
    records, current, versions, history, *files = (
        all_of_them - int(part) for all_of_them, part in zip(whole, of_rollups, strict=True)
    )
    # A record without a rollup is one version and no file.
    return records == versions >= 0 and current == history >= 0 and not any(files)


def _load_history(stream_id: int, rollup: _Rollup, most: int) -> _History | None:
    """A record's newest versions, at most so many; None if its rollup can't be right."""
    live = fetch_all(
        """
        SELECT version, json_bytes
        FROM records
        WHERE stream_id = ? AND key = ?
        """,
        (stream_id, rollup.key),
    )
    if (rollup.record_count, rollup.current_json_bytes) != (len(live), live[0][1] if live else 0):
        return None
    versions = _load_chain(stream_id, rollup.key, rollup.version, most)
    if versions is None:
        return None
    # The newest version of a live record is the live one; that of a deleted one has no data.
    newest = versions[0]
    if (newest.version != live[0][0]) if live else newest.json_bytes:
        return None
    count, size = len(versions), sum(one.json_bytes for one in versions)
    if versions[-1].previous is None:
        is_right = (rollup.versions, rollup.history_json_bytes) == (count, size)
    else:
        is_right = rollup.versions > count and rollup.history_json_bytes >= size
    return _History(versions, bool(live)) if is_right else None


def _load_chain(stream_id: int, key: str, newest: int, most: int) -> list[_Version] | None:
    """At most so many versions of a key, from `newest` back; None if a link does not lead to one."""
    versions: list[_Version] = []
    version: int | None = newest
    while version is not None and len(versions) < most:
        rows = fetch_as(
            _Version,
            """
            SELECT
                version, key, previous_version, json_bytes, COALESCE(emitted_at, ingested_at), pruned_at,
                pruned_digest
            FROM record_changes
            WHERE stream_id = ? AND version = ?
            """,
            (stream_id, version),
        )
        if not rows or rows[0].key != key or (versions and version >= versions[-1].version):
            return None
        versions.append(rows[0])
        version = rows[0].previous
    return versions


def _remove(
    stream_id: int, rollup: _Rollup, retained: Sequence[_Version], gone: Sequence[_Version], delta: Delta
) -> None:
    """Remove old versions of a record, and store the time and digest of the latest pruned one."""
    pruned_at, pruned_digest = _latest_pruned(stream_id, retained, gone)
    # The chain continues with the rest: nothing, or versions that the next transaction removes.
    execute_one(
        """
        UPDATE record_changes
        SET previous_version = ?, pruned_at = ?, pruned_digest = ?
        WHERE stream_id = ? AND version = ?
        """,
        (gone[-1].previous, pruned_at, pruned_digest, stream_id, retained[-1].version),
    )
    execute_many(
        """
        UPDATE record_changes
        SET pruned_at = NULL, pruned_digest = NULL
        WHERE stream_id = ? AND version = ?
        """,
        [(stream_id, one.version) for one in retained[:-1] if one.pruned_at is not None],
    )
    execute_many(
        "DELETE FROM record_changes WHERE stream_id = ? AND version = ?",
        [(stream_id, one.version) for one in gone],
    )
    execute_one(
        """
        UPDATE retained_size_record
        SET record_history_count = record_history_count - ?,
            record_history_json_bytes = record_history_json_bytes - ?
        WHERE stream_id = ? AND key = ?
        """,
        (len(gone), sum(one.json_bytes for one in gone), stream_id, rollup.key),
    )
    for one in gone:
        delta.remove_version(one.version, one.json_bytes)


def _latest_pruned(
    stream_id: int, retained: Sequence[_Version], gone: Sequence[_Version]
) -> tuple[str | None, str | None]:
    """The time of the latest version ever pruned of a record, and the digest of its data.

    If two have the same time, it is the later version.  The mark on a version stands for versions
    before it.
    """
    at, digest, latest = "", None, None
    for place, one in enumerate((*retained, *gone)):
        if place >= len(retained) and one.at > at:
            at, digest, latest = one.at, None, one
        if one.pruned_at is not None and one.pruned_at > at:
            at, digest, latest = one.pruned_at, one.pruned_digest, None
    if latest is not None:
        data = fetch_value(
            "SELECT data FROM record_changes WHERE stream_id = ? AND version = ?",
            (stream_id, latest.version),
        )
        digest = "" if data is None else hashlib.sha256(data.encode()).hexdigest()
    return at or None, digest
