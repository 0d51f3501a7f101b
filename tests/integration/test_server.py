"""What the server itself answers, where no request reaches the application."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from flask import Flask, Response

from pdpp_ref import server as module
from pdpp_ref import tokens
from tests.support.factories import TOKEN
from tests.support.server_process import served

Ask = Callable[[bytes], tuple[bytes, bytes]]
pytestmark = pytest.mark.only("sqlite")  # it comes before any database
BEARER = f"Authorization: Bearer {TOKEN}\r\n".encode()


@pytest.fixture
def ask(app: Flask) -> Iterator[Ask]:
    with served(app) as server:
        server.adj.max_request_body_size = 1_000

        def send(request: bytes) -> tuple[bytes, bytes]:
            with socket.create_connection(("127.0.0.1", server.effective_port), timeout=60) as client:
                client.sendall(request)
                answer = b"".join(iter(lambda: client.recv(65536), b""))
            head, _, body = answer.partition(b"\r\n\r\n")
            return head, body

        yield send


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (b"Content-Length: abc", b"400"),
        (b"Content-Length: " + b"9" * 5_000, b"400"),
        (b"Transfer-Encoding: foo", b"501"),
    ],
)
def test_what_is_no_http_is_reported_in_the_one_shape(ask: Ask, header: bytes, status: bytes) -> None:
    head, body = ask(b"POST /owner/login HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n\r\n")
    assert head.split()[1] == status
    assert b"Request-Id: " in head
    assert set(json.loads(body)["error"]) == {"type", "code", "message", "request_id"}


def test_an_address_that_is_none_is_reported_and_not_logged(
    ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    head, body = ask(b"GET http://[private HTTP/1.1\r\nHost: x\r\n\r\n")
    assert head.split()[1] == b"400"
    assert json.loads(body)["error"]["code"] == "invalid_request"
    assert "private" not in caplog.text


def post(path: bytes, length: int | None, *headers: bytes) -> bytes:
    """A request whose body is so long, or in chunks of 2,000 bytes; none of it, or one chunk, is sent."""
    reported = b"Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}".encode()
    sent = b"7d0\r\n" + b"x" * 2_000 + b"\r\n" if length is None else b""
    return b"POST " + path + b" HTTP/1.1\r\nHost: x\r\n" + b"".join(headers) + reported + b"\r\n\r\n" + sent


@pytest.mark.parametrize("length", [2_000_000_000_000, None])
def test_a_body_larger_than_any_route_takes_is_refused_before_it_is_received(
    ask: Ask, length: int | None
) -> None:
    head, body = ask(post(b"/v1/ingest/notes", length, BEARER))
    assert head.split()[1] == b"413"
    assert json.loads(body)["error"]["code"] == "body_too_large"


@pytest.mark.parametrize("length", [900, None])
@pytest.mark.parametrize("path", [b"/v1/ingest/notes", b"/owner/login"])
@pytest.mark.parametrize("header", [b"", BEARER.replace(b"Bearer", b"Basic"), BEARER.replace(b"r'", b"R'")])
def test_of_a_stranger_nothing_large_is_received(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, length: int | None, path: bytes, header: bytes
) -> None:
    monkeypatch.setattr(module, "MAX_FORM_BYTES", 500)
    head, body = ask(post(path, length, header))
    assert head.split()[1] == b"401"
    assert b"www-authenticate: bearer" in head.lower()
    assert json.loads(body)["error"]["code"] == "bearer_token_required"


def test_the_token_opens_the_way_for_a_large_body(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FORM_BYTES", 500)
    line = b'{"key":"a","data":{"t":"' + b"x" * 800 + b'"}}'
    head, body = ask(
        post(b"/v1/ingest/notes?connector_id=files", len(line), BEARER, b"Connection: close\r\n") + line
    )
    assert head.split()[1] == b"200"
    assert json.loads(body)["records_accepted"] == 1


@pytest.mark.parametrize(
    ("scope", "status", "code"),
    [("write", 200, None), ("read", 403, "insufficient_scope"), ("revoked", 401, "bearer_token_required")],
)
def test_a_named_token_opens_the_way_if_it_may_write(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, scope: str, status: int, code: str | None
) -> None:
    monkeypatch.setattr(module, "MAX_FORM_BYTES", 500)
    secret = tokens.create("named", ("write" if scope == "revoked" else scope,), None, None)
    if scope == "revoked":
        tokens.revoke("named")
    line = b'{"key":"a","data":{"t":"' + b"x" * 800 + b'"}}'
    header = f"Authorization: Bearer {secret}\r\n".encode()
    head, body = ask(
        post(b"/v1/ingest/notes?connector_id=files", len(line), header, b"Connection: close\r\n") + line
    )
    assert int(head.split()[1]) == status
    assert code is None or json.loads(body)["error"]["code"] == code


def test_a_slow_look_up_delays_no_other_connection(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FORM_BYTES", 500)
    released = threading.Event()
    monkeypatch.setattr(tokens, "find", lambda _: released.wait(60) and None)
    header = b"Authorization: Bearer pdpp_" + b"0" * 40 + b"\r\n"
    began = time.monotonic()
    for _ in range(20):
        head, body = ask(post(b"/v1/ingest/notes", 900, header))
        assert head.split()[1] == b"503"
        assert b"retry-after: 5" in head.lower()
        assert json.loads(body)["error"]["code"] == "storage_unavailable"
    assert time.monotonic() - began < 20 * module.LOOK_UP_SECONDS, "only the first waits for the database"
    released.set()


def test_a_failure_in_the_middle_of_an_answer_logs_no_more_than_its_kind(
    app: Flask, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    def parts() -> Iterator[bytes]:
        yield b"the first part"
        raise ValueError("private")

    app.view_functions["monitoring.healthz"] = lambda: Response(parts())
    head, body = ask(b"GET /healthz?private HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (head.split()[1], b"the first part" in body) == (b"200", True)
    messages = [record.getMessage() for record in caplog.records if record.name == "waitress"]
    assert messages == ["a connection was ended by ValueError"]  # a busy machine logs its queue too
    assert "private" not in caplog.text
