"""The `pdpp-ref` command.

Exit codes: 0 done; 1 some lines were rejected, or totals differ; 2 the call or the setup is wrong and
nothing was changed; 3 the database could not store or answer, so retry.
"""

import gc
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NoReturn

import click

from .. import __version__, signals
from . import logs, output
from .errors import TemporaryFailure

SERVERS = ("serve", "demo")  # have their own way to stop on a signal

# Module and attribute of each command.  A module is imported only if its command is needed: a connector may
# run an import every minute.
COMMANDS = {
    "serve": ("serve", "serve"),
    "import": ("import_", "import_lines"),
    "export": ("export", "export_lines"),
    "connections": ("connections", "list_connections"),
    "summary": ("projection", "show_summary"),
    "verify": ("projection", "verify_totals"),
    "mark-dirty": ("projection", "mark_dirty"),
    "reconcile": ("projection", "reconcile_dirty"),
    "rebuild": ("projection", "rebuild"),
    "prune-history": ("maintenance", "prune_history"),
    "delete": ("delete", "delete"),
    "erase": ("erase", "erase"),
    "compact": ("erase", "compact"),
    "backup": ("maintenance", "back_up"),
    "copy": ("maintenance", "copy_to"),
    "token": ("token", "token"),
    "password": ("password", "password"),
    "demo": ("serve", "demo"),
}


class Commands(click.Group):
    """Imports commands when they are needed.  Exits with the command's code even if its output fails."""

    def list_commands(self, _: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        with _without_garbage():
            return _imported(*COMMANDS[name])

    def main(self, *args: Any, **settings: Any) -> NoReturn:
        output.keep_descriptors()
        try:
            run: Any = super().main
            code = run(*args, **settings | {"standalone_mode": False})
        except click.ClickException as error:
            _show(error)
            code = error.exit_code
        finally:
            signals.finish()
            output.leave()
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except KeyboardInterrupt:
            raise TemporaryFailure("stopped; finished work stays: run it again for the rest") from None


def _imported(module: str, attribute: str) -> click.Command:
    """peewee imports every driver that it finds, and psycopg takes longer than all the rest of a command.

    So it finds none; `database.postgres` imports psycopg if the database is PostgreSQL.
    """
    if "peewee" not in sys.modules and "psycopg" not in sys.modules:
        sys.modules["psycopg"] = None  # type: ignore[assignment]  # makes its import fail
        try:
            import_module("peewee")
        finally:
            del sys.modules["psycopg"]
    found: click.Command = getattr(import_module(f".{module}", __package__), attribute)
    return found


@contextmanager
def _without_garbage() -> Iterator[None]:
    """What is imported stays: to search it for garbage would take a sixth of a start, and time later."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _show(error: click.ClickException) -> None:
    text = io.StringIO()
    if isinstance(error, click.UsageError):
        error.show(file=text)
        output.report(text.getvalue().rstrip())
    else:
        output.report(f"Error: {error.format_message()}")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
@click.pass_context
def main(context: click.Context) -> None:
    """A personal data server's account of what it stores."""
    if context.invoked_subcommand not in SERVERS:
        signals.listen()
    logs.configure()
