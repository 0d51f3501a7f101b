"""Whatever is being done, a death or a failure at any point of it leaves all or nothing.

Each act of `tests/support/scenarios.py`, on each database, is killed before each statement, and failed at each.  On
SQLite it is killed, cut off from power and failed at each write to the files too; on PostgreSQL it is
killed while each statement is on its way.  PDPP_TEST_LONG=1 tries every point in every way.  In the ordinary
run each act dies and fails at a few points on SQLite, and does one of the two on PostgreSQL.
"""

import itertools
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import TypeVar

import peewee
import pytest

from pdpp_ref import database
from pdpp_ref.canonical.importer import StorageUnavailable
from tests.support.failing_disk import Disk, How
from tests.support.postgres import new_database
from tests.support.scenarios import ACTS, look, perform, settled, small_steps
from tests.support.targets import Before, Database, File, Place, Statement

LONG = os.environ.get("PDPP_TEST_LONG") == "1"
# Of each act: deaths of a kind, failures of one statement, failures of all from one on.
DEATHS, FAILURES, LASTING = (100_000, 100_000, 100_000) if LONG else (2, 3, 2)
REFUSED = (peewee.DatabaseError, database.Busy, database.DatabaseUnusable, StorageUnavailable)

# Children that are forked from a process with neither threads nor a database.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload([__name__])


Way = TypeVar("Way")


class Trial:
    """One act in one place, as often as it takes, from the same beginning."""

    def __init__(self, name: str, place: Place, folder: Path) -> None:
        self.name, self.act, self.place = name, ACTS[name], place
        self.reported = folder / "told.json"
        self.deaths = 0
        place.begin(self.act.begin)
        self.before = look(place)
        perform(self.act, place)
        self.after = look(place)
        self.final = settled(place)

    def ways(self, *ways: Way) -> tuple[Way, ...]:
        """These; in the ordinary run one of them, by turns of acts and places."""
        turn = list(ACTS).index(self.name) // 2 + (self.place.kind == "postgres")
        return ways if LONG else (ways[turn % len(ways)],)

    def again(self) -> None:
        """The beginning."""
        self.place.again()
        self.reported.unlink(missing_ok=True)

    def check(self, what: str) -> None:
        """Nothing is half done, what was acknowledged is, and doing it again gets all the way."""
        found = look(self.place)
        if self.reported.exists():
            assert found == self.after, f"{what}: it had been acknowledged"
        if self.act.is_one:
            assert found in (self.before, self.after), what
        perform(self.act, self.place)
        if self.act.is_one:
            assert look(self.place) == self.after, what
        assert settled(self.place) == self.final, what


def of_each_act(*kinds: str, turn: int) -> pytest.MarkDecorator:
    """Tests of one act in one place come one after the other, as the scope is wider than a test.

    In the ordinary run every other act, from that of this turn on; on PostgreSQL those between.
    """
    cases = [
        (kind, name)
        for kind in kinds
        for number, name in enumerate(ACTS)
        if LONG or (number + (kind == "postgres")) % 2 == turn
    ]
    return pytest.mark.parametrize("begun", cases, ids=" ".join, indirect=True, scope="module")


@pytest.fixture(scope="module")
def begun(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Trial]]:
    """What begins the trial when the first of its tests asks for it: to begin takes longer than such a test."""
    (kind, name), folder = request.param, tmp_path_factory.mktemp("trial")
    with ExitStack() as databases:

        def place() -> Place:
            if kind == "sqlite":
                return File(folder / "test.sqlite3")
            server, own = request.getfixturevalue("server"), f"trial_{os.getpid()}"
            names = (own, f"{own}_copy")
            return Database(*[databases.enter_context(new_database(server, each)) for each in names])

        yield cache(lambda: Trial(name, place(), folder))


@pytest.fixture
def trial(begun: Callable[[], Trial], monkeypatch: pytest.MonkeyPatch) -> Trial:
    small_steps(monkeypatch)
    found = begun()
    found.deaths = 0
    return found


