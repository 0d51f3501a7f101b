"""Reconciling: one bounded pass over dirty rows, and a rebuild, which marks all and repeats the pass.

This is the only way in which rows are recomputed.  A pass is one write transaction: one that fails leaves
measures, marks and times as they were.  A row that fails on its own stays as it was, too, and is set
aside; the pass reconciles the others (`projection/apart.py`, `services/set_aside.py`).

A stream is counted in chunks of versions, oldest first, and a pass that runs out of time stores a
checkpoint.  Meanwhile writers add versions ahead of its watermark, and adjust the checkpoint for changes
behind it (`deltas._adjust_checkpoints`).  So the largest stream costs a read no more than the smallest,
and no lock is held for longer than a pass.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import peewee

from ..database import (
    Busy,
    execute,
    execute_one,
    fetch_all,
    fetch_column,
    fetch_each,
    fetch_value,
    for_no_key_update,
    let_others_write,
    lock_attempt,
    reconcile_transaction,
    write_transaction,
)
from ..models import RecountCheckpoint
from ..models.measures import MEASURE_NAMES
from ..projection import connectors, record_rollups
from ..projection.ahead import CountedAhead
from ..projection.apart import Apart, Row
from ..projection.counting import (
    CHUNK_VERSIONS,
    StreamCounts,
    count_versions,
    in_groups,
)
from ..projection.dirty_rows import (
    clean_connections,
    count_dirty_rows,
    discover_connections,
    discover_streams,
    is_rebuilding,
    lock_dirty_connections,
    lock_dirty_streams,
    with_dirty_stream,
    with_lost_row,
)
from ..projection.gaps import record_gaps
from ..projection.grains import (
    CONNECTION,
    GLOBAL,
    STREAM,
    Grain,
    replace_rows,
    stored_rows,
)
from ..projection.marks import mark_all, mark_connections, mark_global
from ..projection.sums import sum_of_connections, sum_of_streams
from .cooldown import Cooldown
from .set_aside import SetAside

FIRST_WAIT_SECONDS = 30.0
CONNECTIONS_TOGETHER = 16  # each may have thousands of streams, and time is checked in between


@dataclass(frozen=True)
class Limits:
    """What one pass may do: rows recomputed, and seconds after which no new work is begun."""

    rows: int = 64
    seconds: float = 0.25


@dataclass(frozen=True)
class Pass:
    """What one pass did.  `deferred` is how many rows it left dirty, those that `failed` included."""

    streams: int = 0
    connections: int = 0
    deferred: int = 0
    fresh: bool = False
    failed: int = 0

    @property
    def reconciled(self) -> int:
        return self.streams + self.connections


def no_rows_set_aside() -> SetAside:
    """For a pass that knows of no earlier ones."""
    return SetAside(Cooldown(FIRST_WAIT_SECONDS))


def run_pass(
    limits: Limits, *, wait: bool = True, aside: SetAside | None = None, ahead: CountedAhead | None = None
) -> Pass:
    """Recompute dirty rows, streams first, within the limits; at least one step is always made.

    Rows that a writer has locked stay dirty, as do those in `aside`, which also gets those that fail.
    `ahead` is what was counted before.  `wait=False` raises Busy at once if another process reconciles, or
    on SQLite writes.  Raises peewee.DatabaseError.
    """
    aside = aside or no_rows_set_aside()
    apart = Apart(time.monotonic() + limits.seconds)
    try:
        with reconcile_transaction(wait=wait, seconds=limits.seconds):
            counts = ahead.counts() if ahead else StreamCounts()
            done = _recompute(limits, wait, apart, aside, counts)
    finally:
        aside.failed(apart.failed)
    aside.succeeded(apart.finished)
    return replace(done, failed=len(apart.failed))


def _recompute(limits: Limits, wait: bool, apart: Apart, aside: SetAside, counts: StreamCounts) -> Pass:
    """The work of a pass, in its transaction."""
    # Connections first: of those that are added, all streams are checked.
    added, all_connections = discover_connections()
    discovered = discover_streams(limits.rows)
    # A pass that has added rows holds locks on streams, and must not wait for a writer.
    wait = wait and not (added or discovered)
    derived = record_rollups.derive(limits.rows, apart, counts, wait=wait, without=aside.waiting("stream"))
    without = {*aside.waiting("stream"), *apart.tried("stream")}
    tried = _count_streams(limits.rows, apart, counts, without, derived)
    # Marks propagate by themselves, unless a row was lost or another program marked one table alone.
    mark_connections(clean_connections({*discovered, *tried}))
    counted = len(apart.finished)
    if all_connections:
        _sum_connections(limits.rows - counted, apart, aside.waiting("connection"))
    done = Pass(counted, len(apart.finished) - counted)
    complete = all_connections and done.reconciled < limits.rows
    return _finalize_global_row(done, complete, changed=bool(added or discovered or done.reconciled))


def _finalize_global_row(done: Pass, complete: bool, changed: bool) -> Pass:
    """The end of a pass: recompute the global row, or leave it dirty.

    `complete`: the pass has found all dirty rows that are not locked by others; `changed`: it has changed
    rows.  Dirty rows below are counted under the global row's lock, which every mark needs too.
    """
    try:
        with lock_attempt():
            rows = fetch_column(
                f"""
                SELECT dirty
                FROM retained_size_global
                {for_no_key_update()}
                """
            )
    except Busy:
        return replace(done, deferred=_dirty_below() + 1)
    below = _dirty_below()
    is_clean = bool(rows) and not rows[0]
    if is_clean and complete and not (changed or below):
        return replace(done, fresh=True)
    if not rows or is_clean:
        mark_global()
    if below or not complete:
        return replace(done, deferred=below + 1)
    _sum_global()
    return replace(done, fresh=True)


def run_until_fresh(
    limits: Limits = Limits(rows=2048, seconds=0.1),
    progress: Callable[[Pass], None] = lambda _: None,
    aside: SetAside | None = None,
) -> Pass:
    """Run passes until nothing is dirty, or only rows that were tried and failed; they are in `aside` then.

    Raises Busy or peewee.DatabaseError; finished passes stay.
    """
    aside = aside or no_rows_set_aside()
    streams = connections = 0
    with CountedAhead() as ahead:
        while True:
            ahead.count(limits.rows, limits.seconds, aside.waiting("stream"))
            began = time.monotonic()
            done = run_pass(limits, aside=aside, ahead=ahead)
            streams += done.streams
            connections += done.connections
            progress(done)
            if done.fresh or not aside.leaves_work():
                return replace(done, streams=streams, connections=connections)
            let_others_write(time.monotonic() - began, ahead.seconds)


def finish_rebuild(
    progress: Callable[[Pass], None] = lambda _: None, aside: SetAside | None = None
) -> Pass:
    """Run passes until a rebuild that has begun is done, but for rows that fail on their own.

    If it is interrupted, or there are such rows, it is marked as failed; reads and `reconcile` finish it,
    and the next rebuild continues it.
    """
    try:
        done = run_until_fresh(progress=progress, aside=aside)
    except BaseException:
        _mark_rebuild_failed()
        raise
    if not done.fresh:
        _mark_rebuild_failed()
    return done


def _mark_rebuild_failed() -> None:
    """If the process is killed instead, the status stays "running" until reads have finished it."""
    with suppress(Busy, peewee.DatabaseError), write_transaction():
        execute(
            """
            UPDATE retained_size_global
            SET rebuild_status = 'failed'
            WHERE rebuild_status = 'running'
            """
        )


def begin_rebuild(read: Callable[[], Any] = lambda: None) -> Any:
    """Mark everything, or continue an interrupted rebuild.

    Returns the result of `read` at that moment, before any row is recomputed.  Raises Busy or
    peewee.DatabaseError.
    """
    with reconcile_transaction(wait=True, seconds=0):
        # Only reconciling writes the status, so it can be read before the rows below are locked.
        if not is_rebuilding():
            mark_all()
            total = fetch_value(
                """
                SELECT COALESCE(SUM(last_version), 0)
                FROM streams
                WHERE connection_id IS NOT NULL
                """
            )
            execute_one("UPDATE retained_size_global SET rebuild_total = ?", [int(total)])
        execute_one("UPDATE retained_size_global SET rebuild_status = 'running'")
        return read()


def _dirty_below() -> int:
    return sum(count_dirty_rows().values())


# ---- recomputing rows --------------------------------------------------------------------------


def _count_streams(
    limit: int, apart: Apart, counts: StreamCounts, without: Collection[int], derived: Mapping[int, int]
) -> set[int]:
    """Count dirty streams, at least a part of one.  Returns the connections of those counted or failed.

    `derived` have right rollups but are still marked, each with its connection; they come first.
    """
    connections = {**derived, **dict(lock_dirty_streams(limit - len(derived), without))}
    versions = _versions_to_count(list(connections))
    for number, group in enumerate(in_groups(versions, CHUNK_VERSIONS)):
        if number and apart.is_late and not counts.include(group):  # storing is quick
            break
        counted = apart.each(
            "stream",
            list(group),
            lambda ids: _count_group({each: versions[each] for each in ids}, counts, apart),
        )
        apart.finished.update(Row("stream", each) for each in counted)
    tried = apart.tried("stream")
    if left := [each for each in derived if each not in tried]:
        apart.each("stream", left, record_rollups.clear_marks)
    return {connection for stream_id, connection in connections.items() if stream_id in tried}


def _count_group(group: Mapping[int, int], counts: StreamCounts, apart: Apart) -> list[int]:
    """Returns the streams that were counted completely."""
    stream_ids = list(group)
    if len(group) > 1:
        counted = counts.of(group)
        right_extents = {each for each, count in counted.items() if count.has_right_extents}
        _replace(STREAM, {each: count.measures for each, count in counted.items()}, right_extents)
        return stream_ids
    return stream_ids if _count_stream(stream_ids[0], apart) else []


def _versions_to_count(stream_ids: Sequence[int]) -> dict[int, int]:
    """How many versions each stream has, in order; those with a checkpoint have too many for one chunk.

    Their rows are locked, so no writer can commit to the streams.
    """
    rows = fetch_each(
        """
        SELECT
            id, last_version, EXISTS (SELECT 1 FROM retained_size_recounts c WHERE c.stream_id = streams.id)
        FROM streams
        WHERE id = :each
        """,
        [],
        stream_ids,
    )
    versions = {stream_id: CHUNK_VERSIONS + 1 if begun else last for stream_id, last, begun in rows}
    return {stream_id: versions[stream_id] for stream_id in stream_ids if stream_id in versions}


def _count_stream(stream_id: int, apart: Apart) -> bool:
    """Count a stream from its checkpoint on, if it has one.  False if time ran out first."""
    last = fetch_value("SELECT last_version FROM streams WHERE id = ?", [stream_id])
    watermark, measures = _load_checkpoint(stream_id)
    through = watermark
    while True:
        upto = min(through + CHUNK_VERSIONS, last)
        counted = count_versions(stream_id, through, upto)
        measures = {name: measures[name] + counted[name] for name in MEASURE_NAMES}
        through = upto
        if through >= last or apart.is_late:
            break
    if watermark:
        execute("DELETE FROM retained_size_recounts WHERE stream_id = ?", [stream_id])
    if through < last:
        RecountCheckpoint.insert(stream=stream_id, through_version=through, **measures).execute()
        return False
    _replace(STREAM, {stream_id: measures})
    return True


def _load_checkpoint(stream_id: int) -> tuple[int, dict[str, int]]:
    """The watermark and the measures up to it; zeros if the stream has no checkpoint."""
    rows = fetch_all(
        f"""
        SELECT through_version, {", ".join(MEASURE_NAMES)}
        FROM retained_size_recounts
        WHERE stream_id = ?
        """,
        [stream_id],
    )
    through, *measures = rows[0] if rows else (0, *(0 for _ in MEASURE_NAMES))
    return through, dict(zip(MEASURE_NAMES, measures, strict=True))


def _sum_connections(limit: int, apart: Apart, without: Collection[int]) -> None:
    """Sum dirty connections: at least some, unless the pass has finished something already."""
    connection_ids = lock_dirty_connections(limit, without)
    for start in range(0, len(connection_ids), CONNECTIONS_TOGETHER):
        if apart.finished and apart.is_late:
            break
        some = connection_ids[start : start + CONNECTIONS_TOGETHER]
        summed = apart.each("connection", some, _sum_some)
        apart.finished.update(Row("connection", each) for each in summed)


def _sum_some(connection_ids: Sequence[int]) -> Sequence[int]:
    """Sum connections.  One stays dirty, and is not returned, if a stream was marked while this waited for
    the lock, or has no row that could be summed.
    """
    left = with_dirty_stream(connection_ids) | with_lost_row(connection_ids)
    ready = [each for each in connection_ids if each not in left]
    _replace(CONNECTION, sum_of_streams(ready))
    return ready


def _sum_global() -> None:
    _replace(GLOBAL, {1: sum_of_connections()})
    connectors.sum_all()
    execute_one("UPDATE retained_size_global SET rebuild_status = 'idle', rebuild_total = NULL")


def _replace(
    grain: Grain, rows: Mapping[int, Mapping[str, int]], right_extents: Collection[int] = ()
) -> None:
    """Store recomputed measures and clear the marks, in the transaction that computed them."""
    stored = stored_rows(grain, list(rows))
    record_gaps(grain, stored)
    values = {key: [measures[name] for name in grain.columns] for key, measures in rows.items()}
    replace_rows(grain, stored, values, right_extents)
