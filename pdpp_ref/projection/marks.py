"""Marking rows dirty: they keep their figures, exact at their `computed_at`, until reconciled.

A mark is an upsert, in the transaction of the write that makes it necessary, and it goes up: to the
stream's connection and the global row.
"""

from collections.abc import Iterable
from typing import Any

import peewee
from peewee import SQL

from ..database import execute, execute_many
from ..models import (
    GrainRow,
    RecountCheckpoint,
    RetainedSizeConnection,
    RetainedSizeGlobal,
    RetainedSizeStream,
    RollupCheckpoint,
    locking,
)
from ..timestamps import utc_now
from .grains import CONNECTION, GLOBAL, STREAM, Grain


def add_stream(stream_id: int, connection_id: int) -> None:
    """The row of a stream that has just been created, empty and so exact."""
    RetainedSizeStream.insert(stream=stream_id, connection=connection_id, computed_at=utc_now()).execute()


def add_connection(connection_id: int) -> None:
    RetainedSizeConnection.insert(connection=connection_id, computed_at=utc_now()).execute()


def mark_stream(stream_id: int, connection_id: int) -> None:
    """Mark a stream, and what sums it up, as not to be trusted until recomputed."""
    mark_streams([stream_id], connection_id)


def mark_streams(stream_ids: Iterable[int], connection_id: int) -> None:
    """Mark streams of one connection: all of them before what is above, as rows are locked."""
    for stream_id in sorted(stream_ids):
        # Of a stream whose row is lost, nobody knows whether the rows of its records were right.
        _mark(RetainedSizeStream, stream_id, connection=connection_id, rollups_dirty=True)
        RecountCheckpoint.delete().where(RecountCheckpoint.stream == stream_id).execute()
    mark_connection(connection_id)


def mark_rollups(stream_id: int, connection_id: int, key: str) -> None:
    """Mark a stream because the row of one of its records is lost or wrong.

    For a writer, who holds the stream, and the locks of `record` where that has been called.
    """
    mark_stream(stream_id, connection_id)
    execute("UPDATE retained_size_stream SET rollups_dirty = TRUE WHERE stream_id = ?", [stream_id])
    # Where they are being derived already, this row may be among those that have been.
    execute(
        "DELETE FROM retained_size_record_recounts WHERE stream_id = ? AND after_key >= ?", (stream_id, key)
    )


def mark_connection(connection_id: int) -> None:
    mark_connections([connection_id])
    mark_global()


def mark_connections(connection_ids: Iterable[int]) -> None:
    """Mark connections alone; the global row is the caller's."""
    for connection_id in sorted(connection_ids):
        _mark(RetainedSizeConnection, connection_id)


def mark_global() -> None:
    _mark(RetainedSizeGlobal, 1)


def _mark(grain: type[GrainRow], key: int, **new_row: Any) -> None:
    """An upsert: a row that does not exist yet would not be found by an update, and be forgotten."""
    primary_key = grain._meta.primary_key
    # A lost row's days may be in any order, and nothing links them to those to come.
    lost: dict[Any, Any] = {
        "generation": SQL(_GRAIN_OF[grain].after_its_days(f"{key:d}")),
        "days_disordered": True,
    }
    row = {primary_key: key, "dirty": True, "stale_since": utc_now(), **lost, **new_row}
    grain.insert(row).on_conflict(conflict_target=[primary_key], update=_marked(grain)).execute()


_GRAIN_OF = {RetainedSizeStream: STREAM, RetainedSizeConnection: CONNECTION, RetainedSizeGlobal: GLOBAL}


def _marked(grain: type[GrainRow]) -> dict[Any, Any]:
    """A mark on a marked row keeps its earliest time.  No figure is changed."""
    now = utc_now()
    earliest = peewee.Case(None, [(grain.stale_since < now, grain.stale_since)], now)
    return {grain.dirty: True, grain.stale_since: earliest}


def keep_earliest_mark(grain: Grain, row: dict[str, Any]) -> None:
    """A dirty row that is written to was dirty by now, whatever a clock that was ahead has said."""
    now = utc_now()
    if row["dirty"] and (row["stale_since"] or "") > now:
        execute(f"UPDATE {grain.table} SET stale_since = ? WHERE {grain.key} = ?", (now, row[grain.key]))


def mark_all() -> None:
    """Mark every row that there is, those of single records included; what has none is discovered by the
    passes that follow.

    One by one, in the order in which writers lock them too.  A stream that is created meanwhile is
    exact from its first record on.
    """
    now = utc_now()
    earliest = "CASE WHEN stale_since < ? THEN stale_since ELSE ? END"
    dirty = f"dirty = TRUE, rollups_dirty = TRUE, stale_since = {earliest}"
    execute_many(
        f"UPDATE retained_size_stream SET {dirty} WHERE stream_id = ?",
        [(now, now, stream_id) for stream_id in locking.lock_all_streams()],
    )
    RecountCheckpoint.delete().execute()
    RollupCheckpoint.delete().execute()
    RetainedSizeConnection.update(_marked(RetainedSizeConnection)).execute()
    mark_global()
