"""Commands for stored data: pruning old versions, backing up, copying to another database."""

from errno import EDQUOT, ENOSPC
from functools import partial
from pathlib import Path

import click
import peewee

from .. import backup_time, database, instance_folder, private_files
from ..canonical import foresight, retention
from ..canonical.foresight import Foreseen
from ..canonical.prunings import Request
from ..canonical.retention import Policy, Pruned
from ..database import DatabaseUnavailable, DatabaseUnusable, db, problem
from ..operations import transfer
from ..parsing.messages import Rejected
from ..parsing.times import time_of
from ..queries import prunable
from .common import (
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

MEASURING_SECONDS = 0.5


def _time(_: click.Context, __: click.Parameter, given: str | None) -> str | None:
    """Raises UsageError."""
    try:
        return None if given is None else time_of("--before", given)
    except Rejected as reason:
        raise UsageError(str(reason)) from None


@click.command("prune-history", cls=Command)
@click.option("--keep", type=click.IntRange(1), help="Number of versions of each record to keep.")
@click.option(
    "--before",
    "--older-than",
    "before",
    metavar="TIME",
    callback=_time,
    help="Instead: delete versions that arrived before a day or time, in UTC.",
)
@click.option("--connection", callback=checked, help="Prune only this connection.")
@click.option("--stream", callback=checked, help="Prune only this stream of the connection.")
@click.option("--dry-run", is_flag=True, help="Print what would be deleted; delete nothing.")
def prune_history(
    keep: int | None, before: str | None, connection: str | None, stream: str | None, dry_run: bool
) -> None:
    """Delete old versions of records, permanently: by number, or by arrival.

    The newest version of each record always stays.  A delete counts as a version.  If only that stays of a
    record, its files are deleted too.
    """
    if (keep is None) == (before is None):
        raise UsageError("name what stays: --keep N or --before TIME")
    policy = Policy(keep or 1, before)
    if stream is not None and connection is None:
        raise UsageError("--stream needs --connection: streams belong to connections")
    with opened_database():
        if connection is not None:
            connection_id = id_of_connection(connection)
            if stream is not None:
                id_of_stream(connection, connection_id, stream)
        if dry_run:
            _foresee(Request(policy, connection, stream))
            return
        beyond = partial(_count, policy, connection, stream)
        with progress("versions forgotten", count_all=beyond) as show:
            gone = retention.prune(policy, connection, stream, lambda done: show(done.versions))
    answer(f"Forgot {_extent(gone)}.")


def _count(policy: Policy, connection: str | None, stream: str | None) -> int:
    return prunable.count(*policy, connection, stream).versions


def _foresee(request: Request) -> None:
    """Print what would be freed by stream, and in all."""
    found, so_far = prunable.count(*request.policy, request.connection, request.stream), Foreseen()
    names = {
        each.stream_id: f"{shown_name(each.connection)} {shown_name(each.stream)}" for each in found.streams
    }
    with progress("versions measured", found.versions) as show:
        while not so_far.is_done:
            so_far = foresight.count(request, so_far, MEASURING_SECONDS, names)
            show(so_far.freed.versions)
    for each in found.streams:
        size = so_far.sizes.get(each.stream_id, 0)
        answer(f"{names[each.stream_id]}: {plural(each.versions, 'version')}, {plural(size, 'byte')}")
    least = "" if so_far.is_exact else "at least "
    answer(f"Would forget {least}{_extent(so_far.freed)}.  Nothing was changed.")


def _extent(gone: Pruned) -> str:
    files = f" and {plural(gone.files, 'file')}" if gone.files else ""
    return f"{plural(gone.versions, 'version')}{files}, {plural(gone.json_bytes + gone.file_bytes, 'byte')}"


@click.command("backup", cls=Command)
@click.argument("file", type=click.Path(path_type=Path))
def back_up(file: Path) -> None:
    """Copy the SQLite database to a new FILE, as it is now; the server can keep running.

    To restore it, point PDPP_DATABASE_URL at it.  Generated secrets are not in it: they are in the
    instance folder.
    """
    name = shown_name(file.name)
    with opened_database() as settings:
        try:
            with progress("bytes copied") as show:
                db.back_up(str(file), lambda done, total: show(done, (done, total)))
        except FileExistsError:
            raise UsageError(f"{name} exists; name a new file") from None
        except OSError as error:
            if error.errno in (ENOSPC, EDQUOT):
                raise _no_room(name) from None
            raise UsageError(f"{name} can't be written: {error.strerror}") from None
        except peewee.DatabaseError as error:
            if problem(error) == "full":
                raise _no_room(name) from None
            if problem(error) == "input_output":
                raise TemporaryFailure(f"{name} can't be written and was removed; try again") from None
            raise
    backup_time.remember(instance_folder.path_for(settings))
    if private_files.is_open_to_others(file):
        click.echo(f"Others can read {name}: its file system has no permissions.", err=True)
    answer(f"Backed up {plural(file.stat().st_size, 'byte')}.")


def _no_room(name: str) -> TemporaryFailure:
    return TemporaryFailure(
        f"no space is left for {name}; the file was removed, so free some and try again"
    )


@click.command("copy", cls=Command)
@click.option("--to", "url", help="URL of the database to fill.")
def copy_to(url: str | None) -> None:
    """Copy everything to another database, and compare every row.  The source is not changed.

    Records that are written meanwhile are not copied: stop the server first.  An interrupted copy
    resumes.  If the URL has a password, rather set PDPP_COPY_TO.
    """
    with opened_database() as settings:
        if not (url := url or settings.copy_to):
            raise UsageError("name the database to fill: --to URL, or PDPP_COPY_TO")
        try:
            target = database.from_url(url, Path())
            with progress("rows copied") as show:
                rows = transfer.copy(
                    target,
                    lambda moved: show(moved.done // 2, (moved.done, moved.total)),
                )
        except DatabaseUnusable as error:
            why = TemporaryFailure if isinstance(error, DatabaseUnavailable) else UsageError
            raise why(str(error).replace("PDPP_DATABASE_URL", "--to")) from None
        except transfer.TargetChanged:
            raise UsageError(
                "the database of --to is not what the unfinished copy has sent to it: somebody else has "
                "written there.  Nothing was deleted; name an empty one"
            ) from None
        except transfer.TargetNotEmpty:
            raise UsageError("the database of --to holds data already; name an empty one") from None
        except transfer.TransferMismatch as table:
            raise TemporaryFailure(
                f"table {table} differs after copying; run it again, or copy to an empty database"
            ) from None
    answer(f"Copied {plural(rows, 'row')}, and compared each.  Use it with: PDPP_DATABASE_URL")
