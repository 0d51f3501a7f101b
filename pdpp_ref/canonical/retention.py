"""Pruning old versions.  The newest versions of each record stay, and all measures stay exact.

It runs in small, independent transactions: an interrupted run has pruned less, and can be run again.

Long histories are found by their rollups.  If these can't be right, they are derived again first.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import peewee

from ..database import (
    delete_many,
    fetch_all,
    fetch_as,
    fetch_value,
    read_snapshot,
    update_many,
    write_transaction,
)
from ..models import STORED_STREAM_COLUMNS, RecordChange, RetainedSizeRecord, StoredStream, locking
from ..models.measures import MEASURE_NAMES, MEASURES
from ..projection import counting, deltas, marks, record_rollups
from ..projection.deltas import Delta
from . import blobs, file_references
from .file_references import BoundFile
from .histories import History, Rollup, is_right, latest_pruned, live_versions, load_chains

KEYS_PER_TRANSACTION = 500
VERSIONS_PER_TRANSACTION = 2_000
BYTES_PER_TRANSACTION = 16 * 1024 * 1024
DERIVING_SECONDS = 0.1
ANY_VERSION = 2**62


class Pruned(NamedTuple):
    """The number of versions that were pruned, and the bytes of their data, without files."""

    versions: int = 0
    json_bytes: int = 0


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


def count_beyond(keep: int, connection: str | None = None, stream: str | None = None) -> int:
    """How many versions `prune` will prune, if all rollups are right."""
    return int(
        fetch_value(
            """
            SELECT COALESCE(SUM(r.record_history_count - ?), 0)
            FROM retained_size_record r
            JOIN streams s ON s.id = r.stream_id
            JOIN connections c ON c.id = s.connection_id
            WHERE r.record_history_count > ?
                AND c.connector_instance_id = COALESCE(?, c.connector_instance_id)
                AND s.name = COALESCE(?, s.name)
            """,
            (keep, keep, connection, stream),
        )
    )


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

    def _load_histories(self, rollups: Sequence[Rollup]) -> tuple[list[History], str | None]:
        """The histories of records, up to one whose rollup can't be right, and the key of that one."""
        most = self.keep + VERSIONS_PER_TRANSACTION
        live = live_versions(self.stream.id, [rollup.key for rollup in rollups])
        chains = load_chains(self.stream.id, [rollup.version for rollup in rollups], most)
        histories: list[History] = []
        for rollup in rollups:
            versions = chains.get(rollup.version, [])
            if not is_right(rollup, live.get(rollup.key), versions, most):
                return histories, rollup.key
            retained, gone = versions[: self.keep], versions[self.keep :]
            histories.append(History(rollup, rollup.key in live, retained, gone))
        return histories, None

    def _remove(self, histories: Sequence[History]) -> Pruned:
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

    def _ended_files(self, histories: Sequence[History]) -> dict[str, list[BoundFile]]:
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

    def _next_rollups(self) -> list[Rollup]:
        """Rollups of the next keys with more than `keep` versions."""
        return fetch_as(
            Rollup,
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


def _fitting(rollups: Sequence[Rollup], keep: int) -> int:
    """How many of the records fit one transaction; at least 1, which may have more than that."""
    versions = accumulate(rollup.versions - keep for rollup in rollups)
    sizes = accumulate(rollup.history_json_bytes for rollup in rollups)
    fit = sum(
        number <= VERSIONS_PER_TRANSACTION and size <= BYTES_PER_TRANSACTION
        for number, size in zip(versions, sizes, strict=True)
    )
    return max(1, fit)


def _remove_versions(stream_id: int, histories: Sequence[History]) -> None:
    """Remove old versions of records, and store the time and digest of the latest pruned one of each."""
    latest = latest_pruned(stream_id, histories)
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


_VERSION_KEY = ("stream_id", "version")
_MARK_COLUMNS = ("pruned_at", "pruned_digest", *_VERSION_KEY)
_HISTORY_MEASURES = tuple(measure.name for measure in MEASURES if measure.table == "record_changes")
_SUM_COLUMNS = ("stream_id", "key", *_HISTORY_MEASURES)
_SUBTRACT = ", ".join(f"{name} = {name} - :{name}" for name in _HISTORY_MEASURES)
