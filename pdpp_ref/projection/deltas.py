"""Adding what a write changed to the rows of all three grains.

Everything here runs inside the transaction of the canonical write; `models/locking.py` has the order
of its locks.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import peewee

from ..database import db, execute, fetch_all, fetch_dicts, for_no_key_update, transaction_lost
from ..models.measures import MEASURE_NAMES, retains_anything
from . import marks
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
        marks.mark_streams(deltas, connection_id)


def _apply(connection_id: int, deltas: Mapping[int, Delta]) -> None:
    held = _locked(STREAM, deltas)
    total = dict.fromkeys(CONNECTION.counters, 0)
    clean: list[tuple[int, Delta]] = []
    if len(held) < len(deltas):
        marks.mark_streams(deltas.keys() - held.keys(), connection_id)
    for stream_id, row in held.items():
        delta = deltas[stream_id]
        if row["dirty"]:
            _adjust_checkpoint(stream_id, delta)
            marks.keep_earliest_mark(STREAM, row)
        else:
            clean.append((stream_id, delta))
            for name, change in delta.measures.items():
                total[name] += change
            total["stream_count"] += _now_retains(row, delta.measures)
    if any(row["dirty"] for row in held.values()):
        _propagate_dirty(connection_id)
    for stream_id, delta in clean:
        change_row(STREAM, STREAM.add, delta.measures.values(), stream_id)
    if clean:
        _apply_above(connection_id, total)


def _propagate_dirty(connection_id: int) -> None:
    """Marks go up by themselves; this is for a stream that another program marked alone."""
    above = (_locked(CONNECTION, [connection_id]).get(connection_id), _locked(GLOBAL, [1]).get(1))
    if not all(row and row["dirty"] for row in above):
        marks.mark_connection(connection_id)
    for grain, row in zip((CONNECTION, GLOBAL), above, strict=True):
        if row:
            marks.keep_earliest_mark(grain, row)


def _apply_above(connection_id: int, changes: dict[str, int]) -> None:
    connection = _locked(CONNECTION, [connection_id]).get(connection_id)
    if connection is None:
        marks.mark_connection(connection_id)
        return
    _add(CONNECTION, connection, changes)
    total = _locked(GLOBAL, [1]).get(1)
    if total is None:
        marks.mark_global()
    else:
        _add(GLOBAL, total, {**changes, "connection_count": _now_retains(connection, changes)})
    if (total is None or total["dirty"]) and _has_lost_a_row(connection_id):
        # Its times were taken from the rows that are left.
        marks.mark_connections([connection_id])


def _add(grain: Grain, row: dict[str, Any], changes: dict[str, int]) -> None:
    """Add to one row, which is locked, unless it is dirty."""
    if not row["dirty"]:
        change_row(grain, grain.add, (changes[name] for name in grain.counters), row[grain.key])
    marks.keep_earliest_mark(grain, row)


def _has_lost_a_row(connection_id: int) -> bool:
    """Whether another program took a row of its streams away."""
    without = "LEFT JOIN retained_size_stream r ON r.stream_id = s.id WHERE r.stream_id IS NULL"
    sql = f"SELECT 1 FROM streams s {without} AND s.connection_id = ? LIMIT 1"
    return bool(fetch_all(sql, [connection_id]))


def _locked(grain: Grain, keys: Iterable[int]) -> dict[int, dict[str, Any]]:
    wanted = sorted(keys)
    marks = ", ".join("?" * len(wanted))
    where = f"WHERE {grain.key} IN ({marks}) ORDER BY {grain.key}"
    rows = fetch_dicts(f"SELECT * FROM {grain.table} {where}{for_no_key_update()}", wanted)
    return {row[grain.key]: row for row in rows}


def _now_retains(row: dict[str, Any], changes: Mapping[str, int]) -> int:
    after = {name: row[name] + changes[name] for name in MEASURE_NAMES}
    return int(retains_anything(after)) - int(retains_anything(row))


def _adjust_checkpoint(stream_id: int, delta: Delta) -> None:
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
