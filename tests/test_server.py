"""What the server itself answers, where no request reaches the application."""

import json
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from flask import Flask

from pdpp_ref.server import listen


@pytest.fixture
def ask(app: Flask) -> Iterator[Callable[[bytes], tuple[bytes, bytes]]]:
    server = listen(app, "127.0.0.1", 0)
    server.adj.max_request_body_size = 1_000
    thread = threading.Thread(target=server.run)
    thread.start()

    def send(request: bytes) -> tuple[bytes, bytes]:
        with socket.create_connection(("127.0.0.1", server.effective_port), timeout=10) as client:
            client.sendall(request)
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        return head, body

    yield send
    server.close()
    server.task_dispatcher.shutdown()
    thread.join(10)


@pytest.mark.parametrize(
    ("header", "status"), [(b"Content-Length: abc", b"400"), (b"Transfer-Encoding: foo", b"501")]
)
def test_what_is_no_http_is_told_in_the_one_shape(
    ask: Callable[[bytes], tuple[bytes, bytes]], header: bytes, status: bytes
) -> None:
    head, body = ask(b"POST /owner/login HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n\r\n")
    assert head.split()[1] == status
    assert b"Request-Id: " in head
    assert set(json.loads(body)["error"]) == {"type", "code", "message", "request_id"}


@pytest.mark.parametrize("length", [b"Content-Length: 2000000000000", b"Transfer-Encoding: chunked"])
def test_a_body_larger_than_any_route_takes_is_refused_before_it_is_received(
    ask: Callable[[bytes], tuple[bytes, bytes]], length: bytes
) -> None:
    sent = b"7d0\r\n" + b"x" * 2_000 + b"\r\n" if b"chunked" in length else b""
    head, body = ask(b"POST /v1/ingest/notes HTTP/1.1\r\nHost: x\r\n" + length + b"\r\n\r\n" + sent)
    assert head.split()[1] == b"413"
    assert json.loads(body)["error"]["code"] == "body_too_large"
