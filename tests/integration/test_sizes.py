"""Size rows at each grain, and the streams of a summary."""

import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from pdpp_ref.services import reconcile
from tests.conftest import Backend
from tests.support import contract
from tests.support.factories import (
    MEASURES,
    TOKEN,
    DatabaseProbe,
    delete,
    fill,
    mark,
    statements,
    upsert,
    write,
)

Get = Callable[..., Any]
BEARER = {"Authorization": f"Bearer {TOKEN}"}
ROW = {"grain", *MEASURES, "total_retained_bytes", "dirty", "computed_at"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture
def operator(app: Flask) -> FlaskClient:
    found = app.test_client()
    found.environ_base["HTTP_AUTHORIZATION"] = BEARER["Authorization"]
    return found


@pytest.fixture
def get(operator: FlaskClient) -> Get:
    def read(path: str = "size", **query: str) -> Any:
        response = operator.get(f"/_ref/dataset/{path}", query_string=query)
        assert response.status_code == 200
        return response.get_json()

    return read


@pytest.fixture(autouse=True)
def _records(app: Flask) -> None:
    write(upsert("a", 1), upsert("a", 22), upsert("p", stream="photos"))
    write(upsert("a"), delete("a"), upsert("b"), connection="phone", connector="files")
    write(upsert("m"), connection="mail", connector="mail")


def test_the_global_size_is_the_summary(get: Get) -> None:
    body = get()
    assert set(body) == {"object", "grain", "rows", "projection"}
    assert (body["object"], body["grain"]) == ("ref_dataset_size", "global")
    (row,) = body["rows"]
    assert set(row) == ROW
    summary = get("summary")
    assert row["record_count"] == summary["record_count"] == 4
    assert row["total_retained_bytes"] == summary["total_retained_bytes"]
    assert row["current_record_json_bytes"] == summary["record_json_bytes"]
    assert row["dirty"] is False
    assert TIME.fullmatch(row["computed_at"])


def test_parts_add_up_to_the_whole_at_every_grain(get: Get) -> None:
    (whole,) = get()["rows"]
    for grain in ("connection", "stream"):
        rows = get(grain=grain)["rows"]
        for measure in (*MEASURES, "total_retained_bytes"):
            assert sum(row[measure] for row in rows) == whole[measure], (grain, measure)


def test_rows_have_the_names_of_their_grain_in_order(get: Get) -> None:
    connections = get(grain="connection")["rows"]
    assert all(set(row) == ROW | {"connector_id", "connector_instance_id"} for row in connections)
    assert [row["connector_instance_id"] for row in connections] == ["laptop", "mail", "phone"]
    streams = get(grain="stream")["rows"]
    assert all(set(row) == ROW | {"connector_id", "connector_instance_id", "stream"} for row in streams)
    names = [(row["connector_instance_id"], row["stream"]) for row in streams]
    assert names == [("laptop", "notes"), ("laptop", "photos"), ("mail", "notes"), ("phone", "notes")]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"grain": "stream", "connector_instance_id": "laptop"}, 2),
        ({"grain": "stream", "stream": "notes"}, 3),
        ({"grain": "stream", "connector_instance_id": "laptop", "stream": "photos"}, 1),
        ({"grain": "stream", "connector_instance_id": "none"}, 0),
        ({"grain": "connection", "connector_instance_id": "mail"}, 1),
        ({"grain": "connection", "connector_instance_id": "x' OR 1=1 --"}, 0),
        ({"connector_instance_id": "mail"}, 1),
    ],
)
def test_filters_select_by_name(get: Get, query: dict[str, str], count: int) -> None:
    assert len(get(**query)["rows"]) == count


@pytest.mark.parametrize("grain", ["record", "GLOBAL"])
def test_another_grain_is_400(operator: FlaskClient, grain: str) -> None:
    response = operator.get("/_ref/dataset/size", query_string={"grain": grain})
    assert response.status_code == 400
    assert response.get_json()["error"]["code"] == "invalid_request"


@pytest.mark.parametrize("name", ["a/b", "a\nb", "'\"", "\x01", "😀", "x" * 1000])
def test_names_of_any_characters_come_back_as_they_are(get: Get, name: str) -> None:
    fill(2, stream=name, connection=name)
    (row,) = get(grain="stream", connector_instance_id=name, stream=name)["rows"]
    assert (row["connector_instance_id"], row["stream"], row["record_count"]) == (name, name, 2)


