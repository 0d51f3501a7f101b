"""The projection's rows: adding what a write changed, and marking what must be recomputed.

Everything here runs inside the transaction of the canonical write.  Rows are locked in one order:
streams, connection, global.

A dirty row is left as it was: its figures were exact at its `computed_at`, and a page may say so.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import peewee
from peewee import SQL, fn

from ..database import db, execute, execute_one, fetch_all, fetch_dicts, row_lock, transaction_lost
from ..models import (
    MEASURE_NAMES,
    MEASURES,
    Connection,
    GrainRow,
    Measure,
    Recount,
    RetainedSizeConnection,
    RetainedSizeGlobal,
    RetainedSizeStream,
    Stream,
    retains_anything,
)
from ..times import utc_now


@dataclass(frozen=True)
class Grain:
    """A grain's table, its counters, and SQL for the bounds of its rows.

    The statements are text, built once: they run for every stream of every write and every pass,
    and building them anew took most of the time.
    """

    table: str
    key: str
    counters: tuple[str, ...]
    earliest: str
    latest: str

    @cached_property
    def bounds(self) -> str:
        return f"earliest_ingested_at = ({self.earliest}), latest_ingested_at = ({self.latest})"

    @cached_property
    def add(self) -> str:
        """Values: the time, a change of each counter, the row's key."""
        sums = ", ".join(f"{name} = {name} + ?" for name in self.counters)
        return f"UPDATE {self.table} SET computed_at = ?, {sums}, {self.bounds} WHERE {self.key} = ?"

    @cached_property
    def publish(self) -> str:
        """Values: the time, each counter, the row's key.  The row is clean from then on."""
        figures = ", ".join(f"{name} = ?" for name in self.counters)
        clean = "computed_at = ?, dirty = FALSE, stale_since = NULL"
        return f"UPDATE {self.table} SET {clean}, {figures}, {self.bounds} WHERE {self.key} = ?"


# Versions rise with the time of ingestion, so the oldest and newest live record are one look-up each.
_OF_STREAM = "WHERE stream_id = retained_size_stream.stream_id"
_RECORDS = f"SELECT ingested_at FROM records {_OF_STREAM} ORDER BY version"
_STREAMS = "FROM retained_size_stream WHERE connection_id = retained_size_connection.connection_id"

STREAM = Grain(
    "retained_size_stream", "stream_id", MEASURE_NAMES, f"{_RECORDS} LIMIT 1", f"{_RECORDS} DESC LIMIT 1"
)
CONNECTION = Grain(
    "retained_size_connection",
    "connection_id",
    (*MEASURE_NAMES, "stream_count"),
    f"SELECT MIN(earliest_ingested_at) {_STREAMS}",
    f"SELECT MAX(latest_ingested_at) {_STREAMS}",
)
GLOBAL = Grain(
    "retained_size_global",
    "id",
    (*MEASURE_NAMES, "stream_count", "connection_count"),
    "SELECT MIN(earliest_ingested_at) FROM retained_size_connection",
    "SELECT MAX(latest_ingested_at) FROM retained_size_connection",
)


@dataclass
class Delta:
    """What a write adds to a stream's measures.

    `replaced` holds (version, bytes) of each live record that it took away: a recount that has
    already passed that version must forget it.
    """

    measures: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MEASURE_NAMES, 0))
    replaced: list[tuple[int, int]] = field(default_factory=list)

    def add_version(self, json_bytes: int) -> None:
        self.measures["record_history_count"] += 1
        self.measures["record_history_json_bytes"] += json_bytes

    def add_current(self, json_bytes: int) -> None:
        self.measures["record_count"] += 1
        self.measures["current_record_json_bytes"] += json_bytes

    def remove_current(self, version: int, json_bytes: int) -> None:
        self.measures["record_count"] -= 1
        self.measures["current_record_json_bytes"] -= json_bytes
        self.replaced.append((version, json_bytes))


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
        for stream_id in deltas:
            mark_stream(stream_id, connection_id)


