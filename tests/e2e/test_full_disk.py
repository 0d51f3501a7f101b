"""A server whose disk is full: it says so, keeps nothing half, and goes on when there is room.

A limit on the size of a process's files is a disk that is full at a moment of our choosing.
"""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.factories import TOKEN, DatabaseProbe
from tests.support.server_process import Server

BEARER = {"Authorization": f"Bearer {TOKEN}"}
LINES = b"".join(b'{"key":"%d","data":{"t":"%s"}}\n' % (number, b"x" * 200) for number in range(1_500))
FILE = b"a file " * 50_000
FILE_OF_A = "/v1/blobs?connector_instance_id=files&stream=notes&key=0"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "served") as found:
        ask(found, "POST", "/v1/ingest/notes?connector_id=files", b'{"key":"0","data":{}}')
        yield found


@contextmanager
def full(server: Server) -> Iterator[None]:
    pid, unlimited = server.process.pid, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    largest = max(file.stat().st_size for file in server.database.parent.iterdir())
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest + 20_000, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)


def ask(server: Server, method: str, path: str, content: bytes = b"") -> httpx.Response:
    return httpx.request(method, f"{server.url}{path}", headers=BEARER, content=content, timeout=30)


@pytest.mark.parametrize(
    ("path", "content", "expected"),
    [
        ("/v1/ingest/notes?connector_id=files", LINES, {"record_count": 1_500, "blob_count": 0}),
        (FILE_OF_A, FILE, {"record_count": 1, "blob_count": 1}),
    ],
    ids=["records", "a file"],
)
def test_a_write_is_refused_and_a_retry_stores_each_once(
    server: Server, path: str, content: bytes, expected: dict[str, Any]
) -> None:
    with full(server):
        refused = ask(server, "POST", path, content)
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "storage_unavailable"
        assert "again" in refused.json()["error"]["message"]
        assert ask(server, "GET", "/_ref/dataset/summary").status_code == 200
        assert ask(server, "GET", "/healthz").status_code == 200
    with DatabaseProbe(server.database) as probe:
        assert probe.wrong_but_clean() == []
    assert ask(server, "POST", path, content).status_code < 300
    assert ask(server, "POST", path, content).status_code == 200, (
        "a file that is already stored is accepted"
    )
    (row,) = ask(server, "GET", "/_ref/dataset/size").json()["rows"]
    assert {name: row[name] for name in expected} == expected
    server.run("verify")
