"""Repair: one bounded pass over dirty rows, and a rebuild, which marks all and repeats the pass.

There is no other way in which a figure is recomputed.  A pass is one write transaction, so a pass
that fails leaves figures, marks and times as they were.

A stream is counted in chunks of versions, oldest first, and a pass that runs out of time keeps how
far it came.  Writers see to the rest: a version they add lies ahead of the count, and a record they
replace behind it is taken out again (`retained_size._adjust_checkpoint`).  So the largest stream costs
a read no more than the smallest, and no lock is held for longer than a pass.
"""

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import peewee
from peewee import fn

from ..database import (
    Busy,
    execute,
    fetch_all,
    fetch_dicts,
    for_key_share,
    for_no_key_update,
    lock_attempt,
    reconcile_transaction,
    scalar,
    write_transaction,
)
from ..models import RecountCheckpoint, RetainedSizeGlobal, Stream
from ..models.measures import COUNT_MEASURES, MEASURE_NAMES
from ..projection import record_rollups
from ..projection.counting import count_versions
from ..projection.grains import (
    CONNECTION,
    GLOBAL,
    STREAM,
    Grain,
    change_row,
    record_gap,
)
from ..projection.marks import mark_all, mark_connections, mark_global
from ..timestamps import utc_now

CHUNK_VERSIONS = 20_000  # about 5 ms of counting
DISCOVER_ROWS = 1_000
PAUSE_SECONDS = 0.002


@dataclass(frozen=True)
class Limits:
    """What one pass may do: rows recomputed, and seconds after which no new work is begun."""

    rows: int = 64
    seconds: float = 0.25


@dataclass(frozen=True)
class Pass:
    """What one pass did.  `deferred` is how many rows it left dirty."""

    streams: int = 0
    connections: int = 0
    deferred: int = 0
    fresh: bool = False

    @property
    def reconciled(self) -> int:
        return self.streams + self.connections


def run_pass(limits: Limits, *, wait: bool = True) -> Pass:
    """Recompute dirty rows, streams first, within the limits; at least one step is always made.

    Rows that a writer holds are left dirty.  `wait=False` raises Busy at once where another repair
    is at work, or on SQLite a writer.  Raises peewee.DatabaseError.
    """
    deadline = time.monotonic() + limits.seconds
    with reconcile_transaction(wait=wait, seconds=limits.seconds):
        found, all_streams = _discover_streams()
        # Who has made rows holds streams, and waits for no writer that may wait for these.
        record_rollups.derive(limits.rows, deadline, wait=wait and not found)
        counted = _count_streams(limits.rows, deadline)
        all_connections = _discover_connections()
        # Marks go up by themselves, but for what was lost, or was marked in one table alone.
        mark_connections(_clean_connections({*found, *counted}))
        summed = 0
        if all_streams and all_connections:
            summed = _sum_connections(limits.rows - len(counted), bool(counted), deadline)
        done = Pass(len(counted), summed)
        complete = all_streams and all_connections and done.reconciled < limits.rows
        return _settle(done, complete, changed=bool(found or done.reconciled))


def _settle(done: Pass, complete: bool, changed: bool) -> Pass:
    """The end of a pass: the global row is recomputed, or says that it can't be trusted.

    What is dirty below is looked up under its lock.  Whoever marks anything needs that lock too.
    """
    try:
        with lock_attempt():
            row = fetch_all(f"SELECT dirty FROM retained_size_global{for_no_key_update()}")
    except Busy:
        return replace(done, deferred=_dirty_below() + 1)
    below = _dirty_below()
    if row and not row[0][0] and complete and not (changed or below):
        return replace(done, fresh=True)
    if not row or not row[0][0]:
        mark_global()
    if below or not complete:
        return replace(done, deferred=below + 1)
    _sum_global()
    return replace(done, fresh=True)


def run_until_fresh(
    limits: Limits = Limits(rows=1024, seconds=0.1), progress: Callable[[Pass], None] = lambda _: None
) -> Pass:
    """Passes until nothing is dirty.  Raises Busy or peewee.DatabaseError; what was done stays done."""
    streams = connections = 0
    while True:
        began = time.monotonic()
        done = run_pass(limits)
        streams += done.streams
        connections += done.connections
        progress(done)
        if done.fresh:
            return Pass(streams, connections, 0, fresh=True)
        # SQLite's lock is not fair.  A writer that waits looks again every 0.1 s at most, so this
        # pause lets it in soon; without one it would starve.  Where writers hold all that is left
        # to do, there is no hurry either.
        time.sleep(max(PAUSE_SECONDS, (time.monotonic() - began) / 4))


def finish_rebuild(progress: Callable[[Pass], None] = lambda _: None) -> Pass:
    """Passes until a rebuild that has begun is done.  One that is cut short, by whatever, is marked as
    failed; reads and `reconcile` finish it, and the next rebuild goes on with it.
    """
    try:
        return run_until_fresh(progress=progress)
    except BaseException:
        # Of a process that is killed it stays "running" until the same reads have finished it.
        with suppress(Busy, peewee.DatabaseError), write_transaction():
            RetainedSizeGlobal.update(rebuild_status="failed").where(
                RetainedSizeGlobal.rebuild_status == "running"
            ).execute()
        raise


