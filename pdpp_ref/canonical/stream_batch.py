"""One stream's share of a write, worked out in memory before any of it is stored."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from ..database import (
    execute,
    execute_many,
    fetch_all,
    fetch_each,
    insert_many,
)
from ..models import Record, RecordChange, RetainedSizeRecord
from ..models.measures import MEASURE_NAMES
from ..parsing.messages import Change, time_in
from ..projection import deltas, marks
from ..projection.deltas import Delta
from ..timestamps import utc_now
from . import unchanged
from .key_schema import StreamKeys

NO_TIME = ""  # of a record that was sent again after its time field was declared, and has no such time

Row = tuple[Any, ...]


@dataclass
class Counts:
    """What became of the changes of a write; each is counted once.

    `removed` is not among the accepted: records that no line was about, and an activation deleted.
    """

    created: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    removed: int = 0

    def add(self, other: "Counts") -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    @property
    def accepted(self) -> int:
        return self.created + self.updated + self.deleted + self.unchanged


class Rejection(NamedTuple):
    """A line that was not stored.  None: its stream, or its Singer table version, is not known."""

    stream: str | None = None
    table_version: int | None = None


class Head(msgspec.Struct):
    """A key as it is before the next change; `data` and `size` are None and 0 once it is deleted.

    `time` is when this version was emitted, or else arrived; `versions` and `history` are how many
    there are of the key and their bytes.
    """

    version: int
    size: int
    data: str | None
    table_version: int | None
    record_time: str | None
    has_rollup: bool
    emitted_at: str | None
    time: str
    versions: int
    history: int
    blob_count: int = 0
    blob_bytes: int = 0


@dataclass
class StreamBatch:
    """One stream's share of one write, worked out in memory before any of it is stored."""

    stream: dict[str, Any]
    counts: Counts = field(default_factory=Counts)
    delta: Delta = field(default_factory=Delta)
    refused: list[tuple[int, str]] = field(default_factory=list)
    history: list[Row] = field(default_factory=list)
    # Each key's new row, or None for a delete: only its last version in this write is current.
    current: dict[str, Row | None] = field(default_factory=dict)
    # Keys whose data stays, but not what was sent beside it.
    noted: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.id: int = self.stream["id"]
        self.has_new_time_field = False
        self.heads: dict[str, Head] = {}
        self.unsure: set[str] = set()
        self.version: int = self.stream["last_version"]
        self.keys = StreamKeys(self.stream)
        self.now: str = utc_now()

    # ---- what is taken -------------------------------------------------------------------------

    def reject(self, rejections: Iterable[Rejection]) -> None:
        """Remember lines that were not stored: their table version must not be activated."""
        for each in rejections:
            if each.table_version is None:
                self.stream["rejected_unversioned"] = True
            else:
                known = self.stream["rejected_table_version"]
                newest = each.table_version if known is None else max(known, each.table_version)
                self.stream["rejected_table_version"] = newest

    def take(self, changes: Sequence[Change]) -> None:
        fitting = self.keys.accepted(changes, self.refused)
        self.reject(Rejection(table_version=changes[place].table_version) for place, _ in self.refused)
        self._declare_time_field(fitting)
        events: dict[str, list[Change]] = {}
        for change in fitting:
            events.setdefault(change.key, []).append(change)
        self.heads, self.unsure = _heads(self.id, events)
        self.batch = unchanged.Batch(self.id, self.heads, events, self.now)
        for change in fitting:
            self._take(change)

    def _take(self, change: Change) -> None:
        before = self.heads.get(change.key)
        if change.key in self.batch.replayed or self.batch.is_unchanged(change, before):
            self.counts.unchanged += 1
            if before is not None and before.data is not None and change.data is not None:
                self._note(change, before)
        elif change.data is None:
            self.counts.deleted += 1
            self.delete(change, before)
        else:
            self._upsert(change, change.data, before)

    def _note(self, change: Change, before: Head) -> None:
        """What was sent beside data that is stored already.  An older event dates no newer record."""
        sent = [each for each in (before.table_version, change.table_version) if each is not None]
        seen = max(sent, default=None)
        time = before.record_time
        if time is None and change.data == before.data and self._is_undated(before):
            time = self._time_of(change) or NO_TIME
            self.stream["undated_records"] -= 1
        if (seen, time) != (before.table_version, before.record_time):
            self.noted.add(change.key)
            before.table_version, before.record_time = seen, time

    def delete(self, change: Change, before: Head | None) -> None:
        if before is not None and before.data is not None:
            self._is_replaced(before)
        self._append(change, None, 0, before)
        self.current[change.key] = None

    def _upsert(self, change: Change, data: str, before: Head | None) -> None:
        if before is None or before.data is None:
            self.counts.created += 1
        else:
            self.counts.updated += 1
            self._is_replaced(before)
        size = len(data.encode())
        time = self._time_of(change)
        row = self._append(change, data, size, before, time)
        self.delta.add_current(size)
        has_rollup = self.heads[change.key].has_rollup
        self.current[change.key] = (*row[:-1], change.table_version, time, has_rollup)

    def _is_replaced(self, before: Head) -> None:
        self.delta.remove_current(before.version, before.size)
        if self._is_undated(before):
            self.stream["undated_records"] -= 1

    def _append(
        self, change: Change, data: str | None, size: int, before: Head | None, time: str | None = None
    ) -> Row:
        self.version += 1
        row = (self.id, self.version, change.key, data, size, change.emitted_at, self.now)
        self.history.append((*row, before and before.version))
        self.delta.add_version(size)
        head = Head(
            self.version,
            size,
            data,
            change.table_version,
            time,
            before is not None,
            change.emitted_at,
            change.emitted_at or self.now,
            1,
            size,
        )
        if before is not None:
            head.versions += before.versions
            head.history += before.history
            head.blob_count, head.blob_bytes = before.blob_count, before.blob_bytes
        self.heads[change.key] = head
        self.batch.add(change.key, head, size)
        return self.history[-1]

    # ---- record times --------------------------------------------------------------------------

    def _declare_time_field(self, changes: Sequence[Change]) -> None:
        """The field that was declared last holds for the whole write, and from now on.

        Times by another field are no times by this one.
        """
        declared = [each.record_time_field for each in changes if each.record_time_field is not None]
        if not declared or declared[-1] == self.stream["record_time_field"]:
            return
        if self.stream["record_time_field"] is not None:
            execute(_FORGET_TIMES, [self.id])
        ((records,),) = fetch_all("SELECT COUNT(*) FROM records WHERE stream_id = ?", [self.id])
        self.has_new_time_field = True
        self.stream |= {
            "record_time_field": declared[-1],
            "record_time_field_since": self.version,
            "undated_records": records,
        }

    def _time_of(self, change: Change) -> str | None:
        declared = self.stream["record_time_field"]
        if change.record_time_field == declared or change.data is None:
            return change.record_time
        return time_in(change.data, declared)

    def _is_undated(self, before: Head) -> bool:
        """Whether a record was stored before the field was declared, and was not sent again."""
        return (
            before.record_time is None
            and self.stream["record_time_field"] is not None
            and before.version <= self.stream["record_time_field_since"]
        )

    # ---- activation ----------------------------------------------------------------------------

    def may_activate(self, version: int, unattributed: int) -> bool:
        """Whether no line of this table version was rejected, or of one that replaced it.

        Lines whose version is not known are taken to be of the one that is activated next;
        `unattributed` counts those of the connection whose stream is not known either.
        """
        row = self.stream
        if row["rejected_unversioned"] or row["rejections_seen"] < unattributed:
            self.reject([Rejection(table_version=version)])
            row |= {"rejected_unversioned": False, "rejections_seen": unattributed}
        return row["rejected_table_version"] is None or row["rejected_table_version"] < version

    def remove_older(self, keys: Sequence[str], version: int) -> None:
        """Delete those of the records that came with an older table version; those without one stay."""
        events = {key: [Change(self.stream["name"], key, None)] for key in keys}
        self.heads, self.unsure = _heads(self.id, events)
        self.batch = unchanged.Batch(self.id, {}, {}, self.now)
        for key, (gone,) in events.items():
            head = self.heads.get(key)
            if head and head.table_version is not None and head.table_version < version:
                self.counts.removed += 1
                self.delete(gone, head)

    # ---- what is to be stored ------------------------------------------------------------------

    def stream_row(self) -> Row:
        """Values for _UPDATE_STREAM."""
        arrived = self.now if self.history else self.stream["last_ingested_at"]
        sent = (self.stream[name] for name in _SENT)
        return (self.version, arrived, self.now, *self.keys.stored(), *sent, self.id)

    def rollups(self) -> Iterator[Row]:
        """Rows of RetainedSizeRecord, for the keys of this write that have or need one."""
        for key in self.current:
            head = self.heads[key]
            if head.has_rollup:
                measures = (head.versions, head.history, head.blob_count, head.blob_bytes)
                live = int(head.data is not None)
                yield (self.id, key, head.version, self.now, live, head.size, *measures)


