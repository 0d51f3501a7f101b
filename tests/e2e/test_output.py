"""The reader of our output goes away, or a signal comes: nothing that was acknowledged is lost."""

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from pdpp_ref.cli import output
from pdpp_ref.services import reconcile
from tests.conftest import COMMAND, Backend, Run
from tests.e2e.test_cli import line
from tests.support.command import started
from tests.support.factories import DatabaseProbe

IMPORT = [COMMAND, "import", "--connection", "c"]
sqlite = pytest.mark.only("sqlite")  # what has nothing to do with the database
MANY = 400_000  # records: their import takes longer than a test needs to react


def state(value: object) -> str:
    return f'{{"type":"STATE","value":{json.dumps(value)}}}\n'


def count(backend: Backend) -> int:
    with backend.probe() as probe:
        return int(probe("SELECT COUNT(*) FROM records")[0][0])


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    try:
        yield read, write
    finally:
        for each in (read, write):
            with suppress(OSError):
                os.close(each)


def await_full(read: int) -> None:
    """Wait until a pipe that nobody reads has no room for another STATE line."""
    until = time.monotonic() + 60
    room = fcntl.fcntl(read, fcntl.F_GETPIPE_SZ) - 9_000
    while struct.unpack("i", fcntl.ioctl(read, termios.FIONREAD, b"1234"))[0] < room:
        assert time.monotonic() < until, "the pipe was not filled"
        time.sleep(0.01)


@sqlite
@pytest.mark.parametrize(("bad", "code"), [("", 0), ("oops\n", 1)])
def test_an_import_whose_whole_output_is_cut_off_continues(
    environment: dict[str, str], backend: Backend, bad: str, code: int
) -> None:
    """Item 4: `pdpp-ref import … 2>&1 | head -1`."""
    lines = "".join(line(str(number)) + bad + state(number) for number in range(3000))
    with (
        pipe() as (read, write),
        started(IMPORT, stdin=subprocess.PIPE, stdout=write, stderr=write, env=environment) as work,
    ):
        os.close(write)
        assert work.stdin
        work.stdin.write((state("first") + "oops\n" * code).encode())
        work.stdin.flush()
        assert os.read(read, 10_000)
        os.close(read)
        work.communicate(lines.encode(), timeout=60)
    assert (work.returncode, count(backend)) == (code, 3000)


@sqlite
def test_a_source_that_no_longer_reads_states_is_reported_at_the_end(
    environment: dict[str, str], backend: Backend
) -> None:
    with pipe() as (read, write):
        os.close(read)
        done = subprocess.run(
            IMPORT,
            input=(line("a") + state(1) + line("b") + state(2)).encode(),
            stdout=write,
            stderr=subprocess.PIPE,
            env=environment,
        )
    assert (done.returncode, count(backend)) == (0, 2)
    (last,) = done.stderr.decode().splitlines()
    assert "2 new" in last
    assert last.endswith("STATE could not be printed any more: its reader has closed the pipe")


@sqlite
def test_states_on_a_pipe_that_does_not_wait_are_all_whole_and_in_order(
    environment: dict[str, str], backend: Backend
) -> None:
    states = [state(f"{number}" + "x" * 9000) for number in range(60)]
    with pipe() as (read, write):
        os.set_blocking(write, False)
        with started(IMPORT, stdin=subprocess.PIPE, stdout=write, stderr=-3, env=environment) as work:
            os.close(write)
            assert work.stdin
            work.stdin.write("".join(line(str(n)) + each for n, each in enumerate(states)).encode())
            work.stdin.close()
            await_full(read)
            found = b""
            while part := os.read(read, 777):
                found += part
            assert (work.wait(60), found.decode()) == (0, "".join(states))


