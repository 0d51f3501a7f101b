"""What counts as unchanged: whether a key's history holds an event already.

An event is a key with its `emitted_at` and its content, or a delete.  The rules are in
docs/decisions.md, "Sending again"; their numbers are used below.  An event that is newer than the
current version never needs a history, so an ordinary import reads none.
"""

from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple, Protocol

from ..database import fetch_each, fetch_version_chains
from ..parsing.messages import Change

_NEWEST = 2**63


class Head(Protocol):
    """A key's current version; `time` is when it was emitted or else arrived, `data` None for a delete."""

    @property
    def version(self) -> int: ...
    @property
    def data(self) -> str | None: ...
    @property
    def emitted_at(self) -> str | None: ...
    @property
    def time(self) -> str: ...
    @property
    def has_rollup(self) -> bool: ...


class _Version(NamedTuple):
    """Ordered by time, and by version where two have the same."""

    time: str
    version: int
    emitted_at: str | None
    size: int
    deleted: bool


@dataclass
class History:
    """The versions of one key.  Contents are loaded only of those that an event may be equal to."""

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
            return True  # 5; a pruned version that was in effect then (4) is one of these
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
        """Whether a version, or the latest pruned one, which is older than all, has the event's content."""
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
        """The versions whose content may decide about an event: those as long as it."""
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
        self, stream_id: int, heads: Mapping[str, Head], events: Mapping[str, list[Change]], now: str
    ) -> None:
        # A new key with one event, as most have in a first import, has no history to look for.
        asked = {key: of_key for key, of_key in events.items() if len(of_key) > 1 or key in heads}
        replays = {key for key, of_key in asked.items() if _may_be_replay(heads.get(key), of_key)}
        needed = [
            key
            for key, of_key in asked.items()
            if key in replays or _needs_history(heads.get(key), of_key, now)
        ]
        self._histories = _load(stream_id, heads, {key: events[key] for key in needed})
        self.replayed = {
            key
            for key in replays
            if self._histories[key].ends_with(_without_repeats(heads[key], events[key]))
        }

    def is_unchanged(self, event: Change, head: Head | None) -> bool:
        """Rules 2 to 5; `head` is the key's current version, those of this batch included."""
        if event.data == (head.data if head else None):
            return True
        if head is None or event.emitted_at is None or event.emitted_at >= head.time:
            return False
        return self._histories[event.key].holds(event)

    def add(self, key: str, head: Head, size: int) -> None:
        """A version that the batch adds."""
        if found := self._histories.get(key):
            found.add(head.version, head.time, head.emitted_at, head.data, size)


def _may_be_replay(head: Head | None, events: Sequence[Change]) -> bool:
    """Whether rule 1 is worth a look; of one event, rule 2 says the same."""
    if head is None or len(events) < 2 or events[-1].data != head.data:
        return False
    return _without_repeats(head, events)[-1].emitted_at in (None, head.emitted_at)


def _needs_history(head: Head | None, events: Sequence[Change], now: str) -> bool:
    if len(events) == 1 and events[0].data == (head.data if head else None):
        return False
    latest = head.time if head else ""
    for event in events:
        if event.emitted_at is not None and event.emitted_at < latest:
            return True
        latest = max(latest, event.emitted_at or now)
    return False


def _without_repeats(head: Head, events: Sequence[Change]) -> list[Change]:
    """What the first run will have stored of the events: of equal ones in a row, the first.

    One that is newer than the current version is never left out: it has to take effect.
    """
    found = [events[0]]
    for event in events[1:]:
        is_newer = event.emitted_at is not None and event.emitted_at > head.time
        if is_newer or event.data != found[-1].data:
            found.append(event)
    return found


def _load(
    stream_id: int, heads: Mapping[str, Head], events: Mapping[str, Sequence[Change]]
) -> dict[str, History]:
    histories: dict[str, History] = {}
    of_head = {heads[key].version: key for key in events if key in heads and heads[key].has_rollup}
    for key in events:
        histories[key] = found = History()
        head = heads.get(key)
        if head and not head.has_rollup:
            found.add(head.version, head.time, head.emitted_at, head.data, len((head.data or "").encode()))
    for head_version, *row in fetch_version_chains(_COLUMNS, stream_id, list(of_head)):
        found = histories[of_head[head_version]]
        version, emitted_at, ingested_at, size, deleted, pruned_at, digest = row
        found.versions.append(_Version(emitted_at or ingested_at, version, emitted_at, size, bool(deleted)))
        if pruned_at and pruned_at > found.pruned_at:
            found.pruned_at, found.pruned_digest = pruned_at, digest
    wanted: dict[int, History] = {}
    for key in of_head.values():
        histories[key].versions.sort()
        wanted |= dict.fromkeys(histories[key].candidates(events[key]), histories[key])
    for version, data in fetch_each(_CONTENT, [stream_id], list(wanted)):
        wanted[version].contents[version] = data
    return histories


_COLUMNS = (
    "version", "emitted_at", "ingested_at", "json_bytes", "data IS NULL", "pruned_at", "pruned_digest"
)  # fmt: skip
_CONTENT = "SELECT version, data FROM record_changes WHERE stream_id = ? AND version"