def points(total: int, most: int) -> set[int]:
    """All from 1 to the total, or the first, the last, and some between."""
    most = min(most, total)
    return {1 + place * (total - 1) // max(most - 1, 1) for place in range(most)}


# ---- death -------------------------------------------------------------------------------------


def die(trial: Trial, how: How | None, point: int, *, sent: bool = False, may_end: bool = False) -> None:
    trial.again()
    trial.deaths += bool(point)
    arguments = (trial.name, trial.place, trial.reported, how, point, sent)
    process = processes.Process(target=_act, args=arguments)
    process.start()
    process.join(60)
    lives = not point or how in ("fail", "full")
    expected = {0} if lives else {0, -signal.SIGKILL} if may_end else {-signal.SIGKILL}
    assert process.exitcode in expected


def _act(name: str, place: Place, reported: Path, how: How | None, point: int, sent: bool) -> None:
    """In a process of its own: die at the point, at a statement where no `how` says otherwise.

    What is told, at the time at which a sender would be, is at which point that was.
    """
    disk = Disk(point, how) if how else None
    ordinal = itertools.count(1)

    def before(statement: Statement) -> None:
        number = next(ordinal)
        if disk and number == 1:
            disk.count = 0  # the opening of a database that is there is no part of the act
        elif not disk and number == point:
            if sent:
                statement.send()
            signal.raise_signal(signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patched, suppress(*REFUSED):
        small_steps(patched)
        if how not in ("power", "fail"):  # syncs matter to those
            patched.setitem(database.PRAGMAS, "synchronous", "off")
        perform(ACTS[name], place, before, lambda: reported.write_text(json.dumps(disk and disk.count)))
    if disk and not point:
        reported.write_text(json.dumps([json.loads(reported.read_text()), disk.count]))


@of_each_act("sqlite", "postgres", turn=0)
def test_a_kill_at_any_statement_leaves_all_or_nothing(trial: Trial) -> None:
    total = statements(trial)
    assert total > 2
    for number, point in enumerate(sorted(points(total, DEATHS))):
        by_turns = trial.place.kind == "postgres" and not LONG
        if not by_turns or number % 2 == 0:
            die(trial, None, point)
            trial.check(f"killed at statement {point} of {total}")
        if trial.place.kind == "postgres" and (not by_turns or number % 2):
            die(trial, None, point, sent=True)
            trial.check(f"killed behind statement {point} of {total}")
    print(f"{trial.deaths} deaths at {total} statements")


@of_each_act("sqlite", turn=1)
def test_a_death_at_any_write_leaves_all_or_nothing(trial: Trial) -> None:
    for how in trial.ways("torn", "power"):
        die_at_writes(trial, how)


def die_at_writes(trial: Trial, how: How) -> None:
    die(trial, how, 0)
    acknowledged, total = json.loads(trial.reported.read_text())
    assert 0 < acknowledged < total
    reported = set()
    # Ids are random, so a run may change some pages more or less than another one, and end before the point.
    spread = 2 + total // 20
    for point in sorted(points(total, DEATHS) | {acknowledged + 1}):
        die(trial, how, point, may_end=point > total - spread)
        reported.add(trial.reported.exists())
        if abs(point - acknowledged) > spread:
            assert trial.reported.exists() == (point > acknowledged)
        trial.check(f"{how} at write {point} of {total}")
    assert reported == {False, True}, "deaths before it was acknowledged, and after"
    print(f"{trial.deaths} deaths at {total} writes")


# ---- failure -----------------------------------------------------------------------------------


@of_each_act("sqlite", turn=0)
def test_a_write_to_the_disk_that_fails_loses_nothing_and_lies_about_nothing(trial: Trial) -> None:
    for how in trial.ways("fail", "full"):
        fail_at_writes(trial, how)


def fail_at_writes(trial: Trial, how: How) -> None:
    die(trial, how, 0)
    _, total = json.loads(trial.reported.read_text())
    for point in points(total, FAILURES if how == "fail" else LASTING):
        die(trial, how, point)
        what = f"{how} at write {point} of {total}"
        found = look(trial.place)
        if trial.reported.exists():  # for a delta that fails, the write is kept and a mark stands
            assert settled(trial.place) == trial.final, what
        elif trial.act.is_one:
            assert found in (trial.before, trial.after), what
        perform(trial.act, trial.place)
        assert settled(trial.place) == trial.final, what


def statements(trial: Trial) -> int:
    ordinal = itertools.count()
    trial.again()
    perform(trial.act, trial.place, lambda _: next(ordinal))
    return next(ordinal)


def failing_at(point: int, *, lasting: bool) -> Before:
    ordinal = itertools.count(1)

    def before(statement: Statement) -> None:
        number = next(ordinal)
        if number == point or (lasting and number > point):
            statement.fail(lasting=lasting)

    return before


@of_each_act("sqlite", "postgres", turn=1)
def test_a_failure_at_any_statement_loses_nothing_and_lies_about_nothing(trial: Trial) -> None:
    for lasting in trial.ways(False, True):
        fail_at_statements(trial, lasting=lasting)


def fail_at_statements(trial: Trial, *, lasting: bool) -> None:
    total = statements(trial)
    for point in points(total, LASTING if lasting else FAILURES):
        trial.again()
        acknowledged = True
        try:
            perform(trial.act, trial.place, failing_at(point, lasting=lasting))
        except REFUSED:
            acknowledged = False
        what = f"failed at statement {point} of {total}"
        found = look(trial.place)
        if acknowledged:  # for a delta that fails, the write is kept and a mark stands
            assert settled(trial.place) == trial.final, what
        elif trial.act.is_one:  # an opening looks on after it has committed
            assert found in (trial.before, trial.after if trial.act.opens else trial.before), what
        perform(trial.act, trial.place)
        assert settled(trial.place) == trial.final, what
