"""Commands that read the totals, mark them, recompute them and verify them."""

import sys
from collections.abc import Callable

import click
import msgspec

from .. import parts
from ..database import db, fetch_all, write_transaction
from ..models import locking
from ..operations import verify
from ..operations.verify import Difference
from ..projection import dirty_rows, marks
from ..schemas import dataset
from ..services import ranking, reconcile
from ..services import summary as summaries
from ..services.set_aside import RowSetAside
from .common import (
    DamagedFile,
    answer,
    checked,
    id_of_connection,
    id_of_stream,
    opened_database,
    plural,
    shown_name,
)
from .errors import TemporaryFailure, UsageError
from .progress import progress
from .settings_help import Command

SHOWN_FAILURES = 20


@click.command("summary", cls=Command)
def show_summary() -> None:
    """Print the JSON of GET /_ref/dataset/summary."""
    with opened_database() as settings:
        body = dataset.summary_body(summaries.read(parts.auto_reconcile(settings)))
    answer(msgspec.json.format(msgspec.json.encode(body), indent=2).decode())


@click.command("mark-dirty", cls=Command)
@click.option("--connection", callback=checked, help="Mark this connection, not the global row.")
@click.option("--stream", callback=checked, help="Mark this stream of the connection.")
def mark_dirty(connection: str | None, stream: str | None) -> None:
    """Flag totals for recomputation."""
    if stream is not None and connection is None:
        raise UsageError("--stream needs --connection: streams belong to connections")
    with opened_database(), write_transaction():
        if connection is None:
            marks.mark_global()
            marked = "the totals"
        elif stream is None:
            locking.lock_connection_shared(connection)
            marks.mark_connection(id_of_connection(connection))
            marked = f"connection {shown_name(connection)}"
        else:
            locking.lock_connection_shared(connection)
            connection_id = id_of_connection(connection)
            locking.lock_stream_shared(connection_id, stream)
            marks.mark_stream(id_of_stream(connection, connection_id, stream), connection_id)
            marked = f"stream {shown_name(stream)} of connection {shown_name(connection)}"
    answer(f"Marked {marked}.  The next reads recompute it; so does: pdpp-ref reconcile")


@click.command("reconcile", cls=Command)
def reconcile_dirty() -> None:
    """Recompute everything that is marked."""
    with opened_database():
        _recompute(reconcile.run_until_fresh)


@click.command("rebuild", cls=Command)
@click.option("--rankings", is_flag=True, help="Also choose again which records are ranked by size.")
def rebuild(rankings: bool) -> None:
    """Recompute all totals from the records; an interrupted rebuild resumes."""
    with opened_database():
        reconcile.begin_rebuild()
        _recompute(reconcile.finish_rebuild)
        if rankings:
            with progress("parts of streams ranked", count_all=ranking.count_blocks) as show:
                ranking.choose_again(show)
            answer("Rankings are right, too.")


def _recompute(work: Callable[..., reconcile.Pass]) -> None:
    """Run it with progress, and print the outcome."""
    total, aside = dirty_rows.versions_left(), reconcile.no_rows_set_aside()
    with progress("versions counted", total) as show:
        done = work(progress=lambda _: show(total - dirty_rows.versions_left()), aside=aside)
    recomputed = f"Recomputed streams: {done.streams:,}, connections: {done.connections:,}."
    if done.fresh:
        answer(f"{recomputed}  All is fresh.")
        return
    failed = aside.still_dirty()
    answer(f"{recomputed}  All but the following is fresh.")
    shown = [f"{_place(row)}: {row.why}" for row in failed[:SHOWN_FAILURES]]
    more = len(failed) - len(shown)
    raise TemporaryFailure(
        "\n  ".join(["not recomputed:", *shown, *([f"and {more:,} more"] if more else [])])
    )


def _place(row: RowSetAside) -> str:
    connection = f"connection {shown_name(row.connector_instance_id)}"
    return connection if row.stream is None else f"stream {shown_name(row.stream)} of {connection}"


@click.command("verify", cls=Command)
def verify_totals() -> None:
    """Recompute everything from the records, change nothing, and print every difference."""
    found = 0
    with opened_database():
        with progress("versions checked") as show:
            for difference in verify.differences(lambda done, total: show(done, (done, total))):
                found += 1
                answer(_line(difference))
        marked = bool(fetch_all("SELECT 1 FROM retained_size_global WHERE dirty"))
        if db.is_corrupt():
            raise DamagedFile
    answer(
        f"{plural(found, 'difference')}." if found else "No differences." + (" Totals are marked." * marked)
    )
    sys.exit(1 if found else 0)


def _line(difference: Difference) -> str:
    where = " ".join([difference.row[0], *map(shown_name, difference.row[1:])])
    known = " (marked: will be recomputed)" if difference.dirty else ""
    return (
        f"{where}: {difference.column} is {difference.stored}, recomputed it is {difference.counted}{known}"
    )