def _heads(stream_id: int, events: dict[str, list[Change]]) -> tuple[dict[str, Head], set[str]]:
    """The heads of those keys that the stream has, or had; and keys whose row of measures is lost."""
    found: dict[str, Head] = {}
    rolled: set[str] = set()
    dead: dict[int, str] = {}
    is_touched = fetch_all("SELECT 1 FROM retained_size_record WHERE stream_id = ? LIMIT 1", [stream_id])
    keys = sorted(events)
    for key, *stored in fetch_each(_LIVE, [stream_id], keys):
        version, size, data, seen, time, has_rollup, emitted_at, arrived_at = stored
        when = emitted_at or arrived_at
        found[key] = Head(version, size, data, seen, time, bool(has_rollup), emitted_at, when, 1, size)
    for key, version, *kept in fetch_each(_WITH_ROLLUP, [stream_id], keys) if is_touched else ():
        rolled.add(key)
        if key not in found:
            dead[version] = key
            found[key] = Head(version, 0, None, None, None, True, None, "", 0, 0)
        head = found[key]
        head.versions, head.history, head.blob_count, head.blob_bytes = kept
    # When a key was deleted matters only for an event that has a time itself.
    timed = [version for version, key in dead.items() if any(each.emitted_at for each in events[key])]
    for version, emitted_at, arrived_at in fetch_each(_DELETED, [stream_id], timed):
        head = found[dead[version]]
        head.emitted_at, head.time = emitted_at, emitted_at or arrived_at
    return found, {key for key, head in found.items() if head.has_rollup != (key in rolled)}


