"""Input that holds no JSON lines: one hint and no import, unless one of the first lines is understood."""

import gzip
import io
import json
import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from pdpp_ref.parsing import hints
from pdpp_ref.parsing.lines import Line, split_lines
from tests.conftest import COMMAND, Run
from tests.e2e.test_cli import line, one_line
from tests.support.command import started

pytestmark = pytest.mark.only("sqlite")  # it comes before any database
RECORD = line("a").encode()
ROWS = [json.loads(line("a")), json.loads(line("b"))]


def tar() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        member = tarfile.TarInfo("records.jsonl")
        member.size = 3 * len(RECORD)
        archive.addfile(member, io.BytesIO(RECORD * 3))
    return made.getvalue()


def zipped() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("records.jsonl", RECORD * 3)
    return made.getvalue()


WRONG = {
    "an array on one line": (json.dumps(ROWS).encode(), "jq -c '.[]' FILE | pdpp-ref import"),
    "an array on many lines": (json.dumps(ROWS, indent=2).encode(), "jq -c '.[]' FILE"),
    "an array of arrays": (b"[[1],\n[2]]\n", "is one JSON array"),
    "an array after blank lines": (
        b"\n \n\xef\xbb\xbf[\n" + json.dumps(ROWS[0]).encode() + b",\n",
        "one JSON array",
    ),
    "a large array": (b'[{"a":"' + b"x" * 20_000_000 + b'"}]', "is one JSON array"),
    "an object on many lines": (json.dumps(ROWS[0], indent=2).encode(), "jq -c . FILE | pdpp-ref import"),
    "mail": (b"From me@example.org Thu Jan 1 00:00:00 1970\nSubject: a\n\nb\n", "is mail (mbox)"),
    "CSV": (b"id,name,born\n1,Ada,1815\n2,Alan,1912\n", "is a table (CSV or TSV)"),
    "CSV of a spreadsheet": ("\ufeffid;größe;\r\n1;2;3\r\n".encode(), "is a table"),
    "TSV": (b"id\tname\n1\tAda\n", "is a table"),
    "XML": (b'<?xml version="1.0"?>\n<rows>\n</rows>\n', "is XML or HTML"),
    "HTML": (b"<!doctype html>\n<p>a", "is XML or HTML"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4" + b"\xff\n" * 90, "7z x -so FILE | pdpp-ref import"),
    "tar": (tar(), "tar -xOf FILE | pdpp-ref import"),
    "zip": (zipped(), "unzip -p FILE | pdpp-ref import"),
    "PDF": (b"%PDF-1.7\n%\xe2\xe3\n", "is a PDF document"),
    "UTF-16": (line("a").encode("utf-16"), "iconv -f UTF-16 -t UTF-8 FILE"),
    "UTF-16 without a mark": (line("a").encode("utf-16-le"), "iconv -f UTF-16LE"),
    "a database": (b"SQLite format 3\0" + b"\0" * 100, "is a database"),
    "compressed twice": (gzip.compress(RECORD), "is compressed more than once"),
}
wrong = pytest.mark.parametrize(("content", "reported"), WRONG.values(), ids=WRONG)


@wrong
@pytest.mark.parametrize("way", ["file", "pipe", "gzip"])
def test_one_hint_says_what_it_is_and_what_to_do(
    run: Run, tmp_path: Path, content: bytes, reported: str, way: str
) -> None:
    """Item 11: a million lines were rejected one by one."""
    if way == "gzip" or reported == "is compressed more than once":
        content = gzip.compress(content)
    if way == "pipe":
        done = run("import", "--connection", "c", stdin=content)
        assert "Error: standard input " in one_line(done)
    else:
        (tmp_path / "in").write_bytes(content)
        done = run("import", "in", "--connection", "c")
        assert "Error: 'in' " in one_line(done)
        if reported != "one JSON array":  # blank lines come first
            assert not (tmp_path / "test.sqlite3").exists(), "nothing was even opened"
    assert reported in done.stderr
    if (tmp_path / "test.sqlite3").exists():
        assert json.loads(run("summary").stdout)["connector_count"] == 0


def passed(content: bytes, size: int = 100) -> list[Line | None]:
    blocks = (content[at : at + size] for at in range(0, len(content), size))
    return list(hints.checked(split_lines(blocks)))


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"\n\n",
        b"\xef\xbb\xbf",
        b"[\n",
        b"{\n",
        b"From a log\n",
        b"<a warning>\n",
        b"id,name\n1,Ada\n",
        b"[INFO] starting\n",
        b"INFO, starting\n" * 19,
        b"oops\n" * 50,
        b"2026-01-01 08:00:00,123 INFO starting\n" * 50,
        b'{"type":"BATCH"}\n' * 50,
    ],
)
def test_input_that_has_valid_lines_at_its_start_is_never_refused(start: bytes) -> None:
    content = start + RECORD + b"more\n"
    assert passed(content) == content.split(b"\n")[:-1]


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"oops\nmore\n", b"[INFO] a\n" * 30, b"2026-01-01 08:00:00,1 a\n" * 30, b"a,b\n"],
)
def test_what_is_not_known_is_left_to_be_rejected_line_by_line(content: bytes) -> None:
    assert passed(content) == content.split(b"\n")[:-1]


def test_no_more_than_the_first_lines_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = 0

    def endless() -> object:
        nonlocal taken
        while True:
            taken += 1
            yield b"[" if taken == 1 else b"{"

    with pytest.raises(hints.NotLines):
        list(hints.checked(endless()))  # type: ignore[arg-type]
    assert taken == 1 + hints.LOOK_AT_LINES


def test_a_slow_pipe_is_judged_by_what_has_come(environment: dict[str, str]) -> None:
    """A first line that is fine is imported at once."""
    read, write = os.pipe()
    with started(
        [COMMAND, "import", "--connection", "c"],
        stdin=read,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as work:
        os.close(read)
        os.write(write, RECORD + b'{"type":"STATE","value":1}\n')
        assert work.stdout
        assert work.stdout.readline() == '{"type":"STATE","value":1}\n'
        os.close(write)
        assert work.wait(60) == 0


@pytest.mark.parametrize("rejects", [[], ["--rejects", "bad"]])
def test_no_more_than_a_thousand_rejected_lines_are_listed(
    run: Run, tmp_path: Path, rejects: list[str]
) -> None:
    done = run("import", "--connection", "c", *rejects, stdin="oops\n" * 1500 + line("a"))
    reported = done.stderr.splitlines()
    assert done.returncode == 1
    assert [each.partition(":")[0] for each in reported[:-2]] == [
        f"line {number}" for number in range(1, 1001)
    ]
    assert reported[-2] == "500 more rejected lines not listed"
    assert "1,500 rejected" in reported[-1]
    if rejects:
        assert len((tmp_path / "bad").read_text().splitlines()) == 1500
