"""Sending again: what counts as unchanged, by rules that are written out here a second time.

`Naive` follows docs/decisions.md, "Sending again", on plain lists: it never forgets a version, and
knows which ones were pruned.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pdpp_ref.canonical import importer, records, retention
from pdpp_ref.parsing.messages import Change
from pdpp_ref.services import reconcile
from tests.support.factories import DatabaseProbe, statements, write

pytestmark = pytest.mark.usefixtures("app")

HOUR = "2020-01-01T{:02}:00:00.000Z"


def at(hour: int, data: str | None, key: str = "k") -> Change:
    return Change("notes", key, data, emitted_at=HOUR.format(hour))


def versions(probe: DatabaseProbe) -> list[tuple[object, ...]]:
    return probe("SELECT key, data, emitted_at FROM record_changes ORDER BY stream_id, version")


README = b"""\
{"type":"RECORD","stream":"notes","key":"n1","data":{"text":"hello"},"emitted_at":"2026-01-31T08:00:00Z"}
{"type":"RECORD","stream":"notes","key":"n2","data":{"text":"again"}}
{"type":"RECORD","stream":"notes","key":"n1","op":"delete"}
"""


def test_the_three_lines_of_the_readme_three_times_add_nothing(probe: DatabaseProbe) -> None:
    for _ in range(3):
        importer.Importer(records.Target("laptop", "laptop"), print, print).run(iter(README.splitlines()))
        (size,) = probe(
            "SELECT record_history_json_bytes + current_record_json_bytes FROM retained_size_global"
        )
        assert size == (48,)
    assert probe("SELECT COUNT(*) FROM record_changes") == [(3,)]


def test_an_import_that_was_killed_and_run_again_has_the_history_of_one_run(probe: DatabaseProbe) -> None:
    events = [at(1, "1"), at(2, "2", "other"), at(3, "3"), at(4, None), at(5, "5"), at(6, "6", "other")]
    for cut in range(len(events) + 1):
        for event in events[:cut]:
            write(event)
        for event in events:
            write(event)
        assert len(versions(probe)) == 6


def test_pruned_versions_are_remembered_after_a_rebuild(probe: DatabaseProbe) -> None:
    """A rebuild derives no rollup for a key with one version, which may have had more."""
    events = [at(1, "1"), at(2, "2"), at(3, "3")]
    write(*events)
    retention.prune(1)
    reconcile.begin_rebuild(lambda: None)
    reconcile.finish_rebuild()
    for event in events:
        assert write(event).unchanged == 1
    assert versions(probe) == [("k", "3", HOUR.format(3))]


def test_an_event_newer_than_the_current_version_always_takes_effect(probe: DatabaseProbe) -> None:
    write(at(1, "a"), at(2, "b"))
    assert write(at(3, "a")) == records.Counts(updated=1), "though the history has this content"
    assert probe("SELECT data FROM records") == [("a",)]


def test_what_a_source_reads_again_every_night_adds_nothing(probe: DatabaseProbe) -> None:
    """Whatever time it says: the content is that of the current version (rule 2)."""
    write(at(1, "a"))
    assert write(at(9, "a")) == records.Counts(unchanged=1)
    assert write(Change("notes", "k", "a")) == records.Counts(unchanged=1)
    assert len(versions(probe)) == 1


def test_an_older_event_that_the_first_run_found_unchanged_is_so_again(probe: DatabaseProbe) -> None:
    """Rule 4: `a` at 2 was the current content then, and is not a version of its own."""
    for _ in range(2):
        for event in (at(1, "a"), at(2, "a"), at(3, "b")):
            write(event)
    assert [row[1] for row in versions(probe)] == ["a", "b"]


def test_an_older_event_is_held_next_to_another_of_the_same_time(probe: DatabaseProbe) -> None:
    """Rule 3: `a` is in the history, though `b` was in effect from the same moment on."""
    write(at(2, "a"), at(2, "b"), at(5, "c"))
    assert write(at(2, "a")) == records.Counts(unchanged=1)
    assert len(versions(probe)) == 3


def test_an_older_event_that_the_history_does_not_hold_is_a_new_version(probe: DatabaseProbe) -> None:
    write(at(1, "a"), at(5, "b"))
    assert write(at(3, "c")) == records.Counts(updated=1)


def test_pruned_versions_do_not_come_back(probe: DatabaseProbe) -> None:
    events = [at(1, "a"), at(2, "b"), at(3, None), at(4, "d")]
    for event in events:
        write(event)
    retention.prune(1)
    for event in events:
        assert write(event) == records.Counts(unchanged=1)
    assert versions(probe) == [("k", "d", HOUR.format(4))]


def test_untimed_events_of_one_file_again_add_nothing(probe: DatabaseProbe) -> None:
    """Rule 1.  Of equal events in a row the first run stores one; without that, it would grow for ever."""
    events = [Change("notes", "k", data) for data in ("a", "a", "b", None, None, "a")]
    write(*events)
    assert [row[1] for row in versions(probe)] == ["a", "b", None, "a"]
    for _ in range(2):
        assert write(*events) == records.Counts(unchanged=6)
    assert len(versions(probe)) == 4


def test_an_event_in_a_repeated_file_that_is_newer_takes_effect(probe: DatabaseProbe) -> None:
    write(at(1, "a"), at(3, "b"))
    assert write(at(1, "a"), at(9, "a"), at(3, "b")).updated == 1
    assert probe("SELECT data FROM records") == [("a",)]


def test_a_newer_event_reads_no_history(probe: DatabaseProbe) -> None:
    for hour in range(1, 6):
        write(at(hour, str(hour)))
    with statements() as seen:
        write(at(6, "6"), at(7, "7"))
    assert not [
        sql for sql in seen if sql.lstrip("( ").startswith(("SELECT", "WITH")) and "record_changes" in sql
    ]
    with statements() as seen:
        write(at(2, "2"), at(3, "3"), at(1, "9"))
    assert len([sql for sql in seen if sql.startswith("WITH")]) == 1, "and an older one reads it once"


# ---- any history -------------------------------------------------------------------------------


@dataclass
class Version:
    data: str | None
    time: int
    pruned: bool = False


@dataclass
class Naive:
    """One key, all of whose events have times."""

    versions: list[Version] = field(default_factory=list)

    @property
    def data(self) -> str | None:
        return self.versions[-1].data if self.versions else None

    def import_(self, batch: Sequence[tuple[int, str | None]]) -> None:
        if not self._is_replay(batch):
            for time, data in batch:
                if not self._is_unchanged(time, data):
                    self.versions.append(Version(data, time))

    def _is_replay(self, batch: Sequence[tuple[int, str | None]]) -> bool:
        """Of equal events in a row the first counts, and one that is newer than all that is stored."""
        if len(batch) < 2 or not self.versions:
            return False
        sent = [batch[0]]
        for time, data in batch[1:]:
            if data != sent[-1][1] or time > self.versions[-1].time:
                sent.append((time, data))
        stored = [each for each in self.versions if not each.pruned]
        return [(each.time, each.data) for each in stored[-len(sent) :]] == sent

    def _is_unchanged(self, time: int, data: str | None) -> bool:
        if data == self.data:
            return True
        if not self.versions or time >= self.versions[-1].time:
            return False
        if any((each.time, each.data) == (time, data) for each in self.versions if not each.pruned):
            return True
        pruned = max((each.time for each in self.versions if each.pruned), default=-1)
        known = [each for each in self.versions if not each.pruned or each.time == pruned]
        at_time = [each for each in known if each.time <= time]
        in_effect = max(at_time, key=lambda each: each.time, default=None)
        latest = [each for each in at_time if in_effect and each.time == in_effect.time]
        if (latest[-1].data if latest else None) == data:
            return True
        return time <= pruned

    def prune(self, keep: int) -> None:
        for each in [each for each in self.versions if not each.pruned][:-keep]:
            each.pruned = True


# The database stays the same; each history has a key of its own.
FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
datas = st.sampled_from([None, '"a"', '"b"', '"c"'])
increasing = st.lists(st.tuples(st.integers(1, 3), datas), min_size=1, max_size=10)


def timed(steps: Sequence[tuple[int, str | None]]) -> list[tuple[int, str | None]]:
    times, now = [], 0
    for step, data in steps:
        now += step
        times.append((now, data))
    return times


def batches(
    events: Sequence[tuple[int, str | None]], chance: random.Random
) -> Iterator[Sequence[tuple[int, str | None]]]:
    start = 0
    while start < len(events):
        size = chance.randint(1, 4)
        yield events[start : start + size]
        start += size


def send(key: str, batch: Sequence[tuple[int, str | None]]) -> records.Counts:
    return write(*(Change("notes", key, data, emitted_at=_time(time)) for time, data in batch))


def _time(time: int) -> str:
    return f"2020-01-01T00:00:00.{time:03}Z"


def stored(probe: DatabaseProbe, key: str) -> list[tuple[object, ...]]:
    return probe("SELECT data, emitted_at FROM record_changes WHERE key = ? ORDER BY version", key)


_numbers = count()


@pytest.mark.slow
@settings(FEW)
@given(steps=increasing, keep=st.integers(0, 3), chance=st.randoms(use_true_random=False))
def test_any_part_of_increasing_events_again_changes_nothing(
    probe: DatabaseProbe, steps: list[tuple[int, str | None]], keep: int, chance: random.Random
) -> None:
    events, key = timed(steps), f"key {next(_numbers)}"
    for batch in batches(events, chance):
        send(key, batch)
    if keep:
        retention.prune(keep)
    before = stored(probe, key)
    for _ in range(3):
        first = chance.randrange(len(events))
        again = events[first : chance.randint(first + 1, len(events))]
        for batch in batches(again, chance):
            assert send(key, batch).unchanged == len(batch)
    assert stored(probe, key) == before


@pytest.mark.slow
@settings(FEW)
@given(
    acts=st.lists(
        st.integers(1, 3) | st.lists(st.tuples(st.integers(1, 9), datas), min_size=1, max_size=4),
        max_size=8,
    )
)
def test_any_events_in_any_order_are_taken_by_the_rules(
    probe: DatabaseProbe, acts: list[int | list[tuple[int, str | None]]]
) -> None:
    """And one that is newer than all before it always takes effect."""
    naive, key = Naive(), f"key {next(_numbers)}"
    for act in acts:
        if isinstance(act, int):
            retention.prune(act)
            naive.prune(act)
            continue
        newest = naive.versions[-1].time if naive.versions else 0
        send(key, act)
        naive.import_(act)
        expected = [(each.data, _time(each.time)) for each in naive.versions if not each.pruned]
        assert stored(probe, key) == expected
        if act[-1][0] > max([newest, *(time for time, _ in act[:-1])]):
            assert naive.data == act[-1][1]
