"""Hostile bodies and requests at a real server: a clear 4xx, no hang, bounded memory, nothing half.

PDPP_TEST_LONG=1 sends ten thousand, where the ordinary run sends a hundred.
"""

import json
import os
import random
import re
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support import hostile_input
from tests.support.factories import DatabaseProbe
from tests.support.server_process import Server

LONG = os.environ.get("PDPP_TEST_LONG") == "1"
REQUESTS = 10_000 if LONG else 100
SECONDS = 120  # far above any answer's time: the machine may be busy
# Above what the server needs without them: a large line and what it is decoded to.
MOST_MEMORY_MB = 250


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(Path(tmp_path_factory.mktemp("server")), WORKERS=1) as found:
        yield found
        found.run("verify")


def send(server: Server, request: bytes) -> bytes:
    """What is answered to these bytes, whole or cut short by the server; the client sends no more."""
    host, port = server.url.removeprefix("http://").split(":")
    answer = b""
    with socket.create_connection((host, int(port)), timeout=SECONDS) as client:
        # It may hang up on a request that it would not read to the end.
        with suppress(OSError):
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            while block := client.recv(65536):
                answer += block
    return answer


def check(answer: bytes, what: object) -> int:
    """The status, which is not the server's fault; an error is in the one shape."""
    if not answer:
        return 0  # an unfinished request is no request
    found = re.match(rb"HTTP/1\.[01] (\d{3}) ", answer)
    assert found, (what, answer[:200])
    status = int(found[1])
    assert status < 500 or status == 501, (what, answer[:500])  # 501: a Transfer-Encoding that is unknown
    head, _, body = answer.partition(b"\r\n\r\n")
    if status >= 400 and body and b"application/json" in head:
        # A second answer may follow, to what looked like a second request.
        error = json.JSONDecoder().raw_decode(body.decode(errors="replace"))[0]["error"]
        assert set(error) == {"type", "code", "message", "request_id"}, what
    for secret in (b"Traceback", b"sqlite", b"SELECT", b"/pdpp_ref/"):
        assert secret not in answer, (what, answer[:500])
    return status


def memory(server: Server, name: str = "VmHWM") -> int:
    first = server.process.pid
    (worker,) = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    text = Path(f"/proc/{worker}/status").read_text()
    found = re.search(rf"{name}:\s+(\d+) kB", text)
    assert found
    return int(found[1]) // 1024


def assert_whole(server: Server) -> None:
    with DatabaseProbe(server.database) as probe:
        assert probe.wrong_but_clean() == []
        assert probe("PRAGMA integrity_check") == [("ok",)]


def test_no_hostile_request_gets_the_better_of_the_server(server: Server) -> None:
    chance, statuses = random.Random(REQUESTS), set()
    send(server, hostile_input.ingest(hostile_input.GOOD))
    before = memory(server)
    for number in range(REQUESTS):
        statuses.add(check(send(server, hostile_input.request(chance)), number))
    print(f"{REQUESTS:,} requests; {memory(server) - before} MB more at most; statuses {sorted(statuses)}")
    assert {200, 400, 401} <= statuses
    assert memory(server) - before < MOST_MEMORY_MB
    assert check(send(server, hostile_input.get(b"/healthz")), "afterwards") == 200
    assert_whole(server)


@pytest.mark.parametrize("number", range(len(hostile_input.ODD)))
def test_an_odd_request(number: int, server: Server) -> None:
    check(send(server, hostile_input.ODD[number]), hostile_input.ODD[number][:200])


def test_good_lines_around_hostile_ones_are_stored_and_all_are_counted(server: Server) -> None:
    chance = random.Random(1)
    for number in range(REQUESTS // 10):
        content, lines = hostile_input.body(chance)
        answer = send(server, hostile_input.ingest(content))
        assert check(answer, number) == 200
        reported = json.loads(answer.partition(b"\r\n\r\n")[2])
        blank = sum(not line.strip() for line in content.split(b"\n"))
        ignored = lines - blank - reported["records_accepted"] - reported["records_rejected"]
        assert reported["records_accepted"] >= 2
        assert 0 <= ignored <= lines - 2  # messages of other types are neither
    assert_whole(server)


@pytest.mark.parametrize("name", hostile_input.LARGE)
def test_a_costly_body_is_bounded_in_memory(name: str, server: Server) -> None:
    before = memory(server, "VmRSS")
    request = hostile_input.LARGE[name]()
    began = time.monotonic()
    answer = send(server, request)
    status = check(answer, name)
    print(f"{name}: {status} in {time.monotonic() - began:.1f} s, peak {memory(server)} MB, was {before}")
    assert status == 200
    assert memory(server) - before < MOST_MEMORY_MB
    assert check(send(server, hostile_input.get(b"/healthz")), "afterwards") == 200
    assert_whole(server)
