"""Repair: one bounded pass over dirty rows, and a rebuild, which marks all and repeats the pass.

There is no other way in which a figure is recomputed.  A pass is one write transaction, so a pass
that fails leaves figures, marks and times as they were.

A stream is counted in chunks of versions, oldest first, and a pass that runs out of time keeps how
far it came.  Writers see to the rest: a version they add lies ahead of the count, and a record they
replace behind it is taken out again (`retained_size._correct_recount`).  So the largest stream costs
a read no more than the smallest, and no lock is held for longer than a pass.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

import peewee
from peewee import SQL, Case, fn

from ..database import dicts, first, for_update, tuples, write_transaction
from ..models import (
    BOUNDS,
    COUNT_MEASURES,
    MEASURE_NAMES,
    Connection,
    Figures,
    GrainRow,
    Recount,
    RetainedSizeConnection,
    RetainedSizeGlobal,
    RetainedSizeStream,
    Stream,
    measure,
)
from ..times import utc_now
from .retained_size import count_versions, mark_all, mark_connections, stream_bounds

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
        streams = connections = 0
        for stream_id, connection_id in _dirty_streams(limits.rows):
            late = time.monotonic() > deadline
            if (streams and late) or not _count_stream(stream_id, connection_id, deadline):
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


def rebuild(progress: Callable[[Pass], None] = lambda _: None) -> Pass:
    """Recount everything.  One that was cut short is taken up where it stopped."""
    begin_rebuild()
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
    """Give a dirty row to streams and connections that have none.  False where more may be left.

    This is how a projection that was never built, or was lost, comes into being.
    """
    streams = (
        Stream.select(Stream.id, Stream.connection, True)
        .join(RetainedSizeStream, peewee.JOIN.LEFT_OUTER)
        .where(RetainedSizeStream.stream.is_null())
    )
    connections = (
        Connection.select(Connection.id, True)
        .join(RetainedSizeConnection, peewee.JOIN.LEFT_OUTER)
        .where(RetainedSizeConnection.connection.is_null())
    )
    stream_row, row = RetainedSizeStream, RetainedSizeConnection
    found = [
        _insert_from(stream_row, streams, [stream_row.stream, stream_row.connection, stream_row.dirty]),
        _insert_from(row, connections, [row.connection, row.dirty]),
    ]
    if any(found):
        unknown = RetainedSizeStream.select(RetainedSizeStream.connection).where(RetainedSizeStream.dirty)
        mark_connections(unknown)
    return max(found) < DISCOVER_ROWS


def _insert_from(grain: type[GrainRow], rows: Any, columns: list[Any]) -> int:
    return int(grain.insert_from(rows.limit(DISCOVER_ROWS), columns).as_rowcount().execute())


def _dirty_streams(limit: int) -> list[tuple[Any, ...]]:
    """(stream, connection) of rows to recount."""
    row = RetainedSizeStream
    query = row.select(row.stream, row.connection).where(row.dirty)
    return tuples(for_update(query.order_by(row.connection, row.stream).limit(limit)))


def _connections_to_sum(limit: int) -> list[int]:
    """Dirty connections whose streams can all be trusted."""
    row = RetainedSizeConnection
    unknown = RetainedSizeStream.select(SQL("1")).where(
        RetainedSizeStream.dirty, RetainedSizeStream.connection == row.connection
    )
    query = row.select(row.connection).where(row.dirty, ~fn.EXISTS(unknown))
    ordered = query.order_by(row.connection).limit(max(limit, 0))
    return [key for (key,) in tuples(for_update(ordered))]


def _dirty_below() -> int:
    grains = (RetainedSizeStream, RetainedSizeConnection)
    return sum(grain.select().where(grain.dirty).count() for grain in grains)


def _global_is_dirty() -> bool:
    clean = RetainedSizeGlobal.select(SQL("1")).where(~RetainedSizeGlobal.dirty)
    return not for_update(clean).exists()


# ---- doing it ----------------------------------------------------------------------------------


def _count_stream(stream_id: int, connection_id: int, deadline: float) -> bool:
    """Count a stream on from where the last pass left it.  False where time ran out first."""
    last = Stream.select(Stream.last_version).where(Stream.id == stream_id).scalar()
    begun = first(Recount.select().where(Recount.stream == stream_id))
    figures = {name: begun[name] if begun else 0 for name in MEASURE_NAMES}
    through = begun["through_version"] if begun else 0
    while True:
        upto = min(through + CHUNK_VERSIONS, last)
        counted = count_versions(stream_id, through, upto)
        figures = {name: figures[name] + counted[name] for name in MEASURE_NAMES}
        through = upto
        if through >= last:
            break
        if time.monotonic() > deadline:
            _store(Recount, stream_id, figures | {"through_version": through})
            return False
    if begun:
        Recount.delete().where(Recount.stream == stream_id).execute()
    _publish(RetainedSizeStream, stream_id, figures | stream_bounds(stream_id), connection=connection_id)
    return True


def _sum_connection(connection_id: int) -> None:
    figures = _sums(
        RetainedSizeStream.select(
            *_sum_of(RetainedSizeStream, MEASURE_NAMES),
            *_bounds(RetainedSizeStream),
            _how_many_retain(RetainedSizeStream).alias("stream_count"),
        ).where(RetainedSizeStream.connection == connection_id)
    )
    _publish(RetainedSizeConnection, connection_id, figures)


def _sum_global() -> None:
    figures = _sums(
        RetainedSizeConnection.select(
            *_sum_of(RetainedSizeConnection, (*MEASURE_NAMES, "stream_count")),
            *_bounds(RetainedSizeConnection),
            _how_many_retain(RetainedSizeConnection).alias("connection_count"),
        )
    )
    _publish(RetainedSizeGlobal, 1, figures | {"rebuild_status": "idle", "rebuild_total": None})


def _publish(grain: type[GrainRow], key: int, figures: dict[str, Any], **new_row: int) -> None:
    """Store recomputed figures and clear the mark, in the transaction that counted them."""
    clean = {"dirty": False, "stale_since": None, "computed_at": utc_now()}
    _store(grain, key, figures | clean, **new_row)


def _store(table: type[Figures], key: int, values: dict[str, Any], **new_row: int) -> None:
    primary_key = table._meta.primary_key
    table.insert({primary_key: key, **new_row, **values}).on_conflict(
        conflict_target=[primary_key],
        update={getattr(table, name): value for name, value in values.items()},
    ).execute()


def _sums(query: Any) -> dict[str, Any]:
    """One row of sums as plain ints (PostgreSQL's sums are Decimals); the bounds stay text."""
    (row,) = dicts(query)
    return {name: value if name in BOUNDS else int(value or 0) for name, value in row.items()}


def _sum_of(below: type[GrainRow], names: tuple[str, ...]) -> list[Any]:
    return [fn.SUM(measure(below, name)).alias(name) for name in names]


def _bounds(below: type[GrainRow]) -> list[Any]:
    return [
        fn.MIN(below.earliest_ingested_at).alias("earliest_ingested_at"),
        fn.MAX(below.latest_ingested_at).alias("latest_ingested_at"),
    ]


def _how_many_retain(below: type[GrainRow]) -> Any:
    retains = reduce(or_, (measure(below, name) > 0 for name in COUNT_MEASURES))
    return fn.SUM(Case(None, [(retains, 1)], 0))
