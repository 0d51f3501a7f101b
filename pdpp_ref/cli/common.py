"""Shared by all commands: errors, opening the database, names."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import peewee

from .. import instance_folder, startup
from ..config import InvalidSetting, Settings
from ..database import (
    PROBLEM_TEXT,
    Busy,
    DatabaseNotReady,
    DatabaseUnavailable,
    DatabaseUnusable,
    fetch_column,
    fetch_value,
    problem,
)
from ..parsing.messages import Rejected, check_name
from . import logs, output
from .errors import TemporaryFailure, UsageError

NAMES_SHOWN = 5

_RESTORE = "restore what PDPP_DATABASE_URL names from a backup"


class DamagedFile(Exception):
    """The stored data contradicts itself."""


def replaced_secret(settings: Settings, given: str, set_by: str, replace: Callable[[Path], str]) -> str:
    """The new secret that `replace` has stored in the instance folder.

    Raises UsageError if it can't be stored there, or if one is `given` by a setting: `set_by` names it.
    """
    if given:
        raise UsageError(f"{set_by}; change it there, and restart")
    folder = instance_folder.create(settings)
    try:
        return replace(folder)
    except OSError:
        raise UsageError(instance_folder.UNUSABLE) from None


@contextmanager
def cli_errors() -> Iterator[None]:
    try:
        yield
    except DatabaseUnavailable as error:
        raise TemporaryFailure(str(error)) from None
    except (InvalidSetting, DatabaseUnusable) as error:
        raise UsageError(str(error)) from None
    except Busy:
        raise TemporaryFailure(f"{PROBLEM_TEXT['busy']}; try again") from None
    except DatabaseNotReady as error:
        raise TemporaryFailure(PROBLEM_TEXT[problem(error)]) from None
    except DamagedFile:
        raise TemporaryFailure(f"{PROBLEM_TEXT['corrupt']}; {_RESTORE}") from None
    except Exception as error:  # also the driver's own, which is raised while rows are fetched
        kind = problem(error)
        if kind == "other" and not isinstance(error, peewee.DatabaseError):
            raise
        advice = _RESTORE if kind in ("corrupt", "not_a_database") else "nothing is half done; try again"
        raise TemporaryFailure(f"{PROBLEM_TEXT[kind]}; {advice}") from None


def answer(text: str) -> None:
    """Print a line of the command's result.  If its reader has gone, the rest is dropped."""
    try:
        if sys.stdout is not None:
            output.put(f"{text}\n")
    except output.Closed:
        return
    except OSError as error:
        raise TemporaryFailure(f"standard output can't be written: {error.strerror}") from None


@contextmanager
def opened_database() -> Iterator[Settings]:
    """Open the database of the settings; its errors become one line."""
    with cli_errors():
        settings = Settings.load()
        logs.set_level(settings.log_level)
        startup.open_database(settings)
        yield settings


# ---- names -------------------------------------------------------------------------------------


def checked(_: click.Context, option: click.Parameter, name: str | None) -> str | None:
    """The name, if it is a valid one.  Raises UsageError."""
    try:
        return None if name is None else check_name(f"--{option.name}", name)
    except Rejected as reason:
        raise UsageError(str(reason)) from None


def shown_name(text: str) -> str:
    """A name on one line, whatever characters it has."""
    return json.dumps(text, ensure_ascii=False) if not text.isidentifier() else text


def plural(number: int, one: str) -> str:
    """As in `1 row` and `1,200 rows`."""
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def id_of_connection(name: str) -> int:
    """Raises UsageError, with the names that exist."""
    connection_id: int | None = fetch_value(
        "SELECT id FROM connections WHERE connector_instance_id = ?", [name]
    )
    if connection_id is None:
        known = fetch_column("SELECT connector_instance_id FROM connections LIMIT ?", [NAMES_SHOWN + 1])
        raise UsageError(f"there is no connection {shown_name(name)}; {_listed(known)}")
    return connection_id


def id_of_stream(connection: str, connection_id: int, name: str) -> int:
    """Raises UsageError, with the names that exist."""
    stream_id: int | None = fetch_value(
        "SELECT id FROM streams WHERE connection_id = ? AND name = ?", (connection_id, name)
    )
    if stream_id is None:
        known = fetch_column(
            "SELECT name FROM streams WHERE connection_id = ? LIMIT ?", (connection_id, NAMES_SHOWN + 1)
        )
        raise UsageError(
            f"connection {shown_name(connection)} has no stream {shown_name(name)}; {_listed(known)}"
        )
    return stream_id


def _listed(names: Sequence[str]) -> str:
    shown = [shown_name(name) for name in names]
    if not shown:
        return "there are none yet"
    return "there are " + ", ".join(shown[:NAMES_SHOWN]) + (", ..." if len(shown) > NAMES_SHOWN else "")
