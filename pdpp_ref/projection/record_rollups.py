"""Deriving the rollups of records again, for streams whose `rollups_dirty` is set.

A rollup is a row of RetainedSizeRecord.  Only the versions themselves are relied on: not the rollups, not
the records' `has_rollup`, and not the links between a key's versions, which are corrected on the way.
The work is done in bounded, independent steps, and in two parts:

- **Counting**, from the oldest version on.  Each version that is not live is added to its key's
  RollupCount.  A version that was live when the count passed it may be replaced later; the version that
  replaces it lies ahead, names it as the one before it, and adds it then.
- **Settling**, by key, once all versions are counted.  The rollup of a key is its count, its live version,
  and its files.  A step that settles first counts the versions written since the last one.

Small streams are checked several at a time first (`right_rollups.py`): most need nothing.

A step locks the stream as a writer does, so nobody writes at the same time.  Whatever a writer does with
a wrong rollup before it is settled does not matter, because settling replaces it.  After that it is right,
and writers change it exactly.  Pruning waits until all are settled.
"""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress

from ..database import (
    Busy,
    among,
    execute,
    fetch_all,
    fetch_column,
    fetch_value,
    for_no_key_update,
    id_list,
    lock_attempt,
)
from . import counting, ranked, rollup_rows
from .apart import Apart
from .counting import StreamCounts, in_groups
from .right_rollups import right_streams
from .rollup_rows import Count, Files, LiveRecord, Rollup, Version

# Limits of one step: versions, most of them in indexes alone; whole rows of versions; their bytes, because
# a row is read past its text; keys that it settles.
CHUNK_VERSIONS = 10_000
CHUNK_ROWS = 1_000
CHUNK_BYTES = 64 * 1024 * 1024
CHUNK_KEYS = 500
CHUNK_CHECKED = 2_000  # old versions and files of the streams that are checked together
FEW_VERSIONS = 16

Link = tuple[int | None, int, int]  # the version before it, the stream, the version
Locked = tuple[int, int, int]  # a stream, its last version, its connection


def derive(
    limit: int, apart: Apart, counts: StreamCounts, *, wait: bool, without: Collection[int] = ()
) -> dict[int, int]:
    """Continue with up to `limit` streams that no writer has locked, until the deadline.

    At least one step is made.  `wait` waits for a writer if all streams are locked, but not for long.
    `without` are the ids of streams that are not wanted; `apart` gets those that fail.  Returns the streams
    whose rollups are right now, each with its connection: they are still marked, because most are cleaned
    in the same pass.
    """
    locked = _lock_streams(limit, wait, without)
    versions = {stream_id: last for stream_id, last, _ in locked}
    derived: list[int] = []
    for group in in_groups(versions, counting.CHUNK_VERSIONS):
        derived += apart.each(
            "stream",
            list(group),
            lambda ids: _derive_group({each: versions[each] for each in ids}, counts, apart.deadline),
        )
        if apart.is_late:
            break
    connections = {stream_id: connection for stream_id, _, connection in locked}
    return {stream_id: connections[stream_id] for stream_id in derived}


def _derive_group(group: Mapping[int, int], counts: StreamCounts, deadline: float) -> list[int]:
    """Returns the streams that are right already or have been derived, before time ran out."""
    done: list[int] = []
    for part, is_checked in _parts(group, counts):
        right = right_streams(part, counts) if is_checked else []
        done += right
        is_late = not _run_derivations({each: part[each] for each in part.keys() - right}, done, deadline)
        if is_late or time.monotonic() > deadline:
            break
    _remove_checkpoints(done)
    return done


def _parts(group: Mapping[int, int], counts: StreamCounts) -> Iterator[tuple[dict[int, int], bool]]:
    """Parts of the group, and whether each has few old versions and files, which a check has to read."""
    if len(group) == 1:  # it may be too large to be counted
        yield dict(group), False
        return
    costs = {
        each: 1 + abs(count.old_versions) + count.measures["blob_count"]
        for each, count in counts.of(group).items()
    }
    for part in in_groups(costs, CHUNK_CHECKED):
        yield {each: group[each] for each in part}, sum(part.values()) <= CHUNK_CHECKED


def _run_derivations(streams: Mapping[int, int], done: list[int], deadline: float) -> bool:
    """Derive streams, and add those that are finished to `done`.  False if time ran out first."""
    for derivation in _derivations(streams):
        if not derivation.run(deadline):
            return False
        done.append(derivation.id)
    return True


def derive_stream(stream_id: int, last: int, deadline: float) -> None:
    """The same for one stream, which is locked, and whose newest version is `last`."""
    (derivation,) = _derivations({stream_id: last})
    if derivation.run(deadline):
        _remove_checkpoints([stream_id])
        clear_marks([stream_id])


