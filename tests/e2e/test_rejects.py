"""Rejected lines: no STATE follows one, unless it was stored first; each is counted once and in order."""

import base64
import json
import os
import signal
import stat
import subprocess
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from pdpp_ref.canonical import importer, records
from pdpp_ref.canonical.importer import Importer, RejectedLine
from pdpp_ref.cli import rejects
from pdpp_ref.cli.common import UsageError
from pdpp_ref.parsing.lines import READ_BYTES, LineTooLong, split_lines
from pdpp_ref.parsing.messages import Change
from tests.conftest import COMMAND, Run
from tests.e2e.test_cli import line, one_line
from tests.support.command import started
from tests.support.factories import TOKEN, DatabaseProbe

STATES = [f'{{"type":"STATE","value":{number}}}\n' for number in range(9)]
BATCH_LINE = '{"type":"BATCH","stream":"s","manifest":["file:///tmp/x"]}\n'
BAD = {
    "no JSON": "oops\n",
    "a record": '{"type":"RECORD","stream":"s","key":"k","data":[]}\n',
    "a schema": '{"type":"SCHEMA","stream":1}\n',
    "a batch": BATCH_LINE,
}


def stored_in(file: Path) -> list[dict[str, Any]]:
    return [json.loads(each) for each in file.read_bytes().splitlines()]


def state_of(value: Any) -> str:
    return f'{{"type":"STATE","value":"{value}"}}\n'


@pytest.mark.parametrize("bad", BAD)
def test_no_state_follows_a_rejected_line(run: Run, bad: str) -> None:
    """Item 2: the source took it for stored, and never sent it again."""
    lines = line("a") + STATES[1] + BAD[bad] + line("b") + STATES[2] + line("c") + STATES[3]
    done = run("import", "--connection", "c", stdin=lines)
    assert (done.returncode, done.stdout) == (1, STATES[1])
    last = done.stderr.splitlines()[-1]
    assert "3 new" in last
    assert "1 rejected; no STATE was printed after line 3, which was rejected" in last
    assert "run again with --rejects FILE" in last


def test_states_follow_once_rejected_lines_are_stored(run: Run, tmp_path: Path) -> None:
    lines = BAD["no JSON"] + STATES[1] + line("a") + STATES[2] + BATCH_LINE + line("b") + STATES[3]
    done = run("import", "--connection", "c", "--rejects", "bad.jsonl", stdin=lines)
    assert (done.returncode, done.stdout) == (1, "".join(STATES[1:4]))
    assert done.stderr.splitlines()[-1].endswith('2 rejected; rejected lines are in "bad.jsonl"')
    assert stored_in(tmp_path / "bad.jsonl") == [
        {"line": 1, "reason": "not JSON: a value is missing at character 1", "text": "oops"},
        {
            "line": 5,
            "reason": "BATCH points to files elsewhere; let the tap send RECORD lines",
            "text": BATCH_LINE.strip(),
        },
    ]


@pytest.mark.only("sqlite")
def test_what_is_no_text_is_stored_byte_for_byte(run: Run, tmp_path: Path) -> None:
    lines = [b"\xff\x00{", '{"é": "\u2028\\u0000'.encode(), b"{\r", b'{"k":"\xed\xa0\x80"}']
    run("import", "--connection", "c", "--rejects", "bad", stdin=b"\n".join(lines))
    stored = stored_in(tmp_path / "bad")
    assert ["text" in each for each in stored] == [False, True, True, False]
    assert [
        each["text"].encode() if "text" in each else base64.b64decode(each["base64"]) for each in stored
    ] == lines


