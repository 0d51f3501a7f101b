"""Files over HTTP: whole, in ranges, and as the record that has them says."""

import hashlib
import socket
from typing import Any

import pytest
from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from flask.testing import FlaskClient

from pdpp_ref.blueprints import auth
from pdpp_ref.canonical import blobs
from pdpp_ref.credentials import READ, Caller
from pdpp_ref.queries import files
from tests.support.factories import TOKEN, DatabaseProbe, delete, statements, upsert, write
from tests.support.reading import read, refused
from tests.support.server_process import served

FILE = bytes(range(256)) * 8_200  # three chunks
DIGEST = hashlib.sha256(FILE).hexdigest()
PATH = f"/v1/blobs/blob_sha256_{DIGEST}"
SIZE = len(FILE)


def store(key: str = "a", content: bytes = FILE, stream: str = "notes", connection: str = "laptop") -> None:
    write(upsert(key, stream=stream), connection=connection)
    blobs.store(connection, stream, key, iter([content]))


def named(probe: DatabaseProbe, mime_type: str | None, key: str = "a") -> None:
    probe("UPDATE blob_bindings SET mime_type = ? WHERE key = ?", mime_type, key)


@pytest.mark.parametrize("blob_id", [f"blob_sha256_{DIGEST}", DIGEST])
def test_a_file_comes_back_whole(owner: FlaskClient, blob_id: str) -> None:
    store()
    response = owner.get(f"/v1/blobs/{blob_id}")
    assert (response.status_code, response.data == FILE) == (200, True)
    wanted = {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(SIZE),
        "Content-Disposition": "attachment",
        "Cache-Control": "private, no-store",
        "X-Content-Type-Options": "nosniff",
        "Accept-Ranges": "bytes",
        "ETag": f'"{DIGEST}"',
    }
    assert {name: response.headers.get(name) for name in wanted} == wanted
    head = owner.head(f"/v1/blobs/{blob_id}")
    assert (head.status_code, head.data) == (200, b"")
    assert {name: head.headers.get(name) for name in wanted} == wanted


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    ("sent", "kind", "shown"),
    [
        ("image/png", "image/png", True),
        ("image/svg+xml", "image/svg+xml", False),
        ("text/html", "text/html", False),
        ("text/plain; charset=utf-8", "text/plain; charset=utf-8", False),
        ("no type\r\nX: y", "application/octet-stream", False),
    ],
)
def test_the_media_type_is_the_senders_and_few_are_shown_in_place(
    owner: FlaskClient, probe: DatabaseProbe, sent: str, kind: str, shown: bool
) -> None:
    store()
    named(probe, sent)
    response = owner.get(PATH)
    assert response.headers["Content-Type"] == kind
    assert ("Content-Disposition" not in response.headers) is shown


