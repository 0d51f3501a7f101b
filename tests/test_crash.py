"""SIGKILL in the middle of things: nothing acknowledged is lost, and no wrong figure is called fresh.

PDPP_TEST_LONG=1 kills some hundreds of times rather than a few.  Delays are drawn from printed seeds.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pdpp_ref import database, schema
from pdpp_ref.services import reconcile
from pdpp_ref.services.reconcile import Limits
from tests.world import Outside, delete, fill, mark, upsert, write

KILLS = 200 if os.environ.get("PDPP_TEST_LONG") == "1" else 5
COMMAND = str(Path(sys.executable).with_name("pdpp-ref"))
RECORDS = 20_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data.sqlite3"


@pytest.fixture
def environment(tmp_path: Path, file: Path) -> dict[str, str]:
    return {**os.environ, "PDPP_DATABASE_URL": f"sqlite:///{file}", "PDPP_INSTANCE_PATH": str(tmp_path)}


@pytest.fixture
def run(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    def call(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, *arguments], env=environment | settings, capture_output=True, text=True, timeout=120
        )

    return call


def in_a_process(file: Path, work: Callable[[], Any]) -> int:
    """Run `work` on the database in a child, and return its exit status (negative: the signal)."""
    child = os.fork()
    if child == 0:
        try:
            database.connect(f"sqlite:///{file}", file.parent)
            schema.prepare()
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at(statement: int, work: Callable[[], Any]) -> Callable[[], None]:
    """`work`, killed before its Nth statement."""

    def run() -> None:
        left = statement

        def count(*_: Any) -> bool:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return True

        database.db.connection().exec_trace = count
        work()

    return run


def every_kill(file: Path, work: Callable[[], Any]) -> Iterator[int]:
    """Kill `work` at its first statement, its second, and so on until it comes through."""
    statement = 1
    while in_a_process(file, killed_at(statement, work)) == -signal.SIGKILL:
        yield statement
        statement += 1
    assert statement > 10, "the work did something to be killed in"


def test_an_import_killed_at_any_moment_keeps_what_it_acknowledged(
    environment: dict[str, str], run: Any, tmp_path: Path, file: Path
) -> None:
    lines = tmp_path / "in.jsonl"
    with lines.open("w") as out:
        for number in range(RECORDS):
            record = {
                "type": "RECORD",
                "stream": f"s{number % 7}",
                "key": str(number),
                "data": {"n": number},
            }
            out.write(json.dumps(record) + "\n")
            if number % 500 == 499:
                out.write(json.dumps({"type": "STATE", "value": number + 1}) + "\n")
    for seed in range(KILLS):
        for old in tmp_path.glob("data.sqlite3*"):
            old.unlink()
        work = subprocess.Popen(
            [COMMAND, "import", str(lines), "--connection", "laptop"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(random.Random(seed).uniform(0.2, 0.9))
        work.kill()
        states = work.communicate()[0].splitlines()
        acknowledged = json.loads(states[-1])["value"] if states else 0
        body = json.loads(run("summary").stdout)
        assert body["projection"]["state"] == "fresh", f"seed {seed}"
        assert body["record_count"] >= acknowledged, f"seed {seed}"
        assert run("verify").returncode == 0, f"seed {seed}"
        with Outside(file) as outside:
            keys = {int(key) for (key,) in outside("SELECT key FROM records")}
        assert keys >= set(range(acknowledged)), f"seed {seed}"
    assert run("import", str(lines), "--connection", "laptop").returncode == 0
    body = json.loads(run("summary").stdout)
    assert body["record_count"] == RECORDS
    assert body["record_json_bytes"] == body["record_changes_json_bytes"], "nothing was stored twice"


def test_a_write_killed_at_any_statement_is_there_whole_or_not_at_all(file: Path) -> None:
    in_a_process(file, lambda: write(upsert("a"), upsert("b", stream="photos")))
    work = [upsert("a", "changed"), delete("b", "photos"), upsert("c", stream="new")]
    for statement in every_kill(file, lambda: write(*work)):
        with Outside(file) as outside:
            assert outside("SELECT key, version FROM records ORDER BY key") == [("a", 1), ("b", 1)], (
                statement
            )
            assert outside("SELECT COUNT(*) FROM streams") == [(2,)]
            assert outside("SELECT dirty FROM retained_size_global") == [(0,)]
            assert outside.wrong_but_clean() == []
    with Outside(file) as outside:
        assert outside("SELECT key, version FROM records ORDER BY key") == [("a", 2), ("c", 1)]
        assert outside.wrong_but_clean() == []


def test_a_pass_killed_at_any_statement_changes_nothing(file: Path) -> None:
    def fill_and_mark() -> None:
        fill(30)
        fill(20, "photos", "phone")
        database.execute("UPDATE retained_size_stream SET record_count = 1")
        mark("laptop", "notes")
        mark("phone", "photos")

    in_a_process(file, fill_and_mark)
    tables = ("retained_size_stream", "retained_size_connection", "retained_size_global")
    with Outside(file) as outside:
        before = [outside(f"SELECT * FROM {table}") for table in tables]
    for statement in every_kill(file, lambda: reconcile.run_pass(Limits())):
        with Outside(file) as outside:
            assert [outside(f"SELECT * FROM {table}") for table in tables] == before, statement
    with Outside(file) as outside:
        assert outside("SELECT dirty, record_count FROM retained_size_global") == [(0, 50)]
        assert outside.wrong_but_clean() == []


@pytest.mark.parametrize("then", ["reads", "rebuild"])
def test_a_rebuild_that_was_killed_is_finished(run: Any, file: Path, then: str) -> None:
    def rebuild_and_die() -> None:
        for stream in range(6):
            fill(40, f"s{stream}")
        database.execute("UPDATE retained_size_stream SET record_count = 3")
        reconcile.CHUNK_VERSIONS = 25
        reconcile.begin_rebuild()
        for _ in range(3):
            reconcile.run_pass(Limits(rows=1, seconds=-1))
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_a_process(file, rebuild_and_die) == -signal.SIGKILL
    with Outside(file) as outside:
        assert outside.wrong_but_clean() == []
    if then == "rebuild":
        assert "streams: 5" in run("rebuild").stdout, "the one that was counted is not counted again"
    states = []
    while not states or states[-1] != "fresh":
        body = json.loads(run("summary", PDPP_RECONCILE_MAX_ROWS="1").stdout)
        states.append(body["projection"]["state"])
        with Outside(file) as outside:
            assert outside.wrong_but_clean() == []
        assert len(states) < 20
    assert set(states[:-1]) <= {"rebuilding"}
    assert len(states) > 5 if then == "reads" else len(states) == 1
    assert body["record_count"] == 240
    assert run("verify").returncode == 0


def test_a_server_killed_under_load_needs_nobody(run: Any, environment: dict[str, str], file: Path) -> None:
    """Writers and readers at once, and all of them die."""
    run("import", "--connection", "laptop")
    importers = [
        subprocess.Popen(
            [COMMAND, "import", "--connection", f"c{number}"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for number in range(3)
    ]
    lines = "".join(
        f'{{"type":"RECORD","stream":"s","key":"{number}","data":{{"n":{number}}}}}\n'
        for number in range(5000)
    )
    for importer in importers:
        assert importer.stdin
        importer.stdin.write(lines.encode())
        importer.stdin.flush()
    time.sleep(0.8)
    for importer in importers:
        importer.kill()
        importer.communicate()
    assert json.loads(run("summary").stdout)["projection"]["state"] == "fresh"
    assert run("verify").returncode == 0