@sqlite
def test_an_error_pipe_that_has_no_room_stops_nothing_and_its_lines_are_whole(
    environment: dict[str, str], backend: Backend
) -> None:
    with pipe() as (read, write):
        os.set_blocking(write, False)
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
        lines = "oops\n" * 900 + line("a") + state(1)
        with started(IMPORT, stdin=subprocess.PIPE, stdout=-3, stderr=write, env=environment) as work:
            os.close(write)
            work.communicate(lines.encode(), timeout=60)
        reported = b"".join(iter(lambda: os.read(read, 4096), b"")).decode()
    assert (work.returncode, count(backend)) == (1, 1)
    *whole, _ = reported.split("\n")
    assert whole == [
        f"line {number}: not JSON: a value is missing at character 1" for number in range(1, len(whole) + 1)
    ]


@sqlite
def test_important_lines_wait_for_room_and_are_ended_later(monkeypatch: pytest.MonkeyPatch) -> None:
    with pipe() as (read, write), os.fdopen(write, "w") as stream:
        os.set_blocking(write, False)
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(output, "PATIENCE_SECONDS", 0.05)
        errors = output._Errors()
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
        errors.write("a" * 999 + "\n", wait=True)
        errors.write("b" * 5000 + "\n", wait=True)  # a part of it fits
        errors.write("left out\n", wait=False)
        errors.write("left out too\n", wait=True)
        found = os.read(read, 5000)
        assert 1000 < len(found) < 5000
        while len(found) < 6001:
            errors.write("", wait=True)
            found += os.read(read, 5000)
        errors.write("c\n", wait=False)
        found += os.read(read, 5000)
    assert found == b"a" * 999 + b"\n" + b"b" * 5000 + b"\nc\n"


@sqlite
def test_a_terminal_that_is_closed_stops_nothing(environment: dict[str, str], backend: Backend) -> None:
    read, write = os.pipe()
    ready_read, ready_write = os.pipe()
    process, terminal = pty.fork()
    if not process:  # the terminal is its own: closing it sends SIGHUP
        os.dup2(read, 0)
        os.dup2(ready_write, 1)
        os.close(write)
        os.execve(COMMAND, IMPORT, environment)
    os.close(read)
    os.close(ready_write)
    os.write(write, (line("a") + state(1)).encode())
    assert os.read(ready_read, 1000).decode() == state(1)
    os.close(terminal)
    time.sleep(0.2)
    os.write(write, (line("b") + "oops\n").encode())
    os.close(write)
    _, status = os.waitpid(process, 0)
    os.close(ready_read)
    assert (os.waitstatus_to_exitcode(status), count(backend)) == (1, 2)


@sqlite
def test_control_c_on_a_bar_leaves_a_clean_terminal(
    environment: dict[str, str], backend: Backend, tmp_path: Path
) -> None:
    file = tmp_path / "records.jsonl"
    file.write_text("".join(line(str(number)) for number in range(MANY)))
    process, terminal = pty.fork()
    if not process:
        os.execve(COMMAND, [*IMPORT, str(file)], environment | {"TERM": "xterm"})
    shown = b""
    with suppress(OSError):  # the terminal has ended
        while part := os.read(terminal, 10_000):
            if b"%" in part and b"%" not in shown:
                os.write(terminal, b"\x03")
            shown += part
    _, status = os.waitpid(process, 0)
    os.close(terminal)
    bar, _, message = shown.decode().rpartition("\r\nError: ")
    assert os.waitstatus_to_exitcode(status) == 3
    assert "% " in bar.split("\r")[-1], "the bar is on a line of its own"
    stored = count(backend)
    assert 0 < stored < MANY
    assert message.startswith(f"stopped; {stored:,} accepted ({stored:,} new, ")
    assert "\033[?25l" not in bar, "the cursor was not hidden"


@sqlite
@pytest.mark.parametrize(
    ("redirect", "code"),
    [("2>&-", 0), (">&-", 3), (">&- 2>&-", 3), ("> /dev/full", 3), ("2> /dev/full", 0)],
)
def test_output_that_is_closed_or_full_from_the_start(
    environment: dict[str, str], backend: Backend, tmp_path: Path, redirect: str, code: int
) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{' '.join(IMPORT)} {redirect}"],
        input=line("a") + state(1),
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert (done.returncode, count(backend)) == (code, 1)
    with backend.probe() as probe:
        assert not probe.is_corrupt(), "nothing was written into another file"


