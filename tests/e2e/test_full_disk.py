"""A server whose disk is full: it says so, keeps nothing half, and goes on when there is room.

A limit on the size of a process's files is a disk that is full at a moment of our choosing.
"""

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import command
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
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    largest = max(file.stat().st_size for file in server.database.parent.iterdir())
    for process in server.processes():
        resource.prlimit(process, resource.RLIMIT_FSIZE, (largest + 20_000, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        for process in server.processes():
            resource.prlimit(process, resource.RLIMIT_FSIZE, unlimited)


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


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", folder], check=False)
    if done.returncode:
        pytest.skip("a small disk needs the right to mount one")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_temporary_folder_is_507_and_holds_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "temporary", 800) as folder:
        starting = Server(tmp_path / "served", WORKERS=1)
        starting.environment["TMPDIR"] = str(folder)
        with starting as server:
            ask(server, "POST", "/v1/ingest/notes?connector_id=files", b'{"key":"0","data":{}}')
            for content in (b"a" * 2_000_000, b"a" * 900_000):
                refused = ask(server, "POST", FILE_OF_A, content)
                assert refused.status_code == 507
                assert refused.json()["error"]["code"] == "insufficient_storage"
            subprocess.run(["mount", "-o", "remount,size=8m", folder], check=True)
            assert ask(server, "POST", FILE_OF_A, b"a" * 2_000_000).status_code == 201


def test_a_full_disk_is_the_reason_that_is_given(tmp_path: Path) -> None:
    with small_disk(tmp_path / "served", 4_000) as folder:
        filler = folder / "filler"
        with Server(folder, WORKERS=1) as server:
            assert ask(server, "POST", "/v1/ingest/notes?connector_id=files", LINES).status_code == 200
            fill_up(filler)
            for path in ("/v1/ingest/more?connector_id=files", "/v1/ingest/notes?connector_id=other"):
                refused = ask(server, "POST", path, LINES)
                assert refused.status_code == 503
                assert "is full" in refused.json()["error"]["message"]
            deleted = ask(server, "DELETE", "/v1/streams/notes/records?connector_id=files")
            assert deleted.status_code in (204, 503), "it needs little room"
            assert ask(server, "GET", "/_ref/dataset/summary").status_code == 200
            filler.unlink()
            deleted = ask(server, "DELETE", "/v1/streams/notes/records?connector_id=files")
            assert deleted.status_code in (204, 404)
            assert ask(server, "POST", "/v1/ingest/more?connector_id=files", LINES).status_code == 200
        for file in folder.glob("pdpp-ref.sqlite3*"):
            file.unlink()
        fill_up(filler)
        fill_up(folder / "more")
        done = command.run("summary", env=server.environment)
        assert done.returncode == 2
        assert done.stderr.decode().splitlines()[-1] == (
            "Error: the disk is full; free some space and try again"
        )
        filler.unlink()
        server.run("summary")


def fill_up(file: Path) -> None:
    with suppress(OSError), file.open("wb", buffering=0) as writing:
        while writing.write(b"x" * 4096):
            pass