@pytest.mark.only("sqlite")
def test_a_line_over_the_limit_is_stored_whole(run: Run, tmp_path: Path) -> None:
    huge = b"".join(b"%07d" % number for number in range(40_000_000 // 7))
    (tmp_path / "in").write_bytes(line("a").encode() + huge + b"\n" + STATES[1].encode())
    done = run("import", "in", "--connection", "c", "--rejects", "bad")
    assert (done.returncode, done.stdout) == (1, STATES[1]), done.stderr
    (stored,) = stored_in(tmp_path / "bad")
    assert (stored["line"], stored["reason"]) == (2, "longer than 16,777,216 bytes")
    assert base64.b64decode(stored["base64"]) == huge
    assert sorted(os.listdir(tmp_path)) == ["bad", "in", "test.sqlite3"]


def test_a_line_over_the_limit_takes_no_more_memory_the_longer_it_is(tmp_path: Path) -> None:
    blocks = (b"x" * READ_BYTES for _ in range(400))  # 100 MB
    tracemalloc.start()
    try:
        with rejects.opened(tmp_path / "bad") as stored:
            assert stored
            (long,) = split_lines(blocks, stored.spool)
            assert isinstance(long, LineTooLong)
            stored.add(RejectedLine(1, "too long", long))
        assert tracemalloc.get_traced_memory()[1] < 3 * importer.MAX_LINE_BYTES
    finally:
        tracemalloc.stop()
    assert (tmp_path / "bad").stat().st_size > 400 * READ_BYTES * 4 // 3


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("exists", [False, True])
def test_only_its_owner_can_read_the_file(run: Run, tmp_path: Path, exists: bool) -> None:
    old = '{"line":7,"reason":"r","text":"t"}\n'
    if exists:
        (tmp_path / "bad").write_text(old)
        (tmp_path / "bad").chmod(0o666)
    before = os.umask(0)
    try:
        run("import", "--connection", "c", "--rejects", "bad", stdin="oops\n")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "bad").stat().st_mode) == 0o600
    assert [each["line"] for each in stored_in(tmp_path / "bad")] == [7] * exists + [1]