@sqlite
@pytest.mark.parametrize("command", ["summary", "verify", "reconcile", "rebuild", "--help"])
def test_no_command_has_a_traceback_or_another_code_when_nobody_reads(
    run: Run, environment: dict[str, str], backend: Backend, command: str
) -> None:
    run("import", "--connection", "c", stdin=line("a"))
    with backend.probe() as probe:
        probe("UPDATE retained_size_stream SET record_count = 9")
    with pipe() as (read, write):
        os.close(read)
        done = subprocess.run([COMMAND, command], stdout=write, stderr=subprocess.PIPE, env=environment)
    expected = {"verify": 1, "--help": 1}.get(command, 0)  # click's own code for its own help
    assert (done.returncode, done.stderr) == (expected, b"")


@sqlite
@pytest.mark.parametrize("command", ["summary", "verify"])
def test_an_answer_that_cannot_be_stored_is_reported(
    run: Run, environment: dict[str, str], command: str
) -> None:
    run("import", "--connection", "c", stdin=line("a"))
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [COMMAND, command], stdout=full, stderr=subprocess.PIPE, text=True, env=environment
        )
    assert done.returncode == 3
    assert done.stderr == "Error: standard output can't be written: No space left on device\n"


# ---- signals -------------------------------------------------------------------------------------


@contextmanager
def importing(environment: dict[str, str], call: Sequence[str] = IMPORT) -> Iterator[subprocess.Popen[str]]:
    """An import that has stored one record and waits for more."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with started(call, **pipes, text=True, env=environment) as work:
        assert work.stdin
        assert work.stdout
        work.stdin.write(line("a") + state(1))
        work.stdin.flush()
        assert work.stdout.readline() == state(1)
        yield work


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("times", [1, 5])
def test_a_signal_ends_an_import_with_its_counts(
    environment: dict[str, str], backend: Backend, number: int, times: int
) -> None:
    with importing(environment) as work:
        for _ in range(times):
            work.send_signal(number)
        reported = work.communicate(timeout=60)[1]
    assert work.returncode == 3, reported
    assert reported == (
        "Error: stopped; 1 accepted (1 new, 0 changed, 0 deleted, 0 unchanged), 0 rejected before that. "
        "Run the same import again: records already stored are skipped\n"
    )
    assert count(backend) == 1


# An import that says when it writes.
SAYS_WHEN_IT_WRITES = (
    "import sys; from pdpp_ref.canonical import retrying; from pdpp_ref.cli.main import main; "
    "write = retrying._while_busy; "
    "retrying._while_busy = lambda of: (print('writing', file=sys.stderr, flush=True), write(of))[1]; "
    "main(['import', '--connection', 'c'])"
)


def test_a_signal_during_a_write_waits_for_it_and_it_is_counted(
    environment: dict[str, str], backend: Backend
) -> None:
    call = [sys.executable, "-c", SAYS_WHEN_IT_WRITES]
    with importing(environment, call) as work, backend.probe() as holder:
        assert work.stderr
        assert work.stderr.readline() == "writing\n"
        holder("BEGIN IMMEDIATE" if backend.kind == "sqlite" else "BEGIN")
        if backend.kind == "postgres":
            holder("LOCK TABLE record_changes")
        assert work.stdin
        work.stdin.write(line("b"))
        work.stdin.flush()
        assert work.stderr.readline() == "writing\n"
        work.send_signal(signal.SIGTERM)
        holder("COMMIT")
        reported = work.communicate(timeout=60)[1]
    assert work.returncode == 3
    assert "stopped; 2 accepted (2 new" in reported
    assert count(backend) == 2


# A rebuild that recomputes one row in a pass, says when it pauses after it, and pauses for long.
SLOW = """
import sys, time
from pdpp_ref.cli.main import main
from pdpp_ref.services import reconcile