def test_a_size_read_reconciles_as_a_summary_read_does(get: Get, probe: DatabaseProbe) -> None:
    probe("UPDATE retained_size_stream SET record_count = 9")
    mark("laptop", "notes")
    mark("laptop", "photos")
    mark("phone", "notes")
    mark("mail", "notes")
    body = get(grain="stream")
    assert body["projection"]["dirty"] is False
    assert sum(row["record_count"] for row in body["rows"]) == 4


def test_the_projection_block_reports_this_processs_attempts(get: Get, probe: DatabaseProbe) -> None:
    mark()
    probe.fail_reconcile("SELECT secret")
    block = get()["projection"]
    assert set(block) == {"computed_at", "dirty", "metadata"}
    assert block["dirty"] is True
    assert block["metadata"]["state"] == "stale"
    auto = block["metadata"]["auto_reconcile"]
    assert (auto["attempts"], auto["failures"], auto["consecutive_failures"]) == (1, 1, 1)
    assert auto["last_error"] == "reconcile failed: the database refused a value"
    assert 0 < auto["retry_after_seconds"] <= 30
    assert TIME.fullmatch(auto["last_attempt_at"])


@pytest.mark.parametrize("query", [{}, {"grain": "connection"}, {"grain": "stream"}])
def test_a_fresh_size_read_executes_few_statements(
    get: Get, backend: Backend, query: dict[str, str]
) -> None:
    fill(500, stream="more")
    with statements() as seen:
        get(**query)
    rows = 1 if not query else 2  # the order of a list, and a batch of it
    assert len(seen) == 4 + rows + (
        backend.kind == "sqlite"
    )  # there, the schema's version is one of its own
    assert not [sql for sql in seen if "records" in sql or "record_changes" in sql]


def test_streams_of_one_connector_are_summed_over_its_connections(get: Get) -> None:
    body = get("summary/streams")
    assert list(body) == contract.STREAMS
    assert body["filters"] == {"connector_id": None}
    found = {(row["connector_id"], row["stream"]): row["record_count"] for row in body["streams"]}
    assert found == {("files", "notes"): 2, ("files", "photos"): 1, ("mail", "notes"): 1}
    assert list(found) == sorted(found)
    assert list(body["streams"][0]) == contract.STREAM
    summary = get("summary")
    assert sum(row["record_json_bytes"] for row in body["streams"]) == summary["record_json_bytes"]
    assert min(row["earliest_ingested_at"] for row in body["streams"]) == summary["earliest_ingested_at"]


def test_streams_can_be_of_one_connector(get: Get) -> None:
    body = get("summary/streams", connector_id="mail")
    assert [row["stream"] for row in body["streams"]] == ["notes"]
    assert body["filters"] == {"connector_id": "mail"}
    assert get("summary/streams", connector_id="none")["streams"] == []


