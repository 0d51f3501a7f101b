"""One row that can't be recomputed: the others are, and it is tried again as its own cooldown says."""

from collections.abc import Callable
from typing import Any

import click
import peewee
import pytest
from flask import Flask
from flask.testing import FlaskClient

from pdpp_ref.canonical import deletion
from pdpp_ref.cli import projection
from pdpp_ref.cli.errors import TemporaryFailure
from pdpp_ref.database import db
from pdpp_ref.projection.apart import Row
from pdpp_ref.services import reconcile
from pdpp_ref.services import summary as reading
from pdpp_ref.services.auto_reconcile import AutoReconcile
from pdpp_ref.services.reconcile import Limits, run_until_fresh
from tests.conftest import Backend
from tests.support.factories import (
    TOKEN,
    Clock,
    DatabaseProbe,
    csrf_token,
    fill,
    ids,
    mark,
    remove_deleted,
    statements,
    upsert,
    write,
)

Read = Callable[[], dict[str, Any]]
SOURCES, STREAMS = 4, 40
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def auto(app: Flask) -> AutoReconcile:
    """Forty streams of four connections; all are marked."""
    for number in range(SOURCES):
        names = [f"stream-{number}" for number in range(STREAMS // SOURCES)]
        write(*(upsert(key, stream=name) for name in names for key in "ab"), connection=f"source-{number}")
    found: AutoReconcile = app.extensions["auto_reconcile"]
    found.limits = Limits(rows=1000, seconds=60)
    reconcile.begin_rebuild()
    return found


@pytest.fixture
def bad(auto: AutoReconcile, probe: DatabaseProbe) -> int:
    """The id of a stream in the middle, which can't be counted."""
    found: int = ids("source-1", "stream-7")["id"]
    probe("UPDATE retained_size_global SET rebuild_status = 'idle'")
    break_stream(probe, found)
    return found


def break_stream(probe: DatabaseProbe, stream_id: int, name: str = "broken") -> None:
    probe.fail(
        "UPDATE ON retained_size_stream", f"OLD.stream_id = {stream_id} AND NOT NEW.dirty", name=name
    )


def dirty_streams(probe: DatabaseProbe) -> list[int]:
    return [key for (key,) in probe("SELECT stream_id FROM retained_size_stream WHERE dirty ORDER BY 1")]


@pytest.mark.parametrize("rollups", [True, False], ids=["rollups", "counting"])
def test_a_read_reconciles_the_other_39_of_40_streams(
    auto: AutoReconcile, bad: int, probe: DatabaseProbe, summary: Read, rollups: bool
) -> None:
    if not rollups:
        probe("UPDATE retained_size_stream SET rollups_dirty = FALSE")
    block = summary()["projection"]
    assert dirty_streams(probe) == [bad]
    assert probe.dirty() == (1, 1, 1), "what is above it is dirty too"
    assert probe.wrong_but_clean() == []
    assert block["state"] == "stale"
    assert block["set_aside"]["count"] == 1
    assert block["set_aside"]["others_fresh"] is True
    (row,) = block["set_aside"]["rows"]
    assert (row["connector_instance_id"], row["stream"], row["failures"]) == ("source-1", "stream-7", 1)
    assert 0 < row["retry_after_seconds"] <= 30
    assert row["last_error"] in ("the database refused a value", "the database reported an error")
    assert block["last_error"] == f"reconcile failed for one row: {row['last_error']}"


def test_the_others_stay_up_to_date_meanwhile(
    auto: AutoReconcile, bad: int, probe: DatabaseProbe, summary: Read
) -> None:
    summary()
    mark("source-3", "stream-0")
    write(upsert("c", stream="stream-6"), connection="source-1")
    summary()
    assert dirty_streams(probe) == [bad]
    assert (auto.attempts, auto.failures, auto.consecutive_failures) == (2, 1, 0)
    assert auto.cooldown.entries == {}
    assert probe.wrong_but_clean() == []


def test_it_is_tried_as_its_own_cooldown_says(
    auto: AutoReconcile, bad: int, probe: DatabaseProbe, clock: Clock
) -> None:
    for _ in range(4 * 60):
        reading.read(auto)
        clock.advance(60)
    # At 0, 0.5, 1.5, 3.5, 7.5, 15.5 minutes at the earliest, then every 15; polled on whole minutes.
    assert 19 <= auto.attempts <= 22
    assert auto.failures == auto.attempts
    assert dirty_streams(probe) == [bad]


def test_a_read_that_has_nothing_to_try_writes_nothing(auto: AutoReconcile, bad: int) -> None:
    reading.read(auto)
    with statements() as seen:
        assert reading.read(auto).state == "stale"
    assert len(seen) < 12
    assert not [sql for sql in seen if sql.startswith(("INSERT", "UPDATE", "DELETE"))]


def test_success_ends_it(
    auto: AutoReconcile, bad: int, probe: DatabaseProbe, summary: Read, clock: Clock
) -> None:
    summary()
    clock.advance(31)
    summary()
    assert auto.aside.cooldown.failures(Row("stream", bad)) == 2
    probe.restore()
    clock.advance(31)
    assert summary()["projection"]["state"] == "stale", "the second wait is twice as long"
    clock.advance(30)
    block = summary()["projection"]
    assert (block["state"], block["last_error"], "set_aside" in block) == ("fresh", None, False)
    assert (auto.aside.problems, auto.aside.cooldown.entries) == ({}, {})
    assert probe.wrong_but_clean() == []


def test_what_somebody_else_recomputed_is_forgotten(
    auto: AutoReconcile, bad: int, probe: DatabaseProbe, summary: Read
) -> None:
    summary()
    probe.restore()
    assert run_until_fresh().fresh
    assert summary()["projection"]["state"] == "fresh"
    assert auto.aside.problems == {}
    mark("source-1", "stream-7")
    assert summary()["projection"]["state"] == "fresh", "no old cooldown holds it up"


def test_a_deleted_one_holds_up_nothing(
    auto: AutoReconcile, bad: int, app: Flask, probe: DatabaseProbe, summary: Read
) -> None:
    summary()
    deletion.delete_stream("source-1", "stream-7")
    remove_deleted()
    assert summary()["projection"]["state"] == "fresh"
    assert probe.wrong_but_clean() == []


def test_several_bad_ones_and_every_bound(
    auto: AutoReconcile, bad: int, probe: DatabaseProbe, clock: Clock
) -> None:
    others = [
        ids(f"source-{source}", f"stream-{number}")["id"] for source, number in ((0, 0), (0, 1), (3, 9))
    ]
    for number, stream_id in enumerate(others):
        break_stream(probe, stream_id, name=f"broken{number}")
    auto.limits = Limits(rows=3)
    for _ in range(30):
        reading.read(auto)
    assert dirty_streams(probe) == sorted([bad, *others])
    assert probe.dirty() == (4, 3, 1)
    assert probe.wrong_but_clean() == []


def test_no_time_at_all_still_gets_to_the_others(
    auto: AutoReconcile, bad: int, probe: DatabaseProbe
) -> None:
    auto.limits = Limits(seconds=-1)
    for _ in range(100):
        reading.read(auto)
    assert dirty_streams(probe) == [bad]


def test_a_connection_that_cannot_be_summed_is_set_aside_alone(
    auto: AutoReconcile, probe: DatabaseProbe, summary: Read
) -> None:
    connection = ids("source-1")["connection"]
    failing = f"OLD.connection_id = {connection} AND NOT NEW.dirty"
    probe.fail("UPDATE ON retained_size_connection", failing)
    rows = summary()["projection"]["set_aside"]["rows"]
    assert [(row["connector_instance_id"], row["stream"]) for row in rows] == [("source-1", None)]
    assert probe.dirty() == (0, 1, 1)
    assert probe.wrong_but_clean() == []


def test_a_problem_of_the_whole_database_sets_nothing_aside(
    auto: AutoReconcile, probe: DatabaseProbe, summary: Read, backend: Backend
) -> None:
    probe.fail_reconcile()
    block = summary()["projection"]
    assert "set_aside" not in block
    assert auto.consecutive_failures == 1
    assert probe.dirty() == (STREAMS, SOURCES, 1)


def test_an_operators_pass_tries_it_again(auto: AutoReconcile, bad: int, app: Flask) -> None:
    reading.read(auto)
    response = app.test_client().post("/_ref/dataset/summary/reconcile", headers=BEARER)
    assert response.status_code == 200
    body = response.get_json()
    assert (body["reconciled"], body["deferred"]) == (0, 3)
    assert auto.aside.cooldown.failures(Row("stream", bad)) == 2


def test_run_until_fresh_ends_with_what_it_could_not_do(
    auto: AutoReconcile, bad: int, probe: DatabaseProbe
) -> None:
    aside = reconcile.no_rows_set_aside()
    done = run_until_fresh(Limits(rows=7), aside=aside)
    assert (done.fresh, done.streams, done.connections) == (False, STREAMS - 1, SOURCES - 1)
    assert [row.stream for row in aside.still_dirty()] == ["stream-7"]


def test_a_rebuild_does_the_others_and_is_marked_failed(
    app: Flask, auto: AutoReconcile, bad: int, probe: DatabaseProbe, summary: Read
) -> None:
    probe("UPDATE retained_size_stream SET record_count = 1 WHERE stream_id <> ?", bad)
    client = app.test_client()
    assert client.post("/_ref/dataset/summary/rebuild", headers=BEARER).status_code == 200
    app.extensions["background_rebuild"].wait()
    assert dirty_streams(probe) == [bad]
    assert probe("SELECT rebuild_status FROM retained_size_global") == [("failed",)]
    assert summary()["projection"]["set_aside"]["count"] == 1
    probe.restore()
    assert client.post("/_ref/dataset/summary/rebuild", headers=BEARER).status_code == 200
    app.extensions["background_rebuild"].wait()
    assert summary()["projection"]["state"] == "fresh"
    assert probe.wrong_but_clean() == []


def test_a_rebuild_needs_no_mark_of_a_row_that_is_dirty_and_cannot_be_changed(
    auto: AutoReconcile, bad: int, probe: DatabaseProbe
) -> None:
    probe.restore()
    run_until_fresh()
    probe.fail("UPDATE ON retained_size_stream", f"OLD.stream_id = {bad}")
    with pytest.raises(peewee.DatabaseError):
        reconcile.begin_rebuild()
    assert dirty_streams(probe) == []
    probe.restore()
    mark("source-1", "stream-7")
    probe.fail("UPDATE ON retained_size_stream", f"OLD.stream_id = {bad}")
    reconcile.begin_rebuild()
    assert reconcile.finish_rebuild().streams == STREAMS - 1
    assert dirty_streams(probe) == [bad]


@pytest.mark.only("sqlite")
def test_a_damaged_text_is_set_aside(auto: AutoReconcile, probe: DatabaseProbe, summary: Read) -> None:
    """Deriving rollups reads keys; one that is no UTF-8 can't be read."""
    stream_id = ids("source-1", "stream-7")["id"]
    write(upsert("a", {"n": 2}, "stream-7"), connection="source-1")
    probe(
        "UPDATE record_changes SET key = CAST(x'ff' AS TEXT) WHERE stream_id = ? AND version = 1", stream_id
    )
    (row,) = summary()["projection"]["set_aside"]["rows"]
    assert row["last_error"] == "the database file is damaged"
    assert dirty_streams(probe) == [stream_id]


@pytest.mark.parametrize("command", [projection.reconcile_dirty, projection.rebuild])
@pytest.mark.one_on_postgres
def test_a_command_recomputes_the_others_and_lists_what_failed(
    bad: int,
    probe: DatabaseProbe,
    backend: Backend,
    command: click.Command,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PDPP_DATABASE_URL", backend.url)
    with pytest.raises(TemporaryFailure) as failure:
        command.main([], standalone_mode=False)
    assert failure.value.exit_code == 3
    assert 'stream "stream-7" of connection "source-1": the database' in str(failure.value)
    assert "All but the following is fresh." in capfd.readouterr().out
    assert dirty_streams(probe) == [bad]
    probe.restore()
    command.main([], standalone_mode=False)
    assert "All is fresh." in capfd.readouterr().out


def test_metrics_count_the_rows_set_aside(app: Flask, auto: AutoReconcile, bad: int) -> None:
    reading.read(auto)
    text = app.test_client().get("/_ref/metrics", headers=BEARER).text
    assert "pdpp_reconcile_set_aside_rows 1.0" in text
    assert "source-1" not in text


def test_the_owner_sees_that_all_but_one_source_are_up_to_date(
    auto: AutoReconcile, bad: int, owner: FlaskClient
) -> None:
    text = " ".join(owner.get("/dashboard/hero").text.split())
    assert 'data-state="partly"' in text
    assert "All but one source are up to date." in text
    assert "source-1" not in text


def test_the_only_source_is_not_said_to_be_up_to_date(
    app: Flask, owner: FlaskClient, probe: DatabaseProbe
) -> None:
    fill(3)
    fill(3, "photos")
    mark("laptop", "notes")
    break_stream(probe, ids("laptop", "notes")["id"])
    text = owner.get("/dashboard/hero").text
    assert 'data-state="partly"' in text
    assert "All but" not in text


# ---- clicks ------------------------------------------------------------------------------------


@pytest.fixture
def click(owner: FlaskClient) -> Callable[[], str]:
    token = csrf_token(owner)

    def refresh() -> str:
        response = owner.post("/dashboard/refresh", data={"csrf_token": token}, follow_redirects=True)
        assert response.status_code == 200
        return str(response.text)

    return refresh


def test_six_clicks_are_one_attempt_of_the_cooldown(
    app: Flask, probe: DatabaseProbe, clock: Clock, click: Callable[[], str]
) -> None:
    auto: AutoReconcile = app.extensions["auto_reconcile"]
    fill(3)
    mark()
    probe.fail_reconcile()
    for _ in range(6):
        assert "could not be updated" in click()
    assert auto.consecutive_failures == 1
    assert auto.retry_after_seconds <= 30
    assert auto.attempts == 2, "one, and one more during its cooldown"
    clock.advance(6)
    click()
    assert (auto.attempts, auto.consecutive_failures) == (3, 1)
    assert auto.retry_after_seconds <= 24
    probe.restore()
    clock.advance(6)
    assert "everything was counted" in click()
    assert auto.cooldown.entries == {}


def test_clicks_do_not_make_the_wait_of_a_row_longer(
    auto: AutoReconcile, bad: int, clock: Clock, click: Callable[[], str]
) -> None:
    for _ in range(6):
        assert "could not be updated" in click()
        clock.advance(4)
    assert auto.attempts == 7, "others might be dirty"
    assert auto.failures == 4, "every five seconds"
    assert auto.aside.cooldown.failures(Row("stream", bad)) == 1


def test_an_operators_passes_count_each(app: Flask, auto: AutoReconcile, probe: DatabaseProbe) -> None:
    probe.fail_reconcile()
    for _ in range(3):
        app.test_client().post("/_ref/dataset/size/reconcile", headers=BEARER)
    assert (auto.attempts, auto.consecutive_failures) == (3, 3)
    assert not db.in_transaction()
