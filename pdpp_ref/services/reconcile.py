"""Repair: one bounded pass over dirty rows, and a rebuild, which marks all and repeats the pass.

There is no other way in which a figure is recomputed.  A pass is one write transaction, so a pass
that fails leaves figures, marks and times as they were.

A stream is counted in chunks of versions, oldest first, and a pass that runs out of time keeps how
far it came.  Writers see to the rest: a version they add lies ahead of the count, and a record they
replace behind it is taken out again (`retained_size._correct_recount`).  So the largest stream costs
a read no more than the smallest, and no lock is held for longer than a pass.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import peewee
from peewee import fn

from ..database import execute, fetch_all, fetch_dicts, row_lock, write_transaction
from ..models import COUNT_MEASURES, MEASURE_NAMES, Recount, RetainedSizeGlobal, RetainedSizeStream, Stream
from ..times import utc_now
from .retained_size import (
    CONNECTION,
    GLOBAL,
    STREAM,
    Grain,
    change_row,
    count_versions,
    mark_all,
    mark_connections_above,
    mark_global,
)

CHUNK_VERSIONS = 20_000  # about 5 ms of counting
DISCOVER_ROWS = 1_000


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

    `wait=False` raises Busy at once where a writer is at work.  Raises peewee.DatabaseError.
    """
    deadline = time.monotonic() + limits.seconds
    with write_transaction(wait=wait):
        all_discovered = _discover()
        _mark_above()
        streams = connections = 0
        for stream_id in _dirty_streams(limits.rows):
            late = time.monotonic() > deadline
            if (streams and late) or not _count_stream(stream_id, deadline):
                break
            streams += 1
        if all_discovered:
            for connection_id in _connections_to_sum(limits.rows - streams):
                if (streams or connections) and time.monotonic() > deadline:
                    break
                _sum_connection(connection_id)
                connections += 1
        if not _global_is_dirty():
            return Pass(streams, connections, fresh=True)
        below = _dirty_below()
        if below or not all_discovered or streams + connections >= limits.rows:
            return Pass(streams, connections, below + 1)
        _sum_global()
        return Pass(streams, connections, fresh=True)


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
        # pause lets it in soon; without one it would starve.
        time.sleep((time.monotonic() - began) / 4)


def finish_rebuild(progress: Callable[[Pass], None] = lambda _: None) -> Pass:
    """Passes until a rebuild that has begun is done; one that fails is marked as failed."""
    try:
        return run_until_fresh(progress=progress)
    except peewee.DatabaseError:
        RetainedSizeGlobal.update(rebuild_status="failed").where(
            RetainedSizeGlobal.rebuild_status == "running"
        ).execute()
        raise


def begin_rebuild() -> None:
    with write_transaction():
        unfinished = RetainedSizeGlobal.rebuild_status != "idle"
        again = RetainedSizeGlobal.update(rebuild_status="running").where(unfinished).execute()
        if not again:
            mark_all()
            total = Stream.select(fn.COALESCE(fn.SUM(Stream.last_version), 0)).scalar()
            RetainedSizeGlobal.update(rebuild_status="running", rebuild_total=int(total)).execute()


def rebuild_is_running() -> bool:
    return bool(fetch_all("SELECT 1 FROM retained_size_global WHERE rebuild_status = 'running'"))


def versions_left() -> int:
    """How many versions dirty streams still have to be counted through; for showing progress."""
    counted = fn.COALESCE(Recount.through_version, 0)
    query = (
        RetainedSizeStream.select(fn.SUM(Stream.last_version - counted))
        .join(Stream)
        .join(Recount, peewee.JOIN.LEFT_OUTER, on=(Recount.stream == Stream.id))
        .where(RetainedSizeStream.dirty)
    )
    return int(query.scalar() or 0)


# ---- what is to be done ------------------------------------------------------------------------


def _discover() -> bool:
    """Give a dirty row to whatever has none.  False where more streams may be left without one.

    This is how a projection that was never built, or was lost, comes into being.
    """
    found = [execute(sql, (utc_now(), DISCOVER_ROWS)) for sql in _DISCOVER]
    if any(found):
        mark_connections_above()
    if not fetch_all("SELECT 1 FROM retained_size_global"):
        mark_global()
    return max(found) < DISCOVER_ROWS


def _mark_above() -> None:
    """Marks go up by themselves; this mends what another program marked in one table alone."""
    if not _global_is_dirty() and _dirty_below():
        mark_connections_above()


_DISCOVER = (
    "INSERT INTO retained_size_stream (stream_id, connection_id, dirty, stale_since) "
    "SELECT s.id, s.connection_id, TRUE, ? FROM streams s LEFT JOIN retained_size_stream r "
    "ON r.stream_id = s.id WHERE r.stream_id IS NULL LIMIT ?",
    "INSERT INTO retained_size_connection (connection_id, dirty, stale_since) "
    "SELECT c.id, TRUE, ? FROM connections c LEFT JOIN retained_size_connection r "
    "ON r.connection_id = c.id WHERE r.connection_id IS NULL LIMIT ?",
)


def _dirty_streams(limit: int) -> list[int]:
    dirty = "SELECT stream_id FROM retained_size_stream WHERE dirty ORDER BY connection_id, stream_id"
    return _column(f"{dirty} LIMIT ?{row_lock()}", [limit])


def _connections_to_sum(limit: int) -> list[int]:
    """Dirty connections whose streams can all be trusted."""
    return _column(
        "SELECT connection_id FROM retained_size_connection c WHERE dirty AND NOT EXISTS "
        "(SELECT 1 FROM retained_size_stream s WHERE s.dirty AND s.connection_id = c.connection_id) "
        f"ORDER BY connection_id LIMIT ?{row_lock()}",
        [max(limit, 0)],
    )


def rows_dirty() -> dict[str, int]:
    """How many rows wait to be recomputed, below the global one."""
    tables = {"stream": STREAM.table, "connection": CONNECTION.table}
    return {
        grain: _column(f"SELECT COUNT(*) FROM {table} WHERE dirty")[0] for grain, table in tables.items()
    }


def _dirty_below() -> int:
    return sum(rows_dirty().values())


def _global_is_dirty() -> bool:
    return not _column(f"SELECT id FROM retained_size_global WHERE NOT dirty{row_lock()}")


def _column(sql: str, values: Sequence[int] = ()) -> list[int]:
    return [int(value) for (value,) in fetch_all(sql, values)]


# ---- doing it ----------------------------------------------------------------------------------


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
        Recount.delete().where(Recount.stream == stream_id).execute()
    if through < last:
        Recount.insert(stream=stream_id, through_version=through, **figures).execute()
        return False
    _publish(STREAM, stream_id, figures)
    return True


def _sum_connection(connection_id: int) -> None:
    _publish(CONNECTION, connection_id, _summed(CONNECTION, _SUM_OF_STREAMS, [connection_id]))


def _sum_global() -> None:
    _publish(GLOBAL, 1, _summed(GLOBAL, _SUM_OF_CONNECTIONS))
    RetainedSizeGlobal.update(rebuild_status="idle", rebuild_total=None).execute()


def _publish(grain: Grain, key: int, figures: dict[str, int]) -> None:
    """Store recomputed figures and clear the mark, in the transaction that counted them."""
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
