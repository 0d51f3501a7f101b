"""What every response has: headers, a Request-Id, one shape of error."""

import gzip
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support.factories import TOKEN

BROWSER = {"Accept": "text/html,application/xhtml+xml"}


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    "path", ["/", "/dashboard", "/dashboard/hero", "/owner/login", "/_ref/dataset/summary", "/nowhere"]
)
def test_every_response_has_the_headers(owner: FlaskClient, path: str) -> None:
    headers = owner.get(path).headers
    policy = headers["Content-Security-Policy"]
    for part in (
        "default-src 'self'",
        "img-src 'self' data:",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "object-src 'none'",
    ):
        assert part in policy
    assert "unsafe" not in policy
    assert headers["PDPP-Surface"] == "reference-only"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert len(headers["Request-Id"]) == 32


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    "path", ["/dashboard", "/dashboard/hero", "/v1/streams", "/healthz", "/nowhere", "/static/style.css"]
)
def test_no_header_is_sent_twice(owner: FlaskClient, path: str) -> None:
    with owner.get(path) as response:
        names = [name.lower() for name, _ in response.headers]
    assert len(names) == len(set(names))
    assert "request-id" in names


def test_request_ids_differ(client: FlaskClient) -> None:
    assert len({client.get("/nowhere").headers["Request-Id"] for _ in range(5)}) == 5


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/_ref/nowhere", 404, "not_found"),
        ("POST", "/_ref/dataset/summary", 405, "method_not_allowed"),
        ("GET", "/owner/logout", 405, "method_not_allowed"),
        ("GET", "/dashboard/connections/none", 404, "connection_not_found"),
        ("GET", "/static/../app.py", 404, "not_found"),
        ("GET", "/static/%2e%2e/app.py", 404, "not_found"),
    ],
)
def test_every_error_has_one_shape(
    owner: FlaskClient, method: str, path: str, status: int, code: str
) -> None:
    response = owner.open(path, method=method)
    assert response.status_code == status
    error = response.get_json()["error"]
    assert set(error) == {"type", "code", "message", "request_id"}
    assert error["code"] == code
    assert error["request_id"] == response.headers["Request-Id"]


def test_a_browser_gets_errors_as_a_page_without_codes(owner: FlaskClient) -> None:
    response = owner.get("/dashboard/connections/none", headers=BROWSER)
    assert response.status_code == 404
    assert "There is no connection of this name." in response.text
    assert "404" not in response.text


def test_an_unexpected_error_reveals_nothing_of_itself(
    app: Flask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("token=hunter2 /home/someone SELECT 1")

    monkeypatch.setattr("pdpp_ref.services.summary.read", broken)
    response = app.test_client().get("/_ref/dataset/summary", headers={"Authorization": f"Bearer {TOKEN}"})
    assert response.status_code == 500
    assert response.get_json()["error"]["code"] == "internal_error"
    for place in (response.text, caplog.text):
        assert "hunter2" not in place
        assert "Traceback" not in place
    assert "RuntimeError" in caplog.text


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    "path", ["/%00", "/dashboard/connections/%ff", "/dashboard/hero?seen=%00%ff", "/" + "a" * 9000]
)
def test_odd_paths_are_no_server_error(owner: FlaskClient, path: str) -> None:
    assert owner.get(path).status_code < 500


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded", None])
def test_a_body_that_is_too_large_is_refused(client: FlaskClient, kind: str | None) -> None:
    response = client.post("/owner/login", data=b"x" * 2_000_000, content_type=kind)
    assert response.status_code in (400, 413)
    assert set(response.get_json()["error"]) == {"type", "code", "message", "request_id"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/_ref/dataset/size?grain=stream&connector_instance_id=%00"),
        ("GET", "/_ref/dataset/size?grain=stream&stream=a%00b"),
        ("GET", "/_ref/dataset/summary/streams?connector_id=%00"),
        ("GET", "/dashboard/connections/%00"),
        ("GET", "/dashboard/connections?name=%00"),
        ("GET", "/dashboard/streams?connection=%00&stream=a"),
        ("DELETE", "/v1/streams/%00/records?connector_instance_id=a"),
        ("DELETE", "/v1/streams/a/records/%00?connector_instance_id=a"),
        ("DELETE", "/v1/connections/%00"),
        ("POST", "/v1/ingest/%00?connector_id=a"),
    ],
)
def test_a_name_with_a_nul_is_refused_on_every_database(app: Flask, method: str, path: str) -> None:
    client = app.test_client()
    with client.session_transaction() as session:
        session["owner"] = app.extensions["credentials"].session_fingerprint
    response = client.open(path, method=method, headers={"Authorization": f"Bearer {TOKEN}"})
    assert response.status_code == 400
    assert response.get_json()["error"]["code"] == "invalid_request"


def test_files_of_the_pages_go_compressed_and_pages_do_not(owner: FlaskClient) -> None:
    zipped = {"Accept-Encoding": "gzip, br"}
    with owner.get("/static/style.css") as plain, owner.get("/static/style.css", headers=zipped) as small:
        assert "Content-Encoding" not in plain.headers
        assert small.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(small.data) == plain.data
        assert len(small.data) < len(plain.data) / 2
        assert all("Accept-Encoding" in each.headers["Vary"] for each in (small, plain))
        again = {**zipped, "If-None-Match": small.headers["ETag"]}
    with owner.get("/static/style.css", headers=again) as unchanged:
        assert unchanged.status_code == 304
    with owner.get("/static/style.css", headers={**zipped, "Range": "bytes=0-9"}) as part:
        assert (part.status_code, len(part.data)) == (206, 10)
    with owner.get("/static/style.css", headers={"Accept-Encoding": "gzip;q=0"}) as refused:
        assert "Content-Encoding" not in refused.headers
    assert "Content-Encoding" not in owner.get("/dashboard", headers=zipped).headers
