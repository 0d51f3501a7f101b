"""Connectors' writes over HTTP."""

import gzip
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient

from pdpp_ref.blueprints import auth, connector_api, limits
from pdpp_ref.canonical import importer
from pdpp_ref.canonical.cleanup import Cleanup
from pdpp_ref.credentials import WRITE, Caller
from pdpp_ref.operations import verify
from pdpp_ref.parsing import messages
from tests.support.factories import TOKEN, DatabaseProbe, fill, mark, remove_deleted

Read = Callable[[], dict[str, Any]]


@pytest.fixture
def connector(app: Flask) -> FlaskClient:
    found = app.test_client()
    found.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKEN}"
    return found


def lines(*keys: str, **more: Any) -> bytes:
    return "".join(json.dumps({"key": key, "data": {"k": key}, **more}) + "\n" for key in keys).encode()


def send(
    connector: FlaskClient,
    body: bytes,
    stream: str = "notes",
    query: str = "connector_id=files",
    **more: Any,
) -> Any:
    return connector.post(f"/v1/ingest/{quote(stream, safe='')}?{query}", data=body, **more)


def test_lines_are_stored_and_counted(connector: FlaskClient, summary: Read, probe: DatabaseProbe) -> None:
    response = send(connector, lines("a", "b", "a") + lines("b", op="delete"))
    assert response.status_code == 200
    assert response.get_json() == {
        "stream": "notes",
        "records_attempted": 4,
        "records_accepted": 4,
        "records_rejected": 0,
        "rejections": [],
        "errors": [],
    }
    assert summary()["record_count"] == 1
    assert probe("SELECT connector_instance_id, connector_id FROM connections") == [("files", "files")]
    assert probe.wrong_but_clean() == []


def test_a_connection_can_be_named(connector: FlaskClient, probe: DatabaseProbe) -> None:
    assert (
        send(connector, lines("a"), query="connector_id=files&connector_instance_id=laptop").status_code
        == 200
    )
    assert probe("SELECT connector_instance_id, connector_id FROM connections") == [("laptop", "files")]


def test_bad_lines_are_reported_and_good_ones_stored(connector: FlaskClient, summary: Read) -> None:
    body = lines("a") + b"oops\n" + lines("b") + lines("c", stream="other")
    answer = send(connector, body).get_json()
    assert (answer["records_accepted"], answer["records_rejected"]) == (2, 2)
    assert [error["line"] for error in answer["errors"]] == [2, 4]
    assert "not JSON" in answer["errors"][0]["message"]
    assert "another stream" in answer["errors"][1]["message"]
    assert [each["input_index"] for each in answer["rejections"]] == [1, 3]
    assert answer["records_attempted"] == 4
    assert summary()["record_count"] == 2


@pytest.mark.only("sqlite")
@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"oops", "malformed_ndjson"),
        (b"\xff", "invalid_utf8"),
        (b'{"data":{}}', "invalid_record_identity"),
        (b'{"key":"","data":{}}', "invalid_record_identity"),
        (b'{"key":5,"data":{}}', "invalid_record_identity"),
        (b'{"key":"a"}', "invalid_record"),
        (b'{"key":"a","data":{},"stream":"other"}', "invalid_record"),
        (b'{"key":"a","data":{"x":"' + b"x" * 5_000 + b'"}}', "record_too_large"),
    ],
)
def test_a_program_learns_why_a_line_was_rejected(
    connector: FlaskClient, monkeypatch: pytest.MonkeyPatch, line: bytes, code: str
) -> None:
    monkeypatch.setattr(messages, "MAX_LINE_BYTES", 4_000)
    response = send(connector, lines("a") + line)
    (rejection,) = response.get_json()["rejections"]
    assert (rejection["code"], rejection["input_index"]) == (code, 1)
    assert rejection["receipt_id"].startswith(response.headers["Request-Id"])


def test_a_connector_may_say_which_run_it_is(connector: FlaskClient, probe: DatabaseProbe) -> None:
    query = "connector_id=files&connection_id=laptop&run_id=1"
    assert send(connector, lines("a"), query=query).status_code == 200
    assert probe("SELECT connector_instance_id FROM connections") == [("laptop",)]


