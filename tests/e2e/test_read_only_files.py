"""A file that may not be written to: reads go on, writes are refused, and nothing is lost.

Root may write to anything, so as root the server is run without that right.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.command import PROGRAM
from tests.support.factories import TOKEN, DatabaseProbe
from tests.support.server_process import Server

LIKE_OTHERS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    files = [*folder.iterdir()]
    for file in files:
        file.chmod(0o444)
    folder.chmod(0o555)
    try:
        yield
    finally:
        folder.chmod(0o755)
        for file in files:
            file.chmod(0o644)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Its database is in a folder apart from what else it keeps."""
    (tmp_path / "data").mkdir()
    made = Server(tmp_path, DATABASE_URL=f"sqlite:///{tmp_path}/data/kept.sqlite3")
    made.database = tmp_path / "data" / "kept.sqlite3"
    made.under = LIKE_OTHERS
    with made as found:
        assert send(found, "first") == 200
        yield found


def send(server: Server, key: str) -> int:
    path = f"{server.url}/v1/ingest/notes?connector_id=files"
    line = json.dumps({"key": key, "data": {}})
    return httpx.post(path, content=line, headers=BEARER, timeout=30).status_code


def summary(server: Server) -> dict[str, object]:
    answer = httpx.get(f"{server.url}/_ref/dataset/summary", headers=BEARER, timeout=30)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_file_that_becomes_read_only_is_read_on_and_keeps_what_was_acknowledged(server: Server) -> None:
    stored = {"first"}
    with read_only(server.database.parent):
        for number in range(30):  # on connections that were there, and on new ones
            status = send(server, f"{number}")
            assert status in (200, 503)
            stored |= {f"{number}"} if status == 200 else set()
            assert summary(server)["record_count"] == len(stored)
    # SQLite's shared memory, too, may have been opened read-only, until the process has closed it.
    assert 200 in (send(server, "last") for _ in range(10))
    with DatabaseProbe(server.database) as probe:
        assert {key for (key,) in probe("SELECT key FROM records")} == stored | {"last"}
        assert probe.wrong_but_clean() == []
    server.run("verify")


def test_a_worker_that_began_on_a_read_only_file_writes_once_it_may(server: Server) -> None:
    """SQLite opens a file's shared memory once for all connections of a process, here read-only."""
    before = server.processes()
    with read_only(server.database.parent):
        os.kill(before[-1], signal.SIGKILL)
        while len(after := set(server.processes())) < len(before) or before[-1] in after:
            time.sleep(0.05)
        statuses = [send(server, f"{number}") for number in range(40) if summary(server)]
    assert set(statuses) <= {200, 503}, "the other worker may write, as it began before"
    # A step of housekeeping may just be ending that had begun before.
    rounds = ([send(server, f"later {number}") for number in range(40)] for _ in range(3))
    assert any(set(statuses) == {200} for statuses in rounds)


def test_a_command_on_a_read_only_file_reads_or_says_what_to_do(server: Server) -> None:
    server.__exit__()
    with read_only(server.database.parent):
        reported = run(server, "summary")
        assert json.loads(reported.stdout)["record_count"] == 1
        for command in (("import", "--connection", "laptop"), ("mark-dirty",), ("rebuild",)):
            assert "read-only" in refused(run(server, *command))
    server.run("verify")  # the last to close it takes the log away, and none can be begun
    with read_only(server.database.parent):
        assert "read-only" in refused(run(server, "summary"))
    with DatabaseProbe(server.database) as probe:
        assert probe("SELECT key FROM records") == [("first",)]
        assert probe.wrong_but_clean() == []


def run(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    command, given = [*LIKE_OTHERS, PROGRAM, *arguments], '{"stream":"notes","key":"a","data":{}}'
    return subprocess.run(
        command, env=server.environment, input=given, capture_output=True, text=True, timeout=60
    )


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line."""
    assert done.returncode in (2, 3), done
    assert done.stderr.count("\n") == 1, done.stderr
    assert "/" not in done.stderr
    return done.stderr
