"""What removing costs: old versions, and whole streams.

Both write their own records, in as many streams as there are measurements: ours removes from one, raw from the next.
"""

import time
from collections.abc import Callable

from pdpp_ref.canonical import deletion, retention
from pdpp_ref.canonical.removal import Removal
from tests.benchmarks import corpus
from tests.benchmarks.figures import Goal, Times, figure, milliseconds, seconds
from tests.benchmarks.places import Place
from tests.support.probe import DatabaseProbe

MEASURED = 3  # at most: each needs records of its own

FIRST_LEFT = """
    SELECT version
    FROM record_changes
    WHERE stream_id = ?
    ORDER BY version DESC
    LIMIT 1 OFFSET ?
"""
PRUNE = "DELETE FROM record_changes WHERE stream_id = ? AND version < ?"
SUBTRACT = (
    "UPDATE retained_size_stream SET record_history_count = record_history_count - ? WHERE stream_id = ?"
)
DELETE = (
    "DELETE FROM records WHERE stream_id = ?",
    "DELETE FROM record_changes WHERE stream_id = ?",
    "DELETE FROM retained_size_stream WHERE stream_id = ?",
    "DELETE FROM streams WHERE id = ?",
)


@figure("prune", other="one DELETE of the same versions", goal=Goal(rate=50_000))
def prune(place: Place) -> Times:
    """Removing nine of ten versions of each record."""
    return _prune_versions(place, 10)


@figure("prune, one of two", other="one DELETE of the same versions")
def prune_one_of_two(place: Place) -> Times:
    """Removing one of two versions of each record: each takes what a record takes."""
    return _prune_versions(place, 2)


@figure("delete a stream", other="one transaction that removes its rows", goal=Goal(seconds=0.05))
def delete(place: Place) -> Times:
    """Until the deletion is acknowledged and complete for every reader; the rows go later, in steps."""
    times = min(place.repeat, MEASURED)
    with place.opened() as raw:
        corpus.write_versions(2 * times, max(place.records // (2 * times), 1), 1)
        ours, other, steps = [], [], _Steps()
        for number in range(times):
            name = f"stream {2 * number}"
            ours.append(seconds(lambda name=name: deletion.delete_stream("bench", name)))
            steps.run(Removal())
            other.append(seconds(lambda number=number: _delete_raw(raw, f"stream {2 * number + 1}")))
        assert raw("SELECT COUNT(*) FROM record_changes") == [(0,)], "a row was left"
    return Times(ours, other, f"rows removed at {place.records / 2 / steps.total:,.0f}/s; {steps}")


class _Steps:
    """How long each step took, in seconds, which is how long it held its locks."""

    def __init__(self) -> None:
        self._all: list[float] = []

    def run(self, removal: Removal) -> None:
        while self.timed(lambda: removal.step(wait=True)):
            pass

    def timed(self, step: Callable[[], bool]) -> bool:
        began = time.perf_counter()
        more = step()
        self.add(time.perf_counter() - began)
        return more

    def add(self, taken: float) -> None:
        self._all.append(taken)

    @property
    def total(self) -> float:
        return sum(self._all)

    def __str__(self) -> str:
        return f"{len(self._all)} steps, the longest {milliseconds(max(self._all))}"


def _prune_versions(place: Place, versions: int) -> Times:
    """Removing all but the newest of so many versions of each record."""
    times = min(place.repeat, MEASURED)
    keys = max(place.records // (2 * times * versions), 1)
    gone = keys * (versions - 1)
    with place.opened() as raw:
        corpus.write_versions(2 * times, keys, versions)
        ours, other, steps = [], [], _Steps()
        for number in range(times):
            one, next_one = f"stream {2 * number}", f"stream {2 * number + 1}"
            ours.append(seconds(lambda one=one: _prune(one, steps)))
            other.append(seconds(lambda one=next_one: _prune_raw(raw, one, keys, gone)))
        assert raw("SELECT COUNT(*) FROM record_changes") == [(2 * times * keys,)], (
            "not the same was pruned"
        )
    return Times(ours, other, str(steps), gone)


def _prune(stream: str, steps: _Steps) -> None:
    last = time.perf_counter()

    def count(_: retention.Pruned) -> None:
        nonlocal last
        now = time.perf_counter()
        steps.add(now - last)
        last = now

    retention.prune(1, "bench", stream, count)


def _prune_raw(raw: DatabaseProbe, stream: str, keys: int, gone: int) -> None:
    ((stream_id,),) = raw("SELECT id FROM streams WHERE name = ?", stream)
    ((first,),) = raw(FIRST_LEFT, stream_id, keys - 1)
    raw("BEGIN")
    raw(PRUNE, stream_id, first)
    raw(SUBTRACT, gone, stream_id)
    raw("COMMIT")


def _delete_raw(raw: DatabaseProbe, stream: str) -> None:
    ((stream_id,),) = raw("SELECT id FROM streams WHERE name = ?", stream)
    raw("BEGIN")
    for sql in DELETE:
        raw(sql, stream_id)
    raw("COMMIT")
