"""One stream's share of a write, worked out in memory before any of it is stored."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..database import execute, fetch_value
from ..models import StoredStream
from ..parsing.messages import Change, Exported, time_in
from ..projection import ranked
from ..projection.deltas import Delta
from ..timestamps import utc_now
from . import restoring, unchanged
from .key_schema import StreamKeys
from .key_states import KeyState, StoredKeys, load_key_states
from .outcomes import Counts, Rejection

NO_TIME = ""  # for a record without a time, sent again after its time field was declared

Row = tuple[Any, ...]


@dataclass
class StreamBatch:
    """One stream's share of one write, worked out in memory before any of it is stored.

    `stream` is the stream's row, which is locked; changes to it are stored with the rest.
    """

    stream: StoredStream
    counts: Counts = field(default_factory=Counts)
    delta: Delta = field(default_factory=Delta)
    refused: list[tuple[int, str]] = field(default_factory=list)
    history: list[Row] = field(default_factory=list)
    # Each key's new row, or None for a delete: only its last version in this write is current.
    current: dict[str, Row | None] = field(default_factory=dict)
    # Keys whose data stays, but whose table version or record time changes.
    metadata_only: set[str] = field(default_factory=set)
    # (pruned_at, pruned_digest, stream, version) of restored versions with the mark of pruned ones.
    pruned: list[Row] = field(default_factory=list)
    # New rows of blob_bindings, by key and digest.
    bound: dict[tuple[str, str], Row] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.id = self.stream.id
        self.has_new_time_field = False
        self.states: dict[str, KeyState] = {}
        self.live: set[str] = set()  # keys of records that are live before this write
        # The changes to plan, and those whose version is stored under its number.
        self.fitting: Sequence[Change] = ()
        self.stored: Sequence[Change] = ()
        # Those to plan, by key; and all keys with those to be made, in the order that an index has them.
        self.events: dict[str, list[Change]] = {}
        self.in_order: dict[str, list[Change]] = {}
        # Keys whose rollup is lost, or exists although the record does not say so.
        self.wrong_rollups: set[str] = set()
        self.left: set[int] = set()  # the blocks that ranked records were taken out of
        self.version = self.stream.last_version
        self.section: restoring.Section | None = None
        self.keys = StreamKeys(self.stream)
        self.now = utc_now()

    # ---- planning the changes ------------------------------------------------------------------

    def reject(self, rejections: Iterable[Rejection]) -> None:
        """Record lines that were not stored: their table version must not be activated."""
        for each in rejections:
            if each.table_version is None:
                self.stream.rejected_unversioned = True
            else:
                known = self.stream.rejected_table_version
                newest = each.table_version if known is None else max(known, each.table_version)
                self.stream.rejected_table_version = newest

    def accept(self, changes: Sequence[Change], section: restoring.Section | None = None) -> None:
        """Take the changes that are to be planned, in order; those that don't fit the stream are `refused`.

        `section` is that of the export they come from, if there is one.
        """
        fitting = self.keys.accepted(changes, self.refused)
        self.reject(Rejection(table_version=changes[place].table_version) for place, _ in self.refused)
        if section is not None:
            self.section, fitting, self.stored = restoring.place(section, self.stream, fitting)
        self.fitting = fitting
        self._declare_time_field(fitting)
        for change in fitting:
            self.events.setdefault(change.key, []).append(change)
        by_key = {change.key: [change] for change in self.stored} | self.events
        self.in_order = {key: by_key[key] for key in sorted(by_key)}

    def plan(self, found: StoredKeys) -> None:
        """Plan the changes; `found` is what is stored of their keys."""
        self.states, self.wrong_rollups = found
        self.live = {key for key, state in self.states.items() if state.data is not None}
        self.batch = unchanged.Batch(self.id, self.states, self.events, self.now)
        for change in self.stored:
            self._plan_stored(change)
        for change in self.fitting:
            self._plan(change)
        if self.section is not None:
            self.section = replace(self.section, through=self.version)

    def _plan_stored(self, change: Change) -> None:
        """A version that is stored under its number: only what is not part of a version may differ."""
        self.counts.unchanged += 1
        before = self.states.get(change.key)
        is_current = before and change.exported and before.version == change.exported.version
        if before is not None and is_current and before.data is not None:
            is_undated = self.section and self.section.is_declared and change.record_time is None
            self._update_metadata(change, before, is_undated=bool(is_undated))

    def _plan(self, change: Change) -> None:
        before = self._state_of(change.key)
        if change.exported is not None and change.exported.version is not None:
            self._restore(change, change.exported, before)
        elif before is None and change.data is not None:
            self._upsert(change, change.data, None)
        elif change.key in self.batch.replayed or self.batch.is_unchanged(change, before):
            self.counts.unchanged += 1
            if before is not None and before.data is not None and change.data is not None:
                self._update_metadata(change, before)
        elif change.data is None:
            self.counts.deleted += 1
            self._delete(change, before)
        else:
            self._upsert(change, change.data, before)

    def _restore(self, change: Change, exported: Exported, before: KeyState | None) -> None:
        """Add a version under the number that it has in an export."""
        self.version = (exported.version or 0) - 1
        if change.data is None:
            self.counts.deleted += 1
            self._delete(change, before)
        else:
            self._upsert(change, change.data, before)
            state = self._state_of(change.key)
            if state is not None and self._is_undated(state):
                self.stream.undated_records += 1
        if exported.pruned_at is not None:
            self.pruned.append((exported.pruned_at, exported.pruned_digest, self.id, self.version))

    def _update_metadata(self, change: Change, before: KeyState, *, is_undated: bool = False) -> None:
        """The table version and record time sent with data that is stored already.

        An older event does not date a newer record, nor does one that `is_undated` itself.
        """
        sent = [each for each in (before.table_version, change.table_version) if each is not None]
        seen = max(sent, default=None)
        time = before.record_time
        if time is None and not is_undated and change.data == before.data and self._is_undated(before):
            time = self._time_of(change) or NO_TIME
            self.stream.undated_records -= 1
        if (seen, time) != (before.table_version, before.record_time):
            self.metadata_only.add(change.key)
            before.table_version, before.record_time = seen, time

    def _state_of(self, key: str) -> KeyState | None:
        """The state of a key now; that of a new record is made only if its key is needed again."""
        state = self.states.get(key)
        if state is None and (row := self.current.get(key)) is not None:
            _, version, _, data, size, emitted_at, arrived_at, table_version, time, has_rollup, _ = row
            state = self.states[key] = KeyState(
                version,
                size,
                data,
                table_version,
                time,
                has_rollup,
                emitted_at,
                emitted_at or arrived_at,
                1,
                size,
            )
        return state

    def _delete(self, change: Change, before: KeyState | None) -> None:
        if before is not None and before.data is not None:
            self._is_replaced(change.key, before)
        self._append(change, None, 0, before)
        self._note_state(change, None, 0, before)
        self.current[change.key] = None

    def _upsert(self, change: Change, data: str, before: KeyState | None) -> None:
        if before is None or before.data is None:
            self.counts.created += 1
        else:
            self.counts.updated += 1
            self._is_replaced(change.key, before)
        size = len(data) if data.isascii() else len(data.encode())
        time = self._time_of(change)
        has_rollup = before is not None or _is_pruned(change)
        self._append(change, data, size, before)
        self.delta.add_current(size)
        if has_rollup or self.batch.has_history(change.key):
            self._note_state(change, data, size, before, time)
        self.current[change.key] = (
            self.id,
            self.version,
            change.key,
            data,
            size,
            change.emitted_at,
            self.now,
            change.table_version,
            time,
            has_rollup,
            has_rollup,  # whether it is ranked; see `rank` for one without a rollup
        )

    def _is_replaced(self, key: str, before: KeyState) -> None:
        self._take_out(key, before)
        self.delta.remove_current(before.version, before.size)
        if self._is_undated(before):
            self.stream.undated_records -= 1

    def _take_out(self, key: str, before: KeyState) -> None:
        """The record leaves the ranking of those without a rollup; so may one whose flag is wrong."""
        if before.ranked and (not before.has_rollup or key in self.wrong_rollups):
            self.left.add(ranked.block_of(before.version))
            before.ranked = False

    def _append(self, change: Change, data: str | None, size: int, before: KeyState | None) -> None:
        """Add a version."""
        self.version += 1
        previous = before.version if before is not None else None
        row = (self.id, self.version, change.key, data, size, change.emitted_at, self.now, previous)
        self.history.append(row)
        self.delta.add_version(size)

    def _note_state(
        self, change: Change, data: str | None, size: int, before: KeyState | None, time: str | None = None
    ) -> None:
        """The key's state after the version that was added; a new record has one only once it is needed."""
        state = KeyState(
            self.version,
            size,
            data,
            change.table_version,
            time,
            before is not None or data is None or _is_pruned(change),
            change.emitted_at,
            change.emitted_at or self.now,
            1,
            size,
        )
        if before is not None:
            state.versions += before.versions
            state.history += before.history
            state.blob_count, state.blob_bytes = before.blob_count, before.blob_bytes
        self.states[change.key] = state
        self.batch.add(change.key, state, size)

    # ---- files ---------------------------------------------------------------------------------

    def live_upserts(self) -> dict[str, str]:
        """The data of the keys of upserts, unchanged ones included, that are live afterwards."""
        changes = (*self.stored, *self.fitting)
        upserts = {change.key: change.data for change in changes if change.data is not None}
        return {
            key: data
            for key, data in upserts.items()
            if (state := self._state_of(key)) and state.data is not None
        }

    def bind(self, key: str, sha256: str, size: int, mime_type: str | None, json_path: str | None) -> None:
        """Plan to bind a file to a live record that does not have it."""
        state = self._state_of(key)
        assert state is not None, "only a live record is bound to a file"
        self._take_out(key, state)
        state.has_rollup = True
        state.blob_count += 1
        state.blob_bytes += size
        self.delta.add_files(state.version, 1, size)
        row = (self.id, key, sha256, state.version, size, self.now, mime_type, json_path)
        self.bound[key, sha256] = row
        if current := self.current.get(key):
            self.current[key] = (*current[:-2], True, True)

    @property
    def bound_keys(self) -> set[str]:
        return {key for key, _ in self.bound}

    # ---- record times --------------------------------------------------------------------------

    def _declare_time_field(self, changes: Sequence[Change]) -> None:
        """The last declaration applies to the whole write, and from then on.

        Times from another field are discarded.
        """
        declared = [each.record_time_field for each in changes if each.record_time_field is not None]
        if not declared or declared[-1] == self.stream.record_time_field:
            return
        if self.stream.record_time_field is not None:
            execute(
                """
                UPDATE records
                SET record_time = NULL
                WHERE stream_id = ? AND record_time IS NOT NULL
                """,
                [self.id],
            )
        self.has_new_time_field = True
        self.stream.record_time_field = declared[-1]
        self.stream.record_time_field_since = self.version
        self.stream.undated_records = fetch_value(
            "SELECT COUNT(*) FROM records WHERE stream_id = ?", [self.id]
        )

    def _time_of(self, change: Change) -> str | None:
        declared = self.stream.record_time_field
        if declared is None or change.record_time_field == declared or change.data is None:
            return change.record_time
        return time_in(change.data, declared)

    def _is_undated(self, before: KeyState) -> bool:
        """Whether a record was stored before the field was declared, and was not sent again."""
        return (
            before.record_time is None
            and self.stream.record_time_field is not None
            and before.version <= self.stream.record_time_field_since
        )

    # ---- activation ----------------------------------------------------------------------------

    def may_activate(self, version: int, unattributed: int) -> bool:
        """Whether no line of this table version, or of a later one, was rejected.

        Lines whose version is not known are counted to the version that is activated next;
        `unattributed` counts those of the connection whose stream is not known either.
        """
        stream = self.stream
        if stream.rejected_unversioned or stream.rejections_seen < unattributed:
            self.reject([Rejection(table_version=version)])
            stream.rejected_unversioned, stream.rejections_seen = False, unattributed
        return stream.rejected_table_version is None or stream.rejected_table_version < version

    def remove_older(self, keys: Sequence[str], version: int) -> None:
        """Plan to delete those of the records with an older table version; those without one stay."""
        self.in_order = events = {key: [Change(self.stream.name, key, None)] for key in sorted(keys)}
        self.states, self.wrong_rollups = load_key_states({self.id: events})[self.id]
        self.batch = unchanged.Batch(self.id, {}, {}, self.now)
        for key, (gone,) in events.items():
            state = self.states.get(key)
            if state and state.table_version is not None and state.table_version < version:
                self.counts.removed += 1
                self._delete(gone, state)

    # ---- rows to store -------------------------------------------------------------------------

    def stream_values(self) -> Row:
        """The values of `_store_streams`."""
        stream = self.stream
        return (
            self.version,
            self.now if self.history else stream.last_ingested_at,
            self.now,
            *self.keys.stored(),
            stream.record_time_field,
            stream.record_time_field_since,
            stream.undated_records,
            stream.rejected_table_version,
            stream.rejected_unversioned,
            stream.rejections_seen,
            stream.largest_sizes,
            self.id,
        )

    def rank(self) -> set[int]:
        """The versions of its new records that are ranked."""
        new = [row for row in self.current.values() if row is not None and not row[-2]]
        new.sort(key=ranked.version_of)
        chosen, largest = ranked.choose(self.stream.largest_sizes, new)
        is_known = ranked.block_of(self.version) not in self.left
        self.stream.largest_sizes = largest if is_known else ""
        return chosen

    def rollups(self) -> Iterator[Row]:
        """Rows of RetainedSizeRecord, for the keys of this write that have or need one."""
        bound = self.bound_keys
        for key, state in self.states.items():
            if state.has_rollup and (key in self.current or key in bound):
                measures = (state.versions, state.history, state.blob_count, state.blob_bytes)
                is_live = int(state.data is not None)
                yield (self.id, key, state.version, self.now, is_live, state.size, *measures)

    def metadata_rows(self) -> Iterator[Row]:
        """The values of `_store_metadata`; a record that is deleted needs none."""
        for key in self.metadata_only:
            if self.current.get(key, True):
                state = self.states[key]
                yield (state.table_version, state.record_time, self.id, key)

    def changes_measures(self) -> bool:
        return bool(self.history or self.metadata_only or self.has_new_time_field or self.bound)


def _is_pruned(change: Change) -> bool:
    """Whether a version before this one was pruned from the key where an export comes from."""
    return change.exported is not None and change.exported.pruned_at is not None