def test_the_same_bytes_have_the_type_of_the_reference_that_is_asked_for(
    owner: FlaskClient, probe: DatabaseProbe
) -> None:
    for key in "abcd":
        store(key)
    for key, kind in {"b": "image/png", "c": "text/plain", "d": "image/png"}.items():
        named(probe, kind, key)

    def kind(**query: str) -> str:
        return str(owner.head(PATH, query_string=query).headers["Content-Type"])

    assert kind() == "image/png"  # the first by stream and key that has one
    assert kind(stream="notes", record_key="c") == "text/plain"
    assert kind(record_key="a") == "application/octet-stream"
    assert refused(owner, PATH, record_key="x") == (404, "blob_not_found")
    assert refused(owner, PATH, stream="x") == (404, "blob_not_found")


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-", 100, SIZE),
        ("bytes=-5", SIZE - 5, SIZE),
        (f"bytes={2**20 - 1}-{2**20}", 2**20 - 1, 2**20 + 1),
        (f"bytes={2**20}-{2**21 + 7}", 2**20, 2**21 + 8),
        (f"bytes={SIZE - 1}-{SIZE + 9}", SIZE - 1, SIZE),
    ],
)
def test_one_range_is_sent_alone(owner: FlaskClient, header: str, start: int, end: int) -> None:
    store()
    response = owner.get(PATH, headers={"Range": header})
    assert (response.status_code, response.data == FILE[start:end]) == (206, True)
    assert response.headers["Content-Range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert response.headers["Content-Length"] == str(end - start)


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("header", ["bytes=0-1,5-6", "lines=0-1", "bytes=x", "bytes=5-3", "x" * 5_000])
def test_any_other_range_gets_the_whole_file(owner: FlaskClient, header: str) -> None:
    store()
    response = owner.get(PATH, headers={"Range": header})
    assert (response.status_code, len(response.data)) == (200, SIZE)
    assert "Content-Range" not in response.headers


def test_3000_ranges_cost_what_one_costs(owner: FlaskClient) -> None:
    store()
    many = "bytes=" + ",".join(f"{n}-{n}" for n in range(3_000))
    found = []
    for header in ("bytes=0-", many):
        with statements() as seen:
            assert len(owner.get(PATH, headers={"Range": header}).data) == SIZE
        found.append(list(seen))
    assert found[0] == found[1]


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("header", [f"bytes={SIZE}-", "bytes=-0", f"bytes={'9' * 400}-"])
def test_a_range_that_the_file_does_not_have_is_416(owner: FlaskClient, header: str) -> None:
    store()
    response = owner.get(PATH, headers={"Range": header})
    assert (response.status_code, response.get_json()["error"]["code"]) == (416, "range_not_satisfiable")
    assert response.headers["Content-Range"] == f"bytes */{SIZE}"


def test_an_empty_file_is_sent_whole(owner: FlaskClient) -> None:
    store(content=b"")
    path = f"/v1/blobs/{hashlib.sha256(b'').hexdigest()}"
    for header in ({}, {"Range": "bytes=0-"}, {"Range": "bytes=-1"}):
        response = owner.get(path, headers=header)
        assert (response.status_code, response.data) == (200, b"")
        assert response.headers["Content-Length"] == "0"


def test_a_range_depends_on_if_range(owner: FlaskClient) -> None:
    store()
    part = {"Range": "bytes=0-4"}
    etag = f'"{DIGEST}"'
    for condition, status in {
        etag: 206,
        f"W/{etag}": 200,
        '"other"': 200,
        "Wed, 21 Oct 2026 07:28:00 GMT": 200,
    }.items():
        assert owner.get(PATH, headers=part | {"If-Range": condition}).status_code == status


def test_a_file_that_the_client_has_is_304(owner: FlaskClient) -> None:
    store()
    for known in (f'"{DIGEST}"', f'W/"{DIGEST}"', f'"a", "{DIGEST}"', "*"):
        response = owner.get(PATH, headers={"If-None-Match": known, "Range": "bytes=0-0"})
        assert (response.status_code, response.data) == (304, b"")
        assert response.headers["ETag"] == f'"{DIGEST}"'
    assert owner.get(PATH, headers={"If-None-Match": '"other"'}).status_code == 200


# ---- who may read it -----------------------------------------------------------------------------


def test_a_live_record_must_have_it(owner: FlaskClient) -> None:
    assert refused(owner, PATH) == (404, "blob_not_found")
    store()
    store("b")
    write(delete("a"))
    assert owner.head(PATH).status_code == 200
    write(delete("b"))
    assert refused(owner, PATH) == (404, "blob_not_found")
    for blob_id in ("x", "0" * 64, "blob_sha256_", DIGEST.upper(), f"{DIGEST}0"):
        assert refused(owner, f"/v1/blobs/{blob_id}") == (404, "blob_not_found")


def test_several_connections_have_to_be_distinguished(
    owner: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    store()
    store(connection="phone")
    error = read(owner, PATH, 409)["error"]
    assert (error["code"], error["retry_with"]) == ("ambiguous_connection", "connection_id")
    assert [each["connection_id"] for each in error["available_connections"]] == ["laptop", "phone"]
    assert owner.head(PATH, query_string={"connection_id": "phone"}).status_code == 200
    monkeypatch.setattr(auth, "_caller", lambda: Caller(frozenset({READ}), "phone"))
    assert owner.head(PATH).status_code == 200
    assert refused(owner, PATH, connection_id="laptop") == (403, "insufficient_scope")
    monkeypatch.setattr(auth, "_caller", lambda: Caller(frozenset({READ}), "other"))
    assert refused(owner, PATH) == (404, "blob_not_found")


def test_nobody_else_reads_it(client: FlaskClient) -> None:
    store()
    assert client.get(PATH).status_code == 401
    assert client.get(PATH, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 403


# ---- while it is sent ----------------------------------------------------------------------------


def test_each_chunk_is_a_read_of_its_own(owner: FlaskClient, probe: DatabaseProbe) -> None:
    """So a client that stops reading holds no snapshot, and others can write."""
    store()
    chunks = files.read(DIGEST, 0, SIZE)
    assert next(chunks) == FILE[: 2**20]
    probe("UPDATE streams SET created_at = ''")
    assert probe("SELECT created_at FROM streams") == [("",)]
    assert b"".join(chunks) == FILE[2**20 :]


def test_a_file_that_is_deleted_while_it_is_sent_ends_short(app: Flask, probe: DatabaseProbe) -> None:
    store()
    fingerprint = app.extensions["credentials"].session_fingerprint
    signing: Any = SecureCookieSessionInterface().get_signing_serializer(app)
    cookie = signing.dumps({"owner": fingerprint})
    probe("DELETE FROM blob_chunks WHERE number = 2")
    request = f"GET {PATH} HTTP/1.1\r\nHost: x\r\nCookie: pdpp_owner_session={cookie}\r\n\r\n"
    with (
        served(app) as port,
        socket.create_connection(("127.0.0.1", port), 60) as caller,
    ):
        caller.sendall(request.encode())
        answer = b"".join(iter(lambda: caller.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert f"content-length: {SIZE}".encode() in head
    assert body == FILE[: 2**21]
