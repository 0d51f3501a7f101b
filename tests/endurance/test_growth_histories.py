"""Growth against a naive model, over random histories: what was the total at the end of each day?

The model knows the true day of everything, and what the clock said.  A day is reported as the model has it,
or as unknown; and unknown only if its row was dirty at the day's end, or a clock was wrong.
PDPP_TEST_LONG=1 tries many more of them.
"""

import os
import random
from datetime import datetime, timedelta
from typing import NamedTuple

import pytest

from pdpp_ref.canonical import deletion
from pdpp_ref.operations import verify
from pdpp_ref.projection.grains import STREAM
from pdpp_ref.queries import growth
from pdpp_ref.services import reconcile
from tests.support.factories import Calendar, DatabaseProbe, delete, ids, mark, upsert, write

# In history 9 it matters that days are linked.
SEEDS = range(400) if os.environ.get("PDPP_TEST_LONG") == "1" else (0, 9)
STEPS, SHOWN, COMPARED = 40, 90, 4
Place = tuple[str, int]


class Time:
    """What the true time is, and what the clock says."""

    def __init__(self, calendar: type[Calendar]) -> None:
        self.clock, self.true = calendar, calendar.moment

    def proceed(self, days: int, ahead: int = 0) -> None:
        self.true += timedelta(days=days)
        self.clock.moment = self.true + timedelta(days=ahead)


@pytest.fixture(autouse=True)
def _compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "COMPARED_DAYS", COMPARED)


class Moment(NamedTuple):
    """After a step: its true day, the clock's, and of each place its total and its row's generation, and
    which rows were dirty.
    """

    true: str
    clock: str
    totals: dict[Place, int]
    generations: dict[Place, int]
    dirty: set[Place]

    def of(self, place: Place) -> tuple[int, int | None, bool]:
        return self.totals[place], self.generations.get(place), place in self.dirty


class Model:
    def __init__(self, probe: DatabaseProbe, time: Time) -> None:
        self.probe, self.time = probe, time
        self.moments: list[Moment] = []
        self.lost: dict[Place, str] = {}
        self.look()

    def look(self) -> None:
        """Note what there is now, counted apart."""
        live = dict(self.probe("SELECT id, connection_id FROM streams WHERE connection_id IS NOT NULL"))
        streams = {
            key: sum(value for name, value in figures.items() if name.endswith("bytes"))
            for key, figures in self.probe.plain_count().items()
            if key in live
        }
        totals: dict[Place, int] = {("global", 1): sum(streams.values())}
        for (key,) in self.probe("SELECT id FROM connections"):
            totals["connection", key] = 0
        for key, above in self.probe(
            "SELECT id, connection_id FROM streams WHERE connection_id IS NOT NULL"
        ):
            totals["stream", key] = streams[key]
            totals["connection", above] += streams[key]
        dirty, generations = set(), {}
        for grain, key_name in (("global", "id"), ("connection", "connection_id"), ("stream", "stream_id")):
            rows = self.probe(f"SELECT {key_name}, dirty, generation FROM retained_size_{grain}")
            dirty |= {(grain, key) for key, is_dirty, _ in rows if is_dirty}
            generations |= {(grain, key): generation for key, _, generation in rows}
        days = self.time.true.date().isoformat(), self.time.clock.moment.date().isoformat()
        self.moments.append(Moment(*days, totals, generations, dirty))

    def forget_the_gone(self) -> None:
        """A number may be given again: what has it then is something else."""
        there = self.moments[-1].totals
        for place in self.lost.keys() - there.keys():
            del self.lost[place]
        for moment in self.moments:
            for place in moment.totals.keys() - there.keys():
                del moment.totals[place]

    def possible(self, place: Place, day: str) -> set[int]:
        """Every total that may have stood at a day's end, if all that a clock says is between it and the
        truth, and what happened to the place did so in its order.
        """
        moments: list[Moment] = []
        for moment in self.moments:
            if place not in moment.totals or moment.generations.get(place) == 0:
                continue  # nothing has happened to it, so nothing says when that was
            if not moments or moment.of(place) != moments[-1].of(place):
                moments.append(moment)
        starts, ends = [], []
        for moment in moments:
            starts.append(max([min(moment[:2]), *starts[-1:]]))
        for moment in reversed(moments):
            ends.append(min([max(moment[:2]), *ends[-1:]]))
        ends.reverse()
        found = {0} if not ends or ends[0] > day else set()
        for number, moment in enumerate(moments):
            later = ends[number + 1] if number + 1 < len(ends) else "9999"
            if starts[number] <= day < later:
                found.add(moment.totals[place])
        return found

    def may_be_unknown(self, place: Place, day: str) -> bool:
        """It was dirty at the day's end, or lost later, and nobody can tell since when it was."""
        before = [moment for moment in self.moments if moment.true <= day]
        return day < self.lost.get(place, "") or (bool(before) and place in before[-1].dirty)

    def check(self, clock_is_right: bool) -> None:
        today = self.time.true.date().isoformat()
        then = growth.days_before(COMPARED)
        listed = {("connection", key): total for key, total in growth.baselines().items()}
        listed |= {("global", 1): growth.global_baseline()}
        for (key,) in self.probe("SELECT id FROM streams WHERE connection_id IS NOT NULL"):
            listed[("stream", key)] = growth.day_of(STREAM, key, then).total
        assert listed.keys() == self.moments[-1].totals.keys()
        for place in listed:
            reported = days_of(place)
            for day in days_until(today):
                said = [each.total for each in reported if each.day <= day][-1]
                if day == then:
                    assert listed[place] == said, (place, day)
                if said is not None:
                    assert said in self.possible(place, day), (place, day, reported)
                elif clock_is_right:
                    assert self.may_be_unknown(place, day), (place, day, reported)
        assert [each for each in verify.differences() if not each.dirty] == []


