"""The `pdpp-ref` command.  Exit codes: 0 done, 1 some lines rejected or figures differing, 2 the
call or the set-up is wrong and nothing was changed, 3 the database could not store: try again."""

import errno
import json
import logging
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
import peewee
from flask import Flask

from . import __version__, auto_reconcile, bare_app, config, create_app, database, open_database
from .database import PROBLEM_TEXT, Busy, problem, tuples, write_transaction
from .models import Connection, RetainedSizeGlobal, Stream
from .server import listen
from .services import importer, ingest, pruning, reconcile, retained_size, sample, summary, verify
from .services.messages import Rejected, check_name

PORT = 7663
LOOPBACK = ("127.0.0.1", "::1", "localhost")
REPORT_SECONDS = 1.0


class WrongCall(click.ClickException):
    """The call or the set-up is wrong.  Nothing was changed."""

    exit_code = 2


class TryAgain(click.ClickException):
    """The database could not store or answer."""

    exit_code = 3


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """The account that a personal data server keeps of what it holds."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    access = logging.getLogger("pdpp_ref.access")
    access.setLevel(logging.INFO)
    access.propagate = False  # its lines are JSON as they are
    access.addHandler(logging.StreamHandler())


@contextmanager
def _errors_told() -> Iterator[None]:
    try:
        yield
    except (config.WrongSetting, database.DatabaseUnusable) as error:
        raise WrongCall(str(error)) from None
    except Busy:
        raise TryAgain(f"{PROBLEM_TEXT['busy']}; try again") from None
    except peewee.DatabaseError as error:
        raise TryAgain(f"{PROBLEM_TEXT[problem(error)]}; nothing is half done, try again") from None


@contextmanager
def _database() -> Iterator[Flask]:
    """The database of the settings, opened; its errors as one line."""
    with _errors_told():
        app = bare_app()
        open_database(app)
        yield app


# ---- serving -----------------------------------------------------------------------------------

_host = click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
_port = click.option(
    "--port", default=PORT, show_default=True, type=click.IntRange(1, 65535), help="Port to listen on."
)


@main.command()
@_host
@_port
def serve(host: str, port: int) -> None:
    """Serve the dashboard and the API."""
    with _errors_told():
        app = create_app()
    _serve(app, host, port, "with the owner password (forgotten? set PDPP_OWNER_PASSWORD)")


@main.command()
@_host
@_port
def demo(host: str, port: int) -> None:
    """Serve sample data from a database of its own."""
    with _errors_told():
        folder = config.instance_folder(bare_app()) / "demo"
        password = os.environ.get("PDPP_OWNER_PASSWORD") or secrets.token_urlsafe(9)
        settings = {
            "INSTANCE_PATH": str(folder),
            "DATABASE_URL": "",
            "OWNER_PASSWORD": password,
            "SAMPLE_DATA": True,
        }
        app = create_app(settings)
        if not Connection.select().exists():
            click.echo("Loading sample data ...", err=True)
            sample.load()
    _serve(app, host, port, f"with the password {password}")


def _serve(app: Flask, host: str, port: int, way_in: str) -> None:
    try:
        server = listen(app, host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise WrongCall(f"port {port} is in use; choose another with --port") from None
        raise WrongCall(f"can't listen on {host} port {port}: {error.strerror or 'unknown'}") from None
    if host not in LOOPBACK:
        click.echo("Others can reach this address, unencrypted: put a proxy with TLS in front.", err=True)
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"Dashboard: http://{shown}:{port}/dashboard\nSign in {way_in}.  Stop with Ctrl-C.")
    try:
        server.run()
    except OSError as error:  # the server thread could not go on, as where memory or files ran out
        raise TryAgain(f"the server stopped: {error.strerror}") from None


# ---- importing ---------------------------------------------------------------------------------


def _checked(_: click.Context, option: click.Parameter, name: str | None) -> str | None:
    """The name, if anything can bear it."""
    try:
        return None if name is None else check_name(f"--{option.name}", name)
    except Rejected as reason:
        raise WrongCall(str(reason)) from None


@main.command("import")
@click.argument("file", required=False, type=click.Path(path_type=Path, allow_dash=True))
@click.option("--connection", callback=_checked, help="Connection that the records belong to.")
@click.option("--connector", callback=_checked, help="Connector of a new connection; by default its name.")
def import_lines(file: Path | None, connection: str | None, connector: str | None) -> None:
    """Import JSON lines (PDPP Collection Profile or Singer) from FILE or standard input.

    STATE lines are printed on standard output once all that came before them is stored.
    """
    name = connection or connector
    if not name:
        raise WrongCall("say whose records these are: --connection NAME")
    descriptor = _opened(file)
    with _database():
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
    try:
        sys.stdout.write(f"{state}\n")
        sys.stdout.flush()
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
        ignored = ", ".join(f"{n:,} {_name(kind)[:100]}" for kind, n in sorted(report.ignored.items()))
        last = f"; ignored {ignored}" if ignored else ""
        click.echo(f"{report.lines:,} lines in {seconds:.1f} s: {_counts(report)}{last}", err=True)


def _name(text: str) -> str:
    """A name on one line, whatever characters it has."""
    return json.dumps(text, ensure_ascii=False) if not text.isidentifier() else text


# ---- figures -----------------------------------------------------------------------------------


@main.command("summary")
def show_summary() -> None:
    """Print the JSON of GET /_ref/dataset/summary."""
    with _database() as app:
        found = summary.body(summary.read(auto_reconcile(app)))
    click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())


@main.command("mark-dirty")
@click.option("--connection", callback=_checked, help="Mark this connection, not the global row.")
@click.option("--stream", callback=_checked, help="Mark this stream of the connection.")
def mark_dirty(connection: str | None, stream: str | None) -> None:
    """Mark figures as not to be trusted until they are recomputed."""
    if stream is not None and connection is None:
        raise WrongCall("--stream needs --connection: streams belong to connections")
    with _database(), write_transaction():
        if connection is None:
            retained_size.mark_global()
            marked = "the totals"
        elif stream is None:
            retained_size.mark_connection(_connection_id(connection))
            marked = f"connection {_name(connection)}"
        else:
            connection_id = _connection_id(connection)
            retained_size.mark_stream(_stream_id(connection, connection_id, stream), connection_id)
            marked = f"stream {_name(stream)} of connection {_name(connection)}"
    click.echo(f"Marked {marked}.  The next reads recompute it; so does: pdpp-ref reconcile")


def _connection_id(name: str) -> int:
    query = Connection.select(Connection.id).where(Connection.connector_instance_id == name)
    found: int | None = query.scalar()
    if found is None:
        query = Connection.select(Connection.connector_instance_id)
        raise WrongCall(f"there is no connection {_name(name)}; {_known(query)}")
    return found


def _stream_id(connection: str, connection_id: int, name: str) -> int:
    of_connection = Stream.select().where(Stream.connection == connection_id)
    found = of_connection.where(Stream.name == name).first()
    if found is None:
        query = Stream.select(Stream.name).where(Stream.connection == connection_id)
        raise WrongCall(f"connection {_name(connection)} has no stream {_name(name)}; {_known(query)}")
    return int(found.id)


def _known(query: Any, most: int = 5) -> str:
    names = [_name(name) for (name,) in tuples(query.limit(most + 1))]
    if not names:
        return "there are none yet"
    return "there are " + ", ".join(names[:most]) + (", ..." if len(names) > most else "")


@main.command("reconcile")
def reconcile_dirty() -> None:
    """Recompute what is marked, until nothing is."""
    with _database():
        done = reconcile.run_until_fresh(progress=_progress_shown())
    click.echo(_recomputed(done))


@main.command("rebuild")
def rebuild() -> None:
    """Recount everything from the records; one that was cut short is taken up where it stopped."""
    with _database():
        done = reconcile.rebuild(progress=_progress_shown())
    click.echo(_recomputed(done))


@main.command("prune-history")
@click.option("--keep", required=True, type=click.IntRange(1), help="How many versions of a record stay.")
@click.option("--connection", callback=_checked, help="Prune this connection alone.")
@click.option("--stream", callback=_checked, help="Prune this stream of the connection alone.")
def prune_history(keep: int, connection: str | None, stream: str | None) -> None:
    """Forget all but the newest versions of each record.  What is forgotten is gone.

    A delete counts as a version.  Of a deleted record of which nothing else stays, the files go too.
    """
    if stream is not None and connection is None:
        raise WrongCall("--stream needs --connection: streams belong to connections")
    with _database():
        if connection is not None:
            connection_id = _connection_id(connection)
            if stream is not None:
                _stream_id(connection, connection_id, stream)
        gone = pruning.prune(keep, connection, stream, _pruning_shown())
    click.echo(f"Forgot {gone.versions:,} versions, {gone.json_bytes:,} bytes.")


def _pruning_shown() -> Callable[[pruning.Pruned], None]:
    shown = time.monotonic()

    def show(gone: pruning.Pruned) -> None:
        nonlocal shown
        if time.monotonic() - shown >= REPORT_SECONDS:
            shown = time.monotonic()
            click.echo(f"{gone.versions:,} versions forgotten", err=True)

    return show


def _recomputed(done: reconcile.Pass) -> str:
    return f"Recomputed streams: {done.streams:,}, connections: {done.connections:,}.  All is fresh."


def _progress_shown() -> Callable[[reconcile.Pass], None]:
    shown = time.monotonic()

    def show(done: reconcile.Pass) -> None:
        nonlocal shown
        if not done.fresh and time.monotonic() - shown >= REPORT_SECONDS:
            shown = time.monotonic()
            left = reconcile.versions_left()
            click.echo(f"{done.deferred:,} rows to do, {left:,} versions to count", err=True)

    return show


@main.command("verify")
def verify_figures() -> None:
    """Recount from the records, change nothing, and print every figure that differs."""
    found = 0
    with _database():
        for difference in verify.differences():
            found += 1
            where = " ".join([difference.row[0], *map(_name, difference.row[1:])])
            known = " (marked: will be recomputed)" if difference.dirty else ""
            click.echo(
                f"{where}: {difference.figure} is {difference.stored}, "
                f"a recount gives {difference.counted}{known}"
            )
        marked = RetainedSizeGlobal.select().where(RetainedSizeGlobal.dirty).exists()
    click.echo(f"{found:,} differences." if found else "No differences." + (" Totals are marked." * marked))
    sys.exit(1 if found else 0)
