"""Pruning old versions.  The newest versions of each record stay, and all measures stay exact.

It runs in small, independent transactions: an interrupted run has pruned less, and can be run again.

Long histories are found by their rollups.  If these can't be right, they are derived again first.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import peewee

from ..database import (
    delete_many,
    fetch_all,
    fetch_as,
    fetch_each,
    fetch_version_chains,
    read_snapshot,
    update_many,
    write_transaction,
)
from ..models import STORED_STREAM_COLUMNS, RecordChange, RetainedSizeRecord, StoredStream, locking
from ..models.measures import MEASURE_NAMES
from ..projection import counting, deltas, marks, record_rollups
from ..projection.deltas import Delta
from . import blobs, file_references
from .file_references import BoundFile

KEYS_PER_TRANSACTION = 500
VERSIONS_PER_TRANSACTION = 2_000
BYTES_PER_TRANSACTION = 16 * 1024 * 1024
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


class _Version(NamedTuple):
    """A version; `at` is when it was emitted, or else arrived."""

    version: int
    key: str
    previous: int | None
    json_bytes: int
    at: str
    pruned_at: str | None
    pruned_digest: str | None


class _History(NamedTuple):
    """A record with its newest versions, newest first: those that stay, and those to remove now.

    `is_live`: it has a live version.
    """

    rollup: _Rollup
    is_live: bool
    retained: list[_Version]
    gone: list[_Version]

    @property
    def is_complete(self) -> bool:
        """Whether no more is left to remove."""
        return self.gone[-1].previous is None

    @property
    def is_only_tombstone(self) -> bool:
        return not self.is_live and self.rollup.versions - len(self.gone) == 1


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
            began = time.monotonic()
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
            time.sleep((time.monotonic() - began) / 4)  # others get their turn

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
        rollups = self._next_rollups()
        self.is_done = not rollups
        part = rollups[: _fitting(rollups, self.keep)]
        histories, wrong = self._load_histories(part)
        done = self._remove(histories) if histories else Pruned()
        if histories and wrong is None and histories[-1].is_complete:
            self.after = histories[-1].rollup.key
        if wrong is not None:
            self._mark_wrong(wrong)
        return done

    def _load_histories(self, rollups: Sequence[_Rollup]) -> tuple[list[_History], str | None]:
        """The histories of records, up to one whose rollup can't be right, and the key of that one."""
        most = self.keep + VERSIONS_PER_TRANSACTION
        live = _live_versions(self.stream.id, [rollup.key for rollup in rollups])
        chains = _load_chains(self.stream.id, [rollup.version for rollup in rollups], most)
        histories: list[_History] = []
        for rollup in rollups:
            versions = chains.get(rollup.version, [])
            if not _is_right(rollup, live.get(rollup.key), versions, most):
                return histories, rollup.key
            retained, gone = versions[: self.keep], versions[self.keep :]
            histories.append(_History(rollup, rollup.key in live, retained, gone))
        return histories, None

    def _remove(self, histories: Sequence[_History]) -> Pruned:
        delta, unbound = Delta(), set[str]()
        ended = self._ended_files(histories)
        _remove_versions(self.stream.id, histories)
        for history in histories:
            for one in history.gone:
                delta.remove_version(one.version, one.json_bytes)
            key = history.rollup.key
            unbound.update(file_references.end(self.stream.id, key, ended.get(key, []), delta))
        blobs.drop_unbound(unbound)
        deltas.record(self.stream.connection_id, {self.stream.id: delta})
        sizes = sum(one.json_bytes for history in histories for one in history.gone)
        return Pruned(sum(len(history.gone) for history in histories), sizes)

    def _ended_files(self, histories: Sequence[_History]) -> dict[str, list[BoundFile]]:
        """By key, the files that records refer to no more."""
        with_files = file_references.keys_with_files(
            self.stream.id, [each.rollup.key for each in histories]
        )
        ended = {}
        for history in histories:
            key = history.rollup.key
            if key not in with_files:
                continue
            if history.is_only_tombstone:
                ended[key] = file_references.of_record(self.stream.id, key)
            else:
                old, new = ([one.version for one in each] for each in (history.gone, history.retained))
                ended[key] = file_references.only_named_by(self.stream.id, key, old, new)
        return ended

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


def _fitting(rollups: Sequence[_Rollup], keep: int) -> int:
    """How many of the records fit one transaction; at least 1, which may have more than that."""
    versions = accumulate(rollup.versions - keep for rollup in rollups)
    sizes = accumulate(rollup.history_json_bytes for rollup in rollups)
    fit = sum(
        number <= VERSIONS_PER_TRANSACTION and size <= BYTES_PER_TRANSACTION
        for number, size in zip(versions, sizes, strict=True)
    )
    return max(1, fit)


def _live_versions(stream_id: int, keys: Sequence[str]) -> dict[str, tuple[int, int]]:
    """(version, bytes) of those of the records that are live."""
    rows = fetch_each(
        """
        SELECT key, version, json_bytes
        FROM records
        WHERE stream_id = ? AND key = :each
        """,
        [stream_id],
        keys,
    )
    return {key: (version, size) for key, version, size in rows}


