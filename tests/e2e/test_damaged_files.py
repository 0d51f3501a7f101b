"""A damaged file: what can be read is read, what can't is a plain error, and `verify` tells of it.

SQLite has checksums in its write-ahead log and none in the file itself.  So a log that is cut or
flipped costs at most its last commits, while a flipped bit in a page may go unnoticed by a read.
What is promised then is that no program falls over it, and what `verify` finds.

PDPP_TEST_LONG=1 tries forty times as many.
"""

import os
import random
import shutil
from collections import Counter
from pathlib import Path

import peewee
import pytest
from flask import Flask

from pdpp_ref import create_app, database
from pdpp_ref.database import (
    PROBLEM_TEXT,
    DatabaseUnusable,
    db,
    problem,
)
from pdpp_ref.operations import verify
from pdpp_ref.services import summary
from pdpp_ref.services.auto_reconcile import AutoReconcile
from pdpp_ref.services.cooldown import Cooldown
from pdpp_ref.services.reconcile import Limits
from tests.conftest import Run
from tests.support.factories import PASSWORD, TOKEN, fill, upsert, write
from tests.support.probe import MEASURES, DatabaseProbe
from tests.support.scenarios import opened
from tests.support.targets import restore

TIMES = 1_500 if os.environ.get("PDPP_TEST_LONG") == "1" else 40
READS = (
    "/_ref/dataset/summary",
    "/_ref/dataset/size?grain=stream",
    "/_ref/dataset/top?scope=record",
    "/_ref/metrics",
    "/dashboard",
    "/dashboard/connections/laptop",
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A database of three streams, with history, whole and in one file."""
    path = Path(tmp_path_factory.mktemp("whole"), "test.sqlite3")
    with opened(f"sqlite:///{path}"):
        for number in range(3):
            fill(200, f"stream {number}")
            write(*(upsert(f"{key:07}", "changed", f"stream {number}") for key in range(0, 200, 3)))
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test.sqlite3"


def flipped(content: bytes, chance: random.Random) -> bytes:
    """With a byte changed, or a run of them."""
    changed, place = bytearray(content), chance.randrange(len(content))
    for offset in range(chance.choice([1, 1, 1, 16, 512, 4096])):
        if place + offset < len(changed):
            changed[place + offset] ^= chance.randrange(1, 256)
    return bytes(changed)


def outcome(path: Path) -> tuple[str, str]:
    """What a read is told, and what `verify` says; each may be a plain error instead."""
    reported = {}
    for name, look in (("read", _read), ("verify", _verify)):
        try:
            with opened(f"sqlite:///{path}"):
                reported[name] = look()
        except (peewee.DatabaseError, DatabaseUnusable, database.Busy) as error:
            assert isinstance(error, DatabaseUnusable) or problem(error) in PROBLEM_TEXT
            reported[name] = "refused"
    return reported["read"], reported["verify"]


def _read() -> str:
    found = summary.read(AutoReconcile(Limits(), Cooldown(30)))
    figures = [getattr(found.totals, name) for name in MEASURES]
    return f"{found.state} {figures}"


def _verify() -> str:
    return (
        "differs" if any(not found.dirty for found in verify.differences()) or db.is_corrupt() else "clean"
    )


def test_no_flipped_byte_makes_a_program_fall_over(file: bytes, path: Path) -> None:
    chance, seen = random.Random(TIMES), Counter[str]()
    restore(path, file)
    right, clean = outcome(path)
    assert clean == "clean"
    for _ in range(TIMES):
        restore(path, flipped(file, chance))
        read, verified = outcome(path)
        seen[
            f"{'as before' if read == right else 'refused' if read == 'refused' else 'other'}, {verified}"
        ] += 1
        if read.startswith("fresh") and read != right:
            assert verified != "clean"
    print(dict(seen.most_common()))


def test_no_route_falls_over_a_damaged_file(
    file: bytes, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(1)
    for _ in range(TIMES // 4):
        restore(path, flipped(file, chance))
        settings = {
            "DATABASE_URL": f"sqlite:///{path}",
            "OWNER_PASSWORD": PASSWORD,
            "OPERATOR_TOKEN": TOKEN,
        }
        try:
            app = create_app(settings | {"SECRET_KEY": "a key for tests alone"})
        except DatabaseUnusable as error:
            assert "file" in str(error) or "PDPP_DATABASE_URL" in str(error)
            continue
        finally:
            db.close()
        for status, text in _answers(app):
            assert status in (200, 404, 503), text
        db.close()


def _answers(app: Flask) -> list[tuple[int, str]]:
    caller = app.test_client()
    caller.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKEN}"
    with caller.session_transaction() as session:
        session["owner"] = app.extensions["credentials"].session_fingerprint
    answers = [caller.get(read) for read in READS]
    answers.append(caller.post("/v1/ingest/notes?connector_id=files", data=b'{"key":"new","data":{}}'))
    return [(answer.status_code, answer.text) for answer in answers]


def test_a_flipped_figure_is_not_seen_by_a_read_and_is_by_verify(file: bytes, path: Path) -> None:
    """What is not promised: without checksums in the file, a changed row looks like any other."""
    restore(path, file)
    with DatabaseProbe(path) as probe:
        probe("UPDATE retained_size_global SET record_count = record_count + 1")
    read, verified = outcome(path)
    assert read.startswith("fresh")
    assert verified == "differs"


@pytest.mark.parametrize("part", [0.001, 0.3, 0.7, 0.999])
def test_a_file_that_was_cut_off_is_a_plain_error(part: float, file: bytes, path: Path) -> None:
    restore(path, file[: int(len(file) * part)])
    read, verified = outcome(path)
    assert "refused" in (read, verified) or verified == "differs"


# ---- the write-ahead log -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file and its log, as a kill leaves them: ten commits of ten records are in the log alone."""
    folder = Path(tmp_path_factory.mktemp("logged"))
    with opened(f"sqlite:///{folder}/live.sqlite3"):
        fill(10)
        db.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        for commit in range(10):
            write(*(upsert(f"{commit} {key}") for key in range(10)))
        for ending in ("", "-wal"):
            shutil.copy(folder / f"live.sqlite3{ending}", folder / f"kept.sqlite3{ending}")
    return folder / "kept.sqlite3"


def damaged(log: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(log))
    kind = chance.randrange(3)
    if kind == 0:
        return log[:place]
    if kind == 1:
        return flipped(log, chance)
    return log[:place] + chance.randbytes(min(4_096, len(log) - place)) + log[place + 4_096 :]


def test_a_torn_log_costs_its_last_commits_and_nothing_else(logged: Path, path: Path) -> None:
    chance, stored = random.Random(TIMES), Counter[int]()
    log = Path(f"{logged}-wal").read_bytes()
    for _ in range(TIMES):
        restore(path, logged.read_bytes())
        Path(f"{path}-wal").write_bytes(damaged(log, chance))
        read, verified = outcome(path)
        assert verified == "clean"
        with DatabaseProbe(path) as probe:
            assert probe.wrong_but_clean() == []
            commits = [
                int(key.split()[0]) for (key,) in probe("SELECT key FROM records WHERE key LIKE '% %'")
            ]
        last = max(commits, default=-1)
        assert Counter(commits) == dict.fromkeys(range(last + 1), 10), "whole commits, in their order"
        assert read.startswith(f"fresh [{10 + len(commits)},")
        stored[last + 1] += 1
    assert len(stored) > 3


def test_a_log_that_is_lost_leaves_what_was_in_the_file(logged: Path, path: Path) -> None:
    restore(path, logged.read_bytes())
    assert outcome(path)[0].startswith("fresh [10,")


def test_verify_says_what_to_do(file: bytes, path: Path, run: Run) -> None:
    restore(path, file)
    with DatabaseProbe(path) as probe:  # an index that lacks an entry, as a lost page does
        probe.db.execute("PRAGMA writable_schema = ON")
        probe.db.execute(
            "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'streams') "
            "WHERE type = 'index' AND tbl_name = 'record_changes' AND name LIKE '%json_bytes'"
        )
    ended = run("verify", PDPP_DATABASE_URL=f"sqlite:///{path}")
    assert ended.returncode == 3
    assert "PDPP_DATABASE_URL" in ended.stderr
    assert "Traceback" not in ended.stderr
