"""Whatever is being done, a death or a failure at any point of it leaves all or nothing.

Each act of `tests/acts.py` is killed before each statement, killed and cut off from power at each
write to the files, and failed at each statement.  PDPP_TEST_LONG=1 tries every point; the ordinary
run tries a few of each act.
"""

import itertools
import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import peewee
import pytest

from pdpp_ref import database
from pdpp_ref.services.importer import NotStored
from tests.acts import ACTS, look, perform, restore, settled, small_steps
from tests.failing_disk import Disk, How

LONG = os.environ.get("PDPP_TEST_LONG") == "1"
# Of each act: deaths of a kind, failures of one statement, failures of all from one on.
DEATHS, FAILURES, LASTING = (100_000, 100_000, 100_000) if LONG else (2, 5, 2)
REFUSED = (peewee.DatabaseError, database.Busy, database.DatabaseUnusable, NotStored)

# Children that are forked from a process with neither threads nor a database.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload([__name__])


class Trial:
    """One act on one database, as often as it takes, from the same beginning."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.act, self.path = name, ACTS[name], path
        self.told = path.with_suffix(".json")
        self.deaths = 0
        if self.act.begin:
            self.act.begin(path)
        self.content = path.read_bytes() if self.act.begin else None
        self.before = look(path)
        perform(self.act, path)
        self.after = look(path)
        self.final = settled(path)

    def again(self) -> None:
        """The beginning."""
        restore(self.path, self.content)
        self.told.unlink(missing_ok=True)

    def check(self, what: str) -> None:
        """Nothing is half done, what was acknowledged is, and doing it again gets all the way."""
        found = look(self.path)
        if self.told.exists():
            assert found == self.after, f"{what}: it had been acknowledged"
        if self.act.is_one:
            assert found in (self.before, self.after), what
        perform(self.act, self.path)
        if self.act.is_one:
            assert look(self.path) == self.after, what
        assert settled(self.path) == self.final, what


@pytest.fixture(params=ACTS)
def trial(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trial:
    small_steps(monkeypatch)
    # Power is cut in other processes alone: here none need wait for the disk.
    monkeypatch.setitem(database.PRAGMAS, "synchronous", "off")
    return Trial(request.param, tmp_path / "test.sqlite3")


def points(total: int, most: int) -> set[int]:
    """All from 1 to the total, or the first, the last, and some between."""
    most = min(most, total)
    return {1 + place * (total - 1) // max(most - 1, 1) for place in range(most)}


# ---- death -------------------------------------------------------------------------------------


def die(trial: Trial, how: How | None, point: int) -> None:
    trial.again()
    trial.deaths += bool(point)
    process = processes.Process(target=_act, args=(trial.name, trial.path, trial.told, how, point))
    process.start()
    process.join(60)
    assert process.exitcode == (-signal.SIGKILL if point else 0)


def _act(name: str, path: Path, told: Path, how: How | None, point: int) -> None:
    """In a process of its own: die at the point, at a statement where no `how` says otherwise.

    What is told, at the time at which a sender would be, is at which point that was.
    """
    disk = Disk(point, how) if how else None
    ordinal = itertools.count(1)

    def watch(connection: Any) -> None:
        if disk:
            disk.count = 0  # the opening of a database that is there is no part of the act
        else:
            connection.exec_trace = lambda *_: next(ordinal) != point or signal.raise_signal(signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patched:
        small_steps(patched)
        if how != "power":
            patched.setitem(database.PRAGMAS, "synchronous", "off")
        perform(ACTS[name], path, watch, lambda: told.write_text(json.dumps(disk and disk.count)))
    if disk and not point:
        told.write_text(json.dumps([json.loads(told.read_text()), disk.count]))


def test_a_kill_at_any_statement_leaves_all_or_nothing(trial: Trial) -> None:
    total = len(statements(trial))
    assert total > 2
    for point in points(total, DEATHS):
        die(trial, None, point)
        trial.check(f"killed at statement {point} of {total}")
    print(f"{trial.deaths} deaths at {total} statements")


@pytest.mark.parametrize("how", ["torn", "power"])
def test_a_death_at_any_write_leaves_all_or_nothing(how: How, trial: Trial) -> None:
    die(trial, how, 0)
    acknowledged, total = json.loads(trial.told.read_text())
    assert 0 < acknowledged < total
    for point in sorted(points(total, DEATHS) | {acknowledged + 1}):
        die(trial, how, point)
        assert trial.told.exists() == (point > acknowledged)
        trial.check(f"{how} at write {point} of {total}")
    print(f"{trial.deaths} deaths at {total} writes")


# ---- failure -----------------------------------------------------------------------------------


def statements(trial: Trial) -> list[str]:
    seen: list[str] = []

    def watch(connection: Any) -> None:
        connection.exec_trace = lambda _cursor, sql, _values: seen.append(sql) or True

    trial.again()
    perform(trial.act, trial.path, watch)
    return seen


def failing_at(point: int, *, lasting: bool) -> Callable[[Any], None]:
    ordinal = itertools.count(1)

    def trace(*_: Any) -> bool:
        number = next(ordinal)
        if number == point or (lasting and number > point):
            raise apsw.IOError("disk I/O error")
        return True

    return lambda connection: setattr(connection, "exec_trace", trace)


@pytest.mark.parametrize("lasting", [False, True], ids=["one", "all from then on"])
def test_a_failure_at_any_statement_loses_nothing_and_lies_about_nothing(
    lasting: bool, trial: Trial
) -> None:
    total = len(statements(trial))
    for point in points(total, LASTING if lasting else FAILURES):
        trial.again()
        acknowledged = True
        try:
            perform(trial.act, trial.path, failing_at(point, lasting=lasting))
        except REFUSED:
            acknowledged = False
        what = f"failed at statement {point} of {total}"
        found = look(trial.path)
        if acknowledged:  # for a delta that fails, the write is kept and a mark stands
            assert settled(trial.path) == trial.final, what
        elif trial.act.is_one:  # an opening looks on after it has committed
            assert found in (trial.before, trial.after if trial.act.opens else trial.before), what
        perform(trial.act, trial.path)
        assert settled(trial.path) == trial.final, what
