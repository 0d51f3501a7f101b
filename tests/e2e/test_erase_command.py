"""Erasing and compacting by command."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.support.probe import DatabaseProbe

Run = Callable[..., "CompletedProcess[str]"]

RECORD = ("--connection", "laptop", "--stream", "notes", "--key", "a")
LINES = "".join(
    f'{{"type":"RECORD","stream":"notes","key":"{key}","data":{{"n":"personal {key}"}}}}\n' for key in "ab"
)


def test_a_record_is_erased_and_skipped_until_it_is_allowed(run: Run, tmp_path: Path) -> None:
    run("import", "--connection", "laptop", stdin=LINES)
    done = run("erase", *RECORD)
    assert (done.returncode, done.stdout) == (0, "Erased 1 version and 0 files.\n")
    again = run("import", "--connection", "laptop", stdin=LINES)
    assert (
        "2 accepted (0 new, 0 changed, 0 deleted, 1 unchanged, 1 of erased records skipped)" in again.stderr
    )
    allowed = run("erase", *RECORD, "--allow")
    assert (allowed.returncode, allowed.stdout) == (0, "It is stored again when it arrives.\n")
    assert "1 new" in run("import", "--connection", "laptop", stdin=LINES).stderr


@pytest.mark.only("sqlite")
def test_a_restored_backup_is_brought_up_to_date_by_the_next_command(run: Run, tmp_path: Path) -> None:
    run("import", "--connection", "laptop", stdin=LINES)
    backup, file = tmp_path / "backup.sqlite3", tmp_path / "test.sqlite3"
    assert run("backup", str(backup)).returncode == 0
    assert run("erase", *RECORD).returncode == 0
    assert not [path for path in tmp_path.glob("test.sqlite3*") if b"personal a" in path.read_bytes()]
    backup.replace(file)
    done = run("verify")
    assert "1 are carried out again" in done.stderr
    with DatabaseProbe(file) as probe:
        assert probe("SELECT key FROM records") == [("b",)]


def test_wrong_names_are_refused(run: Run) -> None:
    run("import", "--connection", "laptop", stdin=LINES)
    for wrong in (
        ("--connection", "x", "--stream", "notes", "--key", "a"),
        ("--connection", "laptop", "--stream", "x", "--key", "a"),
        (*RECORD, "--file", "x"),
        (*RECORD, "--allow"),
    ):
        assert run("erase", *wrong).returncode == 2, wrong


def test_compacting_says_what_it_returned_or_what_to_run(run: Run, environment: dict[str, str]) -> None:
    done = run("compact")
    if environment["PDPP_DATABASE_URL"].startswith("sqlite"):
        assert done.returncode == 0
        assert done.stdout.startswith("Returned ")
    else:
        assert done.returncode == 2
        assert "vacuumdb --full" in done.stderr


@pytest.mark.only("sqlite")
def test_compacting_during_a_write_is_tried_again(run: Run, tmp_path: Path) -> None:
    run("summary")
    with DatabaseProbe(tmp_path / "test.sqlite3") as probe, probe.busy():
        done = run("compact")
    assert done.returncode == 3
    assert "try again" in done.stderr
