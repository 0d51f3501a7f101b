"""Clients that take their time, over real sockets: they hold no thread, and end when they stop reading."""

import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

import pytest
from flask import Flask
from flask.testing import FlaskClient

from pdpp_ref.database import fetch_all, read_snapshot
from pdpp_ref.server import lanes, responses
from pdpp_ref.services.prepared_files import Job, PreparedFiles, Progress
from tests.support.factories import fill, upsert, write
from tests.support.server_process import served

pytestmark = [pytest.mark.only("sqlite"), pytest.mark.slow]  # no response here comes from a database
LARGE = 24 * 1024 * 1024
BLOCK = bytes(range(256)) * 4096
CLIENTS = 8


def _write(out: IO[bytes], _: Progress) -> tuple[str, ...]:
    for _number in range(LARGE // len(BLOCK)):
        out.write(BLOCK)
    return ()


class Downloader:
    """A signed-in owner with a prepared file of LARGE bytes on a real server."""

    def __init__(self, app: Flask, owner: FlaskClient) -> None:
        files: PreparedFiles = app.extensions["prepared_files"]
        with owner.session_transaction() as session:
            session["downloads"] = "mine"
        wanted = Job("large", "large.jsonl", 1, LARGE, _write)
        file_id = files.request(wanted, "mine")
        files.wait()
        file = files.find(file_id, "mine")
        assert file
        self.file, self.path = files._slots[file.slot], f"/dashboard/downloads/{file.id}"
        cookie = owner.get_cookie("pdpp_owner_session")
        assert cookie
        self.cookie = cookie.value

    def open_readers(self) -> int:
        """How many descriptors there are of the prepared file, apart from its own."""
        own = os.fstat(self.file)
        found = 0
        for descriptor in map(int, os.listdir("/proc/self/fd")):
            with suppress(OSError):
                found += os.path.samestat(os.fstat(descriptor), own)
        return found - 1

    def connect(
        self, port: int, path: str = "", receives: int = 256 * 1024, **headers: str
    ) -> socket.socket:
        """A connection on which the request has been sent and nothing is read yet."""
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
        client.settimeout(30)
        client.connect(("127.0.0.1", port))
        more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        cookie = f"Cookie: pdpp_owner_session={self.cookie}\r\n"
        client.sendall(
            f"GET {path or self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{cookie}{more}\r\n".encode()
        )
        return client


@pytest.fixture
def downloader(app: Flask, owner: FlaskClient) -> Downloader:
    return Downloader(app, owner)


@pytest.fixture
def port(app: Flask) -> Iterator[int]:
    with served(app) as port:
        yield port


def body(client: socket.socket, most: int | None = None) -> tuple[str, int]:
    """The head of the response, and how many bytes of its body come before the connection ends."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = client.recv(65536)
        assert part
        received += part
    head, _, rest = received.partition(b"\r\n\r\n")
    found = re.search(rb"content-length: (\d+)", head)
    size, got = int(found[1]) if found else 0, len(rest)
    try:
        while got < size and (most is None or got < most):
            part = client.recv(1024 * 1024)
            if not part:
                break
            got += len(part)
    except ConnectionError:
        pass
    return head.decode(), got


def answers(port: int, downloader: Downloader, path: str) -> float:
    """How many seconds a small request takes."""
    began = time.monotonic()
    with downloader.connect(port, path, Connection="close") as client:
        head, _ = body(client)
    assert head.startswith("HTTP/1.1 200"), head
    return time.monotonic() - began


def best_of(port: int, downloader: Downloader, path: str) -> float:
    """The machine may be busy with something else; a thread that waits for a client delays every one."""
    return min(answers(port, downloader, path) for _ in range(5))


def test_clients_that_stop_reading_delay_nobody_and_are_disconnected(
    port: int, downloader: Downloader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "STALLED_SECONDS", 3.0)
    with ExitStack() as opened:
        stalled = [opened.enter_context(downloader.connect(port, receives=4096)) for _ in range(CLIENTS)]
        ranges = [
            opened.enter_context(downloader.connect(port, receives=4096, Range="bytes=1000-"))
            for _ in range(CLIENTS)
        ]
        until(lambda: downloader.open_readers() == 2 * CLIENTS)
        for path in ("/healthz", "/dashboard/hero"):
            assert best_of(port, downloader, path) < 0.1
        until(lambda: downloader.open_readers() == 0)
        for client in stalled + ranges:
            head, got = body(client)
            assert "content-length" in head
            assert got < LARGE / 2  # what the system had already taken from the server


def test_a_client_that_disconnects_leaves_nothing_open_and_resumes(
    port: int, downloader: Downloader
) -> None:
    with downloader.connect(port) as client:
        head, got = body(client, most=1024 * 1024)
    etag = re.search('(?i)etag: (".*")', head)
    assert etag
    until(lambda: downloader.open_readers() == 0)
    with downloader.connect(port, Range=f"bytes={got}-", If_Range=etag[1]) as client:
        head, rest = body(client)
    assert head.startswith("HTTP/1.1 206")
    assert got + rest == LARGE
    until(lambda: downloader.open_readers() == 0)


def until(done: Callable[[], bool]) -> None:
    for _ in range(200):
        if done():
            return
        time.sleep(0.05)
    pytest.fail("it did not happen in time")


def test_a_client_that_reads_fast_delays_nobody(port: int, downloader: Downloader) -> None:
    with ThreadPoolExecutor(CLIENTS) as threads, ExitStack() as opened:
        clients = [
            opened.enter_context(downloader.connect(port, Connection="close")) for _ in range(CLIENTS)
        ]
        read = [threads.submit(body, client) for client in clients]
        assert best_of(port, downloader, "/healthz") < 0.1
        assert [each.result()[1] for each in read] == [LARGE] * CLIENTS


def test_a_failure_after_the_first_byte_shows_as_fewer_bytes(port: int, downloader: Downloader) -> None:
    with downloader.connect(port, receives=4096) as client:
        until(lambda: downloader.open_readers() == 1)
        os.ftruncate(downloader.file, 1024)
        head, got = body(client)
    assert f"content-length: {LARGE}" in head
    assert 0 < got < LARGE


def test_a_list_that_nobody_reads_holds_no_thread_for_long(
    app: Flask, port: int, downloader: Downloader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is sent out of a snapshot, by a thread that waits for its client."""
    monkeypatch.setattr(responses, "STALLED_SECONDS", 2.0)
    monkeypatch.setitem(app.view_functions, "dashboard.index", lambda: (BLOCK for _ in range(1_000)))
    with ExitStack() as opened:
        clients = [
            opened.enter_context(downloader.connect(port, "/", receives=4096))
            for _ in range(2 * lanes.READS)
        ]
        for path in ("/healthz", "/dashboard/hero"):
            assert best_of(port, downloader, path) < 0.1
        time.sleep(2 * responses.STALLED_SECONDS)
        for client in clients:
            with suppress(ConnectionError):
                while client.recv(1024 * 1024):
                    pass


def test_the_log_is_short_again_after_a_download_during_which_much_was_written(
    app: Flask, tmp_path: Path
) -> None:
    files: PreparedFiles = app.extensions["prepared_files"]
    began, ended = threading.Event(), threading.Event()

    def prepare(*_: object) -> tuple[str, ...]:
        with read_snapshot():
            fetch_all("SELECT COUNT(*) FROM records")
            began.set()
            ended.wait(60)
        return ()

    files.request(Job("slow", "slow.jsonl", 1, 1, prepare), "mine")
    began.wait(60)
    fill(14_000, size=2_000)
    log = tmp_path / "test.sqlite3-wal"
    assert log.stat().st_size > 64_000_000
    ended.set()
    files.wait()
    for key in ("this", "the next"):
        write(upsert(key))
    assert log.stat().st_size < 64_000_000
