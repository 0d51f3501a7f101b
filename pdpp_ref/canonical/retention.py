"""Pruning old versions.  The newest version of each record stays, and all measures stay exact.

It runs in small, independent transactions: an interrupted run has pruned less, and can be run again.
Records are visited in the order of their newest versions, so that a version says how far a stream is.

Long histories are found by their rollups.  If these can't be right, they are derived again first.
"""

import operator
import time
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

import peewee

from ..database import (
    ANY_NUMBER,
    delete_many,
    fetch_all,
    fetch_as,
    let_others_write,
    update_many,
    write_transaction,
)
from ..models import STORED_STREAM_COLUMNS, RecordChange, RetainedSizeRecord, StoredStream, locking
from ..models.measures import MEASURES
from ..projection import deltas, marks, record_rollups
from ..projection.deltas import Delta
from . import blobs, file_references
from .file_references import BoundFile
from .histories import (
    History,
    Rollup,
    Version,
    is_right,
    latest_pruned,
    live_versions,
    load_chains,
    load_rollups,
    rollups_add_up,
)

KEYS_PER_TRANSACTION = 500
VERSIONS_PER_TRANSACTION = 2_000
FILES_PER_TRANSACTION = 2_000  # of its records, pruned or not
BYTES_PER_TRANSACTION = 16 * 1024 * 1024
DERIVING_SECONDS = 0.1
# Streams of few versions take less time than a pause, so several of them go between two.
SECONDS_BETWEEN_PAUSES = 0.01

# A stream that has no other versions than those of its live records has none to prune.
_MAY_HAVE_HISTORY = """
    COALESCE(
        (
            SELECT r.dirty OR r.record_history_count <> r.record_count
            FROM retained_size_stream r
            WHERE r.stream_id = streams.id
        ),
        TRUE
    )"""


class Policy(NamedTuple):
    """The newest `keep` (at least 1) versions of each record stay; a tombstone counts as a version.

    With `before`, a time, so do those that arrived then or later, and those between.
    """

    keep: int = 1
    before: str | None = None

    def retained(self, versions: Sequence[Version]) -> int:
        """How many of a record's versions, newest first, stay."""
        if self.before is None:
            return self.keep
        recent = (place for place, one in enumerate(versions, 1) if one.ingested_at >= self.before)
        return max([self.keep, *recent])


class Pruned(NamedTuple):
    """The number of versions that were pruned, and the bytes of their data; and of files that ended."""

    versions: int = 0
    json_bytes: int = 0
    files: int = 0
    file_bytes: int = 0

    def plus(self, more: "Pruned") -> "Pruned":
        return Pruned(*(one + other for one, other in zip(self, more, strict=True)))


def prune(
    policy: Policy | int,
    connection: str | None = None,
    stream: str | None = None,
    progress: Callable[[Pruned], None] = lambda _: None,
) -> Pruned:
    """Prune the versions that do not stay by a policy; a number is that of the versions to keep.

    If only the tombstone of a deleted record stays, its files are deleted too.  `connection` and
    `stream` restrict pruning to those of that name.  Raises Busy or peewee.DatabaseError; versions
    pruned before that stay pruned.
    """
    policy = Policy(policy) if isinstance(policy, int) else policy
    total, worked = Pruned(), 0.0
    for row in streams(connection, stream):
        pruning = StreamPruning(row, policy)
        pruning.prepare()
        while not pruning.is_done:
            began = time.monotonic()
            with write_transaction():
                done = pruning.step()
            if done.versions:
                total = total.plus(done)
                progress(total)
            worked += time.monotonic() - began
            if worked > SECONDS_BETWEEN_PAUSES:
                let_others_write(worked)
                worked = 0.0
    return total


def streams(
    connection: str | None, stream: str | None, first: int = 0, most: int = ANY_NUMBER
) -> list[StoredStream]:
    """The streams of these names that may have something to prune, in the order of their ids.

    Their ids are `first` or larger; they are `most` at most.
    """
    return fetch_as(
        StoredStream,
        f"""
        SELECT {STORED_STREAM_COLUMNS}
        FROM streams
        JOIN connections ON connections.id = streams.connection_id
        WHERE connections.connector_instance_id = COALESCE(?, connections.connector_instance_id)
            AND streams.name = COALESCE(?, streams.name)
            AND streams.id >= ?
            AND {_MAY_HAVE_HISTORY}
        ORDER BY streams.id
        LIMIT ?
        """,
        (connection, stream, first, most),
    )


