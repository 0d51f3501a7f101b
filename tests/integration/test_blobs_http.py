"""Files over HTTP."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from pdpp_ref.blueprints import limits
from pdpp_ref.canonical import blobs
from pdpp_ref.operations import verify
from tests.support.factories import TOKEN, DatabaseProbe, upsert, write

Read = Callable[[], dict[str, Any]]
FILE = b"\x00\xff a file \r\n" * 100_000
DIGEST = hashlib.sha256(FILE).hexdigest()


@pytest.fixture
def connector(app: Flask) -> FlaskClient:
    write(upsert("a"), upsert("b"), upsert("a/b \n'é\"", stream="s/ 1"))
    found = app.test_client()
    found.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKEN}"
    return found


def send(connector: FlaskClient, body: bytes = FILE, headers: Any = None, **query: str) -> Any:
    names = {"connector_instance_id": "laptop", "stream": "notes", "key": "a"} | query
    return connector.post("/v1/blobs", query_string=names, data=body, headers=headers)


def reported(response: Any, status: int, code: str) -> None:
    assert (response.status_code, response.get_json()["error"]["code"]) == (status, code)


def counts(probe: DatabaseProbe) -> list[int]:
    tables = ("blobs", "blob_chunks", "blob_bindings")
    return [probe(f"SELECT COUNT(*) FROM {table}")[0][0] for table in tables]


def test_a_file_is_stored_and_counted(connector: FlaskClient, summary: Read, probe: DatabaseProbe) -> None:
    response = send(connector)
    assert response.status_code == 201
    assert response.get_json() == {
        "object": "blob",
        "blob_id": f"blob_sha256_{DIGEST}",
        "sha256": DIGEST,
        "size_bytes": len(FILE),
        "mime_type": "application/octet-stream",
        "byte_length": len(FILE),
        "created": True,
    }
    assert "PDPP-Surface" not in response.headers
    body = summary()
    assert (body["projection"]["state"], body["blob_bytes"]) == ("fresh", len(FILE))
    parts = probe("SELECT data FROM blob_chunks WHERE sha256 = ? ORDER BY number", DIGEST)
    assert b"".join(part for (part,) in parts) == FILE
    assert list(verify.differences()) == []


def test_sent_again_it_is_the_same_file(
    connector: FlaskClient, summary: Read, probe: DatabaseProbe
) -> None:
    send(connector)
    before = counts(probe)
    response = send(connector)
    assert (response.status_code, response.get_json()["created"]) == (200, False)
    assert counts(probe) == before
    assert summary()["blob_bytes"] == len(FILE)


def test_a_file_of_two_records_is_stored_once_and_counts_for_each(
    connector: FlaskClient, summary: Read, probe: DatabaseProbe
) -> None:
    for key in ("a", "b"):
        assert send(connector, key=key).status_code == 201
    assert probe("SELECT COUNT(*) FROM blobs") == [(1,)]
    assert summary()["blob_bytes"] == 2 * len(FILE)


def test_names_of_any_characters(connector: FlaskClient) -> None:
    response = send(connector, b"x", stream="s/ 1", key="a/b \n'é\"")
    assert response.status_code == 201


def test_an_empty_file_is_a_file(connector: FlaskClient, probe: DatabaseProbe) -> None:
    response = send(connector, b"")
    assert (response.status_code, response.get_json()["byte_length"]) == (201, 0)
    assert probe("SELECT COUNT(*) FROM blob_bindings") == [(1,)]


@pytest.mark.parametrize("digest", [DIGEST, DIGEST.upper()])
def test_a_digest_is_checked(connector: FlaskClient, digest: str) -> None:
    assert send(connector, sha256=digest).status_code == 201


def test_other_bytes_than_were_announced_are_not_stored(
    connector: FlaskClient, probe: DatabaseProbe
) -> None:
    reported(send(connector, FILE[:-1], sha256=DIGEST), 400, "digest_mismatch")
    assert counts(probe) == [0, 0, 0]


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("digest", ["", "abc", "g" * 64, DIGEST + "0"])
def test_what_is_no_digest_is_reported(connector: FlaskClient, digest: str) -> None:
    response = send(connector, sha256=digest)
    reported(response, 400, "invalid_request")
    assert response.get_json()["error"]["message"] == "sha256 must be 64 hexadecimal digits."


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"key": "zz"}, "record_not_found"),
        ({"stream": "zz"}, "stream_not_found"),
        ({"connector_instance_id": "zz"}, "stream_not_found"),
    ],
)
def test_there_must_be_a_record_to_hold_it(
    connector: FlaskClient, probe: DatabaseProbe, query: dict[str, str], code: str
) -> None:
    reported(send(connector, **query), 404, code)
    assert counts(probe) == [0, 0, 0]


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("name", ["connector_instance_id", "stream", "key"])
def test_a_name_that_is_missing_or_no_name_is_reported(connector: FlaskClient, name: str) -> None:
    for value in ("", "\0", "x" * 3000):
        reported(send(connector, **{name: value}), 400, "invalid_request")
    names = {"connector_instance_id": "laptop", "stream": "notes", "key": "a"}
    del names[name]
    response = connector.post("/v1/blobs", query_string=names, data=FILE)
    reported(response, 400, "invalid_request")
    assert name in response.get_json()["error"]["message"]


def test_a_file_over_the_limit_is_413(
    connector: FlaskClient, probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobs, "MAX_BYTES", 1_000)
    monkeypatch.setattr(limits, "MAX_BLOB_BYTES", 1_000)
    reported(send(connector), 413, "body_too_large")
    assert counts(probe) == [0, 0, 0]
    assert send(connector, FILE[:1_000]).status_code == 201


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd, gzip"])
def test_a_content_encoding_is_refused(connector: FlaskClient, probe: DatabaseProbe, encoding: str) -> None:
    reported(send(connector, headers={"Content-Encoding": encoding}), 415, "unsupported_encoding")
    assert counts(probe) == [0, 0, 0]


def test_a_failure_to_store_says_to_send_again(
    connector: FlaskClient, probe: DatabaseProbe, summary: Read
) -> None:
    probe.fail("INSERT ON blob_chunks")
    reported(send(connector), 503, "storage_unavailable")
    assert counts(probe) == [0, 0, 0]
    probe.restore()
    assert send(connector).status_code == 201
    assert summary()["blob_bytes"] == len(FILE)


def test_no_room_for_the_upload_says_to_send_again(
    connector: FlaskClient, probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobs.tempfile, "tempdir", "/nowhere")
    reported(send(connector), 503, "storage_unavailable")
    assert counts(probe) == [0, 0, 0]


def test_a_stranger_stores_no_file(client: FlaskClient) -> None:
    reported(send(client), 401, "bearer_token_required")