def _load_chains(stream_id: int, newest: Sequence[int], most: int) -> dict[int, list[_Version]]:
    """At most so many versions each, from the newest ones back along the links, by the newest."""
    chains: dict[int, list[_Version]] = {}
    for head, *row in fetch_version_chains(_VERSION_COLUMNS, stream_id, newest, most):
        chains.setdefault(head, []).append(_Version(*row))
    for chain in chains.values():
        chain.sort(key=lambda one: -one.version)
    return chains


def _is_right(
    rollup: _Rollup, live: tuple[int, int] | None, versions: Sequence[_Version], most: int
) -> bool:
    """Whether a rollup can be right; there are at most so many `versions`."""
    if (rollup.record_count, rollup.current_json_bytes) != ((1, live[1]) if live else (0, 0)):
        return False
    if not _is_chain(rollup.key, versions, most):
        return False
    # The newest version of a live record is the live one; that of a deleted one has no data.
    newest = versions[0]
    if (newest.version != live[0]) if live else newest.json_bytes:
        return False
    count, size = len(versions), sum(one.json_bytes for one in versions)
    if versions[-1].previous is None:
        return (rollup.versions, rollup.history_json_bytes) == (count, size)
    return rollup.versions > count and rollup.history_json_bytes >= size


def _is_chain(key: str, versions: Sequence[_Version], most: int) -> bool:
    """Whether all are versions of the key, and none is missing that one of them names."""
    if not versions or any(one.key != key for one in versions):
        return False
    return len(versions) == most or versions[-1].previous is None


def _remove_versions(stream_id: int, histories: Sequence[_History]) -> None:
    """Remove old versions of records, and store the time and digest of the latest pruned one of each."""
    latest = _latest_pruned(stream_id, histories)
    # The chain continues with the rest: nothing, or versions that the next transaction removes.
    links = [
        (history.gone[-1].previous, *mark, stream_id, history.retained[-1].version)
        for history, mark in zip(histories, latest, strict=True)
    ]
    unmarked = [
        (None, None, stream_id, one.version)
        for history in histories
        for one in history.retained[:-1]
        if one.pruned_at is not None
    ]
    gone = [(stream_id, one.version) for history in histories for one in history.gone]
    sums = [
        (stream_id, history.rollup.key, len(history.gone), sum(one.json_bytes for one in history.gone))
        for history in histories
    ]
    found = [
        update_many(RecordChange, ("previous_version", *_MARK_COLUMNS), links, _VERSION_KEY),
        update_many(RecordChange, _MARK_COLUMNS, unmarked, _VERSION_KEY),
        delete_many(RecordChange, _VERSION_KEY, gone),
        update_many(RetainedSizeRecord, _SUM_COLUMNS, sums, _SUM_COLUMNS[:2], _SUBTRACT),
    ]
    if found != [len(links), len(unmarked), len(gone), len(sums)]:
        raise peewee.OperationalError("a row that was to be changed was not")


def _latest_pruned(stream_id: int, histories: Sequence[_History]) -> list[tuple[str | None, str | None]]:
    """The time of the latest version ever pruned of each record, and the digest of its data."""
    marks = [_latest_of(history) for history in histories]
    versions = [version for _, _, version in marks if version is not None]
    digests = {
        version: "" if data is None else hashlib.sha256(data.encode()).hexdigest()
        for version, data in fetch_each(
            """
            SELECT version, data
            FROM record_changes
            WHERE stream_id = ? AND version = :each
            """,
            [stream_id],
            versions,
        )
    }
    return [(at or None, digest if version is None else digests[version]) for at, digest, version in marks]


def _latest_of(history: _History) -> tuple[str, str | None, int | None]:
    """The time and digest of a record's latest pruned version; or its time and number, if it goes now.

    If two have the same time, it is the later version.  The mark on a version stands for versions
    before it.
    """
    at, digest, latest = "", None, None
    for place, one in enumerate((*history.retained, *history.gone)):
        if place >= len(history.retained) and one.at > at:
            at, digest, latest = one.at, None, one.version
        if one.pruned_at is not None and one.pruned_at > at:
            at, digest, latest = one.pruned_at, one.pruned_digest, None
    return at, digest, latest


_VERSION_COLUMNS = (
    "version",
    "key",
    "previous_version",
    "json_bytes",
    "COALESCE(emitted_at, ingested_at)",
    "pruned_at",
    "pruned_digest",
)
_VERSION_KEY = ("stream_id", "version")
_MARK_COLUMNS = ("pruned_at", "pruned_digest", *_VERSION_KEY)
_SUM_COLUMNS = ("stream_id", "key", "record_history_count", "record_history_json_bytes")
_SUBTRACT = """
    record_history_count = record_history_count - :record_history_count,
    record_history_json_bytes = record_history_json_bytes - :record_history_json_bytes"""