def days_of(place: Place) -> list[growth.Day]:
    grain, key = place
    if grain == "stream":
        return growth.days(SHOWN, stream_id=key)
    return growth.days(SHOWN, key if grain == "connection" else None)


def days_until(today: str) -> list[str]:
    last = datetime.fromisoformat(today)
    return [(last - timedelta(days=ago)).date().isoformat() for ago in range(SHOWN - 1, -1, -1)]


def step(chance: random.Random, probe: DatabaseProbe) -> Place | None:
    """Returns what has lost its row."""
    connection, stream = chance.choice(["laptop", "phone"]), chance.choice(["notes", "photos"])
    changes = [
        delete(key, stream) if chance.random() < 0.2 else upsert(key, "x" * chance.randrange(50), stream)
        for key in chance.choices("abcd", k=chance.randint(1, 3))
    ]
    there = probe(
        "SELECT 1 FROM streams s JOIN connections c ON c.id = connection_id "
        "WHERE connector_instance_id = ? AND name = ?",
        connection,
        stream,
    )
    what = chance.choices(
        ["write", "fail", "mark", "delete stream", "delete connection", "lose", "reconcile"],
        [10, 2, 2, 1, 1, 1, 6],
    )[0]
    if what == "reconcile":
        reconcile.run_until_fresh()
    elif what == "fail":
        grain = chance.choice(["stream", "connection", "global"])
        probe.fail(f"UPDATE OF record_count ON retained_size_{grain}")
        write(*changes, connection=connection)
        probe.restore()
    elif what == "mark" and there:
        mark(*chance.choice([(), (connection,), (connection, stream)]))
    elif what == "lose" and there:
        of = ids(connection, stream)
        probe("DELETE FROM retained_size_connection WHERE connection_id = ?", of["connection"])
        mark(connection)
        return "connection", of["connection"]
    elif what == "delete stream" and there:
        deletion.delete_stream(connection, stream)
    elif what == "delete connection" and there:
        deletion.delete_connection(connection)
    else:
        write(*changes, connection=connection)
    return None


def run(seed: int, probe: DatabaseProbe, time: Time, wrong_steps: int) -> None:
    chance = random.Random(seed)
    wrong = chance.sample(range(STEPS), wrong_steps)
    model = Model(probe, time)
    for number in range(STEPS):
        ahead = chance.choice([-400, -6, -1, 1, 6, 40, 400]) if number in wrong else 0
        time.proceed(chance.choice([0, 0, 0, 1, 1, 2, 5]), ahead)
        if lost := step(chance, probe):
            model.lost[lost] = time.true.date().isoformat()
        model.look()
        time.proceed(0)
        model.forget_the_gone()
        model.check(clock_is_right=number < min(wrong, default=STEPS))
    reconcile.run_until_fresh()
    model.look()
    model.check(clock_is_right=not wrong)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_day_is_as_it_was_or_unknown(
    seed: int, probe: DatabaseProbe, calendar: type[Calendar]
) -> None:
    run(seed, probe, Time(calendar), wrong_steps=0)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_wrong_clock_makes_no_wrong_number(
    seed: int, probe: DatabaseProbe, calendar: type[Calendar]
) -> None:
    run(seed, probe, Time(calendar), wrong_steps=1 + seed % 2)
