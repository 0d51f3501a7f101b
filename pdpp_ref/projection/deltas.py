"""Adding the effect of a write to the rows of all three grains.

Everything here runs inside the transaction of the canonical write, and locks rows in the order that
`models/locking.py` states.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import peewee

from ..database import db, execute, fetch_each, fetch_value, transaction_lost
from ..models import locking
from ..models.locking import LockedGrainRow
from ..models.measures import MEASURE_NAMES, retains_anything
from . import connectors, marks
from .dirty_rows import with_lost_row
from .grains import CONNECTION, GLOBAL, STREAM, Grain, add_to_rows

# A version that was stored before, a measure, and by how much it changes.
Adjustment = tuple[int, str, int]


@dataclass
class Delta:
    """The change of a stream's measures by a write.

    `adjustments` are the part that concerns versions from before the write: if a count in progress has
    already passed such a version, its checkpoint must be adjusted.
    """

    measures: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MEASURE_NAMES, 0))
    adjustments: list[Adjustment] = field(default_factory=list)

    def add_version(self, json_bytes: int) -> None:
        self.measures["record_history_count"] += 1
        self.measures["record_history_json_bytes"] += json_bytes

    def add_current(self, json_bytes: int) -> None:
        self.measures["record_count"] += 1
        self.measures["current_record_json_bytes"] += json_bytes

    def remove_current(self, version: int, json_bytes: int) -> None:
        self._adjust(version, "record_count", -1)
        self._adjust(version, "current_record_json_bytes", -json_bytes)

    def remove_version(self, version: int, json_bytes: int) -> None:
        self._adjust(version, "record_history_count", -1)
        self._adjust(version, "record_history_json_bytes", -json_bytes)

    def add_files(self, version: int, count: int, size: int) -> None:
        """Negative numbers remove files."""
        self._adjust(version, "blob_count", count)
        self._adjust(version, "blob_bytes", size)

    def _adjust(self, version: int, measure: str, change: int) -> None:
        self.measures[measure] += change
        self.adjustments.append((version, measure, change))


def record(connection_id: int, deltas: Mapping[int, Delta]) -> None:
    """Add a write to all three grains, or mark them dirty if that fails.

    `deltas` has one for each stream of the connection that the write changed, by the stream's id.  Raises
    peewee.DatabaseError if not even the mark can be stored: then the write must not commit.
    """
    _apply_or_mark(lambda: _apply(connection_id, deltas), lambda: marks.mark_streams(deltas, connection_id))


def remove_stream(stream_id: int, connection_id: int) -> None:
    """Remove the row of a stream that is being deleted, and subtract it from the rows above.

    If its measures are not known, the rows above are marked dirty.
    """
    row = locking.lock_grain_rows(STREAM.table, STREAM.key, [stream_id]).get(stream_id)
    execute("DELETE FROM retained_size_stream WHERE stream_id = ?", [stream_id])
    if row is None or row.dirty:
        _apply_or_mark(
            lambda: _propagate_dirty(connection_id), lambda: marks.mark_connection(connection_id)
        )
        return
    changes = {**_negated(row), "stream_count": -int(retains_anything(row.measures))}
    _apply_or_mark(
        lambda: _apply_above(connection_id, changes), lambda: marks.mark_connection(connection_id)
    )


def remove_connection(connection_id: int) -> None:
    """The same for a connection that is being deleted, and its streams."""
    execute("DELETE FROM retained_size_stream WHERE connection_id = ?", [connection_id])
    row = _lock_row(CONNECTION, connection_id)
    streams = fetch_value(
        "SELECT stream_count FROM retained_size_connection WHERE connection_id = ?", [connection_id]
    )
    execute("DELETE FROM retained_size_connection WHERE connection_id = ?", [connection_id])
    if row is None or row.dirty:
        _apply_or_mark(_propagate_to_global, marks.mark_global)
        return
    connections = -int(retains_anything(row.measures))
    changes = {**_negated(row), "stream_count": -streams, "connection_count": connections}
    _apply_or_mark(lambda: _apply_to_global(connection_id, changes), marks.mark_global)


def _negated(row: LockedGrainRow) -> dict[str, int]:
    return {name: -value for name, value in row.measures.items()}


def _apply_or_mark(apply: Callable[[], object], mark: Callable[[], object]) -> None:
    """Apply a change, or undo it and mark.  Raises peewee.DatabaseError if not even that is possible."""
    try:
        with db.savepoint():
            apply()
    except peewee.DatabaseError:
        if transaction_lost():
            raise
        mark()


def _apply(connection_id: int, deltas: Mapping[int, Delta]) -> None:
    rows = locking.lock_grain_rows(STREAM.table, STREAM.key, [*deltas])
    total = dict.fromkeys(CONNECTION.columns, 0)
    clean: dict[int, Sequence[int]] = {}
    if len(rows) < len(deltas):
        marks.mark_streams(deltas.keys() - rows.keys(), connection_id)
    for stream_id, row in rows.items():
        delta = deltas[stream_id]
        if not row.dirty:
            clean[stream_id] = list(delta.measures.values())
            for name, change in delta.measures.items():
                total[name] += change
            total["stream_count"] += _change_of_count(row, delta.measures)
    if dirty := [stream_id for stream_id, row in rows.items() if row.dirty]:
        _adjust_checkpoints({stream_id: deltas[stream_id] for stream_id in dirty})
        marks.record_writes(STREAM, rows)
        _propagate_dirty(connection_id)
    if clean:
        add_to_rows(STREAM, clean)
        _apply_above(connection_id, total)


def _propagate_dirty(connection_id: int) -> None:
    """Mark the rows above a dirty stream: another program may have marked the stream alone."""
    _mark_and_record(
        ((CONNECTION, connection_id), (GLOBAL, 1)), lambda: marks.mark_connection(connection_id)
    )


def _propagate_to_global() -> None:
    """The same for a dirty connection."""
    _mark_and_record(((GLOBAL, 1),), marks.mark_global)


def _mark_and_record(places: Collection[tuple[Grain, int]], mark: Callable[[], None]) -> None:
    """Mark rows, unless all are dirty already, and note that those which were are written to."""
    rows = [_lock_row(grain, key) for grain, key in places]
    if not all(row and row.dirty for row in rows):
        mark()
    for (grain, key), row in zip(places, rows, strict=True):
        if row:
            marks.record_writes(grain, {key: row})


def _apply_above(connection_id: int, changes: dict[str, int]) -> None:
    connection = _lock_row(CONNECTION, connection_id)
    if connection is None:
        marks.mark_connection(connection_id)
        return
    _add(CONNECTION, connection_id, connection, changes)
    counts = {"connection_count": _change_of_count(connection, changes)}
    total = _apply_to_global(connection_id, {**changes, **counts})
    if (total is None or total.dirty) and with_lost_row([connection_id]):
        # The connection's extents have been replaced from the rows that remain.
        marks.mark_connections([connection_id])


def _apply_to_global(connection_id: int, changes: dict[str, int]) -> LockedGrainRow | None:
    """Returns the row as it was; None if it was lost, and is marked."""
    total = _lock_row(GLOBAL, 1)
    if total is None:
        marks.mark_global()
        return None
    _add(GLOBAL, 1, total, changes)
    if not total.dirty:
        connectors.add_records(connection_id, changes["record_count"])
    return total


def _add(grain: Grain, key: int, row: LockedGrainRow, changes: dict[str, int]) -> None:
    """Add to one row, which is locked, unless it is dirty."""
    if not row.dirty:
        add_to_rows(grain, {key: [changes[name] for name in grain.columns]})
    marks.record_writes(grain, {key: row})


def _lock_row(grain: Grain, key: int) -> LockedGrainRow | None:
    return locking.lock_grain_rows(grain.table, grain.key, [key]).get(key)


def _change_of_count(row: LockedGrainRow, changes: Mapping[str, int]) -> int:
    """1 if the row retains something only after the changes, -1 if only before them, else 0."""
    after = {name: row.measures[name] + changes[name] for name in MEASURE_NAMES}
    return int(retains_anything(after)) - int(retains_anything(row.measures))


def _adjust_checkpoints(deltas: Mapping[int, Delta]) -> None:
    """Add those adjustments to each stream's checkpoint that concern versions up to its watermark."""
    watermarks = fetch_each(
        """
        SELECT stream_id, through_version
        FROM retained_size_recounts
        WHERE stream_id = :each
        """,
        [],
        [*deltas],
    )
    for stream_id, watermark in watermarks:
        changes: dict[str, int] = {}
        for version, measure, change in deltas[stream_id].adjustments:
            if version <= watermark:
                changes[measure] = changes.get(measure, 0) + change
        if changes:
            execute(
                f"""
                UPDATE retained_size_recounts
                SET {", ".join(f"{measure} = {measure} + ?" for measure in changes)}
                WHERE stream_id = ?
                """,
                (*changes.values(), stream_id),
            )
