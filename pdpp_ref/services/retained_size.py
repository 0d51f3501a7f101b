"""The projection's rows: adding what a write changed, and marking what must be recomputed.

Everything here runs inside the transaction of the canonical write.  Rows are locked in one order:
stream, connection, global.

A dirty row is left as it was: its figures were exact at its `computed_at`, and a page may say so.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import peewee
from peewee import SQL, fn

from ..database import db, fetch_all, first, for_update, transaction_lost
from ..models import (
    BOUNDS,
    COUNT_MEASURES,
    MEASURE_NAMES,
    MEASURES,
    Connection,
    GrainRow,
    Measure,
    Record,
    Recount,
    RetainedSizeConnection,
    RetainedSizeGlobal,
    RetainedSizeStream,
    Stream,
    measure,
    retains_anything,
)
from ..times import utc_now


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


def record(stream_id: int, connection_id: int, delta: Delta) -> None:
    """Bring all three grains up to date with a write, or mark them dirty where that fails.

    Raises peewee.DatabaseError where not even the mark can be stored: the write must not commit.
    """
    try:
        with db.savepoint():
            _apply(stream_id, connection_id, delta)
    except peewee.DatabaseError:
        if transaction_lost():
            raise
        mark_stream(stream_id, connection_id)


def _apply(stream_id: int, connection_id: int, delta: Delta) -> None:
    held = _locked(RetainedSizeStream, stream_id)
    if held is None:
        mark_stream(stream_id, connection_id)
    elif held["dirty"]:
        _correct_recount(stream_id, delta)
    else:
        bounds = stream_bounds(stream_id)
        streams = _add(RetainedSizeStream, stream_id, held, delta.measures, bounds)
        _apply_above(connection_id, {**delta.measures, "stream_count": streams})


def _apply_above(connection_id: int, changes: dict[str, int]) -> None:
    held = _locked(RetainedSizeConnection, connection_id)
    if held is None:
        mark_connection(connection_id)
        return
    if not held["dirty"]:
        of_connection = RetainedSizeStream.connection == connection_id
        bounds = bounds_of(RetainedSizeStream, of_connection)
        connections = _add(RetainedSizeConnection, connection_id, held, changes, bounds)
        changes = {**changes, "connection_count": connections}
    held = _locked(RetainedSizeGlobal, 1)
    if held is None:
        mark_global()
    elif not held["dirty"]:
        # A clean global row has clean rows below it, so `changes` counts connections here.
        _add(RetainedSizeGlobal, 1, held, changes, bounds_of(RetainedSizeConnection))


def _locked(grain: type[GrainRow], key: int) -> dict[str, Any] | None:
    fields = [grain.dirty, *(measure(grain, name) for name in COUNT_MEASURES)]
    return first(for_update(grain.select(*fields).where(grain._meta.primary_key == key)))


def _add(
    grain: type[GrainRow], key: int, held: dict[str, Any], changes: dict[str, int], bounds: dict[str, Any]
) -> int:
    """Add to one row.  Returns 1 where it now retains something and did not, -1 for the reverse."""
    sums = {name: measure(grain, name) + change for name, change in changes.items() if change}
    grain.update(computed_at=utc_now(), **bounds, **sums).where(grain._meta.primary_key == key).execute()
    after = {name: held[name] + changes[name] for name in COUNT_MEASURES}
    return int(retains_anything(after)) - int(retains_anything(held))


def _correct_recount(stream_id: int, delta: Delta) -> None:
    """Take replaced records out of a half-done recount, where it had counted them already."""
    through = Recount.select(Recount.through_version).where(Recount.stream == stream_id).scalar()
    counted = [size for version, size in delta.replaced if through and version <= through]
    if counted:
        Recount.update(
            record_count=measure(Recount, "record_count") - len(counted),
            current_record_json_bytes=measure(Recount, "current_record_json_bytes") - sum(counted),
        ).where(Recount.stream == stream_id).execute()


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


def stream_bounds(stream_id: int) -> dict[str, str | None]:
    """When the oldest and newest live records came in; versions are numbered in that order."""
    times = Record.select(Record.ingested_at).where(Record.stream == stream_id)
    ordered = (times.order_by(Record.version), times.order_by(Record.version.desc()))
    return dict(zip(BOUNDS, (query.limit(1).scalar() for query in ordered), strict=True))


def bounds_of(below: type[GrainRow], where: Any = None) -> dict[str, str | None]:
    """The bounds of the rows of the grain below.  Two queries, so that each is one index look-up."""
    earliest = below.select(fn.MIN(below.earliest_ingested_at))
    latest = below.select(fn.MAX(below.latest_ingested_at))
    if where is not None:
        earliest, latest = earliest.where(where), latest.where(where)
    return dict(zip(BOUNDS, (earliest.scalar(), latest.scalar()), strict=True))


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


def mark_connections(ids: Any) -> None:
    """Mark those of a subquery's connections."""
    rows = Connection.select(Connection.id, True, _value(utc_now())).where(Connection.id.in_(ids))
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