def _apply(connection_id: int, deltas: Mapping[int, Delta]) -> None:
    held = _locked(STREAM, deltas)
    total = dict.fromkeys(CONNECTION.counters, 0)
    clean: list[tuple[Any, ...]] = []
    for stream_id, delta in deltas.items():
        row = held.get(stream_id)
        if row is None:
            mark_stream(stream_id, connection_id)
        elif row["dirty"]:
            _correct_recount(stream_id, delta)
        else:
            clean.append((utc_now(), *delta.measures.values(), stream_id))
            for name, change in delta.measures.items():
                total[name] += change
            total["stream_count"] += _now_retains(row, delta.measures)
    if any(row["dirty"] for row in held.values()):
        _pass_up(connection_id)
    for values in clean:
        execute_one(STREAM.add, values)
    if clean:
        _apply_above(connection_id, total)


def _pass_up(connection_id: int) -> None:
    """Marks go up by themselves; this is for a stream that another program marked alone."""
    above = (_locked(CONNECTION, [connection_id]).get(connection_id), _locked(GLOBAL, [1]).get(1))
    if not all(row and row["dirty"] for row in above):
        mark_connection(connection_id)


def _apply_above(connection_id: int, changes: dict[str, int]) -> None:
    connections = _add(CONNECTION, connection_id, changes)
    if connections is None:
        mark_connection(connection_id)
    elif _add(GLOBAL, 1, {**changes, "connection_count": connections}) is None:
        mark_global()


def _add(grain: Grain, key: int, changes: dict[str, int]) -> int | None:
    """Add to one row, unless it is dirty.  None where there is none.

    Returns 1 where the row now retains something and did not before, -1 for the reverse, or 0.
    """
    row = _locked(grain, [key]).get(key)
    if row is None:
        return None
    if not row["dirty"]:
        execute_one(grain.add, (utc_now(), *(changes[name] for name in grain.counters), key))
    return _now_retains(row, changes)


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
    """Take replaced records out of a half-done recount, where it had counted them already."""
    found = fetch_all("SELECT through_version FROM retained_size_recounts WHERE stream_id = ?", [stream_id])
    through = found[0][0] if found else 0
    counted = [size for version, size in delta.replaced if version <= through]
    if counted:
        execute(
            "UPDATE retained_size_recounts SET record_count = record_count - ?, "
            "current_record_json_bytes = current_record_json_bytes - ? WHERE stream_id = ?",
            (len(counted), sum(counted), stream_id),
        )


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
    _mark(RetainedSizeStream, stream_id, connection=connection_id)
    Recount.delete().where(Recount.stream == stream_id).execute()
    mark_connection(connection_id)


def mark_connection(connection_id: int) -> None:
    _mark(RetainedSizeConnection, connection_id)
    mark_global()


def mark_connections_above() -> None:
    """Mark the connections of all streams that are dirty."""
    dirty = RetainedSizeStream.select(RetainedSizeStream.connection).where(RetainedSizeStream.dirty)
    rows = Connection.select(Connection.id, True, _value(utc_now())).where(Connection.id.in_(dirty))
    _mark_each(RetainedSizeConnection, rows)
    mark_global()


def mark_global() -> None:
    _mark(RetainedSizeGlobal, 1)


def _mark(grain: type[GrainRow], key: int, **new_row: Any) -> None:
    """An upsert: a row that does not exist yet would not be found by an update, and be forgotten."""
    primary_key = grain._meta.primary_key
    grain.insert({primary_key: key, "dirty": True, "stale_since": utc_now(), **new_row}).on_conflict(
        conflict_target=[primary_key], update=_marked(grain)
    ).execute()


def _marked(grain: type[GrainRow]) -> dict[Any, Any]:
    """A mark on a marked row keeps its first time.  No figure is touched."""
    return {grain.dirty: True, grain.stale_since: fn.COALESCE(grain.stale_since, utc_now())}


def mark_all() -> None:
    """Mark every row there is, or should be, at every grain."""
    Recount.delete().execute()
    _mark_each(
        RetainedSizeStream,
        Stream.select(Stream.id, Stream.connection, True, _value(utc_now())),
        RetainedSizeStream.connection,
    )
    _mark_each(RetainedSizeConnection, Connection.select(Connection.id, True, _value(utc_now())))
    mark_global()


def _mark_each(grain: type[GrainRow], rows: Any, *also: Any) -> None:
    columns = [grain._meta.primary_key, *also, grain.dirty, grain.stale_since]
    # SQLite wants the WHERE, to tell ON CONFLICT from a join's ON.
    grain.insert_from(rows.where(SQL("TRUE")), columns).on_conflict(
        conflict_target=[grain._meta.primary_key], update=_marked(grain)
    ).execute()


def _value(text: str) -> SQL:
    return SQL(db.param, [text])
