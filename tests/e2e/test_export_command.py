"""`pdpp-ref export`, and `import` of what it has written, as a user runs them."""

import csv
import io
import json
import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pdpp_ref.canonical import blobs
from tests.conftest import COMMAND, Run
from tests.support.factories import DatabaseProbe, upsert, write

LINES = "".join(
    json.dumps({"type": "RECORD", "stream": "notes", "key": key, "data": {"v": value}}) + "\n"
    for key, value in (("a", 1), ("b", 1), ("a", 2))
)


@pytest.fixture
def filled(run: Run) -> None:
    assert run("import", "--connection", "laptop", "--connector", "files", stdin=LINES).returncode == 0


def other(tmp_path: Path) -> dict[str, str]:
    """The settings of another server's database."""
    return {"PDPP_DATABASE_URL": f"sqlite:///{tmp_path}/other.sqlite3"}


@pytest.mark.usefixtures("filled")
def test_a_file_goes_out_and_in_and_out_again(run: Run, tmp_path: Path) -> None:
    done = run("export", "first.jsonl", "--history")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("3 records in ")
    assert (tmp_path / "first.jsonl").stat().st_mode & 0o777 == 0o600
    there = other(tmp_path)
    assert "3 accepted (2 new, 1 changed" in run("import", "first.jsonl", **there).stderr
    assert run("export", "second.jsonl", "--history", **there).returncode == 0
    assert (tmp_path / "first.jsonl").read_bytes() == (tmp_path / "second.jsonl").read_bytes()
    assert run("verify", **there).returncode == 0
    renamed = run("import", "first.jsonl", "--connection", "new", **there)
    assert renamed.returncode == 0
    names = [json.loads(line)["connection"] for line in run("connections", **there).stdout.splitlines()]
    assert names == ["laptop", "new"]


@pytest.mark.usefixtures("app")
def test_files_go_to_a_folder_and_come_from_it(run: Run, tmp_path: Path) -> None:
    write(upsert("a"), upsert("b"))
    digests = {
        blobs.store("laptop", "notes", key, iter([data])).sha256
        for key, data in (("a", b"one"), ("b", b"one"), ("b", b"two"))
    }
    for _ in range(2):
        done = run("export", "--history", "--files", "out/files")
        assert (done.returncode, done.stderr[:24]) == (0, "2 records and 2 files in")
    folder = tmp_path / "out/files"
    assert {path.name for path in folder.iterdir()} == digests
    assert folder.stat().st_mode & 0o777 == 0o700
    there = other(tmp_path)
    without = run("import", stdin=done.stdout, **there)
    assert without.returncode == 1
    assert "3 missing files" in without.stderr
    assert ", 3 files" in run("import", "--files", "out/files", stdin=done.stdout, **there).stderr
    again = run("export", "--history", "--files", "out/files", **there)
    assert again.stdout == done.stdout
    path = folder / min(digests)
    path.write_bytes(b"not")
    assert run("export", "--files", "out/files").returncode == 2


