"""The `pdpp-ref` command.  Exit codes: 0 done, 1 some lines rejected or figures differing, 2 the
call or the set-up is wrong and nothing was changed, 3 the database could not store: try again."""

import io
import logging
import sys
from typing import Any, NoReturn

import click

from .. import __version__, signals
from . import (
    import_,
    maintenance,
    output,
    projection,
    serve,
)
from .common import TemporaryFailure

SERVERS = ("serve", "demo")  # end by themselves when they are stopped


class Commands(click.Group):
    """Ends with the command's own exit code, whatever happens to its output."""

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
            raise TemporaryFailure(
                "stopped; what is stored already stays: run it again for the rest"
            ) from None


def _show(error: click.ClickException) -> None:
    text = io.StringIO()
    if isinstance(error, click.UsageError):
        error.show(file=text)
        output.tell(text.getvalue().rstrip())
    else:
        output.tell(f"Error: {error.format_message()}")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
@click.pass_context
def main(context: click.Context) -> None:
    """The account that a personal data server keeps of what it holds."""
    if context.invoked_subcommand not in SERVERS:
        signals.listen()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    access = logging.getLogger("pdpp_ref.access")
    access.setLevel(logging.INFO)
    access.propagate = False  # its lines are JSON as they are
    access.addHandler(logging.StreamHandler())


for _command in (
    serve.serve,
    serve.demo,
    import_.import_lines,
    projection.show_summary,
    projection.verify_totals,
    projection.mark_dirty,
    projection.reconcile_dirty,
    projection.rebuild,
    maintenance.prune_history,
    maintenance.back_up,
    maintenance.copy_to,
):
    main.add_command(_command)