def is_dirty(stream_id: int) -> bool:
    """Whether the stream's rollups must be derived again."""
    return bool(
        fetch_value("SELECT rollups_dirty FROM retained_size_stream WHERE stream_id = ?", [stream_id])
    )


def _lock_streams(limit: int, wait: bool, without: Collection[int]) -> list[Locked]:
    """Lock streams to derive, as a writer does, and their rows."""
    locked = _lock_dirty_streams(limit, without, wait=False)
    if not locked and wait:
        with suppress(Busy), lock_attempt():
            locked = _lock_dirty_streams(1, without, wait=True)
    if not locked:
        return []
    # Check again: whoever had locked one of them before may have derived it.
    still_dirty = set(
        fetch_column(
            f"""
            SELECT stream_id
            FROM retained_size_stream
            WHERE dirty AND rollups_dirty AND {among("stream_id")}
            {for_no_key_update(wait=False)}
            """,
            [id_list(stream_id for stream_id, *_ in locked)],
        )
    )
    return [stream for stream in locked if stream[0] in still_dirty]


def _lock_dirty_streams(limit: int, without: Collection[int], *, wait: bool) -> list[Locked]:
    """Dirty streams, by connection and id, as the index of dirty rows has them.

    `wait=False` leaves out those that a writer has locked; otherwise this waits for the writer.
    """
    streams: list[Locked] = fetch_all(
        f"""
        SELECT s.id, s.last_version, r.connection_id
        FROM retained_size_stream r
        JOIN streams s ON s.id = r.stream_id
        WHERE r.dirty AND r.rollups_dirty AND NOT ({among("r.stream_id")})
        ORDER BY r.connection_id, r.stream_id
        LIMIT ?
        {for_no_key_update("s", wait=wait)}
        """,
        [id_list(without), limit],
    )
    return streams


def _derivations(locked: Mapping[int, int]) -> list["_Derivation"]:
    """`locked` has the last version of each stream."""
    if not locked:
        return []
    rows = fetch_all(
        f"""
        SELECT
            s.id,
            d.through_version,
            d.after_key,
            EXISTS (SELECT 1 FROM retained_size_record_counts c WHERE c.stream_id = s.id)
        FROM streams s
        LEFT JOIN retained_size_record_recounts d ON d.stream_id = s.id
        WHERE {among("s.id")}
        ORDER BY s.id
        """,
        [id_list(locked)],
    )
    return [
        _Derivation(stream_id, locked[stream_id], through, after, has_counts=bool(has_counts))
        for stream_id, through, after, has_counts in rows
    ]


def _remove_checkpoints(stream_ids: Sequence[int]) -> None:
    if stream_ids:
        execute(
            f"""
            DELETE FROM retained_size_record_recounts
            WHERE {among("stream_id")}
            """,
            [id_list(stream_ids)],
        )


def clear_marks(stream_ids: Sequence[int]) -> Sequence[int]:
    """Of streams that `derive` has returned.  Returns them."""
    execute(
        f"""
        UPDATE retained_size_stream
        SET rollups_dirty = FALSE
        WHERE {among("stream_id")}
        """,
        [id_list(stream_ids)],
    )
    return stream_ids


