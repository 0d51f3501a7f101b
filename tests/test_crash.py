"""`kill -9` at any moment: what was acknowledged is there, and nobody has to do anything.

PDPP_TEST_LONG=1 kills two hundred imports and rebuilds, where the ordinary run kills a few.
"""

import itertools
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pdpp_ref import database, schema
from pdpp_ref.services import reconcile
from pdpp_ref.services.reconcile import Limits
from tests.world import MEASURES, Outside, delete, fill, upsert, write

IMPORTS_KILLED, REBUILDS_KILLED = (200, 100) if os.environ.get("PDPP_TEST_LONG") == "1" else (5, 2)

PDPP_REF = Path(sys.executable).with_name("pdpp-ref")

# Children that are forked from a process with neither threads nor a database.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload([__name__])


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The database file, named in the settings of every process."""
    monkeypatch.setenv("PDPP_DATABASE_URL", f"sqlite:///{tmp_path}/test.sqlite3")
    return tmp_path / "test.sqlite3"


@contextmanager
def opened(path: Path) -> Iterator[None]:
    """The database in this process."""
    database.connect(f"sqlite:///{path}", path.parent)
    schema.prepare()
    try:
        yield
    finally:
        database.db.close()


def run(*arguments: str | Path) -> str:
    done = subprocess.run([PDPP_REF, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout


def state() -> str:
    found: str = json.loads(run("summary"))["projection"]["state"]
    return found


def kill_after_lines(process: subprocess.Popen[str], lines: int, seconds: float) -> str:
    """Kill the process so many seconds after it printed so many lines.  Returns all it printed."""
    assert process.stdout
    printed = "".join(itertools.islice(process.stdout, lines))
    time.sleep(seconds)
    process.kill()
    return printed + process.stdout.read()


# ---- import ------------------------------------------------------------------------------------

RECORDS = 24_000
STREAMS = ("notes", "photos", "places")


def imported_text(number: int) -> str:
    return json.dumps({"n": number, "t": "é" * (number % 50)}, separators=(",", ":"), ensure_ascii=False)


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """Each record once, some sent again at once, and now and then how many there were until then."""
    file = tmp_path / "lines.jsonl"
    with file.open("w") as out:
        for number in range(RECORDS):
            name = {"stream": STREAMS[number % len(STREAMS)], "key": str(number)}
            line = json.dumps({"type": "RECORD", **name, "data": json.loads(imported_text(number))})
            out.write(f"{line}\n" * (2 if number % 10 == 0 else 1))
            if number % 100 == 99:
                out.write(json.dumps({"type": "STATE", "value": number + 1}) + "\n")
    return file


def history(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """The versions of each stream: (version, key, data)."""
    query = "SELECT version, key, data FROM record_changes JOIN streams ON id = stream_id WHERE name = ? ORDER BY 1"
    with Outside(path) as outside:
        return {stream: outside(query, stream) for stream in STREAMS}


@pytest.mark.parametrize("seed", range(IMPORTS_KILLED))
def test_a_killed_import_keeps_all_that_it_acknowledged(seed: int, path: Path, lines: Path) -> None:
    chance = random.Random(seed)
    everything = {
        stream: [
            (version, str(number), imported_text(number))
            for version, number in enumerate(range(first, RECORDS, len(STREAMS)), 1)
        ]
        for first, stream in enumerate(STREAMS)
    }
    command = [PDPP_REF, "import", "--connection", "laptop"]
    with (
        subprocess.Popen(["cat", lines], stdout=subprocess.PIPE) as source,
        subprocess.Popen(
            command, stdin=source.stdout, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process,
    ):
        source.stdout.close()
        states = kill_after_lines(process, chance.randrange(RECORDS // 100), chance.uniform(0, 0.05))
    acknowledged = max((json.loads(line)["value"] for line in states.splitlines()), default=0)

    assert run("verify") == "No differences.\n"
    assert state() == "fresh"
    stored = history(path)
    assert sum(map(len, stored.values())) >= acknowledged
    for stream, versions in stored.items():
        assert versions == everything[stream][: len(versions)]

    assert json.loads(run("import", lines, "--connection", "laptop").splitlines()[-1])["value"] == RECORDS
    assert history(path) == everything
    assert json.loads(run("summary"))["record_count"] == RECORDS
    assert run("verify") == "No differences.\n"


# ---- rebuild -----------------------------------------------------------------------------------

SLOW_REBUILD = """
import time
from pdpp_ref import cli
from pdpp_ref.services import reconcile

def slow_pass(limits, run_pass=reconcile.run_pass):
    print("a pass begins", flush=True)
    time.sleep(0.005)
    return run_pass(reconcile.Limits(rows=1, seconds=-1))

