"""Importing lines from a file or a pipe."""

import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import click

from .. import signals
from ..canonical import importer, records
from ..canonical.errors import ConnectorMismatch
from ..canonical.export_progress import Options, SeveralConnections
from ..database import fetch_value
from ..parsing import exports, hints, unpacking
from ..parsing.exports import MAX_EXPORT_LINE_BYTES
from ..parsing.lines import READ_BYTES, Line, read_lines
from ..parsing.messages import Rejected, check_name
from . import output, rejects
from .common import checked, opened_database, plural, shown_name
from .errors import TemporaryFailure, UsageError
from .progress import Show, progress
from .settings_help import Command

LISTED = 1_000  # rejected lines; the rest are only counted
AGAIN = "Run the same import again: records already stored are skipped"

Lines = Iterator[Line | None]


@click.command("import", cls=Command)
@click.argument("file", required=False, type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--connection",
    callback=checked,
    help="Connection that the records belong to. An export names its own.",
)
@click.option(
    "--connector", callback=checked, help="Connector of a new connection; by default the connection's name."
)
@click.option(
    "--rejects",
    "rejects_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Append rejected lines to this file, with their reasons, and continue to print STATE.",
)
@click.option(
    "--time-field",
    "time_fields",
    metavar="[STREAM=]FIELD",
    multiple=True,
    callback=lambda _, __, given: dict(map(_time_field, given)),
    help="Field that has the time of a record, for one stream or for all. Repeatable.",
)
@click.option(
    "--files",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with the files of an export.",
)
def import_lines(
    file: Path | None,
    connection: str | None,
    connector: str | None,
    rejects_file: Path | None,
    time_fields: dict[str | None, str],
    folder: Path | None,
) -> None:
    """Import JSON lines (PDPP Collection Profile, Singer or an export) from FILE or standard input.

    They may be compressed with gzip, bzip2, xz or zstd.  Importing an export needs no --connection; with
    one, an export of a single connection gets that name.

    Each STATE line is printed on standard output once everything before it is stored. After a rejected
    line no STATE is printed, unless --rejects has stored that line.
    """
    signals.ignore_hangup()
    name = connection or connector
    descriptor = _opened(file)
    with rejects.opened(rejects_file, descriptor, *_outputs()) as rejects_store:
        lines = _lines(file, descriptor, rejects_store)
        with opened_database() as settings:
            report = _ImportReport(rejects_store)
            work = importer.Importer(
                records.Target(name, _connector_of(name, connector)) if name else None,
                report.state,
                report.rejected,
                report.progress,
                stores_rejected=rejects_store is not None,
                on_skipped=report.skipped,
                time_fields=time_fields,
                exports=Options(connection, connector, lambda digest: _file_of(folder, digest)),
                outage_seconds=settings.database_wait_seconds,
                reads_ahead=True,
            )
            with _explained_failures(work.report):
                with progress("lines", part=lambda: _part_read(descriptor)) as report.show:
                    work.run(lines)
                if not (name or work.report.exports):
                    raise importer.NoConnection
                report.finish(work.report)
    if work.report.broken and work.report.broken.code == "unreadable":
        raise TemporaryFailure(f"{work.report.broken.reason}. {AGAIN}")
    sys.exit(1 if work.report.rejected or work.report.gaps or work.report.missing_files else 0)


def _time_field(given: str) -> tuple[str | None, str]:
    """The stream, None for all, and its field.  Raises UsageError."""
    stream, separator, field = given.rpartition("=")
    try:
        check_name("the field of --time-field", field)
        return check_name("the stream of --time-field", stream) if separator else None, field
    except Rejected as reason:
        raise UsageError(f"{reason}; use --time-field FIELD or --time-field STREAM=FIELD") from None


# ---- input -------------------------------------------------------------------------------------


def _opened(file: Path | None) -> int:
    """A descriptor of the input.  Raises UsageError."""
    if _is_stdin(file):
        if sys.stdin is None:
            raise UsageError("standard input is closed; name a FILE")
        return sys.stdin.fileno()
    assert file is not None
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        raise UsageError(f"there is no file {file.name!r}") from None
    except OSError as error:
        raise UsageError(f"{file.name!r} can't be read: {error.strerror}") from None
    if file.is_dir():
        raise UsageError(f"{file.name or '.'!r} is a folder; name a file in it")
    if file.is_file() and not os.fstat(descriptor).st_size:
        raise UsageError(f"{file.name!r} is empty; there is nothing to import")
    return descriptor


def _part_read(descriptor: int) -> tuple[int, int] | None:
    """How many bytes of a file were read, compressed or not, and how many it has; None for a pipe."""
    status = os.fstat(descriptor)
    if not (stat.S_ISREG(status.st_mode) and status.st_size):
        return None
    return os.lseek(descriptor, 0, os.SEEK_CUR), status.st_size


def _is_stdin(file: Path | None) -> bool:
    return file is None or str(file) == "-"


def _outputs() -> list[int]:
    """The descriptors that we write to."""
    return [stream.fileno() for stream in (sys.stdout, sys.stderr) if stream is not None]


def _lines(file: Path | None, descriptor: int, rejects_store: rejects.Rejects | None) -> Lines:
    """The lines of the input.  Raises UsageError if there are none: for a file now, for a pipe later."""
    name = "standard input" if file is None or _is_stdin(file) else repr(file.name)
    spool = rejects_store.spool if rejects_store else None
    lines = _judged(read_lines(descriptor, spool, MAX_EXPORT_LINE_BYTES), name)
    return lines if file is None or not file.is_file() else chain([next(lines, None)], lines)


