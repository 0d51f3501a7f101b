"""A client written from the wire description alone, against a real server process.

It signs in with JSON, keeps the cookie, and sends no more headers than it must.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import contract
from tests.support.factories import PASSWORD
from tests.support.server_process import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(Path(tmp_path_factory.mktemp("server"))) as found:
        lines = [
            {"type": "RECORD", "stream": stream, "key": str(number), "data": {"n": number}}
            for stream in ("notes", "a/b \n'é\"")
            for number in range(3)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        found.run("import", "--connection", "laptop", "--connector", "files", given=text)
        found.run("import", "--connection", "phone", "--connector", "files", given=text)
        yield found


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers={"Accept": "application/json"}) as found:
        del found.headers["User-Agent"]
        signed_in = found.post("/owner/login", json={"password": PASSWORD})
        assert signed_in.status_code == 302
        assert "pdpp_owner_session" in found.cookies
        yield found


def get(client: httpx.Client, path: str, **query: Any) -> Any:
    response = client.get(f"/_ref/dataset/{path}", params=query)
    return checked(response, 200)


def post(client: httpx.Client, path: str) -> Any:
    """Without a body and without a content type."""
    request = client.build_request("POST", f"/_ref/dataset/{path}")
    assert "Content-Type" not in request.headers
    return checked(client.send(request), 200)


def checked(response: httpx.Response, status: int) -> Any:
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["PDPP-Surface"] == "reference-only"
    assert response.headers["Cache-Control"] == "no-store"
    return response.json()


def test_a_wrong_password_is_401(server: Server) -> None:
    response = httpx.post(f"{server.url}/owner/login", json={"password": "wrong"})
    contract.check_error(checked(response, 401))
    assert response.cookies == {}


def test_without_a_session_it_is_asked_to_sign_in(server: Server) -> None:
    body = checked(httpx.get(f"{server.url}/_ref/dataset/summary"), 401)
    contract.check_error(body)
    assert body["error"]["code"] == "owner_session_required"


def test_a_browser_is_sent_to_sign_in(server: Server) -> None:
    response = httpx.get(f"{server.url}/dashboard", headers={"Accept": "text/html"})
    assert (response.status_code, response.headers["Location"]) == (
        302,
        "/owner/login?return_to=/dashboard",
    )


def test_summary(client: httpx.Client) -> None:
    body = get(client, "summary")
    contract.check_summary(body)
    assert (body["connector_count"], body["stream_count"], body["record_count"]) == (2, 4, 12)
    assert body["top_connectors"] == [
        {"object": "dataset_connector_summary", "connector_id": "files", "record_count": 12}
    ]


def test_streams(client: httpx.Client) -> None:
    body = get(client, "summary/streams")
    contract.check_streams(body)
    assert body["filters"] == {"connector_id": None}
    assert [row["record_count"] for row in body["streams"]] == [6, 6]
    body = get(client, "summary/streams", connector_id="nobody's")
    contract.check_streams(body)
    assert (body["filters"], body["streams"]) == ({"connector_id": "nobody's"}, [])


@pytest.mark.parametrize(("grain", "rows"), [("global", 1), ("connection", 2), ("stream", 4)])
def test_sizes(client: httpx.Client, grain: str, rows: int) -> None:
    body = get(client, "size", grain=grain)
    contract.check_sizes(body, grain)
    assert len(body["rows"]) == rows
    assert sum(row["record_count"] for row in body["rows"]) == 12


def test_sizes_are_global_by_default_and_can_be_filtered(client: httpx.Client) -> None:
    contract.check_sizes(get(client, "size"), "global")
    body = get(client, "size", grain="stream", connector_instance_id="phone", stream="a/b \n'é\"")
    contract.check_sizes(body, "stream")
    (row,) = body["rows"]
    assert (row["connector_id"], row["connector_instance_id"]) == ("files", "phone")


def test_another_grain_is_reported(client: httpx.Client) -> None:
    body = checked(client.get("/_ref/dataset/size", params={"grain": "record"}), 400)
    contract.check_error(body)
    assert body["error"]["code"] == "invalid_request"


def test_top(client: httpx.Client) -> None:
    body = get(client, "top")
    contract.check_top(body)
    assert (body["scope"], body["measure"], len(body["rows"])) == ("connection", "total_retained_bytes", 2)
    for scope, rows in (("stream", 4), ("record", None), ("blob", 0)):
        body = get(client, "top", scope=scope, measure="total_retained_bytes", limit=100)
        contract.check_top(body)
        assert rows in (None, len(body["rows"]))
    for query in ({"scope": "person"}, {"measure": "beauty"}, {"limit": "many"}):
        body = checked(client.get("/_ref/dataset/top", params=query), 400)
        contract.check_error(body)
        assert body["error"]["code"] == "invalid_request"


def test_reconcile(client: httpx.Client, server: Server) -> None:
    server.run("mark-dirty", "--connection", "phone", "--stream", "notes")
    body = post(client, "summary/reconcile")
    assert list(body) == ["object", "reconciled", "deferred", "summary"]
    assert body["object"] == "dataset_summary_reconcile"
    assert (body["reconciled"], body["deferred"]) == (2, 0)
    contract.check_summary(body["summary"])
    body = post(client, "size/reconcile")
    assert list(body) == ["object", "streams", "connections", "projection"]
    assert body["object"] == "ref_dataset_size_reconcile"
    assert (body["streams"], body["connections"]) == (0, 0)
    contract.check_size_row(body["projection"], "global")


def test_rebuild(client: httpx.Client) -> None:
    body = post(client, "summary/rebuild")
    contract.check_summary(body)
    assert body["projection"]["rebuild_status"] == "running"
    body = post(client, "size/rebuild")
    assert list(body) == ["object", "projection"]
    assert body["object"] == "ref_dataset_size_rebuild"
    contract.check_size_row(body["projection"], "global")
    for _ in range(200):
        if get(client, "summary")["projection"]["state"] == "fresh":
            return
        time.sleep(0.05)
    pytest.fail("the rebuild did not end")


def test_a_browsers_cross_site_request_never_passes(client: httpx.Client) -> None:
    for headers in ({"Origin": "https://elsewhere.example"}, {"Sec-Fetch-Site": "cross-site"}):
        body = checked(client.post("/_ref/dataset/summary/rebuild", headers=headers), 403)
        contract.check_error(body)