def begin_rebuild(look: Callable[[], Any] = lambda: None) -> Any:
    """Mark everything, or go on with what a rebuild has left.  Returns what `look` sees then, before
    anybody can have recomputed any of it.  Raises Busy or peewee.DatabaseError.
    """
    with reconcile_transaction(wait=True, seconds=0):
        # Nobody but repairs writes the status, so it can be read before the rows below are locked.
        if not fetch_all("SELECT 1 FROM retained_size_global WHERE rebuild_status <> 'idle'"):
            mark_all()
            total = scalar(Stream.select(fn.COALESCE(fn.SUM(Stream.last_version), 0)))
            RetainedSizeGlobal.update(rebuild_total=int(total)).execute()
        RetainedSizeGlobal.update(rebuild_status="running").execute()
        return look()


def rebuild_is_running() -> bool:
    return bool(fetch_all("SELECT 1 FROM retained_size_global WHERE rebuild_status = 'running'"))


def versions_left() -> int:
    """How many versions dirty streams still have to be counted through; for showing progress.

    A rebuild goes through each twice: for the rows of single records, then for its stream.
    """
    ((streams, records),) = fetch_all(_VERSIONS_LEFT)
    left = int(streams or 0) + int(records or 0)
    begun = fetch_all("SELECT 1 FROM retained_size_global WHERE rebuild_status <> 'idle'")
    return (left + 1) // 2 if begun else left


_VERSIONS_LEFT = (
    "SELECT SUM(s.last_version - COALESCE(c.through_version, 0)), "
    "SUM(CASE WHEN r.rollups_dirty THEN s.last_version - COALESCE(d.through_version, 0) ELSE 0 END) "
    "FROM retained_size_stream r JOIN streams s ON s.id = r.stream_id "
    "LEFT JOIN retained_size_recounts c ON c.stream_id = r.stream_id "
    "LEFT JOIN retained_size_record_recounts d ON d.stream_id = r.stream_id WHERE r.dirty"
)


# ---- what is to be done ------------------------------------------------------------------------


# This is how a projection that was never built, or was lost, comes into being: what has no row gets a
# dirty one.  Each tells the connections of the rows it made, and whether there can be no more.


def _discover_streams() -> tuple[list[int], bool]:
    without = (
        "FROM streams s JOIN connections c ON c.id = s.connection_id "
        "LEFT JOIN retained_size_stream r ON r.stream_id = s.id WHERE r.stream_id IS NULL LIMIT ?"
    )
    missing = len(fetch_all(f"SELECT s.id {without}", [DISCOVER_ROWS]))
    if not missing:
        return [], True
    locks = for_no_key_update("s", wait=False) + for_key_share("c", wait=False)
    found = _column(
        "INSERT INTO retained_size_stream "
        "(stream_id, connection_id, dirty, rollups_dirty, days_disordered, generation, stale_since) "
        f"SELECT s.id, s.connection_id, TRUE, TRUE, TRUE, {STREAM.after_its_days('s.id')}, ? "
        f"{without}{locks} RETURNING connection_id",
        [utc_now(), DISCOVER_ROWS],
    )
    return found, len(found) == missing < DISCOVER_ROWS


def _discover_connections() -> bool:
    without = (
        "FROM connections c LEFT JOIN retained_size_connection r ON r.connection_id = c.id "
        "WHERE r.connection_id IS NULL LIMIT ?"
    )
    missing = len(fetch_all(f"SELECT c.id {without}", [DISCOVER_ROWS]))
    if not missing:
        return True
    found = execute(
        "INSERT INTO retained_size_connection "
        "(connection_id, dirty, days_disordered, generation, stale_since) "
        f"SELECT c.id, TRUE, TRUE, {CONNECTION.after_its_days('c.id')}, ? "
        f"{without}{for_no_key_update('c', wait=False)}",
        [utc_now(), DISCOVER_ROWS],
    )
    return found == missing < DISCOVER_ROWS


def _dirty_streams(limit: int) -> list[tuple[int, int]]:
    """(stream, connection) of dirty streams that no writer holds, locked; nor can they be deleted.

    The rows of their records come first: a stream without a mark vouches for those too.
    """
    found: list[tuple[int, int]] = fetch_all(
        "SELECT r.stream_id, r.connection_id FROM retained_size_stream r "
        "JOIN streams s ON s.id = r.stream_id WHERE r.dirty AND NOT r.rollups_dirty "
        "ORDER BY r.connection_id, r.stream_id LIMIT ?"
        f"{for_no_key_update('r', wait=False)}{for_key_share('s', wait=False)}",
        [limit],
    )
    return found