def pause(*_):
    print("pausing", flush=True)
    time.sleep(60)

reconcile.let_others_write = pause
reconcile.run_until_fresh.__defaults__ = (reconcile.Limits(1, 0), lambda _: None, None)
main(sys.argv[1:], prog_name="pdpp-ref")
"""


@pytest.mark.parametrize(
    ("number", "left", "by"),
    [
        (signal.SIGINT, "failed", "reconcile"),
        (signal.SIGTERM, "failed", "summary"),
        (signal.SIGTERM, "failed", "rebuild"),
        (signal.SIGKILL, "running", "reconcile"),
        (signal.SIGKILL, "running", "summary"),
        (signal.SIGKILL, "running", "rebuild"),
    ],
)
def test_a_rebuild_that_is_interrupted_is_finished_and_cleared(
    run: Run, environment: dict[str, str], backend: Backend, number: int, left: str, by: str
) -> None:
    run("import", "--connection", "c", stdin=line("a") + line("b", stream="t"))
    slow = [sys.executable, "-c", SLOW, "rebuild"]
    pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    with backend.probe() as probe:
        with started(slow, **pipes, text=True, env=environment) as work:
            assert work.stdout
            while probe.dirty() != (1, 1, 1):  # until one of two streams is done
                assert work.stdout.readline() == "pausing\n"
            work.send_signal(number)
            reported = work.communicate(timeout=60)[1]
        status = "SELECT rebuild_status FROM retained_size_global"
        assert probe(status) == [(left,)]
        if number != signal.SIGKILL:
            assert work.returncode == 3
            assert reported == "Error: stopped; finished work stays: run it again for the rest\n"
        assert run(by).returncode == 0
        assert probe(status) == [("idle",)]
        assert (probe.dirty(), probe.wrong_but_clean()) == ((0, 0, 0), [])


def test_a_rebuild_that_finds_the_database_busy_does_not_say_that_it_runs(
    app: Any, probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(**_: Any) -> None:
        raise reconcile.Busy

    reconcile.begin_rebuild()
    monkeypatch.setattr(reconcile, "run_until_fresh", busy)
    with pytest.raises(reconcile.Busy):
        reconcile.finish_rebuild()
    assert probe("SELECT rebuild_status FROM retained_size_global") == [("failed",)]


@sqlite
@pytest.mark.parametrize(
    "arguments", [["prune-history", "--keep", "1"], ["verify"], ["copy", "--to", "sqlite:///x"]]
)
def test_sigterm_ends_any_command_in_one_line(
    environment: dict[str, str], tmp_path: Path, arguments: list[str]
) -> None:
    """At the moment at which it opens the database."""
    script = (
        "import os, signal, sys, pdpp_ref.cli.common as common; from pdpp_ref.cli.main import main; "
        "common.startup.open_database = lambda settings: os.kill(os.getpid(), signal.SIGTERM); main(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert done.stderr.startswith("Error: stopped")


@sqlite
def test_a_state_that_is_being_printed_is_ended_before_a_signal_ends_the_import(
    environment: dict[str, str],
) -> None:
    long = state("x" * 300_000)
    with (
        pipe() as (read, write),
        started(IMPORT, stdin=subprocess.PIPE, stdout=write, stderr=-3, env=environment) as work,
    ):
        os.close(write)
        assert work.stdin
        work.stdin.write(long.encode())
        work.stdin.flush()
        found = os.read(read, 1000)  # it has begun, and a pipe does not hold the rest
        work.send_signal(signal.SIGTERM)
        time.sleep(0.2)  # most often it comes in the middle
        while part := os.read(read, 65536):
            found += part
        work.stdin.close()
        assert (work.wait(60), found.decode()) == (3, long)