@pytest.mark.usefixtures("filled")
@pytest.mark.only("sqlite")
def test_a_file_that_exists_is_not_replaced(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    done = run("export", "out")
    assert (done.returncode, done.stderr) == (2, "Error: out exists; name a new file\n")
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.only("sqlite")
def test_a_file_is_complete_or_absent(run: Run, tmp_path: Path, probe: DatabaseProbe) -> None:
    write(upsert("a"))
    blobs.store("laptop", "notes", "a", iter([b"one"]))
    probe("DROP TABLE blob_chunks")
    done = run("export", "out", "--files", "files")
    assert done.returncode == 3
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []
    assert list((tmp_path / "files").iterdir()) == []


@pytest.mark.usefixtures("app")
def test_an_export_with_a_gap_says_so(run: Run, tmp_path: Path, probe: DatabaseProbe) -> None:
    write(upsert("a"))
    digest = blobs.store("laptop", "notes", "a", iter([b"one"])).sha256
    probe("DELETE FROM blob_chunks")
    done = run("export", "out", "--files", "files")
    assert done.returncode == 1
    assert f"the export is not complete: file {digest} is damaged" in done.stderr
    assert list((tmp_path / "files").iterdir()) == []


@pytest.mark.only("sqlite")
def test_a_reader_that_leaves_ends_it_quietly(environment: dict[str, str], run: Run) -> None:
    big = "".join(
        json.dumps({"type": "RECORD", "stream": "s", "key": str(key), "data": {"t": "x" * 1000}}) + "\n"
        for key in range(500)
    )
    run("import", "--connection", "laptop", stdin=big)
    with subprocess.Popen(
        [COMMAND, "export"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as piped:
        assert piped.stdout
        assert piped.stderr
        assert piped.stdout.readline().startswith(b'{"type":"EXPORT"')
        piped.stdout.close()
        assert piped.stderr.read() == b""
        assert piped.wait(20) == 1


@pytest.mark.usefixtures("filled")
@pytest.mark.only("sqlite")
@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--stream", "notes"], "--stream needs --connection"),
        (["--connection", "nobody"], "there is no connection nobody; there are laptop"),
        (["--connection", "laptop", "--stream", "x"], "connection laptop has no stream x; there are notes"),
        (["--since", "yesterday"], "--since is not an ISO 8601 time"),
        (["--format", "csv"], "--format csv needs --connection and --stream"),
        (
            ["--format", "csv", "--connection", "laptop", "--stream", "notes", "--history"],
            "live records alone",
        ),
        (["missing/out"], "out can't be written: No such file or directory"),
    ],
)
def test_a_call_that_is_wrong_is_refused(run: Run, arguments: list[str], why: str) -> None:
    done = run("export", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr


@pytest.mark.usefixtures("filled")
def test_a_table(run: Run, tmp_path: Path) -> None:
    done = run("export", "--format", "csv", "--connection", "laptop", "--stream", "notes")
    assert done.stdout.splitlines() == ["key,emitted_at,v", "b,,1", "a,,2"]
    done = run("export", "t.parquet", "--format", "parquet", "--connection", "laptop", "--stream", "notes")
    assert done.returncode == 0
    assert (tmp_path / "t.parquet").read_bytes()[:4] == b"PAR1"


# ---- import --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("filled")
@pytest.mark.only("sqlite")
def test_an_export_without_its_end_is_an_incomplete_import(run: Run, tmp_path: Path) -> None:
    cut = run("export").stdout.rpartition('{"type":"EXPORT_END"')[0]
    done = run("import", stdin=cut, **other(tmp_path))
    assert done.returncode == 1
    assert "has no EXPORT_END: what follows is missing" in done.stderr
    assert "2 accepted" in done.stderr


@pytest.mark.usefixtures("filled")
@pytest.mark.only("sqlite")
def test_several_connections_do_not_get_one_name(run: Run, tmp_path: Path) -> None:
    run("import", "--connection", "phone", stdin=LINES)
    done = run("import", "--connection", "new", stdin=run("export").stdout, **other(tmp_path))
    assert done.returncode == 2
    assert "the export has several connections" in done.stderr
    assert run("connections", **other(tmp_path)).stdout == ""


@pytest.mark.only("sqlite")
def test_an_export_of_a_newer_format_is_refused(run: Run) -> None:
    done = run("import", stdin='{"type":"EXPORT","format":9,"history":true,"connections":1}\n')
    assert done.returncode == 2
    assert "the export at line 1 can't be read: it has format 9" in done.stderr


@pytest.mark.only("sqlite")
def test_no_lines_without_a_connection_are_refused(run: Run) -> None:
    for given in ("", LINES):
        done = run("import", stdin=given)
        assert done.returncode == 2
        assert "name the connection of these records: --connection NAME" in done.stderr


# ---- connections ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("filled")
def test_connections_are_listed_for_programs(run: Run) -> None:
    (line,) = run("connections").stdout.splitlines()
    row: dict[str, Any] = json.loads(line)
    assert row.pop("last_arrival").endswith("Z")
    assert row.pop("number") >= 1
    assert row == {
        "connection": "laptop",
        "connector": "files",
        "streams": 1,
        "total_retained_bytes": 35,
        "fresh": True,
    }


@pytest.mark.usefixtures("filled")
@pytest.mark.only("sqlite")
def test_connections_are_listed_in_the_format_that_is_named(run: Run) -> None:
    run("import", "--connection", '=1+1,"x"', stdin=LINES)
    heading, odd, usual = csv.reader(io.StringIO(run("connections", "--format", "csv").stdout))
    assert heading[:4] == ["connection", "connector", "streams", "total_retained_bytes"]
    assert odd[0] == """'=1+1,"x\"""", "no spreadsheet runs it"
    assert (usual[0], usual[2:5]) == ("laptop", ["1", "35", "true"])
    assert run("connections", "--format", "table").stdout.startswith("connection ")
    assert run("connections", "--format", "jsonl").stdout == run("connections").stdout


@pytest.mark.usefixtures("filled")
@pytest.mark.only("sqlite")
def test_connections_are_a_table_on_a_terminal(environment: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    subprocess.run([COMMAND, "connections"], stdout=theirs, env=environment, check=True)
    os.close(theirs)
    heading, row = os.read(ours, 10_000).decode().splitlines()
    os.close(ours)
    assert heading.split() == ["connection", "connector", "streams", "bytes", "last", "arrival"]
    assert row.split()[:4] == ["laptop", "files", "1", "35"]
