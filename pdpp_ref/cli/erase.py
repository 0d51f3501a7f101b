"""Erasing a record or a file for good, and giving unused space back."""

import re

import click
import peewee

from .. import instance_folder
from ..canonical import erasure, erasure_file
from ..canonical.erased import Names
from ..canonical.errors import NotFound
from ..config import Settings
from ..database import DiskTooFull, db, problem
from ..services import cleaning
from . import output
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
from .settings_help import Command

CLEANING_SECONDS = 60.0


def _sha256(_: click.Context, __: click.Parameter, given: str | None) -> str | None:
    """The digest in a file's name.  Raises UsageError."""
    if given is None:
        return None
    found = re.fullmatch(r"(?:blob_sha256_)?([0-9a-f]{64})", given.lower())
    if not found:
        raise UsageError("--file must be the name of a file, or its SHA-256 digest in hex")
    return found[1]


@click.command("erase", cls=Command)
@click.option("--connection", required=True, callback=checked, help="Connection of the record.")
@click.option("--stream", required=True, callback=checked, help="Stream of the record.")
@click.option("--key", required=True, callback=checked, help="Key of the record.")
@click.option(
    "--file", "sha256", metavar="SHA256", callback=_sha256, help="Erase only this file of the record."
)
@click.option("--allow", is_flag=True, help="Let what was erased be stored again when it arrives.")
def erase(connection: str, stream: str, key: str, sha256: str | None, allow: bool) -> None:
    """Remove a record for good, with all its versions and files; also one that was deleted before.

    If its source sends it again, or an old export has it, it is skipped.  A key that never had a record
    stays away, too.
    """
    names = Names(connection, stream, key, sha256)
    with opened_database() as settings:
        if allow:
            _allow(names, settings)
            return
        id_of_stream(connection, id_of_connection(connection), stream)
        try:
            done = erasure.erase(names)
        except NotFound:
            raise UsageError("the stream does not exist any more") from None
        _add_to_file(settings)
        answer(f"Erased {plural(done.versions, 'version')} and {plural(done.files, 'file')}.")
        places = cleaning.clean(CLEANING_SECONDS)
        for place in [*places, *([cleaning.OTHER_RECORDS] if done.shared_files else [])]:
            output.report(f"Bytes may remain in {place.replace('_', ' ')}, {cleaning.PLACES[place]}.")


def _allow(names: Names, settings: Settings) -> None:
    if not erasure.allow(names):
        raise UsageError(f"{shown_name(names.key)} was not erased")
    _add_to_file(settings)
    answer("It is stored again when it arrives.")


def _add_to_file(settings: Settings) -> None:
    try:
        erasure_file.add_missing_lines(instance_folder.path_for(settings))
    except OSError as error:
        output.report(f"The list of erasures in the instance folder can't be written: {error.strerror}.")


@click.command("compact", cls=Command)
def compact() -> None:
    """Return unused space to the disk; the server can keep running, but writes have to wait.

    It needs free space: as much as the data in the temporary folder, and as much next to the database.
    """
    with opened_database():
        try:
            before, after = db.compact()
        except DiskTooFull as reason:
            raise TemporaryFailure(f"{reason}; nothing was changed") from None
        except peewee.OperationalError as error:
            if problem(error) != "busy":
                raise
            raise TemporaryFailure(
                "somebody is reading or writing the database; try again when nobody does"
            ) from None
    answer(f"Returned {plural(max(before - after, 0), 'byte')} to the disk; {after:,} remain.")
