"""The projection's rows: adding what a write changed, and marking what must be recomputed.

Everything here runs inside the transaction of the canonical write.  Rows are locked in one order:
streams by id, connection, global; and after those of `locks.py`.

A dirty row is left as it was: its figures were exact at its `computed_at`, and a page may say so.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import peewee
from peewee import SQL

from ..database import (
    db,
    execute,
    execute_many,
    fetch_all,
    fetch_dicts,
    row_lock,
    transaction_lost,
)
from ..measures import MEASURE_NAMES, MEASURES, Measure, retains_anything
from ..models import (
    GrainRow,
    RecordRecount,
    Recount,
    RetainedSizeConnection,
    RetainedSizeGlobal,
    RetainedSizeStream,
)
from ..times import utc_now
from . import locks
from .grains import CONNECTION, GLOBAL, STREAM, Grain, change_row


@dataclass
class Delta:
    """What a write adds to a stream's measures.

    `behind` holds (version, measure, change) of what it takes from or adds to versions that were
    there before: a recount that has already passed such a version must be told.
    """

    measures: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MEASURE_NAMES, 0))
    behind: list[tuple[int, str, int]] = field(default_factory=list)

    def add_version(self, json_bytes: int) -> None:
        self.measures["record_history_count"] += 1
        self.measures["record_history_json_bytes"] += json_bytes

    def add_current(self, json_bytes: int) -> None:
        self.measures["record_count"] += 1
        self.measures["current_record_json_bytes"] += json_bytes

    def remove_current(self, version: int, json_bytes: int) -> None:
        self._behind(version, "record_count", -1)
        self._behind(version, "current_record_json_bytes", -json_bytes)

    def remove_version(self, version: int, json_bytes: int) -> None:
        self._behind(version, "record_history_count", -1)
        self._behind(version, "record_history_json_bytes", -json_bytes)

    def add_files(self, version: int, count: int, size: int) -> None:
        self._behind(version, "blob_count", count)
        self._behind(version, "blob_bytes", size)

    def _behind(self, version: int, measure: str, change: int) -> None:
        self.measures[measure] += change
        self.behind.append((version, measure, change))


def record(connection_id: int, deltas: Mapping[int, Delta]) -> None:
    """Bring all three grains up to date with a write, or mark them dirty where that fails.

    `deltas` has one for each stream of the connection that the write changed.  Raises
    peewee.DatabaseError where not even the mark can be stored: the write must not commit.
    """
    try:
        with db.savepoint():
            _apply(connection_id, deltas)
    except peewee.DatabaseError:
        if transaction_lost():
            raise
        mark_streams(deltas, connection_id)


def _apply(connection_id: int, deltas: Mapping[int, Delta]) -> None:
    held = _locked(STREAM, deltas)
    total = dict.fromkeys(CONNECTION.counters, 0)
    clean: list[tuple[int, Delta]] = []
    if len(held) < len(deltas):
        mark_streams(deltas.keys() - held.keys(), connection_id)
    for stream_id, row in held.items():
        delta = deltas[stream_id]
        if row["dirty"]:
            _correct_recount(stream_id, delta)
            _mark_earlier(STREAM, row)
        else:
            clean.append((stream_id, delta))
            for name, change in delta.measures.items():
                total[name] += change
            total["stream_count"] += _now_retains(row, delta.measures)
    if any(row["dirty"] for row in held.values()):
        _pass_up(connection_id)
    for stream_id, delta in clean:
        change_row(STREAM, STREAM.add, delta.measures.values(), stream_id)
    if clean:
        _apply_above(connection_id, total)


def _pass_up(connection_id: int) -> None:
    """Marks go up by themselves; this is for a stream that another program marked alone."""
    above = (_locked(CONNECTION, [connection_id]).get(connection_id), _locked(GLOBAL, [1]).get(1))
    if not all(row and row["dirty"] for row in above):
        mark_connection(connection_id)
    for grain, row in zip((CONNECTION, GLOBAL), above, strict=True):
        if row:
            _mark_earlier(grain, row)


def _apply_above(connection_id: int, changes: dict[str, int]) -> None:
    connection = _locked(CONNECTION, [connection_id]).get(connection_id)
    if connection is None:
        mark_connection(connection_id)
        return
    _add(CONNECTION, connection, changes)
    total = _locked(GLOBAL, [1]).get(1)
    if total is None:
        mark_global()
    else:
        _add(GLOBAL, total, {**changes, "connection_count": _now_retains(connection, changes)})
    if (total is None or total["dirty"]) and _has_lost_a_row(connection_id):
        # Its times were taken from the rows that are left.
        mark_connections([connection_id])


def _add(grain: Grain, row: dict[str, Any], changes: dict[str, int]) -> None:
    """Add to one row, which is locked, unless it is dirty."""
    if not row["dirty"]:
        change_row(grain, grain.add, (changes[name] for name in grain.counters), row[grain.key])
    _mark_earlier(grain, row)


def _has_lost_a_row(connection_id: int) -> bool:
    """Whether another program took a row of its streams away."""
    without = "LEFT JOIN retained_size_stream r ON r.stream_id = s.id WHERE r.stream_id IS NULL"
    sql = f"SELECT 1 FROM streams s {without} AND s.connection_id = ? LIMIT 1"
    return bool(fetch_all(sql, [connection_id]))


def _locked(grain: Grain, keys: Iterable[int]) -> dict[int, dict[str, Any]]:
    wanted = sorted(keys)
    marks = ", ".join("?" * len(wanted))
    where = f"WHERE {grain.key} IN ({marks}) ORDER BY {grain.key}"
    rows = fetch_dicts(f"SELECT * FROM {grain.table} {where}{row_lock()}", wanted)
    return {row[grain.key]: row for row in rows}


def _now_retains(row: dict[str, Any], changes: Mapping[str, int]) -> int:
    after = {name: row[name] + changes[name] for name in MEASURE_NAMES}
    return int(retains_anything(after)) - int(retains_anything(row))


def _correct_recount(stream_id: int, delta: Delta) -> None:
    """Tell a half-done recount what has changed among the versions that it has counted already."""
    found = fetch_all("SELECT through_version FROM retained_size_recounts WHERE stream_id = ?", [stream_id])
    through = found[0][0] if found else 0
    changes: dict[str, int] = {}
    for version, measure, change in delta.behind:
        if version <= through:
            changes[measure] = changes.get(measure, 0) + change
    if changes:
        sums = ", ".join(f"{measure} = {measure} + ?" for measure in changes)
        values = (*changes.values(), stream_id)
        execute(f"UPDATE retained_size_recounts SET {sums} WHERE stream_id = ?", values)


# ---- counting ----------------------------------------------------------------------------------


def count_versions(stream_id: int, after: int, through: int) -> dict[str, int]:
    """The measures of a stream's versions in (after, through], from covering indexes alone."""
    figures: dict[str, int] = {}
    for table in dict.fromkeys(each.table for each in MEASURES):
        measures = [each for each in MEASURES if each.table == table]
        (row,) = fetch_all(count_query(table, measures), (stream_id, after, through))
        for each, value in zip(measures, row, strict=True):
            figures[each.name] = int(value or 0)
    return figures


def count_query(table: str, measures: Iterable[Measure]) -> str:
    """SQL for measures of one canonical table; values: the stream, after and through which version."""
    columns = ", ".join(each.expression for each in measures)
    return f"SELECT {columns} FROM {table} WHERE stream_id = ? AND version > ? AND version <= ?"


# ---- rows and marks ----------------------------------------------------------------------------


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
        Recount.delete().where(Recount.stream == stream_id).execute()
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
    """A mark on a marked row keeps its earliest time.  No figure is touched."""
    now = utc_now()
    earliest = peewee.Case(None, [(grain.stale_since < now, grain.stale_since)], now)
    return {grain.dirty: True, grain.stale_since: earliest}


def _mark_earlier(grain: Grain, row: dict[str, Any]) -> None:
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
        [(now, now, stream_id) for stream_id in locks.change_all_streams()],
    )
    Recount.delete().execute()
    RecordRecount.delete().execute()
    RetainedSizeConnection.update(_marked(RetainedSizeConnection)).execute()
    mark_global()