def test_errors_are_reported_up_to_a_number_and_all_counted(connector: FlaskClient) -> None:
    answer = send(connector, b"x\n" * 1500).get_json()
    assert answer["records_rejected"] == 1500
    assert len(answer["errors"]) == connector_api.MAX_ERRORS


@pytest.mark.parametrize("stream", ["a/b", "a\nb", "é😀", "%2F", "records", " ", "x" * 1000])
def test_streams_of_any_name(connector: FlaskClient, probe: DatabaseProbe, stream: str) -> None:
    assert send(connector, lines("a"), stream).status_code == 200
    assert probe("SELECT name FROM streams") == [(stream,)]


def test_gzip_is_accepted(connector: FlaskClient, summary: Read) -> None:
    body = gzip.compress(lines(*map(str, range(5000))))
    response = send(connector, body, headers={"Content-Encoding": "gzip"})
    assert response.get_json()["records_accepted"] == 5000
    assert summary()["record_count"] == 5000


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    "body", [b"not gzip", gzip.compress(lines("a"))[:-9], b"\x1f\x8b"], ids=["other", "cut off", "begun"]
)
def test_broken_gzip_is_400(connector: FlaskClient, body: bytes) -> None:
    response = send(connector, body, headers={"Content-Encoding": "gzip"})
    assert response.status_code == 400
    assert response.get_json()["error"]["code"] == "invalid_gzip"


def test_a_body_that_unpacks_to_too_much_is_413(
    connector: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_UNPACKED_BYTES", 10_000_000)
    response = send(connector, gzip.compress(b" " * 50_000_000), headers={"Content-Encoding": "gzip"})
    assert response.status_code == 413
    assert response.get_json()["error"]["code"] == "body_too_large"


def test_a_body_over_the_limit_is_413(connector: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_INGEST_BYTES", 100)
    assert send(connector, lines(*"abcdefghij")).status_code == 413


def test_a_line_over_the_limit_is_rejected_by_itself(
    connector: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer, "MAX_LINE_BYTES", 100)
    answer = send(connector, lines("a") + b"x" * 500 + b"\n" + lines("b")).get_json()
    assert (answer["records_accepted"], answer["records_rejected"]) == (2, 1)


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("", {}, 400),
        ("connector_id=", {}, 400),
        ("connector_id=" + "x" * 3000, {}, 400),
        ("connector_id=%00", {}, 400),
        ("connector_id=f&connector_instance_id=", {}, 400),
        ("connector_id=f&bogus=1", {}, 400),
        ("connector_id=f&connection_id=a&connector_instance_id=b", {}, 400),
        ("connector_id=f", {"Content-Encoding": "br"}, 415),
        ("connector_id=f", {"Authorization": "Bearer wrong"}, 401),
    ],
)
def test_a_wrong_call_stores_nothing(
    connector: FlaskClient, probe: DatabaseProbe, query: str, headers: dict[str, str], status: int
) -> None:
    assert send(connector, lines("a"), query=query, headers=headers).status_code == status
    assert probe("SELECT COUNT(*) FROM connections") == [(0,)]


def test_the_owners_session_may_write(owner: FlaskClient, summary: Read) -> None:
    assert send(owner, lines("a")).status_code == 200
    assert summary()["record_count"] == 1


def test_a_connection_of_another_connector_is_refused(connector: FlaskClient, probe: DatabaseProbe) -> None:
    send(connector, lines("a"), query="connector_id=files&connector_instance_id=laptop")
    response = send(connector, lines("b"), query="connector_id=mail&connector_instance_id=laptop")
    assert response.status_code == 409
    assert response.get_json()["error"]["code"] == "connector_mismatch"
    assert probe("SELECT key FROM records") == [("a",)]


def test_a_storage_failure_says_to_send_again_and_a_retry_doubles_nothing(
    connector: FlaskClient, probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer, "BATCH_LINES", 10)
    fill(1, "notes", "files")
    probe.fail("INSERT ON record_changes", "NEW.key = '25'")
    body = lines(*map(str, range(50)))
    response = send(connector, body, query="connector_id=files")
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert "Send it again" in response.get_json()["error"]["message"]
    probe.restore()
    assert send(connector, body).get_json()["records_accepted"] == 50
    assert probe("SELECT COUNT(*) FROM record_changes WHERE key <> '0000000'") == [(50,)]
    assert list(verify.differences()) == []


