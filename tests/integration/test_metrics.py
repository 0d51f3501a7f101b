"""Liveness, metrics, and the access log."""

import io
import json
import threading
import time
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from pdpp_ref import access_log, shared_memory, tokens
from pdpp_ref.database import db
from pdpp_ref.schemas.dataset import SCOPES
from pdpp_ref.services import readiness
from pdpp_ref.services.auto_reconcile import AutoReconcile
from pdpp_ref.services.readiness import Readiness
from pdpp_ref.timestamps import is_time
from tests.support.factories import PASSWORD, TOKEN, Clock, DatabaseProbe, fill, mark, upsert, write

BEARER = {"Authorization": f"Bearer {TOKEN}"}


GRAINS = ("connection", "stream")


def rows(app: Flask, grain: str) -> list[dict[str, Any]]:
    response = app.test_client().get(f"/_ref/dataset/size?grain={grain}", headers=BEARER)
    found: list[dict[str, Any]] = response.get_json()["rows"]
    return found


def scrape(app: Flask) -> dict[tuple[str, tuple[str, ...]], float]:
    response = app.test_client().get("/_ref/metrics", headers=BEARER)
    assert response.status_code == 200
    assert response.content_type.startswith("text/plain; version=0.0.4")
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def test_liveness_needs_nothing_and_reveals_nothing(client: FlaskClient) -> None:
    response = client.get("/healthz")
    assert (response.status_code, response.get_json()) == (200, {"status": "ok"})


def test_readiness_asks_the_database(client: FlaskClient, probe: DatabaseProbe) -> None:
    response = client.get("/readyz")
    assert (response.status_code, response.get_json()) == (200, {"status": "ok"})
    probe("UPDATE pdpp_ref_schema SET version = version + 1")
    assert client.get("/readyz").status_code == 503
    probe("UPDATE pdpp_ref_schema SET version = version - 1")
    assert client.get("/readyz").status_code == 200


