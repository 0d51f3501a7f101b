"""How far a command has come: a bar on a terminal, lines elsewhere.  The commands run in this process."""

import fcntl
import gzip
import os
import pty
import re
import struct
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TextIO

import click
import pytest
from flask import Flask

from pdpp_ref.cli import export, import_, maintenance, output, progress, projection
from pdpp_ref.cli.progress import progress as shown_progress
from pdpp_ref.database import db
from pdpp_ref.operations import export as exporting
from pdpp_ref.operations import transfer, verify_records
from pdpp_ref.operations.export import Selection
from tests.conftest import Backend
from tests.e2e.test_cli import line
from tests.support.factories import DatabaseProbe, mark, upsert, write

HIDDEN_CURSOR = "\033[?25l"


class _Sys:
    """The module, but for standard error."""

    def __init__(self, stderr: TextIO) -> None:
        self.stderr = stderr

    def __getattr__(self, name: str) -> Any:
        return getattr(sys, name)


class Terminal:
    """A terminal that is standard error.  `text` is what was drawn until it was read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.master, self.end = pty.openpty()
        self._read: list[bytes] = []
        self._reader = threading.Thread(target=self._collect)
        self._reader.start()
        self._file = os.fdopen(self.end, "w")
        for module in (output, progress):  # not `sys` itself, where pytest puts its own
            monkeypatch.setattr(module, "sys", _Sys(self._file))
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr(progress, "FIRST_DRAWN_SECONDS", 0.0)
        monkeypatch.setattr(progress, "DRAWN_SECONDS", 0.0)
        monkeypatch.setattr(output, "_errors", output._Errors())

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def _collect(self) -> None:
        try:
            while part := os.read(self.master, 65536):
                self._read.append(part)
        except OSError:  # the terminal has ended
            pass

    def text(self) -> str:
        if not self._file.closed:
            self._file.close()
            self._reader.join()
            os.close(self.master)
        return b"".join(self._read).decode()

    def drawn(self) -> list[str]:
        """What was drawn over one another, without escape sequences."""
        return re.sub(r"\033\[\??\d*[A-Za-z]", "", self.text()).replace("\r\n", "\n").split("\r")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    made = Terminal(monkeypatch)
    yield made
    made.text()


class TestBar:
    def test_a_known_total_gives_a_percentage_and_the_time_that_is_left(
        self, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = 1_000.0
        monkeypatch.setattr("click._termui_impl.time", SimpleNamespace(time=lambda: now))
        monkeypatch.setattr(progress, "time", SimpleNamespace(time=lambda: now, monotonic=lambda: now))
        with shown_progress("rows", 4_000) as show:
            now += 10
            show(1_000)
            now += 20
            show(3_000)
        assert terminal.drawn() == [
            "",
            "[#####---------------]   25%  00:00:30  1,000 rows",
            "[###############-----]   75%  00:00:10  3,000 rows",
            "[####################]  100%  3,000 rows\n",
        ]

    def test_a_total_in_other_units_is_a_percentage_too(self, terminal: Terminal) -> None:
        with shown_progress("lines", part=lambda: (30, 60)) as show:
            show(7)
        assert re.fullmatch(r"\[#{10}-{10}\]   50%  7 lines", terminal.drawn()[1])

    def test_without_a_total_there_is_a_rate(
        self, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = 1_000.0
        monkeypatch.setattr(progress, "time", SimpleNamespace(time=lambda: now, monotonic=lambda: now))
        with shown_progress("lines") as show:
            now += 10
            show(50_000)
        assert terminal.drawn()[1:] == ["50,000 lines, 5,000 a second\n"]

    def test_a_count_that_goes_back_moves_no_bar_back(self, terminal: Terminal) -> None:
        with shown_progress("rows", 10) as show:
            show(5)
            show(3)
        assert [drawn[23:29].strip() for drawn in terminal.drawn()[1:]] == ["50%", "50%", "100%"]

    @pytest.mark.parametrize("total", [None, 10**9])
    @pytest.mark.parametrize("columns", [40, 50, 80])
    def test_a_line_never_wraps(self, terminal: Terminal, columns: int, total: int | None) -> None:
        terminal.resize(columns)
        with shown_progress("versions of records that are counted", total) as show:
            show(123_456_789)
        assert all(len(drawn.rstrip("\n")) < columns for drawn in terminal.drawn())
        assert "123," in terminal.drawn()[1] or columns == 40

    def test_lines_between_do_not_mix_with_it(
        self, terminal: Terminal, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
    ) -> None:
        monkeypatch.setattr(output, "_STDOUT_IS_TERMINAL", True)
        with shown_progress("rows", 10) as show:
            show(5)
            output.report("line 3: not JSON")
            show(6)
            output.put("STATE\n")
            output.put("STATE\n")
        text = terminal.text()
        assert "\r\033[Kline 3: not JSON\r\n\r[" in text
        assert text.count("\r\033[K") == 2, "once for each bar that stood there"
        assert capfdbinary.readouterr().out == b"STATE\nSTATE\n"

    def test_what_is_interrupted_leaves_a_clean_line(self, terminal: Terminal) -> None:
        with suppress(KeyboardInterrupt), shown_progress("rows", 10) as show:
            show(5)
            raise KeyboardInterrupt
        output.report("Error: stopped")
        text = terminal.text()
        assert "50%  5 rows\033[K\r\nError: stopped\r\n" in text.replace("\033[?25h", "")
        assert HIDDEN_CURSOR not in text, "a killed program could not show it again"

    def test_what_ends_soon_draws_nothing(
        self, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(progress, "FIRST_DRAWN_SECONDS", 60.0)
        with shown_progress("rows", 10) as show:
            show(5)
        assert terminal.text() == ""

    def test_a_terminal_that_can_not_draw_gets_lines(
        self, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TERM", "dumb")
        monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
        with shown_progress("rows", 10) as show:
            show(5)
        assert terminal.text() == "5 of 10 rows\r\n"


def test_without_a_terminal_there_are_lines_and_nothing_is_counted(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    with shown_progress("rows", count_all=lambda: pytest.fail("counted for nothing")) as show:
        show(1)
    with shown_progress("rows", 3) as show:
        show(1)
    assert re.fullmatch(r"1 rows, [\d,]+ a second\n1 of 3 rows\n", capfd.readouterr().err)


# ---- the commands ------------------------------------------------------------------------------


@pytest.fixture
def call(
    app: Flask, backend: Backend, monkeypatch: pytest.MonkeyPatch, terminal: Terminal
) -> Callable[..., list[str]]:
    """Runs a command and returns what it has drawn."""
    monkeypatch.setenv("PDPP_DATABASE_URL", backend.url)

    def run(command: click.Command, *arguments: str) -> list[str]:
        try:
            command.main([*arguments], standalone_mode=False)
        except SystemExit as ended:
            assert not ended.code
        return terminal.drawn()

    return run


Call = Callable[..., list[str]]


def percentages(drawn: list[str]) -> list[int]:
    return [int(found[1]) for each in drawn if (found := re.search(r"(\d+)%", each))]


def fill(number: int = 20) -> None:
    """Records with two versions each."""
    for text in "xy":
        write(*(upsert(f"{key}", {"text": text}) for key in range(number)))


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_importing_a_file_shows_how_much_of_it_is_read(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr("pdpp_ref.parsing.lines.READ_BYTES", 64)
    monkeypatch.setattr("pdpp_ref.canonical.importer.BATCH_LINES", 2)
    file = tmp_path / "records.jsonl"
    file.write_bytes(pack("".join(line(os.urandom(9).hex()) for _ in range(20)).encode()))
    shown = call(import_.import_lines, str(file), "--connection", "c")
    assert percentages(shown) == sorted(percentages(shown))
    assert 0 < percentages(shown)[0] < 60
    assert percentages(shown)[-1] == 100
    assert "20 lines" in shown[-1]


def test_importing_a_pipe_shows_a_rate(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    read, end = os.pipe()
    os.write(end, line("a").encode())
    os.close(end)
    with os.fdopen(read) as piped:
        monkeypatch.setattr(sys, "stdin", piped)
        shown = call(import_.import_lines, "--connection", "c")
    assert percentages(shown) == []
    assert "1 lines, " in shown[1]


@pytest.mark.parametrize("options", [[], ["--history"], ["--connection", "laptop", "--stream", "notes"]])
def test_an_export_shows_how_many_of_the_records_are_written(
    call: Call, tmp_path: Path, options: list[str]
) -> None:
    fill()
    assert percentages(call(export.export_lines, str(tmp_path / "e"), *options))[-1] == 100


@pytest.mark.parametrize("options", [["--since", "2020-01-01T00:00:00Z"], []])
def test_an_export_whose_size_is_not_known_shows_a_rate(
    call: Call, tmp_path: Path, options: list[str]
) -> None:
    fill()
    mark()
    shown = call(export.export_lines, str(tmp_path / "e"), *options)
    assert percentages(shown) == []
    assert " a second" in shown[1]


def test_an_export_to_the_terminal_itself_draws_no_bar(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_STDOUT_IS_TERMINAL", True)
    fill()
    assert percentages(call(export.export_lines)) == []


def test_the_number_of_lines_of_an_export_is_known_before(app: Flask) -> None:
    fill(3)
    write(upsert("z"), connection="phone")
    one, stream = Selection("laptop"), Selection("laptop", "notes", history=True)
    for selection, number in ((Selection(), 4), (Selection(history=True), 7), (one, 3), (stream, 6)):
        assert exporting.count(selection) == number
        assert exporting.write(selection, lambda _: 0).records == number


def test_pruning_shows_how_many_versions_are_left(call: Call) -> None:
    fill()
    shown = call(maintenance.prune_history, "--keep", "1", "--connection", "laptop")
    assert percentages(shown)[-1] == 100
    assert "20 versions forgotten" in shown[-1]


@pytest.mark.only("sqlite")
def test_a_backup_shows_how_much_is_copied(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pdpp_ref.database.sqlite.PAGES_AT_ONCE", 10)
    shown = percentages(call(maintenance.back_up, str(tmp_path / "backup")))
    assert shown == sorted(shown)
    assert len(shown) > 3
    assert shown[-1] == 100


@pytest.mark.only("sqlite")
def test_a_write_during_a_backup_is_not_in_it(
    app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: Backend
) -> None:
    """Nor does it make the backup begin again, which could go on for ever."""
    monkeypatch.setattr("pdpp_ref.database.sqlite.PAGES_AT_ONCE", 10)
    write(upsert("a"))
    pages: list[int] = []

    def meanwhile(done: int, _: int) -> None:
        pages.append(done)
        with backend.probe() as other:
            other("UPDATE connections SET connector_id = 'changed'")

    db.back_up(str(tmp_path / "backup"), meanwhile)
    assert pages == sorted(set(pages))
    with DatabaseProbe(f"sqlite:///{tmp_path}/backup") as copied:
        assert copied("SELECT connector_id FROM connections") != [("changed",)]


def test_a_rebuild_shows_how_many_versions_are_counted(call: Call) -> None:
    fill()
    shown = call(projection.rebuild)
    assert percentages(shown)[-1] == 100
    assert "versions counted" in shown[-1]


def test_a_copy_shows_how_far_it_has_come(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "BATCH_ROWS", 7)
    fill()
    shown = percentages(call(maintenance.copy_to, "--to", f"sqlite:///{tmp_path}/copy.sqlite3"))
    assert shown == sorted(shown)
    assert 0 < shown[len(shown) // 3] < 50 <= shown[-3]
    assert shown[-1] == 100


def test_verify_shows_how_many_versions_are_checked(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_records, "VERSIONS_AT_ONCE", 1)
    for stream in "abcd":
        write(*(upsert(f"{key}", stream=stream) for key in range(10)))
    assert percentages(call(projection.verify_totals)) == [20, 40, 60, 80, 100]


def test_streams_are_verified_in_parts_that_have_all_of_them(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_records, "VERSIONS_AT_ONCE", 3)
    for stream, number in (("a", 1), ("b", 2), ("c", 5), ("d", 1)):
        write(*(upsert(f"{key}", stream=stream) for key in range(number)))
    assert [part.versions for part in verify_records.parts()] == [3, 5, 1]