class _Derivation:
    """The steps for one stream.  `through` is None while counts of an earlier one must be removed."""

    def __init__(
        self, stream_id: int, last: int, through: int | None, after: str | None, *, has_counts: bool
    ) -> None:
        self.id, self.last = stream_id, last
        self.through = 0 if through is None and not has_counts else through
        self.after = after or ""
        self.span = CHUNK_ROWS

    def run(self, deadline: float) -> bool:
        """False if time ran out first; the next run continues from there."""
        while not self._step():
            if time.monotonic() > deadline:
                if self.through is not None:
                    rollup_rows.store_checkpoint(self.id, self.through, self.after)
                return False
        return True

    def _step(self) -> bool:
        """True if this was the last one."""
        if self.through is None:
            if rollup_rows.remove_some_counts(self.id, CHUNK_ROWS) == CHUNK_ROWS:
                return False
            self.through = 0
        if self.through < self.last:
            self._count(self.through)
        return self.through >= self.last and self._settle()

    # ---- counting

    def _count(self, through: int) -> None:
        upto = self._end_of_chunk(through)
        versions = rollup_rows.versions_to_count(self.id, through, upto, CHUNK_ROWS)
        if len(versions) == CHUNK_ROWS:
            upto, self.span = versions[-1].version, CHUNK_ROWS
        elif len(versions) < CHUNK_ROWS // 2:
            self.span = min(2 * self.span, CHUNK_VERSIONS)
        self._add([one for one in versions if one.key > self.after])
        rollup_rows.clear_has_rollup(self.id, through, upto)
        self.through = upto

    def _end_of_chunk(self, through: int) -> int:
        """The last version of the next step; the fewer rows there are to read, the more versions."""
        upto = min(through + self.span, self.last)
        if upto - through <= FEW_VERSIONS:
            return upto
        full = rollup_rows.end_of_bytes(self.id, through, upto, CHUNK_BYTES)
        return upto if full is None else int(full)

    def _add(self, versions: Sequence[Version]) -> None:
        """Add versions to the counts of their keys, and correct which version each names."""
        counts = rollup_rows.counts_of(self.id, sorted({one.key for one in versions}))
        changed: dict[str, Count] = {}
        links: list[Link] = []
        for one in versions:
            count = counts.get(one.key)
            before = self._was_live(one, count) if one.previous != (count and count.version) else None
            if before is not None:
                links += self._link(before, count)
                count = (count or Count(0)).plus(before)
            links += self._link(one, count)
            if one.live is None:
                count = (count or Count(0)).plus(one)
            if count is not None and count != counts.get(one.key):
                counts[one.key] = changed[one.key] = count
        rollup_rows.set_previous(links)
        rollup_rows.store_counts(self.id, changed)

    def _was_live(self, one: Version, count: Count | None) -> Version | None:
        """The version before this one, if it was live when the count passed it."""
        if one.previous is None or not (count.version if count else 0) < one.previous < one.version:
            return None
        return rollup_rows.version_of_key(self.id, one.previous, one.key)

    def _link(self, one: Version, count: Count | None) -> list[Link]:
        """The change that makes a version name the one before it, if it does not."""
        expected = count.version if count else None
        return [(expected, self.id, one.version)] if one.previous != expected else []

    # ---- settling

    def _settle(self) -> bool:
        """Settle the next keys.  True if there are no more."""
        keys = rollup_rows.keys_to_settle(self.id, self.after, CHUNK_KEYS)
        if not keys:
            return True
        span = (self.id, self.after, keys[-1])
        counts = rollup_rows.counts_of(self.id, keys)
        files = rollup_rows.files_between(*span)
        stored = rollup_rows.rollups_between(*span)
        live = rollup_rows.live_records(self.id, keys)
        rollups: dict[str, Rollup] = {}
        links: list[Link] = []
        flags: list[tuple[bool, int, str]] = []
        changed: list[int] = []  # their versions
        for key in keys:
            count, record = counts.get(key), live.get(key)
            rollup = self._rollup(key, count, record, files.get(key), stored.get(key))
            if rollup:
                rollups[key] = rollup
            if record and bool(record.has_rollup) != bool(rollup):
                flags.append((rollup is not None, self.id, key))
                changed.append(record.version)
            if record and count and record.history_bytes is not None and count.version < record.version:
                links += self._link(Version(record.version, key, 0, record.previous), count)
        rollup_rows.store_rollups([row for key, row in rollups.items() if row != stored.get(key)])
        rollup_rows.remove_rollups(self.id, [key for key in stored if key not in rollups])
        rollup_rows.set_has_rollup(flags)
        ranked.take_out(self.id, changed)
        rollup_rows.set_previous(links)
        rollup_rows.remove_counts_between(*span)
        self.after = keys[-1]
        return len(keys) < CHUNK_KEYS

    def _rollup(
        self,
        key: str,
        count: Count | None,
        live: LiveRecord | None,
        files: Files | None,
        stored: Rollup | None,
    ) -> Rollup | None:
        """The rollup of a key; None if it needs none."""
        if not (count or (live and files)):
            return None
        count = count or Count(0)
        versions, history_bytes = count.versions, count.json_bytes
        if live and live.history_bytes is not None:
            versions, history_bytes = versions + 1, history_bytes + live.history_bytes
        return Rollup(
            self.id,
            key,
            max(live.version if live else 0, count.version),
            self._changed_at(count, live, files, stored),
            int(live is not None),
            live.json_bytes if live else 0,
            versions,
            history_bytes,
            files.number if files else 0,
            files.size if files else 0,
        )

    def _changed_at(
        self, count: Count, live: LiveRecord | None, files: Files | None, stored: Rollup | None
    ) -> str:
        """The time of the newest version or file; a stored time stays if it is that of either."""
        ingested_at = live.ingested_at if live else ""
        if count.version > (live.version if live else 0):
            ingested_at = rollup_rows.time_of_version(self.id, count.version)
        if stored and ((files and files.dates_rollup) or stored.changed_at == ingested_at):
            return stored.changed_at
        return max(ingested_at, files.bound_at if files else "")
