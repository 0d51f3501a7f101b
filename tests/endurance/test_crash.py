"""`kill -9` at any moment: what was acknowledged is there, and nobody has to do anything.

PDPP_TEST_LONG=1 kills two hundred imports and rebuilds, where the ordinary run kills a few.
"""

import itertools
import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pdpp_ref import database, migrations
from tests.conftest import Backend
from tests.support import command, postgres
from tests.support.command import started
from tests.support.factories import fill
from tests.support.probe import DatabaseProbe

LONG = os.environ.get("PDPP_TEST_LONG") == "1"
IMPORTS_KILLED, REBUILDS_KILLED = (200, 100) if LONG else (1, 1)
GRAINS = ("stream", "connection", "global")
PDPP_REF = Path(sys.executable).with_name("pdpp-ref")

# Children that are forked from a process with neither threads nor a database.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload([__name__])


@pytest.fixture
def url(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> str:
    """The database, named in the settings of every process; and a read repairs little."""
    monkeypatch.setenv("PDPP_RECONCILE_MAX_ROWS", "6")
    monkeypatch.setenv("PDPP_DATABASE_URL", backend.url)
    return backend.url


@contextmanager
def opened(url: str) -> Iterator[None]:
    """The database in this process."""
    database.connect(url, Path())
    with database.db.connection_context():
        migrations.prepare()
        yield


def run(*arguments: str | Path) -> str:
    done = command.run(*map(str, arguments), env=dict(os.environ), timeout=120)
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout.decode()


def state() -> str:
    return str(json.loads(run("summary"))["projection"]["state"])


def kill(process: subprocess.Popen[str], chance: random.Random, lines: int) -> list[str]:
    """Kill the process a moment after it printed at most so many lines.  Returns all it printed."""
    printed = list(itertools.islice(process.stdout, chance.randint(1, lines)))
    time.sleep(chance.uniform(0, 0.03))
    process.kill()
    return printed + process.stdout.readlines()


# ---- import ------------------------------------------------------------------------------------

RECORDS = 24_000 if LONG else 9_000


def version(number: int) -> tuple[str, int, str, str]:
    """The stream, version, key and data of a record."""
    data = f'{{"n":{number},"t":"{"é" * (number % 50)}"}}'
    return f"stream {number % 3}", number // 3 + 1, str(number), data


def versions(url: str) -> list[tuple[Any, ...]]:
    query = "SELECT name, version, key, data FROM record_changes, streams WHERE id = stream_id"
    with DatabaseProbe(url) as probe:
        return probe(f"{query} ORDER BY CAST(key AS BIGINT)")


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """Each record, some of them twice, and now and then a STATE: how many came before it."""
    file = tmp_path / "lines.jsonl"
    with file.open("w") as out:
        for number in range(RECORDS):
            stream, _, key, data = version(number)
            line = f'{{"type":"RECORD","stream":"{stream}","key":"{key}","data":{data}}}\n'
            out.write(line * (2 if number % 10 == 0 else 1))
            if number % 100 == 99:
                out.write(f'{{"type":"STATE","value":{number + 1}}}\n')
    return file


@pytest.mark.parametrize("seed", range(IMPORTS_KILLED))
def test_a_killed_import_keeps_all_that_it_acknowledged(seed: int, url: str, lines: Path) -> None:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    call = [PDPP_REF, "import", "--connection", "laptop"]
    with (
        started(["cat", lines], **pipes) as source,
        started(call, stdin=source.stdout, text=True, **pipes) as process,
    ):
        source.stdout.close()
        states = kill(process, random.Random(seed), RECORDS // 120)

    assert run("verify") == "No differences.\n"
    assert state() == "fresh"
    stored = versions(url)
    assert stored == [version(number) for number in range(len(stored))]
    assert len(stored) >= json.loads(states[-1])["value"]
    run("import", lines, "--connection", "laptop")
    assert versions(url) == [version(number) for number in range(RECORDS)]
    assert run("verify") == "No differences.\n"
    assert state() == "fresh"


# ---- rebuild -----------------------------------------------------------------------------------

SLOW_REBUILD = """
import time
from pdpp_ref.cli.main import main
from pdpp_ref.services import reconcile

def slowly(*versions, count=reconcile.count_versions):
    print("counting", flush=True)
    time.sleep(0.015)
    return count(*versions)

reconcile.CHUNK_VERSIONS, reconcile.count_versions = 40, slowly
main(["rebuild"])
"""


@pytest.mark.parametrize("seed", range(REBUILDS_KILLED))
@pytest.mark.parametrize("resumed_by", ["reads", "rebuild"])
def test_a_killed_rebuild_is_resumed(resumed_by: str, seed: int, url: str) -> None:
    with opened(url):
        for number in range(20):
            fill(100, f"stream {number}")
        for grain in GRAINS:
            database.execute(f"UPDATE retained_size_{grain} SET record_count = 7")
    call = [sys.executable, "-c", SLOW_REBUILD]
    with started(call, stdout=subprocess.PIPE, text=True) as process:
        kill(process, random.Random(seed), 30)

    with DatabaseProbe(url) as probe:
        assert probe("SELECT dirty, rebuild_status FROM retained_size_global") == [(1, "running")]
        assert probe.wrong_but_clean() == []
        ((left,),) = probe("SELECT COUNT(*) FROM retained_size_stream WHERE dirty")
        if resumed_by == "rebuild":
            assert f"Recomputed streams: {left}, connections: 1." in run("rebuild")
        else:
            assert state() == "rebuilding"
            while state() != "fresh":
                assert probe.wrong_but_clean() == []
    assert run("verify") == "No differences.\n"
    assert state() == "fresh"


# ---- a database server that crashes ------------------------------------------------------------


@pytest.fixture(scope="module")
def crashing() -> Iterator[postgres.Server]:
    """A server that keeps what it acknowledges, for tests that stop it."""
    if not postgres.binaries() and os.environ.get(postgres.NAMED):
        pytest.skip("a server that tests may stop needs PostgreSQL's programs on this machine")
    server = postgres.Server()
    yield server
    server.remove()


@pytest.fixture
def crashing_url(crashing: postgres.Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with postgres.new_database(crashing.url, "crash") as url:
        monkeypatch.setenv("PDPP_RECONCILE_MAX_ROWS", "6")
        # The server is started again only once the import has ended.
        monkeypatch.setenv("PDPP_DATABASE_WAIT_SECONDS", "1")
        monkeypatch.setenv("PDPP_DATABASE_URL", url)
        yield url


def crash(
    server: postgres.Server, process: subprocess.Popen[str], chance: random.Random, lines: int
) -> list[str]:
    """Stop the server at once, a moment after the process printed at most so many lines."""
    printed = list(itertools.islice(process.stdout, chance.randint(1, lines)))
    time.sleep(chance.uniform(0, 0.03))
    server.stop("immediate")
    printed += process.stdout.readlines()
    process.wait(60)
    server.start()
    return printed


@pytest.mark.parametrize("seed", range(max(2, IMPORTS_KILLED // 10)))
def test_a_crash_of_the_server_in_an_import_keeps_all_that_was_acknowledged(
    seed: int, crashing: postgres.Server, crashing_url: str, lines: Path
) -> None:
    call = [PDPP_REF, "import", "--connection", "laptop"]
    with (
        lines.open() as source,
        started(call, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
    ):
        states = crash(crashing, process, random.Random(seed), RECORDS // 120)
        reported = process.stderr.read()
    if process.returncode:  # 0: it was done before the server was stopped
        assert process.returncode == 3
        assert "Run the same import again" in reported
        assert "Traceback" not in reported
    assert run("verify") == "No differences.\n"
    stored = versions(crashing_url)
    assert stored == [version(number) for number in range(len(stored))]
    assert len(stored) >= json.loads(states[-1])["value"]
    run("import", lines, "--connection", "laptop")
    assert versions(crashing_url) == [version(number) for number in range(RECORDS)]
    assert run("verify") == "No differences.\n"
    assert state() == "fresh"


@pytest.mark.parametrize("seed", range(max(2, REBUILDS_KILLED // 10)))
def test_a_crash_of_the_server_in_a_rebuild_is_resumed_by_reads(
    seed: int, crashing: postgres.Server, crashing_url: str
) -> None:
    with opened(crashing_url):
        for number in range(20):
            fill(100, f"stream {number}")
        for grain in GRAINS:
            database.execute(f"UPDATE retained_size_{grain} SET record_count = 7")
    call = [sys.executable, "-c", SLOW_REBUILD]
    with started(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        crash(crashing, process, random.Random(seed), 30)
        reported = process.stderr.read()
    assert process.returncode == 3, reported
    assert "Traceback" not in reported
    assert reported.splitlines()[-1].startswith("Error: "), reported  # behind progress, if it was slow
    with DatabaseProbe(crashing_url) as probe:
        assert probe("SELECT dirty FROM retained_size_global") == [(True,)]
        assert probe.wrong_but_clean() == []
        while state() not in ("fresh",):
            assert probe.wrong_but_clean() == []
    assert run("verify") == "No differences.\n"