class _Candidate(NamedTuple):
    """A record with more versions than are to stay; `position` is its newest version."""

    position: int
    rollup: Rollup


class StreamPruning:
    """Pruning one stream: records whose newest version is `after` or older are done.

    `wrong` is a key whose rollup was wrong, and `last_version` that of the stream at the last step.
    `is_exact`: a preview has left nothing out.
    """

    def __init__(self, stream: StoredStream, policy: Policy, after: int = 0) -> None:
        self.stream, self.policy, self.after = stream, policy, after
        self.wrong: str | None = None
        self.is_done = False
        self.is_exact = True
        self.last_version = stream.last_version
        self._must_derive = False

    def prepare(self) -> None:
        """Before the first step, outside a transaction: look whether the rollups can be right."""
        is_wrong = not rollups_add_up(self.stream.id)
        self._must_derive = is_wrong

    def step(self) -> Pruned:
        """Prune some records, within the limits of a transaction, which is the caller's."""
        stream = locking.lock_stream_for_update(self.stream.id)
        if stream is None or not self._is_still(stream):
            self.is_done = True
            return Pruned()
        self.last_version = stream.last_version
        if self._must_derive:
            self._mark_rollups("")
        self._must_derive = False
        if record_rollups.is_dirty(stream.id):
            deadline = time.monotonic() + DERIVING_SECONDS
            record_rollups.derive_stream(stream.id, stream.last_version, deadline)
            return Pruned()
        return self._prune()

    def preview(self) -> Pruned:
        """What would be pruned of the next records.  It writes nothing, and wrong rollups are skipped."""
        candidates, through = self._next_candidates()
        total, most = Pruned(), None
        if self.policy.before is None and not any(each.rollup.files for each in candidates):
            most = self.policy.keep + 1  # the rest is what the rollup has more
        while candidates:
            histories, wrong = self._load_histories([each.rollup for each in candidates], most)
            total = total.plus(self._foreseen(histories))
            candidates = candidates[len(histories) + 1 :] if wrong is not None else []
            self.is_exact &= wrong is None
        self.after = through
        return total

    def _is_still(self, stream: StoredStream) -> bool:
        """SQLite reuses the id of the last stream for the next one, once it is deleted."""
        before = self.stream
        return (stream.connection_id, stream.name, stream.created_at) == (
            before.connection_id,
            before.name,
            before.created_at,
        )

    def _prune(self) -> Pruned:
        candidates, through = self._next_candidates()
        histories, wrong = self._load_histories([each.rollup for each in candidates])
        ending = [history for history in histories if history.gone]
        done = self._remove(ending) if ending else Pruned()
        if wrong is None and (not histories or histories[-1].is_complete):
            self.after = through
            return done
        self.is_done = False
        if wrong is not None:
            self._mark_wrong(candidates[len(histories)])
        return done

    def _load_histories(
        self, rollups: Sequence[Rollup], most: int | None = None
    ) -> tuple[list[History], str | None]:
        """The histories of records, up to one whose rollup can't be right, and the key of that one."""
        most = most or self.policy.keep + VERSIONS_PER_TRANSACTION
        live = live_versions(self.stream.id, [rollup.key for rollup in rollups])
        chains = load_chains(self.stream.id, [rollup.version for rollup in rollups], most)
        histories: list[History] = []
        for rollup in rollups:
            versions, loaded = self._with_old(rollup, chains.get(rollup.version, []), most)
            if not is_right(rollup, live.get(rollup.key), versions, loaded):
                return histories, rollup.key
            stay = self.policy.retained(versions)
            histories.append(History(rollup, rollup.key in live, versions[:stay], versions[stay:]))
        return histories, None

    def _with_old(self, rollup: Rollup, versions: list[Version], most: int) -> tuple[list[Version], int]:
        """The versions, and more of them until one does not stay; at most so many were loaded."""
        while len(versions) == most and self.policy.retained(versions) == most:
            most *= 4
            versions = load_chains(self.stream.id, [rollup.version], most).get(rollup.version, [])
        return versions, most

    def _foreseen(self, histories: Sequence[History]) -> Pruned:
        """The same as `_remove`, without removing."""
        ending = [history for history in histories if history.gone]
        ended = self._ended_files(ending)
        files = [file for each in ended.values() for file in each]
        versions = sum(history.rollup.versions - len(history.retained) for history in ending)
        sizes = sum(
            history.rollup.history_json_bytes - sum(one.json_bytes for one in history.retained)
            for history in ending
        )
        # Of a very long history, not all versions were searched for files.
        self.is_exact &= all(each.is_complete or not each.rollup.files for each in ending)
        return Pruned(versions, sizes, len(files), sum(file.byte_length for file in files))

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
        freed = delta.measures
        return Pruned(*(-freed[name] for name in (*_HISTORY_MEASURES, "blob_count", "blob_bytes")))

    def _ended_files(self, histories: Sequence[History]) -> dict[str, list[BoundFile]]:
        """By key, the files that records refer to no more."""
        files = file_references.of_records(self.stream.id, [each.rollup.key for each in histories])
        ended = {}
        for history in histories:
            key = history.rollup.key
            if key not in files:
                continue
            if history.is_only_tombstone:
                ended[key] = files[key]
            else:
                old, new = ([one.version for one in each] for each in (history.gone, history.retained))
                ended[key] = file_references.only_named_by(self.stream.id, files[key], old, new)
        return ended

    def _next_candidates(self) -> tuple[list[_Candidate], int]:
        """Some of the next records that have more versions than are to stay, and how far they reach.

        If there are no others, `is_done` is set.  Whoever prunes less than all of them takes it back.
        """
        part = (self.stream.id, self.after, KEYS_PER_TRANSACTION)
        rows = fetch_all(
            """
            SELECT key, version
            FROM (
                SELECT key, version
                FROM records
                WHERE stream_id = ? AND has_rollup AND version > ?
                ORDER BY version
                LIMIT ?
            ) AS live
            UNION
            SELECT key, version
            FROM (
                SELECT key, version
                FROM retained_size_record
                WHERE stream_id = ? AND record_count = 0 AND version > ?
                ORDER BY version
                LIMIT ?
            ) AS deleted
            ORDER BY version
            LIMIT ?
            """,
            (*part, *part, KEYS_PER_TRANSACTION),
        )
        rollups = load_rollups(self.stream.id, [key for key, _ in rows])
        found = [_Candidate(version, rollups[key]) for key, version in rows if key in rollups]
        longer = [each for each in found if each.rollup.versions > self.policy.keep]
        fit = _fitting([each.rollup for each in longer], self.policy.keep)
        self.is_done = fit >= len(longer) and len(rows) < KEYS_PER_TRANSACTION
        if fit < len(longer):
            return longer[:fit], longer[fit - 1].position
        return longer, rows[-1][1] if rows else self.after

    def _mark_wrong(self, candidate: _Candidate) -> None:
        """Derive the rollups again; a key that is still wrong after that is skipped, and stays marked."""
        key = candidate.rollup.key
        self._mark_rollups(key)
        if key == self.wrong:
            self.after = candidate.position
        self.wrong = key

    def _mark_rollups(self, key: str) -> None:
        marks.mark_rollups(self.stream.id, self.stream.connection_id, key)


def _fitting(rollups: Sequence[Rollup], keep: int) -> int:
    """How many of the records fit one transaction; at least 1, which may have more than that."""
    versions = accumulate(rollup.versions - keep for rollup in rollups)
    sizes = accumulate(rollup.history_json_bytes for rollup in rollups)
    files = accumulate(rollup.files for rollup in rollups)
    limits = (VERSIONS_PER_TRANSACTION, BYTES_PER_TRANSACTION, FILES_PER_TRANSACTION)
    fit = sum(all(map(operator.le, each, limits)) for each in zip(versions, sizes, files, strict=True))
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