@pytest.mark.only("sqlite")
@pytest.mark.parametrize(
    ("torn", "lines"),
    [
        ('{"line":3,"reason":"r","te', [1, 5]),
        ('{"li', [1, 5]),
        ('{"line":3,"reason":"r","text":"' + "x" * 500_000, [1, 5]),
        ('{"line":3,"reason":"r","text":"t"}', [1, 3, 5]),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_line_that_an_import_was_killed_in_is_taken_out(
    tmp_path: Path, torn: str, lines: list[int], first: bool
) -> None:
    whole = "" if first else '{"line":1,"reason":"r","text":"t"}\n'
    (tmp_path / "bad").write_text(whole + torn)
    with rejects.opened(tmp_path / "bad") as stored:
        assert stored
        stored.add(RejectedLine(5, "why", b"line"))
    assert [each["line"] for each in stored_in(tmp_path / "bad")] == lines[first:]


@pytest.mark.only("sqlite")
@pytest.mark.parametrize(
    ("name", "reported"),
    [
        (".", "can't be written: Is a directory"),
        ("none/bad", "can't be written: No such file"),
        ("in", "is in use as input or output"),
        ("link", "is in use as input or output"),
        ("pipe", "is not an ordinary file"),
        ("test.sqlite3", "is not a rejects file"),
        ("notes.txt", "is not a rejects file"),
        ("/proc/version", "is not a rejects file"),
        ("/dev/full", "is not an ordinary file"),
    ],
)
def test_a_file_that_cannot_be_used_is_a_wrong_call_and_stays_as_it_is(
    run: Run, tmp_path: Path, name: str, reported: str
) -> None:
    run("import", "--connection", "c", stdin=line("before"))
    (tmp_path / "in").write_text(line("a") + "oops\n")
    (tmp_path / "link").hardlink_to(tmp_path / "in")
    (tmp_path / "notes.txt").write_text("a file of mine")
    os.mkfifo(tmp_path / "pipe")
    before = {each: each.read_bytes() for each in tmp_path.iterdir() if each.is_file()}
    assert reported in one_line(run("import", "in", "--connection", "c", "--rejects", name))
    assert {each: each.read_bytes() for each in tmp_path.iterdir() if each.is_file()} == before


@pytest.mark.only("sqlite")
def test_a_wrong_call_leaves_no_empty_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("[\n1\n]\n")
    one_line(run("import", "in", "--connection", "c", "--rejects", "bad"))
    assert not (tmp_path / "bad").exists()


@pytest.mark.only("sqlite")
def test_two_imports_do_not_share_a_file(tmp_path: Path) -> None:
    with (
        rejects.opened(tmp_path / "bad"),
        pytest.raises(UsageError, match="another import writes to bad"),
        rejects.opened(tmp_path / "bad"),
    ):
        pass


@pytest.mark.only("sqlite")
def test_a_full_disk_ends_the_import_before_the_next_state(
    environment: dict[str, str], tmp_path: Path
) -> None:
    # A limit on the size of files is a disk that fills up; the database has its pages already.
    bad = "x" * 3000 + "\n"
    lines = line("a") + STATES[1] + bad * 1000 + line("b") + STATES[2]
    limited = f"ulimit -f 2000; exec {COMMAND} import --connection c --rejects bad"
    done = subprocess.run(
        ["bash", "-c", limited],
        input=lines,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3, done.stderr
    assert "a rejected line can't be written to the file of --rejects: File too large" in done.stderr
    assert "Run the same import again" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(stored_in(tmp_path / "bad")) > 100, "every line of the file is whole"
    assert STATES[2] not in done.stdout


@pytest.mark.only("sqlite")
def test_what_a_state_vouches_for_is_in_the_file_when_it_is_killed(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with started(
        [COMMAND, "import", "--connection", "c", "--rejects", "bad"],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as work:
        assert work.stdin
        assert work.stdout
        for number in range(20):
            work.stdin.write(f"oops {number}\n{state_of(number)}")
            work.stdin.flush()
            assert work.stdout.readline() == state_of(number)
            assert len(stored_in(tmp_path / "bad")) == number + 1
        work.send_signal(signal.SIGKILL)
    assert [each["text"] for each in stored_in(tmp_path / "bad")] == [
        f"oops {number}" for number in range(20)
    ]


# ---- rejected by the write -----------------------------------------------------------------------


def refuse(monkeypatch: pytest.MonkeyPatch, *keys: str) -> None:
    """The write stores all but these."""
    write = records.write

    def refusing(target: records.Target, changes: Sequence[Change], *more: Any) -> records.Written:
        refused = [(index, f"no {each.key}") for index, each in enumerate(changes) if each.key in keys]
        taken = [each for each in changes if each.key not in keys]
        return records.Written(write(target, taken, *more).counts, refused)

    monkeypatch.setattr(records, "write", refusing)


def imported(lines: str, **options: Any) -> tuple[importer.Report, list[RejectedLine], list[str]]:
    reported: list[RejectedLine] = []
    states: list[str] = []
    work = Importer(records.Target("c", "c"), states.append, reported.append, **options)
    work.run(split_lines(iter([lines.encode()])))
    return work.report, reported, [f"{state}\n" for state in states]


def test_a_line_that_the_write_refuses_holds_back_later_states_of_its_batch(
    app: Flask, probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, "b")
    lines = line("a") + STATES[1] + line("b") + STATES[2] + "oops\n" + line("c") + STATES[3]
    report, reported, states = imported(lines)
    assert [each.number for each in reported] == [3, 5]
    assert reported[0].reason == "no b"
    assert reported[0].raw == line("b").strip().encode()
    assert states == STATES[1:2]
    assert (report.rejected, report.first_rejected, report.withheld) == (2, 3, 2)
    assert (report.counts.accepted, probe("SELECT COUNT(*) FROM records")) == (2, [(2,)])


def test_a_line_that_the_write_refuses_is_stored_before_a_later_state(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, "b")
    monkeypatch.setattr(importer, "BATCH_LINES", 2)
    lines = line("a") + "oops\n" + line("b") + STATES[1] + line("c") + STATES[2]
    report, reported, states = imported(lines, stores_rejected=True)
    assert ([each.number for each in reported], states) == ([2, 3], STATES[1:3])
    assert (report.rejected, report.withheld) == (2, 0)


def test_what_the_write_refuses_is_reported_over_http_in_order(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, "a", "c")
    body = line("a") + "oops\n" + line("b") + line("c")
    response = app.test_client().post(
        "/v1/ingest/s?connector_id=c", data=body, headers={"Authorization": f"Bearer {TOKEN}"}
    )
    found = response.get_json()
    assert [(each["line"], each["message"][:4]) for each in found["errors"]] == [
        (1, "no a"),
        (2, "not "),
        (4, "no c"),
    ]
    assert (found["records_accepted"], found["records_rejected"]) == (1, 3)


@pytest.mark.only("sqlite")
def test_rejected_lines_alone_do_not_fill_the_memory(app: Flask) -> None:
    """They wait for the end of a batch, and a batch has an end."""
    waiting: list[int] = []
    work = Importer(
        records.Target("c", "c"), print, lambda each: waiting.append(work.report.lines - each.number)
    )
    work.run(iter([b"x" * 1_000_000] * 50 + [b"x"] * 5000))
    assert len(waiting) == 5050
    assert max(waiting[:50]) <= 5
    assert max(waiting) < importer.BATCH_LINES


@pytest.mark.only("sqlite")
def test_the_first_part_of_a_line_over_the_limit_is_known_without_a_file() -> None:
    long = LineTooLong()
    for _ in range(9):
        long.add(b"x" * 1000)
    assert (long.size, b"".join(long.parts(100))) == (9000, b"x" * LineTooLong.START_BYTES)