class TestMaintenance:
    @pytest.mark.parametrize("route", ["summary", "size"])
    def test_reconcile_runs_one_pass_now(self, operator: FlaskClient, route: str) -> None:
        mark("laptop", "notes")
        mark("phone", "notes")
        body = operator.post(f"/_ref/dataset/{route}/reconcile").get_json()
        assert (
            body["object"]
            == {"summary": "dataset_summary_reconcile", "size": "ref_dataset_size_reconcile"}[route]
        )
        if route == "summary":
            assert (body["reconciled"], body["deferred"]) == (4, 0)
            assert body["summary"]["projection"]["state"] == "fresh"
        else:
            assert (body["streams"], body["connections"]) == (2, 2)
            assert (body["projection"]["grain"], body["projection"]["dirty"]) == ("global", False)

    def test_reconcile_reports_what_it_left(self, make_app: Any) -> None:
        client = make_app(RECONCILE_MAX_ROWS=1).test_client()
        mark("laptop", "notes")
        body = client.post("/_ref/dataset/summary/reconcile", headers=BEARER).get_json()
        assert (body["reconciled"], body["deferred"]) == (1, 2)
        assert body["summary"]["projection"]["state"] == "stale"

    def test_reconcile_is_not_held_back_by_the_cooldown_and_its_failure_is_a_plain_error(
        self, app: Flask, operator: FlaskClient, probe: DatabaseProbe
    ) -> None:
        mark()
        probe.fail_reconcile("SELECT secret")
        for attempts in (1, 2):
            response = operator.post("/_ref/dataset/size/reconcile")
            assert response.status_code == 503
            assert response.get_json()["error"]["code"] == "storage_unavailable"
            assert "secret" not in response.text
            assert app.extensions["auto_reconcile"].attempts == attempts
        probe.restore()
        assert operator.post("/_ref/dataset/size/reconcile").status_code == 200
        assert app.extensions["auto_reconcile"].cooldown.entries == {}

    @pytest.mark.parametrize("route", ["summary", "size"])
    def test_rebuild_answers_at_once_with_the_figures_of_before(
        self, app: Flask, operator: FlaskClient, probe: DatabaseProbe, route: str
    ) -> None:
        probe("UPDATE retained_size_global SET record_count = 77")
        probe("UPDATE retained_size_stream SET record_count = 77")
        body = operator.post(f"/_ref/dataset/{route}/rebuild").get_json()
        if route == "summary":
            assert body["object"] == "dataset_summary"
            assert body["projection"]["state"] == "rebuilding"
            assert body["record_count"] == 77
        else:
            assert body["object"] == "ref_dataset_size_rebuild"
            assert (body["projection"]["dirty"], body["projection"]["record_count"]) == (True, 77)
        app.extensions["background_rebuild"].wait()
        assert probe("SELECT dirty, record_count, rebuild_status FROM retained_size_global") == [
            (0, 4, "idle")
        ]
        assert probe.wrong_but_clean() == []

    def test_rebuilds_asked_for_at_once_are_one(self, app: Flask, probe: DatabaseProbe) -> None:
        together = threading.Barrier(8)
        statuses: list[int] = []

        def ask() -> None:
            together.wait()
            response = app.test_client().post("/_ref/dataset/size/rebuild", headers=BEARER)
            statuses.append(response.status_code)
            from pdpp_ref.database import db

            db.close()

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        app.extensions["background_rebuild"].wait()
        assert statuses == [200] * 8
        assert probe("SELECT dirty, rebuild_status FROM retained_size_global") == [(0, "idle")]
        assert probe.wrong_but_clean() == []

    def test_a_rebuild_asked_for_while_one_runs_joins_it(
        self, operator: FlaskClient, probe: DatabaseProbe
    ) -> None:
        reconcile.begin_rebuild()
        reconcile.run_pass(reconcile.Limits(rows=2))
        dirty = "SELECT stream_id, stale_since FROM retained_size_stream WHERE dirty"
        begun = (probe(dirty), probe("SELECT stale_since, rebuild_total FROM retained_size_global"))
        assert len(begun[0]) == 2
        probe.fail_reconcile()  # so that it stays where it is
        assert operator.post("/_ref/dataset/size/rebuild").status_code == 200
        operator.application.extensions["background_rebuild"].wait()
        assert begun[1] == probe("SELECT stale_since, rebuild_total FROM retained_size_global")
        assert set(probe(dirty)) <= set(begun[0]), "what was counted is not marked again"

    def test_progress_is_readable_while_it_runs(self, app: Flask, get: Get, probe: DatabaseProbe) -> None:
        # A pass that runs out of time would end before it fails.
        app.extensions["auto_reconcile"].limits = reconcile.Limits(seconds=60)
        reconcile.begin_rebuild()
        probe.fail_reconcile()
        metadata = get()["projection"]["metadata"]
        assert metadata["state"] == "rebuilding"
        assert metadata["rebuild_progress"] == {"versions_counted": 0, "versions_in_all": 7}

    def test_a_rebuild_that_fails_is_reported_and_finished_later(
        self, app: Flask, operator: FlaskClient, get: Get, probe: DatabaseProbe
    ) -> None:
        probe.fail_reconcile()
        assert operator.post("/_ref/dataset/size/rebuild").status_code == 200
        app.extensions["background_rebuild"].wait()
        assert get("summary")["projection"]["rebuild_status"] == "failed"
        probe.restore()
        assert operator.post("/_ref/dataset/size/rebuild").status_code == 200
        app.extensions["background_rebuild"].wait()
        assert get("summary")["projection"]["state"] == "fresh"

    @pytest.mark.one_on_postgres
    @pytest.mark.parametrize(
        "route", ["summary/reconcile", "summary/rebuild", "size/reconcile", "size/rebuild"]
    )
    def test_nobody_else_may(self, client: FlaskClient, owner: FlaskClient, route: str) -> None:
        assert client.post(f"/_ref/dataset/{route}").status_code == 401
        cross_site = owner.post(f"/_ref/dataset/{route}", headers={"Sec-Fetch-Site": "cross-site"})
        assert cross_site.status_code == 403
        assert owner.post(f"/_ref/dataset/{route}").status_code == 200
        owner.application.extensions["background_rebuild"].wait()
