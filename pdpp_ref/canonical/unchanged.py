"""Finding events that are stored already: they count as unchanged.

An event is a key with its `emitted_at` and its content, or a delete.  The rules are in
docs/decisions.md, "Sending again"; their numbers are used below.  An event that is newer than the
current version never needs a history, so an ordinary import reads none.
"""

from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

from ..database import fetch_each, fetch_version_chains
from ..parsing.messages import Change
from .key_states import KeyState

_NEWEST = 2**63


class _Version(NamedTuple):
    """Ordered by time, and by version if two have the same time."""

    time: str
    version: int
    emitted_at: str | None
    size: int
    deleted: bool


@dataclass
class History:
    """The versions of one key.  Only contents that an event may be equal to are loaded."""

    versions: list[_Version] = field(default_factory=list)
    contents: dict[int, str | None] = field(default_factory=dict)
    pruned_at: str = ""
    pruned_digest: str = ""

    def add(self, version: int, time: str, emitted_at: str | None, data: str | None, size: int) -> None:
        insort(self.versions, _Version(time, version, emitted_at, size, data is None))
        self.contents[version] = data

    def holds(self, event: Change) -> bool:
        """Rules 3 to 5, for an event that is older than the current version."""
        time = event.emitted_at or ""
        if time <= self.pruned_at:
            return True  # 5; this includes a pruned version that was in effect then (4)
        before = bisect_right(self.versions, (time, _NEWEST))
        if before == 0:
            return self._was(event, None)
        if self._was(event, self.versions[before - 1]):
            return True  # 4
        place = before - 1
        while place >= 0 and self.versions[place].time == time:
            if self._was(event, self.versions[place]):
                return True  # 3
            place -= 1
        return False

    def _was(self, event: Change, version: _Version | None) -> bool:
        """Whether a version, or the latest pruned one if that is newer, has the event's content."""
        if version is None or self.pruned_at > version.time:
            digest = sha256(event.data.encode()).hexdigest() if event.data is not None else ""
            return digest == self.pruned_digest
        if version.deleted or event.data is None:
            return version.deleted and event.data is None
        return self.contents.get(version.version) == event.data

    def ends_with(self, events: Sequence[Change]) -> bool:
        """Rule 1."""
        newest = sorted(self.versions, key=lambda one: -one.version)[: len(events)]
        return len(newest) == len(events) and all(
            event.emitted_at in (None, version.emitted_at) and self._is(event, version)
            for event, version in zip(reversed(events), newest, strict=True)
        )

    def _is(self, event: Change, version: _Version) -> bool:
        if event.data is None or version.deleted:
            return version.deleted and event.data is None
        return self.contents.get(version.version) == event.data

    def candidates(self, events: Sequence[Change]) -> Iterable[int]:
        """The versions whose content may equal an event's: those of the same length."""
        by_size: dict[int, list[Change]] = {}
        for event in events:
            if event.data is not None:
                by_size.setdefault(len(event.data.encode()), []).append(event)
        if not by_size:
            return
        times = {event.emitted_at for event in events}
        in_effect = {
            self.versions[place - 1].version
            for time in times
            if time and (place := bisect_right(self.versions, (time, _NEWEST)))
        }
        newest = {one.version for one in sorted(self.versions, key=lambda one: -one.version)[: len(events)]}
        for one in self.versions:
            if one.size in by_size and (one.version in in_effect | newest or one.time in times):
                yield one.version


class Batch:
    """A batch's events of one stream, by key, and the histories that some of them need."""

    def __init__(
        self, stream_id: int, states: Mapping[str, KeyState], events: Mapping[str, list[Change]], now: str
    ) -> None:
        # A new key with one event, the usual case in a first import, has no history.
        asked = {key: of_key for key, of_key in events.items() if len(of_key) > 1 or key in states}
        replays = {key for key, of_key in asked.items() if _may_be_replay(states.get(key), of_key)}
        needed = [
            key
            for key, of_key in asked.items()
            if key in replays or _needs_history(states.get(key), of_key, now)
        ]
        self._histories = _load(stream_id, states, {key: events[key] for key in needed})
        self.replayed = {
            key
            for key in replays
            if self._histories[key].ends_with(_without_repeats(states[key], events[key]))
        }

    def is_unchanged(self, event: Change, state: KeyState | None) -> bool:
        """Rules 2 to 5; `state` is the key's, changes of this batch included."""
        if event.data == (state.data if state else None):
            return True
        if state is None or event.emitted_at is None or event.emitted_at >= state.time:
            return False
        return self._histories[event.key].holds(event)

    def has_history(self, key: str) -> bool:
        """Whether versions of the key have to be noted."""
        return key in self._histories

    def add(self, key: str, state: KeyState, size: int) -> None:
        """Note a version that the batch adds."""
        if found := self._histories.get(key):
            found.add(state.version, state.time, state.emitted_at, state.data, size)


def _may_be_replay(state: KeyState | None, events: Sequence[Change]) -> bool:
    """Whether rule 1 may apply; for one event, rule 2 says the same."""
    if state is None or len(events) < 2 or events[-1].data != state.data:
        return False
    return _without_repeats(state, events)[-1].emitted_at in (None, state.emitted_at)


def _needs_history(state: KeyState | None, events: Sequence[Change], now: str) -> bool:
    if len(events) == 1 and events[0].data == (state.data if state else None):
        return False
    latest = state.time if state else ""
    for event in events:
        if event.emitted_at is not None and event.emitted_at < latest:
            return True
        latest = max(latest, event.emitted_at or now)
    return False


def _without_repeats(state: KeyState, events: Sequence[Change]) -> list[Change]:
    """The events that a first run has stored: the first of equal ones in a row.

    An event newer than the current version is never left out: it must take effect.
    """
    stored = [events[0]]
    for event in events[1:]:
        is_newer = event.emitted_at is not None and event.emitted_at > state.time
        if is_newer or event.data != stored[-1].data:
            stored.append(event)
    return stored


def _load(
    stream_id: int, states: Mapping[str, KeyState], events: Mapping[str, Sequence[Change]]
) -> dict[str, History]:
    """The histories of the events' keys, with the contents that may decide about these events."""
    histories = {key: History() for key in events}
    # Even a key with one version may have had more, which were pruned.
    by_version = {states[key].version: key for key in events if key in states}
    _load_versions(stream_id, by_version, histories)
    wanted: dict[int, History] = {}
    for key in by_version.values():
        histories[key].versions.sort()
        wanted |= dict.fromkeys(histories[key].candidates(events[key]), histories[key])
    contents = fetch_each(
        """
        SELECT version, data
        FROM record_changes
        WHERE stream_id = ? AND version = :each
        """,
        [stream_id],
        list(wanted),
    )
    for version, data in contents:
        wanted[version].contents[version] = data
    return histories


def _load_versions(stream_id: int, by_version: Mapping[int, str], histories: Mapping[str, History]) -> None:
    """Fill histories with all stored versions, without contents; `by_version` has their newest ones."""
    for newest, *row in fetch_version_chains(_VERSION_COLUMNS, stream_id, list(by_version)):
        version, emitted_at, ingested_at, size, deleted, pruned_at, digest = row
        history = histories[by_version[newest]]
        time = emitted_at or ingested_at
        history.versions.append(_Version(time, version, emitted_at, size, bool(deleted)))
        if pruned_at and pruned_at > history.pruned_at:
            history.pruned_at, history.pruned_digest = pruned_at, digest


_VERSION_COLUMNS = (
    "version",
    "emitted_at",
    "ingested_at",
    "json_bytes",
    "data IS NULL",
    "pruned_at",
    "pruned_digest",
)