def _judged(lines: Lines, name: str) -> Lines:
    try:
        yield from hints.checked(lines)
    except (hints.NotLines, unpacking.Unsupported) as hint:
        raise UsageError(f"{name} {hint}") from None


def _connector_of(connection: str, wanted: str | None) -> str:
    known: str | None = fetch_value(
        "SELECT connector_id FROM connections WHERE connector_instance_id = ?", [connection]
    )
    if known is not None and wanted is not None and known != wanted:
        raise UsageError(
            f"connection {connection!r} belongs to connector {known!r}, not {wanted!r}; "
            "leave --connector out or choose another --connection"
        )
    return known or wanted or connection


def _file_of(folder: Path | None, digest: str) -> Iterator[bytes] | None:
    """The blocks of a file in the folder; None if it is missing."""
    if folder is None or not (folder / digest).is_file():
        return None
    return _blocks(folder / digest)


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as opened:
            yield from iter(lambda: opened.read(READ_BYTES), b"")
    except OSError as error:
        raise TemporaryFailure(f"file {path.name!r} can't be read: {error.strerror}") from None


# ---- output ------------------------------------------------------------------------------------


class _StateNotPrinted(Exception):
    """Standard output failed; the message says why."""


@contextmanager
def _explained_failures(report: importer.Report) -> Iterator[None]:
    """Add the counts so far to the error that ends an import early."""
    try:
        yield
    except importer.StorageUnavailable as reason:
        why = f"stopped near line {report.lines}: {reason}"
    except rejects.NotWritten as reason:
        why = f"stopped: a rejected line can't be written to the file of --rejects: {reason}"
    except _StateNotPrinted as reason:
        why = f"a STATE can't be written to standard output: {reason}"
    except KeyboardInterrupt:
        why = "stopped"
    except ConnectorMismatch as error:
        before = f"; {_counts(report)} before that" if report.counts.accepted else ""
        raise UsageError(
            f"near line {report.lines}: the connection belongs to connector {error.owner!r}{before}"
        ) from None
    except importer.NoConnection:
        raise UsageError("name the connection of these records: --connection NAME") from None
    except SeveralConnections:
        raise UsageError(
            "the export has several connections, so they can't all get the name of --connection; "
            "leave it out"
        ) from None
    except exports.Unsupported as reason:
        raise UsageError(f"the export at line {report.lines} can't be read: {reason}") from None
    else:
        return
    raise TemporaryFailure(f"{why}; {_counts(report)} before that. {AGAIN}")


def _counts(report: importer.Report) -> str:
    counts = report.counts
    erased = f", {counts.erased:,} of erased records skipped" if counts.erased else ""
    removed = f"{counts.removed:,} removed, " if counts.removed else ""
    files = f", {plural(report.files, 'file')}" if report.files else ""
    return (
        f"{counts.accepted:,} accepted ({counts.created:,} new, {counts.updated:,} changed, "
        f"{counts.deleted:,} deleted, {counts.unchanged:,} unchanged{erased}), "
        f"{removed}{report.rejected:,} rejected{files}"
    )


class _ImportReport:
    """Reports an import: progress and rejected lines to a person, STATE to the source."""

    show: Show

    def __init__(self, rejects_store: rejects.Rejects | None) -> None:
        self._rejects = rejects_store
        self._reader_gone = False
        self._rejected = 0
        self._began = time.monotonic()

    def state(self, state: str) -> None:
        """Print it, whole, after the rejected lines before it are durable."""
        if self._rejects is not None:
            self._rejects.make_durable()
        if self._reader_gone:
            return
        try:
            with signals.uninterrupted():
                output.put(f"{state}\n", "utf-8")
        except output.Closed:
            self._reader_gone = True
        except OSError as error:
            raise _StateNotPrinted(error.strerror) from None

    def skipped(self, line: int, reason: str) -> None:
        output.report(f"line {line}: {reason}")

    def rejected(self, line: importer.RejectedLine) -> None:
        if self._rejects is not None:
            self._rejects.add(line)
        self._rejected += 1
        if self._rejected <= LISTED:
            output.report(f"line {line.number}: {line.reason}")

    def progress(self, report: importer.Report) -> None:
        self.show(report.lines)

    def finish(self, report: importer.Report) -> None:
        if self._rejects is not None:
            self._rejects.make_durable()
        if self._rejected > LISTED:
            output.report(f"{plural(self._rejected - LISTED, 'more rejected line')} not listed")
        seconds = time.monotonic() - self._began
        notes = "".join(f"; {note}" for note in self._notes(report))
        output.report(f"{plural(report.lines, 'line')} in {seconds:.1f} s: {_counts(report)}{notes}")

    def _notes(self, report: importer.Report) -> Iterator[str]:
        if report.ignored:
            kinds = sorted(report.ignored.items())
            yield "ignored " + ", ".join(f"{n:,} {shown_name(kind)[:100]}" for kind, n in kinds)
        if report.rejected and self._rejects is not None:
            yield f"rejected lines are in {self._rejects.name}"
        if report.gaps:
            yield "the export is not complete: see above"
        if report.missing_files:
            yield f"{plural(report.missing_files, 'missing file')}: run it again with them"
        if report.withheld:
            yield (
                f"no STATE was printed after line {report.first_rejected}, which was rejected: "
                "correct it at the source, or run again with --rejects FILE"
            )
        if self._reader_gone:
            yield "STATE could not be printed any more: its reader has closed the pipe"