def store(writes: Sequence[StreamBatch], connection_id: int) -> None:
    """Store all streams' shares, statement by statement, then what they do to the measures."""
    insert_many(RecordChange, _OF_CHANGE, [row for one in writes for row in one.history])
    current = [row for one in writes for row in one.current.values() if row]
    insert_many(Record, _OF_RECORD, current, _OF_KEY)
    execute_many(
        "DELETE FROM records WHERE stream_id = ? AND key = ?",
        [(one.id, key) for one in writes for key, row in one.current.items() if row is None],
    )
    insert_many(RetainedSizeRecord, _OF_TOUCHED, [row for one in writes for row in one.rollups()], _OF_KEY)
    execute_many(
        "UPDATE records SET table_version = ?, record_time = ? WHERE stream_id = ? AND key = ?",
        [
            (one.heads[key].table_version, one.heads[key].record_time, one.id, key)
            for one in writes
            for key in one.noted
            if one.current.get(key, True)
        ],
    )
    execute_many(_UPDATE_STREAM, [one.stream_row() for one in writes])
    changed = [one for one in writes if one.history or one.noted or one.has_new_time_field]
    if changed:
        deltas.record(connection_id, {one.id: one.delta for one in changed})
    for one in writes:
        for key in one.unsure.intersection(one.current):
            marks.mark_rollups(one.id, connection_id, key)


_LIVE = (
    "SELECT key, version, json_bytes, data, table_version, record_time, has_rollup, emitted_at, "
    "ingested_at FROM records WHERE stream_id = ? AND key"
)
_WITH_ROLLUP = (
    "SELECT key, version, record_history_count, record_history_json_bytes, blob_count, blob_bytes "
    "FROM retained_size_record WHERE stream_id = ? AND key"
)
_DELETED = "SELECT version, emitted_at, ingested_at FROM record_changes WHERE stream_id = ? AND version"
_FORGET_TIMES = "UPDATE records SET record_time = NULL WHERE stream_id = ? AND record_time IS NOT NULL"
_SENT = (
    "record_time_field",
    "record_time_field_since",
    "undated_records",
    "rejected_table_version",
    "rejected_unversioned",
    "rejections_seen",
)
_UPDATE_STREAM = (
    "UPDATE streams SET last_version = ?, last_ingested_at = ?, last_contact_at = ?, key_schema = ?, "
    f"respelled_keys = ?, {', '.join(f'{name} = ?' for name in _SENT)} WHERE id = ?"
)


_OF_KEY = ("stream_id", "key")
_OF_VERSION = ("stream_id", "version", "key", "data", "json_bytes", "emitted_at", "ingested_at")
_OF_CHANGE = (*_OF_VERSION, "previous_version")
_OF_RECORD = (*_OF_VERSION, "table_version", "record_time", "has_rollup")
_OF_TOUCHED = ("stream_id", "key", "version", "changed_at", *MEASURE_NAMES)
