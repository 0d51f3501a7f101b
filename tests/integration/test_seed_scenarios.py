"""The seeds' scenarios and acceptance checks, each under its own name, through HTTP on a real file."""

from collections.abc import Callable
from typing import Any

import pytest
from bs4 import BeautifulSoup
from flask.testing import FlaskClient

from tests.support.factories import Clock, DatabaseProbe, fill, mark, statements, stored

Read = Callable[[], dict[str, Any]]
CANARY = "SELECT secret FROM records /home/someone token=hunter2 laptop"


@pytest.fixture(autouse=True)
def _some_records(app: Any) -> None:
    fill(120)
    fill(80, "photos", "phone")


def test_scenario_stale_retained_size_projection_is_repaired_on_read(
    summary: Read, probe: DatabaseProbe
) -> None:
    probe("UPDATE retained_size_stream SET record_count = 7")
    mark("laptop", "notes")
    mark("phone", "photos")

    body = summary()

    assert body["projection"]["state"] == "fresh"
    assert body["projection"]["stale_since"] is None
    assert body["record_count"] == 200
    assert probe.wrong_but_clean() == []


def test_scenario_reconcile_failure_stays_visible_and_retryable(
    summary: Read, owner: FlaskClient, probe: DatabaseProbe, clock: Clock
) -> None:
    mark("laptop", "notes")
    before = stored()
    probe.fail_reconcile(CANARY)

    body = summary()

    assert body["projection"]["state"] in ("stale", "failed")
    assert body["projection"]["stale_since"] is not None
    assert body["projection"]["last_error"]
    assert stored() == before, "figures, marks and times are as they were"
    hero = BeautifulSoup(owner.get("/dashboard/hero").text, "html.parser")
    assert not (set(CANARY.split()) - {"records"}) & set(hero.get_text().split())

    probe.restore()
    clock.advance(31)
    assert summary()["projection"]["state"] == "fresh"


def test_scenario_reconcile_failure_is_not_retried_on_every_read(
    summary: Read, app: Any, probe: DatabaseProbe, clock: Clock
) -> None:
    auto = app.extensions["auto_reconcile"]
    mark("laptop", "notes")
    probe.fail_reconcile()
    first = summary()
    assert auto.attempts == 1

    with statements() as seen:
        assert summary() == first
    assert auto.attempts == 1, "inside the cooldown nothing is tried"
    assert not [sql for sql in seen if "IMMEDIATE" in sql], "not even a transaction is begun"

    clock.advance(29.9)
    summary()
    assert auto.attempts == 1
    clock.advance(0.2)
    summary()
    assert auto.attempts == 2, "a later read may try again"


def test_scenario_global_only_dirty_metadata_does_not_force_a_full_rebuild(
    summary: Read, probe: DatabaseProbe
) -> None:
    mark()

    with statements() as seen:
        body = summary()

    assert body["projection"]["state"] == "fresh"
    assert body["record_count"] == 200
    touched = " ".join(seen)
    assert '"records"' not in touched
    assert " records " not in touched
    assert "record_changes" not in touched
    assert not [sql for sql in seen if "UPDATE SET" in sql and "retained_size_stream" in sql]


def test_check_global_only_dirty_with_clean_rows_reconciles_to_fresh(summary: Read) -> None:
    streams, connections = stored()["retained_size_stream"], stored()["retained_size_connection"]
    mark()
    assert summary()["projection"]["state"] == "fresh"
    assert stored()["retained_size_stream"] == streams
    assert stored()["retained_size_connection"] == connections


def test_check_dirty_rows_reconcile_from_the_summary_route(summary: Read, probe: DatabaseProbe) -> None:
    mark("laptop")
    mark("phone", "photos")
    assert summary()["projection"]["state"] == "fresh"
    assert probe("SELECT COUNT(*) FROM retained_size_stream WHERE dirty") == [(0,)]
    assert probe("SELECT COUNT(*) FROM retained_size_connection WHERE dirty") == [(0,)]


def test_check_failure_returns_stale_or_failed_and_clears_nothing(
    summary: Read, probe: DatabaseProbe
) -> None:
    mark("phone", "photos")
    probe.fail_reconcile()
    assert summary()["projection"]["state"] in ("stale", "failed")
    assert probe("SELECT dirty FROM retained_size_global") == [(1,)]
    assert probe("SELECT COUNT(*) FROM retained_size_stream WHERE dirty") == [(1,)]


def test_check_failure_enters_cooldown_so_the_next_dashboard_read_does_not_retry(
    app: Any, owner: FlaskClient, probe: DatabaseProbe
) -> None:
    mark()
    probe.fail_reconcile()
    for _ in range(5):
        assert owner.get("/dashboard").status_code == 200
        assert owner.get("/dashboard/hero").status_code == 200
    assert app.extensions["auto_reconcile"].attempts == 1


@pytest.mark.parametrize("failures", [1, 2], ids=["once", "again"])
def test_check_hero_copy_for_stale_and_failure_is_concise_and_shows_no_reasons(
    owner: FlaskClient, probe: DatabaseProbe, clock: Clock, failures: int
) -> None:
    mark()
    probe.fail_reconcile(CANARY)
    for _ in range(failures):
        owner.get("/dashboard/hero")
        clock.advance(60)
    text = BeautifulSoup(owner.get("/dashboard/hero").text, "html.parser").get_text(" ", strip=True)
    assert len(text.split()) < 90
    for word in ("broken", "hunter2", "/home", "SELECT", "reconcile", "dirty", "trigger", "constraint"):
        assert word.lower() not in text.lower()


# The sixth acceptance check, `openspec validate --strict`, is in test_openspec.py.
