"""Exporting what is stored to a file or a pipe."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from errno import EDQUOT, ENOSPC
from functools import partial
from hashlib import sha256 as new_digest
from pathlib import Path
from typing import Any, BinaryIO, Literal

import click

from .. import private_files
from ..operations import export, export_table
from ..operations.export import Report, Selection
from ..operations.export_columns import MAX_COLUMNS, TooManyColumns
from ..operations.export_files import FileSink
from ..parsing.messages import Rejected
from ..parsing.times import time_of
from . import output
from .common import checked, id_of_connection, id_of_stream, opened_database, plural, shown_name
from .errors import TemporaryFailure, UsageError
from .progress import Show, progress
from .settings_help import Command

FILE_NAMES = "[0-9a-f]{64}"
READ_BYTES = 1024 * 1024

Out = Callable[[bytes], object]


class Incomplete(click.ClickException):
    """The export lacks something; the message says what."""

    exit_code = 1


@click.command("export", cls=Command)
@click.argument("file", required=False, type=click.Path(path_type=Path, allow_dash=True))
@click.option("--connection", callback=checked, help="Export only this connection.")
@click.option("--stream", callback=checked, help="Export only this stream of the connection.")
@click.option("--history", is_flag=True, help="Export all versions with their numbers, and tombstones.")
@click.option(
    "--files",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write the files of records to this folder, each named by its SHA-256.",
)
@click.option(
    "--since",
    metavar="TIME",
    callback=lambda _, __, given: None if given is None else _time(given),
    help="Export only what arrived then or later, tombstones included.",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["jsonl", "csv", "parquet"]),
    default="jsonl",
    help="Lines, or a table of the live records of one stream.",
)
def export_lines(
    file: Path | None,
    connection: str | None,
    stream: str | None,
    history: bool,
    folder: Path | None,
    since: str | None,
    kind: Literal["jsonl", "csv", "parquet"],
) -> None:
    """Write what is stored to a new FILE or to standard output, in the format that `import` reads.

    FILE appears when it is complete.  Arrival times, connector state and tokens belong to each server and
    are left out; `backup` and `copy` preserve them.
    """
    if stream is not None and connection is None:
        raise UsageError("--stream needs --connection: streams belong to connections")
    if kind != "jsonl":
        _check_table(kind, stream, history, folder)
    selection = Selection(connection, stream, history, since)
    with opened_database():
        _check_names(connection, stream)
        began = time.monotonic()
        with _opened(file) as out, _opened_folder(folder) as sink, _progress(file, selection) as show:
            if kind == "jsonl":
                report = export.write(selection, out, sink, show)
            else:
                report = _write_table(kind, selection, out, show)
        _finish(report, time.monotonic() - began)


def _check_table(kind: str, stream: str | None, history: bool, folder: Path | None) -> None:
    """Raises UsageError for what a table can't have."""
    if stream is None:
        raise UsageError(f"--format {kind} needs --connection and --stream: a table is of one stream")
    if history or folder is not None:
        raise UsageError(f"--format {kind} has live records alone; leave out --history and --files")


def _write_table(
    kind: export_table.Format, selection: Selection, out: Out, show: Callable[[int], None]
) -> Report:
    try:
        return export_table.write(kind, selection, out, show)
    except export_table.MissingLibrary:
        raise UsageError("Parquet needs its library; run: pip install 'pdpp-ref[parquet]'") from None
    except TooManyColumns:
        raise UsageError(
            f"the records have more than {MAX_COLUMNS:,} different fields; export lines instead"
        ) from None


def _time(given: str) -> str:
    try:
        return time_of("--since", given)
    except Rejected as reason:
        raise UsageError(str(reason)) from None


def _progress(file: Path | None, selection: Selection) -> AbstractContextManager[Show]:
    """No bar on a terminal that shows the export itself."""
    return progress(
        "records exported",
        count_all=partial(export.count, selection),
        draw=not (_is_stdout(file) and output.stdout_is_terminal()),
    )


def _check_names(connection: str | None, stream: str | None) -> None:
    if connection is not None:
        connection_id = id_of_connection(connection)
        if stream is not None:
            id_of_stream(connection, connection_id, stream)


def _finish(report: Report, seconds: float) -> None:
    """Report what was written.  Raises Incomplete."""
    files = f" and {plural(report.files, 'file')}" if report.files else ""
    output.report(f"{plural(report.records, 'record')}{files} in {seconds:.1f} s")
    if report.gaps:
        raise Incomplete("the export is not complete: " + "; ".join(report.gaps))


# ---- where it is written -----------------------------------------------------------------------


def _is_stdout(file: Path | None) -> bool:
    return file is None or str(file) == "-"


@contextmanager
def _opened(file: Path | None) -> Iterator[Out]:
    """Yield a function that writes to a new file, or to standard output."""
    if file is None or _is_stdout(file):
        with _to_reader():
            yield output.put_bytes
        return
    with _explained(file), private_files.whole(file) as part, part.open("wb") as opened:
        yield opened.write
        opened.flush()


@contextmanager
def _to_reader() -> Iterator[None]:
    """If the reader has gone, end quietly; the code says that it has not got everything."""
    try:
        yield
    except output.Closed:
        sys.exit(1)
    except OSError as error:
        raise TemporaryFailure(f"standard output can't be written: {error.strerror}") from None


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    """Turn what goes wrong with a file or a folder into one line."""
    name = shown_name(file.name)
    try:
        yield
    except FileExistsError:
        raise UsageError(f"{name} exists; name a new file") from None
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT):
            raise TemporaryFailure(f"no space is left for {name}; free some and try again") from None
        raise UsageError(f"{name} can't be written: {error.strerror}") from None


@contextmanager
def _opened_folder(folder: Path | None) -> Iterator[FileSink | None]:
    """Yield a function that writes a file to the folder, unless it is there already."""
    if folder is None:
        yield None
        return
    with _explained(folder):
        private_files.make_folder(folder)
        with private_files.whole_files(folder, FILE_NAMES) as whole:
            yield lambda digest, size, blocks: _write_file(folder / digest, size, blocks, whole)


def _write_file(path: Path, size: int, blocks: Iterator[bytes], whole: Callable[[Path], Any]) -> None:
    if path.exists():
        if path.stat().st_size == size and _digest_of(path) == path.name:
            return
        raise UsageError(
            f"{shown_name(path.name)} in the folder of --files has other bytes than its name says"
        )
    with whole(path) as part, part.open("wb") as opened:
        for block in blocks:
            opened.write(block)


def _digest_of(path: Path) -> str:
    digest = new_digest()
    with path.open("rb") as opened:
        for block in _blocks(opened):
            digest.update(block)
    return digest.hexdigest()


def _blocks(opened: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: opened.read(READ_BYTES), b"")
