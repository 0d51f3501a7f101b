"""What the server itself answers, where no request reaches the application."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest
from flask import Flask, Response

from pdpp_ref import tokens
from pdpp_ref.server import connections, request_body
from tests.support.factories import TOKEN, DatabaseProbe
from tests.support.server_process import served

Ask = Callable[[bytes], tuple[bytes, bytes]]
pytestmark = [pytest.mark.only("sqlite"), pytest.mark.slow]  # it comes before any database
BEARER = f"Authorization: Bearer {TOKEN}\r\n".encode()


@pytest.fixture
def ask(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    monkeypatch.setattr(request_body, "MAX_BODY_BYTES", 1_000)
    with served(app) as port:

        def send(request: bytes) -> tuple[bytes, bytes]:
            with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
                answer = b""
                with suppress(ConnectionError):  # the server need not receive all of it
                    client.sendall(request)
                with suppress(ConnectionError):
                    while part := client.recv(65536):
                        answer += part
            head, _, body = answer.partition(b"\r\n\r\n")
            return head, body

        yield send


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (b"Content-Length: abc", b"400"),
        (b"Content-Length: " + b"9" * 5_000, b"400"),
        (b"Transfer-Encoding: foo", b"501"),
        (b"Transfer-Encoding: gzip, chunked", b"501"),
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"400"),
        (b"Content-Length: 5\r\nContent-Length: 6", b"400"),
        (b"No colon", b"400"),
        (b"Long: " + b"x" * connections.MAX_HEAD_BYTES, b"431"),
    ],
)
def test_what_is_no_http_is_reported_in_the_one_shape(ask: Ask, header: bytes, status: bytes) -> None:
    head, body = ask(b"POST /owner/login HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n\r\n")
    assert head.split()[1] == status
    assert b"request-id: " in head
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
    monkeypatch.setattr(request_body, "MAX_FORM_BYTES", 500)
    head, body = ask(post(path, length, header))
    assert head.split()[1] == b"401"
    assert b"www-authenticate: bearer" in head.lower()
    assert json.loads(body)["error"]["code"] == "bearer_token_required"


def test_the_token_opens_the_way_for_a_large_body(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_body, "MAX_FORM_BYTES", 500)
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
    monkeypatch.setattr(request_body, "MAX_FORM_BYTES", 500)
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


def test_look_ups_that_hang_delay_no_other_request(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_body, "MAX_FORM_BYTES", 500)
    monkeypatch.setattr(request_body, "LOOK_UP_SECONDS", 0.5)
    released = threading.Event()
    monkeypatch.setattr(tokens, "find", lambda _: released.wait(60) and None)
    header = b"Authorization: Bearer pdpp_" + b"0" * 40 + b"\r\n"
    large = post(b"/v1/ingest/notes", 900, header)
    with ThreadPoolExecutor(60) as threads:
        refused = [threads.submit(ask, large) for _ in range(60)]
        began = time.monotonic()
        assert ask(b"GET /owner/login HTTP/1.0\r\nHost: x\r\n\r\n")[0].split()[1] == b"200"
        assert time.monotonic() - began < 10
        for each in refused:
            head, body = each.result()
            assert head.split()[1] == b"503"
            assert b"retry-after: 5" in head
            assert json.loads(body)["error"]["code"] == "storage_unavailable"
    released.set()


def test_a_refused_upload_reads_its_response(ask: Ask) -> None:
    """If the server closed at once, the system could take the response away from the client."""
    head, body = ask(post(b"/v1/ingest/notes", 3_000_000) + b"x" * 3_000_000)
    assert head.split()[1] == b"401"
    assert json.loads(body)["error"]["code"] == "bearer_token_required"


def test_a_client_that_sends_no_more_still_gets_its_response(app: Flask) -> None:
    app.view_functions["auth.login_form"] = lambda: str(time.sleep(0.5))
    with served(app) as port, socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(b"GET /owner/login HTTP/1.1\r\nHost: x\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200")


def test_a_head_that_does_not_arrive_ends_the_connection(
    app: Flask, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    head, body = ask(b"GET /healthz HTTP/1.1\r\nHost:")
    assert head.split()[1] == b"408"
    assert json.loads(body)["error"]["code"] == "request_timeout"
    assert ask(b"") == (b"", b"")


def test_a_body_that_does_not_arrive_ends_the_request(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_body, "SILENT_SECONDS", 0.2)
    head, body = ask(post(b"/owner/login", 100) + b"x" * 50)
    assert head.split()[1] == b"408"
    assert json.loads(body)["error"]["code"] == "request_timeout"


def test_an_upgrade_that_is_not_spoken_is_a_request_like_any_other(ask: Ask, probe: DatabaseProbe) -> None:
    """Some clients ask for HTTP/2 with each request."""
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    line = b'{"key":"a","data":{"t":"x"}}'
    request = post(b"/v1/ingest/notes?connector_id=files", len(line), BEARER, upgrade) + line
    last = b"GET /healthz HTTP/1.0\r\nHost: x\r\n\r\n"
    _, answers = ask(request + request.replace(b'"a"', b'"b"') + last)
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert probe("SELECT COUNT(*) FROM records") == [(2,)]


def test_idle_connections_make_room(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections.Limits, "connections", 20)
    with served(app) as port, ExitStack() as opened:
        idle = [opened.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(60)]
        for _ in range(5):
            client = opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        closed = 0
        for client in idle:
            client.settimeout(0.01)
            with suppress(TimeoutError):
                closed += client.recv(1) == b""
        assert closed >= 40


def test_the_largest_body_is_accepted_and_one_byte_more_is_not(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_body, "MAX_FORM_BYTES", 500)
    line = b'{"key":"a","data":{"t":"' + b"x" * 971 + b'"}}\n'
    assert len(line) == 999
    path = b"/v1/ingest/notes?connector_id=files"
    for length, status in ((1_000, b"200"), (1_001, b"413")):
        body = line + b"\n" * (length - len(line))
        head, _ = ask(post(path, length, BEARER, b"Connection: close\r\n") + body)
        assert head.split()[1] == status


def test_a_failure_in_the_middle_of_an_answer_logs_no_more_than_its_kind(
    app: Flask, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    def parts() -> Iterator[bytes]:
        yield b"the first part"
        raise ValueError("private")

    app.view_functions["monitoring.healthz"] = lambda: Response(parts())
    head, body = ask(b"GET /healthz?private HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (head.split()[1], b"the first part" in body) == (b"200", True)
    messages = [
        record.getMessage() for record in caplog.records if record.name.startswith(("uvicorn", "pdpp_ref"))
    ]
    assert messages == ["a connection was ended by ValueError"]  # a busy machine logs its queue too
    assert "private" not in caplog.text
