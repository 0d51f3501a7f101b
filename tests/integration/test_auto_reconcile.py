"""When a read repairs: one at a time, not while cooling down, never waiting, never failing."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from pdpp_ref.database import db
from pdpp_ref.projection.rows import global_row
from pdpp_ref.services import reconcile
from pdpp_ref.services import summary as reading
from pdpp_ref.services.auto_reconcile import AutoReconcile
from pdpp_ref.services.reconcile import Limits, Pass, run_until_fresh
from tests.conftest import Backend
from tests.support.factories import TOKEN, Clock, DatabaseProbe, fill, mark, stored

Read = Callable[[], dict[str, Any]]


@pytest.fixture
def auto(app: Flask) -> AutoReconcile:
    fill(50)
    found: AutoReconcile = app.extensions["auto_reconcile"]
    return found


def all_at_once(app: Flask, readers: int) -> list[str]:
    """The states that so many simultaneous HTTP reads are told."""
    # So many threads on few cores: one pass takes its time, and is one all the same.
    app.extensions["auto_reconcile"].limits = Limits(seconds=60)
    together = threading.Barrier(readers)

    def read(_: int) -> str:
        client = app.test_client()
        together.wait()
        response = client.get("/_ref/dataset/summary", headers={"Authorization": f"Bearer {TOKEN}"})
        assert response.status_code == 200
        db.close()
        return str(response.get_json()["projection"]["state"])

    with ThreadPoolExecutor(readers) as pool:
        return list(pool.map(read, range(readers)))


@pytest.mark.slow
@pytest.mark.parametrize("readers", [50, 200])
def test_simultaneous_stale_reads_make_one_attempt(
    app: Flask, auto: AutoReconcile, probe: DatabaseProbe, readers: int
) -> None:
    mark("laptop", "notes")
    states = all_at_once(app, readers)
    assert auto.attempts == 1
    assert set(states) <= {"fresh", "refreshing", "stale"}
    assert probe.wrong_but_clean() == []


def test_simultaneous_reads_make_one_failing_attempt(
    app: Flask, auto: AutoReconcile, probe: DatabaseProbe
) -> None:
    mark()
    probe.fail_reconcile()
    states = all_at_once(app, 50)
    assert (auto.attempts, auto.failures) == (1, 1)
    assert set(states) <= {"refreshing", "stale"}


def test_after_a_pass_a_reader_looks_again(auto: AutoReconcile) -> None:
    """It may have seen what that pass has reconciled."""
    before = auto.attempts
    mark()
    reading.read(auto)
    auto.attempt(lambda: False, seen=before)
    assert auto.attempts == before + 1
    auto.attempt(lambda: pytest.fail("it looks again"), seen=auto.attempts)
    assert auto.attempts == before + 2


def test_a_reader_does_not_wait_for_anothers_pass(auto: AutoReconcile) -> None:
    mark()
    in_pass, proceed = threading.Event(), threading.Event()

    def slow() -> bool:
        in_pass.set()
        proceed.wait(10)
        return False

    other = threading.Thread(target=auto.attempt, args=(slow,))
    other.start()
    assert in_pass.wait(10)
    # Another reader may have asked just before that pass began.
    another = threading.Thread(target=auto.attempt, args=(lambda: True,))
    another.start()
    another.join(5)
    try:
        assert not another.is_alive()
        found = reading.read(auto)
    finally:
        proceed.set()
        other.join()
    assert found.state == "refreshing"
    assert found.totals.record_count == 50
    assert reading.read(auto).state == "fresh"


def test_a_database_busy_with_a_writer_is_a_skip_and_no_failure(
    auto: AutoReconcile, summary: Read, probe: DatabaseProbe
) -> None:
    mark()
    with probe.busy():
        body = summary()
        assert body["projection"]["state"] == "stale"
        assert body["projection"]["last_error"] is None
        assert (auto.attempts, auto.failures, auto.cooldown.entries) == (0, 0, {})
    assert summary()["projection"]["state"] == "fresh"


def test_an_attempt_never_raises(auto: AutoReconcile) -> None:
    def fail() -> bool:
        raise RuntimeError

    auto.attempt(fail)
    assert auto.attempts == 0


def test_a_skip_leaves_the_time_out_of_writers_as_it_was(
    auto: AutoReconcile, probe: DatabaseProbe, backend: Backend
) -> None:
    mark()
    with probe.busy():
        reading.read(auto)
    ask = "PRAGMA busy_timeout" if backend.kind == "sqlite" else "SHOW lock_timeout"
    assert db.execute_sql(ask).fetchone()[0] in (5000, "5s")


def test_a_persistent_failure_is_tried_as_the_cooldown_says_for_eight_hours(
    auto: AutoReconcile, probe: DatabaseProbe, clock: Clock
) -> None:
    mark()
    probe.fail_reconcile()
    for _ in range(8 * 60):
        reading.read(auto)
        clock.advance(60)
    # At 0, 0.5, 1.5, 3.5, 7.5, 15.5 minutes at the earliest, then every 15; polled on whole minutes.
    assert 35 <= auto.attempts <= 38
    assert auto.failures == auto.attempts


def test_success_after_failure_clears_the_error(
    auto: AutoReconcile, summary: Read, probe: DatabaseProbe, clock: Clock
) -> None:
    mark()
    probe.fail_reconcile()
    assert summary()["projection"]["last_error"]
    probe.restore()
    clock.advance(31)
    assert summary()["projection"]["last_error"] is None
    assert auto.cooldown.entries == {}
    assert (auto.attempts, auto.failures, auto.consecutive_failures) == (2, 1, 0)


def test_a_reconcile_by_somebody_else_ends_the_cooldown(
    auto: AutoReconcile, summary: Read, probe: DatabaseProbe
) -> None:
    mark()
    probe.fail_reconcile()
    summary()
    probe.restore()
    run_until_fresh()
    assert summary()["projection"]["state"] == "fresh"
    assert (auto.last_error, auto.cooldown.entries) == (None, {})
    mark()
    assert summary()["projection"]["state"] == "fresh"


def test_a_read_only_database_is_a_failure_that_keeps_the_figures(
    auto: AutoReconcile, summary: Read, backend: Backend
) -> None:
    mark()
    before = stored()
    on, off = {
        "sqlite": ("PRAGMA query_only = 1", "PRAGMA query_only = 0"),
        "postgres": ("SET default_transaction_read_only = on", "RESET default_transaction_read_only"),
    }[backend.kind]
    db.execute_sql(on)
    body = summary()
    db.execute_sql(off)
    assert body["projection"]["state"] == "stale"
    assert body["projection"]["last_error"] == "reconcile failed: the database is read-only"
    assert body["record_count"] == 50
    assert stored() == before


def test_a_read_of_a_database_that_is_gone_is_a_plain_error(
    app: Flask, tmp_path: Path, auto: AutoReconcile, probe: DatabaseProbe
) -> None:
    probe("DROP TABLE retained_size_global")
    response = app.test_client().get("/_ref/dataset/summary", headers={"Authorization": f"Bearer {TOKEN}"})
    assert response.status_code == 503
    assert response.get_json()["error"]["code"] == "storage_unavailable"
    assert "retained_size" not in response.text


def test_reads_in_the_block_are_of_the_summarys_moment(auto: AutoReconcile, probe: DatabaseProbe) -> None:
    with reading.reading(auto) as summary:
        probe("UPDATE retained_size_global SET record_count = record_count + 1")
        assert global_row() == summary.totals
    assert global_row().record_count == summary.totals.record_count + 1
    assert not db.in_transaction()


def test_a_pass_runs_outside_the_snapshots(auto: AutoReconcile, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_pass(*arguments: Any, **options: Any) -> Pass:
        assert not db.in_transaction()
        return real(*arguments, **options)

    mark("laptop", "notes")
    real = reconcile.run_pass
    monkeypatch.setattr(reconcile, "run_pass", run_pass)
    with reading.reading(auto) as summary:
        assert db.in_transaction()
    assert (summary.state, auto.attempts) == ("fresh", 1)