def test_a_database_that_hangs_is_not_ready_and_holds_nobody(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.extensions["readiness"] = Readiness(wait=0.05)
    answers = threading.Event()
    with monkeypatch.context() as patched:
        patched.setattr(readiness, "check_ready", lambda: answers.wait(60))
        for _ in range(3):  # they all wait for the one question
            response = client.get("/readyz")
            assert response.status_code == 503
            assert response.headers["Retry-After"]
        answers.set()
    for _ in range(500):  # each waits for a moment
        if client.get("/readyz").status_code == 200:
            return
    pytest.fail("it answers again")


def test_metrics_are_for_operators(client: FlaskClient) -> None:
    assert client.get("/_ref/metrics").status_code == 401


def test_metrics_are_the_totals(app: Flask, summary: Any) -> None:
    fill(20)
    fill(30, "photos", "phone")
    found = scrape(app)
    body = summary()
    assert found["pdpp_retained_record_count", ()] == body["record_count"] == 50
    assert found["pdpp_retained_total_retained_bytes", ()] == body["total_retained_bytes"]
    assert found["pdpp_retained_stream_count", ()] == 2
    assert found["pdpp_projection_state", ("fresh",)] == 1
    assert found["pdpp_projection_dirty_rows", ("stream",)] == 0
    assert 0 <= found["pdpp_projection_computed_age_seconds", ()] < 60
    assert ("pdpp_projection_stale_seconds", ()) not in found


def test_metrics_report_how_large_the_largest_is(app: Flask) -> None:
    found = scrape(app)
    assert all(found["pdpp_retained_largest_bytes", (scope,)] == 0 for scope in SCOPES)
    fill(20)
    fill(30, "photos", "phone")
    fill(5, "notes", "phone")
    found = scrape(app)
    sizes = {grain: [row["total_retained_bytes"] for row in rows(app, grain)] for grain in GRAINS}
    for grain in ("connection", "stream"):
        assert found["pdpp_retained_largest_bytes", (grain,)] == max(sizes[grain]) > 0
    assert (
        found["pdpp_retained_largest_bytes", ("stream",)] < found["pdpp_retained_total_retained_bytes", ()]
    )


def test_a_scrape_does_no_maintenance_and_reports_what_there_is_to_do(
    app: Flask, probe: DatabaseProbe
) -> None:
    fill(20)
    mark("laptop", "notes")
    for _ in range(2):
        found = scrape(app)
        assert found["pdpp_projection_state", ("stale",)] == 1
        assert found["pdpp_projection_state", ("fresh",)] == 0
        assert found["pdpp_projection_dirty_rows", ("stream",)] == 1
        assert found["pdpp_projection_dirty_rows", ("global",)] == 1
        assert 0 <= found["pdpp_projection_stale_seconds", ()] < 60
        assert found["pdpp_reconcile_attempts_total", ()] == 0
    probe.fail_reconcile()
    app.test_client().get("/_ref/dataset/summary", headers=BEARER)
    found = scrape(app)
    assert (found["pdpp_reconcile_attempts_total", ()], found["pdpp_reconcile_failures_total", ()]) == (
        1,
        1,
    )
    assert found["pdpp_reconcile_consecutive_failures", ()] == 1
    assert 0 < found["pdpp_reconcile_cooldown_seconds", ()] <= 30


def test_without_the_database_metrics_are_those_of_the_processes(app: Flask, probe: DatabaseProbe) -> None:
    fill(1)
    assert scrape(app)["pdpp_database_up", ()] == 1
    named = tokens.create("monitoring", ("figures",), None, None)
    probe("UPDATE pdpp_ref_schema SET version = version + 1")
    found = scrape(app)
    assert found["pdpp_database_up", ()] == 0
    assert found["pdpp_reconcile_attempts_total", ()] == 0
    assert found["pdpp_request_seconds_count", ("GET", "/_ref/metrics", "200")] == 1
    assert ("pdpp_retained_record_count", ()) not in found
    client = app.test_client()
    assert client.get("/_ref/openapi.json", headers=BEARER).status_code == 200
    assert client.get("/owner/login").status_code == 200
    assert client.post("/owner/login", json={"password": PASSWORD}).status_code == 302
    assert client.get("/dashboard").status_code == 503
    client.delete_cookie("pdpp_owner_session")
    for path in ("/_ref/metrics", "/_ref/openapi.json"):
        response = client.get(path, headers={"Authorization": f"Bearer {named}"})
        assert response.status_code == 503
        assert response.headers["Retry-After"]


def test_attempts_are_those_of_all_processes(
    app: Flask, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    auto: AutoReconcile = app.extensions["auto_reconcile"]

    def be(number: int) -> None:
        """Another process, which has the same memory, and a state of its own."""
        shared_memory.be_process(number)
        auto.cooldown.entries.clear()

    monkeypatch.setattr("pdpp_ref.shared_memory._Process.number", 0)
    for number, errors in enumerate((["broken"], ["broken", "broken"], [None])):
        be(number)
        for error in errors:
            if error:
                auto.cooldown.failed(auto.projection)
            auto._record(error, failed=bool(error))
    found = scrape(app)
    assert found["pdpp_reconcile_attempts_total", ()] == 4
    assert found["pdpp_reconcile_failures_total", ()] == 3
    assert found["pdpp_reconcile_consecutive_failures", ()] == 2
    assert found["pdpp_reconcile_cooldown_seconds", ()] == 60
    clock.advance(50)
    assert scrape(app)["pdpp_reconcile_cooldown_seconds", ()] == 10
    be(1)
    auto.publish()  # as its successor does
    assert scrape(app)["pdpp_reconcile_consecutive_failures", ()] == 1


def test_no_duration_is_negative(app: Flask, probe: DatabaseProbe) -> None:
    fill(1)
    probe("UPDATE retained_size_global SET computed_at = '2999-01-01T00:00:00.000Z'")
    assert scrape(app)["pdpp_projection_computed_age_seconds", ()] == 0
    app.extensions["access_record"].add("", "GET", "/healthz", 200, time.perf_counter() + 60)
    assert scrape(app)["pdpp_request_seconds_sum", ("GET", "/healthz", "200")] == 0


def steps(app: Flask) -> int:
    """How many hundreds of instructions SQLite executes for a scrape."""
    hundreds = 0

    def count() -> bool:
        nonlocal hundreds
        hundreds += 1
        return False

    connection = db.connection()
    connection.set_progress_handler(count, 100)
    try:
        scrape(app)
    finally:
        connection.set_progress_handler(None)
    return hundreds


@pytest.mark.slow
@pytest.mark.only("sqlite")
def test_a_scrape_costs_the_same_whatever_is_stored(app: Flask) -> None:
    fill(50, "notes")
    few = steps(app)
    for number in range(300):
        write(upsert("a", {"n": number}, f"stream {number}"), connection=f"connection {number % 100}")
    fill(3000, "notes")
    assert steps(app) <= few + 2


def test_requests_are_counted_by_route_and_never_by_name(app: Flask, owner: FlaskClient) -> None:
    fill(1, connection="a private name")
    for name in ("a private name", "another", "third"):
        owner.get(f"/dashboard/connections/{name}")
    owner.get("/nowhere/private")
    owner.open("/dashboard", method="BREW")
    text = app.test_client().get("/_ref/metrics", headers=BEARER).text
    assert "private" not in text
    found = scrape(app)
    route = "/dashboard/connections/<anything:name>"
    assert found["pdpp_request_seconds_count", ("GET", route, "200")] == 1
    assert found["pdpp_request_seconds_count", ("GET", route, "404")] == 2
    assert found["pdpp_request_seconds_count", ("GET", "unknown", "404")] == 1


def test_each_request_is_one_line_without_personal_data(
    owner: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.StringIO()
    monkeypatch.setattr(access_log.AccessLog, "stream", written)
    response = owner.get("/dashboard/connections/private?x=secret", headers={"Authorization": "Bearer tok"})
    (text,) = written.getvalue().splitlines()
    line = json.loads(text)
    assert line["request_id"] == response.headers["Request-Id"]
    assert (line["method"], line["status"], line["level"]) == ("GET", 404, "info")
    assert is_time(line["time"])
    assert line["ms"] >= 0
    for secret in ("private", "secret", "tok"):
        assert secret not in text