reconcile.CHUNK_VERSIONS, reconcile.run_pass = 40, slow_pass
cli.main(["rebuild"])
"""


@pytest.mark.parametrize("seed", range(REBUILDS_KILLED))
@pytest.mark.parametrize("taken_up_by", ["reads", "rebuild"])
def test_a_killed_rebuild_is_taken_up(
    taken_up_by: str, seed: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    monkeypatch.setenv("PDPP_RECONCILE_MAX_ROWS", "3")
    with opened(path):
        for number in range(10):
            fill(100, f"stream {number}")
    with Outside(path) as outside:
        for grain in ("stream", "connection", "global"):
            outside(f"UPDATE retained_size_{grain} SET record_count = 7")
    command = [sys.executable, "-c", SLOW_REBUILD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        kill_after_lines(process, chance.randrange(1, 15), chance.uniform(0, 0.01))

    with Outside(path) as outside:
        assert outside("SELECT dirty, rebuild_status FROM retained_size_global") == [(1, "running")]
        assert outside.wrong_but_clean() == []
        ((left,),) = outside("SELECT SUM(dirty) FROM retained_size_stream")
        if taken_up_by == "rebuild":
            assert f"Recomputed streams: {left}, connections: 1." in run("rebuild")
        else:
            assert state() == "rebuilding"
            while state() != "fresh":
                assert outside.wrong_but_clean() == []
        assert outside.wrong_but_clean() == []
    assert state() == "fresh"
    assert run("verify") == "No differences.\n"


# ---- every statement ---------------------------------------------------------------------------


def a_write() -> None:
    write(upsert("a", "changed"), delete("b"), upsert("new"), upsert("first", stream="new"))


def a_first_write() -> None:
    write(upsert("a"), delete("a"), upsert("a"), connection="new")


def a_write_whose_delta_fails() -> None:
    database.db.execute_sql(
        "CREATE TEMP TRIGGER broken BEFORE UPDATE OF record_count ON retained_size_global "
        "BEGIN SELECT RAISE(ABORT, 'broken'); END"
    )
    write(upsert("a", "changed"), delete("b"), upsert("p", "changed", stream="photos"))


def a_pass() -> None:
    reconcile.run_pass(Limits())


def killed_at(statement: int, path: Path, act: Callable[[], None]) -> None:
    """In a process of its own: die before the so-manieth statement; at 0, live."""
    countdown = itertools.count(1)

    def trace(*_: object) -> bool:
        if next(countdown) == statement:
            os.kill(os.getpid(), signal.SIGKILL)
        return True

    with opened(path):
        database.db.connection().exec_trace = trace
        act()


def look(path: Path) -> list[list[tuple[Any, ...]]]:
    """All that is stored, but for the times."""
    figures = f"dirty, {', '.join(MEASURES)}"
    with Outside(path) as outside:
        assert outside.wrong_but_clean() == []
        return [
            outside("SELECT stream_id, key, version, data FROM records ORDER BY 1, 2"),
            outside("SELECT stream_id, version, key, data FROM record_changes ORDER BY 1, 2"),
            outside("SELECT id, connection_id, name, last_version FROM streams ORDER BY 1"),
            outside(f"SELECT stream_id, {figures} FROM retained_size_stream ORDER BY 1"),
            outside(f"SELECT connection_id, {figures} FROM retained_size_connection ORDER BY 1"),
            outside(f"SELECT {figures}, rebuild_status FROM retained_size_global"),
            outside("SELECT * FROM retained_size_recounts ORDER BY stream_id"),
        ]


def clean() -> None:
    write(upsert("a"), upsert("b"), upsert("a", "again"), upsert("p", stream="photos"))
    write(upsert("c"), connection="phone")


def half_recounted() -> None:
    """All is marked, and of the first stream one version of three is counted."""
    clean()
    reconcile.begin_rebuild()
    reconcile.run_pass(Limits(seconds=-1))


@pytest.mark.parametrize("begin", [clean, half_recounted])
@pytest.mark.parametrize("act", [a_write, a_first_write, a_write_whose_delta_fails, a_pass])
def test_a_kill_at_any_statement_leaves_all_or_nothing(
    act: Callable[[], None], begin: Callable[[], None], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "CHUNK_VERSIONS", 1)
    with opened(path):
        begin()
    untouched, before = path.read_bytes(), look(path)

    def from_the_beginning(statement: int) -> int | None:
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()
        path.write_bytes(untouched)
        process = processes.Process(target=killed_at, args=(statement, path, act))
        process.start()
        process.join(60)
        return process.exitcode

    assert from_the_beginning(0) == 0
    after = look(path)
    for statement in itertools.count(1):
        exitcode = from_the_beginning(statement)
        if exitcode == 0:
            break
        assert exitcode == -signal.SIGKILL
        found = look(path)
        assert found in (before, after), f"killed at statement {statement}"
        if found == before:
            with opened(path):
                act()
            assert look(path) == after
    assert statement > 8