def test_it_is_no_reference_only_surface(connector: FlaskClient) -> None:
    assert "PDPP-Surface" not in send(connector, lines("a")).headers


class TestDelete:
    @pytest.fixture(autouse=True)
    def _records(self, connector: FlaskClient) -> None:
        for stream in ("notes", "photos"):
            send(connector, lines("a", "b", "c/d"), stream)

    def test_a_record_leaves_a_tombstone(self, connector: FlaskClient, probe: DatabaseProbe) -> None:
        response = connector.delete("/v1/streams/notes/records/c%2Fd?connector_instance_id=files")
        assert (response.status_code, response.data) == (204, b"")
        assert probe("SELECT COUNT(*) FROM records") == [(5,)]
        assert probe("SELECT json_bytes FROM record_changes ORDER BY stream_id, version DESC LIMIT 1") == [
            (0,)
        ]
        assert probe("SELECT dirty FROM retained_size_global") == [(0,)]
        assert probe.wrong_but_clean() == []

    def test_a_stream_is_gone_with_its_history(
        self, connector: FlaskClient, probe: DatabaseProbe, summary: Read
    ) -> None:
        assert connector.delete("/v1/streams/notes/records?connector_instance_id=files").status_code == 204
        assert probe("SELECT name FROM streams WHERE connection_id IS NOT NULL") == [("photos",)]
        assert probe("SELECT dirty FROM retained_size_global") == [(0,)], "subtracted at once"
        assert probe.wrong_but_clean() == []
        remove_deleted()
        assert probe("SELECT name FROM streams") == [("photos",)]
        assert probe("SELECT COUNT(*) FROM record_changes") == [(3,)]
        body = summary()
        assert (body["projection"]["state"], body["record_count"], body["stream_count"]) == ("fresh", 3, 1)

    def test_a_connection_is_gone_with_all_it_held(
        self, connector: FlaskClient, owner: FlaskClient, probe: DatabaseProbe, summary: Read
    ) -> None:
        connector.put("/v1/state/files", json={"state": {"notes": 1}})
        connector.post("/v1/blobs?connector_id=files&stream=notes&record_key=late", data=b"a file")
        assert owner.delete("/v1/connections/files").status_code == 200
        body = summary()
        assert (body["projection"]["state"], body["total_retained_bytes"], body["connector_count"]) == (
            "fresh",
            0,
            0,
        )
        assert connector.get("/v1/state/files").get_json()["state"] == {}
        remove_deleted()
        assert not Cleanup(3600).step() or not Cleanup(3600).step()
        for table in ("connections", "streams", "records", "record_changes", "retained_size_stream"):
            assert probe(f"SELECT COUNT(*) FROM {table}") == [(0,)]
        for table in ("connector_states", "unclaimed_files", "blobs", "blob_chunks"):
            assert probe(f"SELECT COUNT(*) FROM {table}") == [(0,)]

    @pytest.mark.parametrize(
        ("path", "status", "code"),
        [
            ("/v1/streams/notes/records/zz?connector_instance_id=files", 204, None),
            ("/v1/streams/zz/records/a?connector_instance_id=files", 204, None),
            ("/v1/streams/zz/records?connection_id=files", 204, None),
            ("/v1/streams/notes/records?connector_instance_id=zz", 204, None),
            ("/v1/streams/notes/records/a?connector_id=zz", 204, None),
            ("/v1/streams/notes/records?connector_id=zz", 204, None),
            ("/v1/records?connector_id=zz&stream=notes", 204, None),
            ("/v1/connections/zz", 404, "connection_not_found"),
            ("/v1/streams/notes/records", 400, "invalid_request"),
            ("/v1/streams/notes/records/a", 400, "invalid_request"),
            ("/v1/streams/notes/records?connection_id=files&erase=true", 400, "invalid_request"),
            ("/v1/records?connection_id=files&stream=notes&erase=true", 400, "invalid_request"),
            ("/v1/streams/notes/records?connection_id=files&limit=1", 400, "invalid_request"),
            ("/v1/connections/files?dry_run=1", 400, "invalid_request"),
            (
                "/v1/streams/notes/records?connection_id=files&connector_instance_id=zz",
                400,
                "invalid_request",
            ),
            ("/v1/streams/notes/records?connector_id=mail&connection_id=files", 409, "connector_mismatch"),
        ],
    )
    def test_what_is_not_there_or_not_clear_changes_nothing(
        self,
        connector: FlaskClient,
        owner: FlaskClient,
        probe: DatabaseProbe,
        path: str,
        status: int,
        code: str | None,
    ) -> None:
        response = (owner if "/connections/" in path else connector).delete(path)
        found = response.get_json()["error"]["code"] if response.data else None
        assert (response.status_code, found) == (status, code)
        assert probe("SELECT COUNT(*) FROM record_changes") == [(6,)]
        assert probe("SELECT dirty FROM retained_size_global") == [(0,)]

    @pytest.mark.parametrize("path", ["/v1/streams/notes/records", "/v1/streams/notes/records/a"])
    def test_the_connector_alone_names_its_only_connection(
        self, connector: FlaskClient, probe: DatabaseProbe, path: str
    ) -> None:
        send(connector, lines("a"), query="connector_id=mail&connector_instance_id=phone")
        assert connector.delete(f"{path}?connector_id=mail").status_code == 204
        live = "SELECT COUNT(*) FROM records JOIN streams ON id = stream_id WHERE connection_id IS NOT NULL"
        assert probe(live) == [(6,)]

    @pytest.mark.parametrize("path", ["/v1/streams/notes/records", "/v1/streams/notes/records/a"])
    def test_of_several_connections_none_is_guessed(
        self, connector: FlaskClient, probe: DatabaseProbe, path: str
    ) -> None:
        send(connector, lines("a"), query="connector_id=files&connector_instance_id=phone")
        response = connector.delete(f"{path}?connector_id=files")
        assert response.status_code == 409
        error = response.get_json()["error"]
        assert (error["code"], error["retry_with"]) == ("ambiguous_connection", "connection_id")
        assert error["available_connections"] == [
            {"connection_id": name, "display_name": name} for name in ("files", "phone")
        ]
        assert probe("SELECT COUNT(*) FROM record_changes") == [(7,)]
        assert probe("SELECT COUNT(*) FROM streams WHERE connection_id IS NULL") == [(0,)]

    def test_a_token_of_one_connection_sees_and_deletes_no_other(
        self, connector: FlaskClient, probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        send(connector, lines("a"), query="connector_id=files&connector_instance_id=phone")
        monkeypatch.setattr(auth, "_caller", lambda: Caller(frozenset({WRITE}), "phone"))
        for query in ("connection_id=files", "connector_id=files&connector_instance_id=files"):
            assert connector.delete(f"/v1/streams/notes/records?{query}").status_code == 403
        assert connector.delete("/v1/streams/notes/records?connector_id=files").status_code == 204
        assert probe("SELECT COUNT(*) FROM streams WHERE connection_id IS NULL") == [(1,)]
        assert send(connector, lines("a")).status_code == 403
        assert connector.get("/v1/state/files").status_code == 403
        assert connector.put("/v1/state/files", json={"state": {}}).status_code == 403
        blob = "/v1/blobs?connector_id=files&stream=notes&record_key=a"
        assert connector.post(blob, data=b"").status_code == 403

    def test_a_delete_whose_mark_cannot_be_stored_is_refused(
        self, connector: FlaskClient, probe: DatabaseProbe
    ) -> None:
        probe.fail("UPDATE ON retained_size_global")
        response = connector.delete("/v1/streams/notes/records?connector_instance_id=files")
        assert response.status_code == 503
        assert probe("SELECT COUNT(*) FROM records") == [(6,)]

    def test_a_stream_that_is_marked_can_be_deleted(
        self, connector: FlaskClient, probe: DatabaseProbe, summary: Read
    ) -> None:
        mark("files", "notes")
        assert connector.delete("/v1/streams/notes/records?connector_instance_id=files").status_code == 204
        assert summary()["record_count"] == 3
        assert probe.wrong_but_clean() == []
