"""Clients that go away in the middle, and several that ask at once, against real server processes."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.factories import TOKEN, DatabaseProbe
from tests.support.server_process import Server

BEARER = {"Authorization": f"Bearer {TOKEN}"}
LINES = b"".join(b'{"key":"%d","data":{"n":%d}}\n' % (number, number) for number in range(6_000))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(Path(tmp_path_factory.mktemp("server"))) as found:
        yield found


@pytest.fixture
def probe(server: Server) -> Iterator[DatabaseProbe]:
    with DatabaseProbe(server.database) as found:
        yield found


def ask(server: Server, method: str, path: str, **more: Any) -> Any:
    response = httpx.request(method, f"{server.url}{path}", headers=BEARER, timeout=30, **more)
    assert response.status_code < 300, response.text
    return response.json()


def drop(server: Server, request: str, body: bytes, sent: int, *, wait: float = 0) -> None:
    """Send a request's head and so much of its body, and hang up without a word."""
    host, port = server.url.removeprefix("http://").split(":")
    head = f"{request} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(head.encode() + body[:sent])
        time.sleep(wait)


def until(found: Callable[[], bool]) -> None:
    for _ in range(200):
        if found():
            return
        time.sleep(0.05)
    pytest.fail("it did not happen in time")


def is_fresh(server: Server) -> bool:
    summary = ask(server, "GET", "/_ref/dataset/summary")
    return bool(summary["projection"]["state"] == "fresh")


@pytest.mark.parametrize("part", [0.0, 0.5, 0.99])
def test_records_that_were_cut_off_are_not_stored_and_a_retry_stores_each_once(
    server: Server, probe: DatabaseProbe, part: float
) -> None:
    stream = f"cut at {part}".replace(" ", "-")
    drop(server, f"POST /v1/ingest/{stream}?connector_id=files", LINES, int(len(LINES) * part))
    time.sleep(0.2)
    assert probe("SELECT COUNT(*) FROM streams WHERE name = ?", stream) == [(0,)]
    for _ in range(2):
        answer = ask(server, "POST", f"/v1/ingest/{stream}?connector_id=files", content=LINES)
        assert (answer["records_accepted"], answer["records_rejected"]) == (6_000, 0)
    rows = ask(server, "GET", f"/_ref/dataset/size?grain=stream&stream={stream}")["rows"]
    assert [(row["record_count"], row["record_history_count"]) for row in rows] == [(6_000, 6_000)]
    server.run("verify")
    assert probe.wrong_but_clean() == []


def test_a_client_that_does_not_wait_for_the_answer_has_its_records_stored_once(
    server: Server, probe: DatabaseProbe
) -> None:
    drop(server, "POST /v1/ingest/unheard?connector_id=files", LINES, len(LINES), wait=0.05)
    count = "SELECT COUNT(*) FROM records, streams WHERE id = stream_id AND name = 'unheard'"
    until(lambda: probe(count) == [(6_000,)])
    ask(server, "POST", "/v1/ingest/unheard?connector_id=files", content=LINES)
    assert probe("SELECT last_version FROM streams WHERE name = 'unheard'") == [(6_000,)]
    server.run("verify")


@pytest.mark.parametrize("part", [0.0, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_not_stored_and_a_retry_stores_it_once(
    server: Server, probe: DatabaseProbe, part: float
) -> None:
    file = f"a file cut at {part}".encode() * 200_000
    ask(server, "POST", "/v1/ingest/albums?connector_id=files", content=b'{"key":"a","data":{}}')
    route = "/v1/blobs?connector_instance_id=files&stream=albums&key=a"
    bound = "SELECT COUNT(*), COALESCE(SUM(byte_length), 0) FROM blob_bindings"
    before = probe(bound)
    drop(server, f"POST {route}", file, int(len(file) * part))
    time.sleep(0.2)
    assert probe(bound) == before
    for created in (True, False):
        assert ask(server, "POST", route, content=file)["created"] is created
    ((count, size),) = before
    assert probe(bound) == [(count + 1, size + len(file))]
    (row,) = ask(server, "GET", "/_ref/dataset/size?grain=stream&stream=albums")["rows"]
    assert (row["blob_count"], row["blob_bytes"]) == (count + 1, size + len(file))
    server.run("verify")


@pytest.mark.parametrize("route", ["summary", "size"])
def test_a_rebuild_continues_when_the_client_that_asked_for_it_has_gone(server: Server, route: str) -> None:
    ask(server, "POST", "/v1/ingest/kept?connector_id=files", content=LINES)
    drop(server, f"POST /_ref/dataset/{route}/rebuild", b"", 0)
    until(lambda: is_fresh(server))
    server.run("verify")


def test_rebuilds_that_two_processes_are_asked_for_at_once_end_exact(
    server: Server, probe: DatabaseProbe
) -> None:
    ask(server, "POST", "/v1/ingest/shared?connector_id=files", content=LINES)
    with Server(server.database.parent) as other:
        probe("UPDATE retained_size_stream SET record_count = 77")
        together = threading.Barrier(8)
        bodies: list[dict[str, Any]] = []

        def rebuild(of: Server) -> None:
            together.wait()
            bodies.append(ask(of, "POST", "/_ref/dataset/summary/rebuild"))

        threads = [threading.Thread(target=rebuild, args=(of,)) for of in (server, other) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(bodies) == 8
        assert {body["projection"]["state"] for body in bodies} == {"rebuilding"}
        until(lambda: is_fresh(server) and is_fresh(other))
    server.run("verify")
    assert probe.wrong_but_clean() == []


def test_writes_and_reads_continue_during_rebuilds(server: Server, probe: DatabaseProbe) -> None:
    stop = threading.Event()
    failed: list[str] = []

    def repeat(method: str, path: str, **more: Any) -> None:
        while not stop.is_set():
            response = httpx.request(method, f"{server.url}{path}", headers=BEARER, timeout=30, **more)
            if response.status_code != 200:
                failed.append(f"{method} {path}: {response.status_code} {response.text}")

    work = [
        ("POST", "/_ref/dataset/size/rebuild", {}),
        ("GET", "/_ref/dataset/size?grain=stream", {}),
        ("GET", "/_ref/metrics", {}),
        ("POST", "/v1/ingest/busy?connector_id=files", {"content": json.dumps({"key": "a", "data": {}})}),
        ("POST", "/v1/ingest/kept?connector_id=files", {"content": LINES[:20_000]}),
    ]
    threads = [threading.Thread(target=repeat, args=each[:2], kwargs=each[2]) for each in work]
    for thread in threads:
        thread.start()
    time.sleep(1.5)
    stop.set()
    for thread in threads:
        thread.join()
    assert failed == []
    until(lambda: is_fresh(server))
    server.run("verify")
    assert probe.wrong_but_clean() == []
