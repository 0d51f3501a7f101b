"""What all commands share: their errors, the database that they work on, names, progress."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
import peewee

from .. import startup
from ..config import InvalidSetting, Settings
from ..database import (
    PROBLEM_TEXT,
    Busy,
    DatabaseNotReady,
    DatabaseUnusable,
    problem,
    tuples,
)
from ..models import Connection, Stream
from ..parsing.messages import Rejected, check_name
from . import logs, output
from .errors import TemporaryFailure, UsageError

REPORT_SECONDS = 1.0


_RESTORE = "restore what PDPP_DATABASE_URL names from a backup"


class DamagedFile(Exception):
    """What is stored contradicts itself."""


@contextmanager
def cli_errors() -> Iterator[None]:
    try:
        yield
    except (InvalidSetting, DatabaseUnusable) as error:
        raise UsageError(str(error)) from None
    except Busy:
        raise TemporaryFailure(f"{PROBLEM_TEXT['busy']}; try again") from None
    except DatabaseNotReady as error:
        raise TemporaryFailure(PROBLEM_TEXT[problem(error)]) from None
    except DamagedFile:
        raise TemporaryFailure(f"{PROBLEM_TEXT['corrupt']}; {_RESTORE}") from None
    except Exception as error:  # the driver's own, too, as it comes while rows are fetched
        kind = problem(error)
        if kind == "other" and not isinstance(error, peewee.DatabaseError):
            raise
        advice = _RESTORE if kind in ("corrupt", "not_a_database") else "nothing is half done, try again"
        raise TemporaryFailure(f"{PROBLEM_TEXT[kind]}; {advice}") from None


def answer(text: str) -> None:
    """A line of what the command was asked for.  If its reader has gone, the rest goes nowhere."""
    try:
        if sys.stdout is not None:
            output.put(f"{text}\n")
    except output.Closed:
        return
    except OSError as error:
        raise TemporaryFailure(f"standard output can't be written: {error.strerror}") from None


@contextmanager
def opened_database() -> Iterator[Settings]:
    """Opens the database of the settings.  Its errors become one line."""
    with cli_errors():
        settings = Settings.load()
        logs.set_level(settings.log_level)
        startup.open_database(settings)
        yield settings


# ---- names -------------------------------------------------------------------------------------


def checked(_: click.Context, option: click.Parameter, name: str | None) -> str | None:
    """The name, if anything can bear it."""
    try:
        return None if name is None else check_name(f"--{option.name}", name)
    except Rejected as reason:
        raise UsageError(str(reason)) from None


def shown_name(text: str) -> str:
    """A name on one line, whatever characters it has."""
    return json.dumps(text, ensure_ascii=False) if not text.isidentifier() else text


def id_of_connection(name: str) -> int:
    query = Connection.select(Connection.id).where(Connection.connector_instance_id == name)
    found: int | None = query.scalar()
    if found is None:
        query = Connection.select(Connection.connector_instance_id)
        raise UsageError(f"there is no connection {shown_name(name)}; {_known(query)}")
    return found


def id_of_stream(connection: str, connection_id: int, name: str) -> int:
    of_connection = Stream.select().where(Stream.connection == connection_id)
    found = of_connection.where(Stream.name == name).first()
    if found is None:
        query = Stream.select(Stream.name).where(Stream.connection == connection_id)
        raise UsageError(
            f"connection {shown_name(connection)} has no stream {shown_name(name)}; {_known(query)}"
        )
    return int(found.id)


def _known(query: Any, most: int = 5) -> str:
    names = [shown_name(name) for (name,) in tuples(query.limit(most + 1))]
    if not names:
        return "there are none yet"
    return "there are " + ", ".join(names[:most]) + (", ..." if len(names) > most else "")


# ---- progress ----------------------------------------------------------------------------------


@contextmanager
def progress(unit: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """What is called with how many are done: a bar on a terminal, a line now and then elsewhere."""
    if total and output.Terminal().isatty():
        terminal: Any = output.Terminal()
        with click.progressbar(length=total, label=unit, show_pos=True, file=terminal) as bar:
            yield lambda done: bar.update(done - bar.pos)
        return
    shown = time.monotonic()

    def show(done: int) -> None:
        nonlocal shown
        if time.monotonic() - shown >= REPORT_SECONDS:
            shown = time.monotonic()
            output.mention(f"{done:,}" + (f" of {total:,}" if total else "") + f" {unit}")

    yield show
