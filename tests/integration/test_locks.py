"""What waits for what, and what nobody waits for, where writers lock rows instead of the whole file."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import peewee
import psycopg
import pytest
from flask import Flask

from pdpp_ref.database import Busy, db, write_transaction
from pdpp_ref.projection import grains, marks
from pdpp_ref.services import reconcile
from pdpp_ref.services import summary as reading
from pdpp_ref.services.auto_reconcile import AutoReconcile
from pdpp_ref.services.reconcile import Limits, run_until_fresh
from tests.conftest import Backend
from tests.support.factories import DatabaseProbe, fill, mark, upsert, write

pytestmark = [pytest.mark.usefixtures("app"), pytest.mark.only("postgres")]


@pytest.fixture
def auto(app: Flask) -> AutoReconcile:
    fill(20)
    fill(20, "photos")
    fill(20, connection="phone")
    found: AutoReconcile = app.extensions["auto_reconcile"]
    found.limits = Limits(seconds=1)
    return found


@contextmanager
def holding(backend: Backend, sql: str) -> Iterator[DatabaseProbe]:
    """Another writer has changed these rows and not committed yet."""
    with backend.probe() as other:
        other("BEGIN")
        other(sql)
        try:
            yield other
        finally:
            other("ROLLBACK")


@contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[threading.Thread]:
    """A thread that does the work with a connection of its own; it is done at the end."""

    def run() -> None:
        try:
            work()
        finally:
            db.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(60)
        assert not thread.is_alive()


def await_waiting_session(probe: DatabaseProbe) -> None:
    """Until a session waits for a lock of another one."""
    waiting = (
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    until = time.monotonic() + 60
    while not probe(waiting):
        assert time.monotonic() < until, "no session waits for a lock"
        time.sleep(0.01)


def read(auto: AutoReconcile) -> tuple[str, float]:
    began = time.monotonic()
    return reading.read(auto).state, time.monotonic() - began


HELD = {
    "stream": "UPDATE retained_size_stream SET dirty = dirty WHERE stream_id = 1",
    "connection": "UPDATE retained_size_connection SET dirty = dirty WHERE connection_id = 1",
    "global": "UPDATE retained_size_global SET dirty = dirty",
    "deleted": "DELETE FROM streams WHERE id = 1",
}


@pytest.mark.parametrize("held", HELD)
def test_a_read_answers_while_a_writer_holds_a_row_and_reconciles_the_others(
    held: str, auto: AutoReconcile, backend: Backend, probe: DatabaseProbe
) -> None:
    for place in (("laptop", "notes"), ("laptop", "photos"), ("phone", "notes")):
        mark(*place)
    with holding(backend, HELD[held]):
        state, seconds = read(auto)
        assert state == "stale"
        assert seconds < 5, "a writer would wait so long for the row"
        assert auto.failures == 0
        assert (
            probe.dirty()
            == {
                "stream": (1, 1, 1),
                "deleted": (1, 1, 1),
                "connection": (0, 1, 1),
                "global": (0, 0, 1),
            }[held]
        )
    assert read(auto)[0] == "fresh"
    assert probe.wrong_but_clean() == []


def test_a_read_does_not_wait_for_a_writer_that_holds_records(
    auto: AutoReconcile, backend: Backend
) -> None:
    mark("laptop", "notes")
    with holding(backend, "UPDATE streams SET last_version = last_version WHERE id = 1"):
        assert read(auto)[0] == "fresh", "it has not come to its figures yet"


def test_there_is_one_reconcile_at_a_time(auto: AutoReconcile, probe: DatabaseProbe) -> None:
    mark()
    with probe.busy():
        assert read(auto)[0] == "stale"
        with pytest.raises(Busy):
            reconcile.run_pass(Limits(), wait=False)
    assert auto.attempts == 0


@pytest.fixture
def grain() -> str:
    return "stream"


@pytest.fixture
def counting(
    grain: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[threading.Event, threading.Event]]:
    """A pass stops, the row locked, between having counted and storing it: (it has, it may go on)."""
    counted, proceed = threading.Event(), threading.Event()
    replace = reconcile._replace

    def slowly(of: grains.Grain, *arguments: Any) -> None:
        if of.table == f"retained_size_{grain}":
            counted.set()
            assert proceed.wait(60)
        replace(of, *arguments)

    monkeypatch.setattr(reconcile, "_replace", slowly)
    yield counted, proceed
    proceed.set()


@pytest.mark.parametrize("grain", ["stream", "connection", "global"])
def test_a_mark_that_lands_while_its_row_is_recomputed_survives(
    grain: str, auto: AutoReconcile, counting: Any, probe: DatabaseProbe
) -> None:
    counted, proceed = counting
    mark("laptop", "notes")
    place = {"stream": ("laptop", "notes"), "connection": ("laptop",), "global": ()}[grain]
    with meanwhile(lambda: reconcile.run_pass(Limits(seconds=60))):
        assert counted.wait(60)
        with meanwhile(lambda: mark(*place)) as marking:
            await_waiting_session(probe)
            assert marking.is_alive(), "it waits for the row that is locked"
            proceed.set()
    assert probe.dirty()[2] == 1
    assert probe.dirty()[0] == (grain == "stream")
    run_until_fresh()
    assert probe.wrong_but_clean() == []


def test_a_write_that_lands_while_its_stream_is_reconciled_is_counted_once(
    auto: AutoReconcile, counting: Any, probe: DatabaseProbe
) -> None:
    counted, proceed = counting
    mark("laptop", "notes")
    with meanwhile(lambda: reconcile.run_pass(Limits(seconds=60))):
        assert counted.wait(60)
        with meanwhile(lambda: write(upsert("new"), upsert("0000001", "changed"))):
            await_waiting_session(probe)
            proceed.set()
    assert probe.wrong_but_clean() == []
    run_until_fresh()
    assert probe.wrong_but_clean() == []


def test_a_writer_that_waits_too_long_is_asked_to_try_again(auto: AutoReconcile, backend: Backend) -> None:
    db.execute_sql("SET lock_timeout = '100ms'")
    with holding(backend, HELD["deleted"]), pytest.raises(Busy):
        write(upsert("b"))
    assert write(upsert("b")).created == 1


def test_a_deadlock_with_another_program_is_reported_as_busy_and_leaves_nothing(
    auto: AutoReconcile, backend: Backend, probe: DatabaseProbe
) -> None:
    """The other takes rows in the wrong order: the global one first, then the stream's."""
    outcome: list[object] = []

    def attempt() -> None:
        try:
            outcome.append(write(upsert("b")))
        except Busy as error:
            outcome.append(error)

    with holding(backend, HELD["global"]) as other, meanwhile(attempt):
        await_waiting_session(probe)
        # The server ends either: the one that noticed first.
        with suppress(psycopg.errors.DeadlockDetected):
            other(HELD["stream"])
        other("ROLLBACK")
    assert probe.wrong_but_clean() == []
    stored = probe("SELECT COUNT(*) FROM records WHERE key = 'b'")
    assert stored == [(0 if isinstance(outcome[0], Busy) else 1,)]


def test_two_writers_of_a_new_connection_and_stream_make_one(probe: DatabaseProbe) -> None:
    together = threading.Barrier(8)

    def first_write(number: int) -> None:
        together.wait()
        write(upsert(str(number), stream="b"), upsert(str(number), stream="a"), connection="new")
        db.close()

    threads = [threading.Thread(target=first_write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert probe("SELECT name, last_version FROM streams ORDER BY name") == [("a", 8), ("b", 8)]
    assert probe("SELECT record_count, dirty FROM retained_size_global") == [(16, False)]
    assert probe.wrong_but_clean() == []


def test_a_commit_of_a_transaction_that_failed_inside_is_no_success() -> None:
    """The server would answer such a COMMIT with a silent ROLLBACK."""

    def swallow() -> None:
        with write_transaction():
            marks.mark_global()
            with suppress(peewee.DatabaseError):
                db.execute_sql("SELECT 1 / 0")

    with pytest.raises(peewee.OperationalError):
        swallow()
    assert not db.in_transaction()
