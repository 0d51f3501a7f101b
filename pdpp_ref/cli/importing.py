"""Importing lines from a file or a pipe."""

import os
import sys
import time
from pathlib import Path

import click

from ..models import Connection
from ..services import importer, ingest
from .common import REPORT_SECONDS, TryAgain, WrongCall, checked, opened_database, shown_name


@click.command("import")
@click.argument("file", required=False, type=click.Path(path_type=Path, allow_dash=True))
@click.option("--connection", callback=checked, help="Connection that the records belong to.")
@click.option("--connector", callback=checked, help="Connector of a new connection; by default its name.")
def import_lines(file: Path | None, connection: str | None, connector: str | None) -> None:
    """Import JSON lines (PDPP Collection Profile or Singer) from FILE or standard input.

    STATE lines are printed on standard output once all that came before them is stored.
    """
    name = connection or connector
    if not name:
        raise WrongCall("say whose records these are: --connection NAME")
    descriptor = _opened(file)
    with opened_database():
        target = ingest.Target(name, _connector_of(name, connector))
        meter = _Meter()
        work = importer.Importer(target, _hand_back, _tell_rejected, meter.show)
        try:
            work.run(importer.read_lines(descriptor))
        except importer.NotStored as reason:
            raise TryAgain(
                f"stopped near line {work.report.lines}: {reason}; {_counts(work.report)} until then. "
                "Run the same import again: what is stored already is recognised"
            ) from None
        except ingest.WrongConnector as owner:
            raise WrongCall(f"the connection belongs to connector {str(owner)!r} by now") from None
        except KeyboardInterrupt:
            raise TryAgain(f"stopped: {_counts(work.report)} until then") from None
    meter.finish(work.report)
    sys.exit(1 if work.report.rejected else 0)


def _opened(file: Path | None) -> int:
    """A descriptor of the input.  Raises WrongCall for what can't hold JSON lines."""
    if file is None or str(file) == "-":
        if sys.stdin is None:
            raise WrongCall("standard input is closed; name a FILE")
        return sys.stdin.fileno()
    try:
        descriptor = os.open(file, os.O_RDONLY)
        start = os.pread(descriptor, 16, 0) if file.is_file() else b"?"
    except FileNotFoundError:
        raise WrongCall(f"there is no file {file.name!r}") from None
    except OSError as error:
        raise WrongCall(f"{file.name!r} can't be read: {error.strerror}") from None
    wrong = "is a folder; name a file in it" if file.is_dir() else importer.looks_wrong(start)
    if wrong:
        raise WrongCall(f"{file.name or '.'!r} {wrong}")
    return descriptor


def _connector_of(connection: str, wanted: str | None) -> str:
    query = Connection.select(Connection.connector_id)
    known = query.where(Connection.connector_instance_id == connection).scalar()
    if known is not None and wanted is not None and known != wanted:
        raise WrongCall(
            f"connection {connection!r} belongs to connector {known!r}, not {wanted!r}; "
            "leave --connector out or choose another --connection"
        )
    return known or wanted or connection


def _hand_back(state: str) -> None:
    """Past Python's buffer: what stayed in there would be tried again at the end, and fail then."""
    line = memoryview(f"{state}\n".encode())
    try:
        while line:
            line = line[os.write(sys.stdout.fileno(), line) :]
    except (OSError, ValueError, AttributeError):  # full, closed, or never open
        raise TryAgain("a STATE can't be written to standard output; run the import again") from None


def _tell_rejected(line: int, reason: str) -> None:
    click.echo(f"line {line}: {reason}", err=True)


def _counts(report: importer.Report) -> str:
    counts = report.counts
    return (
        f"{counts.accepted:,} accepted ({counts.created:,} new, {counts.updated:,} changed, "
        f"{counts.deleted:,} deleted, {counts.unchanged:,} unchanged), {report.rejected:,} rejected"
    )


class _Meter:
    """Progress on standard error: now and then, and one last line."""

    def __init__(self) -> None:
        self._began = self._shown = time.monotonic()

    def show(self, report: importer.Report) -> None:
        if time.monotonic() - self._shown >= REPORT_SECONDS:
            self._shown = time.monotonic()
            rate = report.lines / (self._shown - self._began)
            click.echo(f"{report.lines:,} lines, {rate:,.0f} a second", err=True)

    def finish(self, report: importer.Report) -> None:
        seconds = time.monotonic() - self._began
        ignored = ", ".join(f"{n:,} {shown_name(kind)[:100]}" for kind, n in sorted(report.ignored.items()))
        last = f"; ignored {ignored}" if ignored else ""
        click.echo(f"{report.lines:,} lines in {seconds:.1f} s: {_counts(report)}{last}", err=True)