def _connections_to_sum(limit: int) -> list[int]:
    """Dirty connections whose streams can all be trusted, and which no writer holds; locked."""
    return _column(
        "SELECT r.connection_id FROM retained_size_connection r JOIN connections c "
        "ON c.id = r.connection_id WHERE r.dirty AND NOT EXISTS "
        "(SELECT 1 FROM retained_size_stream s WHERE s.dirty AND s.connection_id = r.connection_id) "
        "ORDER BY r.connection_id LIMIT ?"
        f"{for_no_key_update('r', wait=False)}{for_key_share('c', wait=False)}",
        [max(limit, 0)],
    )


def _clean_connections(connection_ids: Collection[int]) -> list[int]:
    """Those whose row is not dirty.  One that has no row is still to be discovered."""
    if not connection_ids:
        return []
    of_them = f"connection_id IN ({', '.join('?' * len(connection_ids))})"
    sql = f"SELECT connection_id FROM retained_size_connection WHERE NOT dirty AND {of_them}"
    return _column(sql, list(connection_ids))


def rows_dirty() -> dict[str, int]:
    """How many rows wait to be recomputed, below the global one."""
    tables = {"stream": STREAM.table, "connection": CONNECTION.table}
    return {
        grain: _column(f"SELECT COUNT(*) FROM {table} WHERE dirty")[0] for grain, table in tables.items()
    }


def _dirty_below() -> int:
    return sum(rows_dirty().values())


def _column(sql: str, values: Sequence[Any] = ()) -> list[int]:
    return [int(value) for (value,) in fetch_all(sql, values)]


# ---- doing it ----------------------------------------------------------------------------------


def _count_streams(limit: int, deadline: float) -> list[int]:
    """Count dirty streams; returns the connection of each that was counted to its end."""
    counted: list[int] = []
    for stream_id, connection_id in _dirty_streams(limit):
        late = time.monotonic() > deadline
        if (counted and late) or not _count_stream(stream_id, deadline):
            break
        counted.append(connection_id)
    return counted


def _count_stream(stream_id: int, deadline: float) -> bool:
    """Count a stream on from where the last pass left it.  False where time ran out first."""
    (last,) = _column("SELECT last_version FROM streams WHERE id = ?", [stream_id])
    begun = fetch_dicts("SELECT * FROM retained_size_recounts WHERE stream_id = ?", [stream_id])
    figures = {name: begun[0][name] if begun else 0 for name in MEASURE_NAMES}
    through = begun[0]["through_version"] if begun else 0
    while True:
        upto = min(through + CHUNK_VERSIONS, last)
        counted = count_versions(stream_id, through, upto)
        figures = {name: figures[name] + counted[name] for name in MEASURE_NAMES}
        through = upto
        if through >= last or time.monotonic() > deadline:
            break
    if begun:
        RecountCheckpoint.delete().where(RecountCheckpoint.stream == stream_id).execute()
    if through < last:
        RecountCheckpoint.insert(stream=stream_id, through_version=through, **figures).execute()
        return False
    _publish(STREAM, stream_id, figures)
    return True


def _sum_connections(limit: int, begun: bool, deadline: float) -> int:
    """Sum dirty connections; returns how many.  At least one, unless the pass has `begun` already."""
    summed = 0
    for connection_id in _connections_to_sum(limit):
        if (begun or summed) and time.monotonic() > deadline:
            break
        summed += _sum_connection(connection_id)
    return summed


def _sum_connection(connection_id: int) -> bool:
    """False where a stream was marked while this waited for the lock; then the connection stays dirty."""
    if _column(
        "SELECT 1 FROM retained_size_stream WHERE dirty AND connection_id = ? LIMIT 1", [connection_id]
    ):
        return False
    _publish(CONNECTION, connection_id, _summed(CONNECTION, _SUM_OF_STREAMS, [connection_id]))
    return True


def _sum_global() -> None:
    _publish(GLOBAL, 1, _summed(GLOBAL, _SUM_OF_CONNECTIONS))
    RetainedSizeGlobal.update(rebuild_status="idle", rebuild_total=None).execute()


def _publish(grain: Grain, key: int, figures: dict[str, int]) -> None:
    """Store recomputed figures and clear the mark, in the transaction that counted them."""
    record_gap(grain, key)
    change_row(grain, grain.publish, (figures[name] for name in grain.counters), key)


def _summed(grain: Grain, sql: str, values: Sequence[int] = ()) -> dict[str, int]:
    """Sums as plain ints: over no rows they are NULL, and PostgreSQL's are Decimals."""
    (row,) = fetch_all(sql, values)
    return {name: int(value or 0) for name, value in zip(grain.counters, row, strict=True)}


def _sum_sql(below: Grain) -> str:
    """Sums of a grain's counters, and how many of its rows retain anything."""
    sums = ", ".join(f"SUM({name})" for name in below.counters)
    retains = " OR ".join(f"{measure.name} > 0" for measure in COUNT_MEASURES)
    return f"SELECT {sums}, SUM(CASE WHEN {retains} THEN 1 ELSE 0 END) FROM {below.table}"


_SUM_OF_STREAMS = f"{_sum_sql(STREAM)} WHERE connection_id = ?"
_SUM_OF_CONNECTIONS = _sum_sql(CONNECTION)
