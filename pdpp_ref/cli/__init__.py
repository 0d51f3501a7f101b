"""The `pdpp-ref` command.  Exit codes: 0 done, 1 some lines rejected or figures differing, 2 the
call or the set-up is wrong and nothing was changed, 3 the database could not store: try again."""

import logging

import click

from .. import __version__
from . import figures, importing, keeping, serving


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """The account that a personal data server keeps of what it holds."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    access = logging.getLogger("pdpp_ref.access")
    access.setLevel(logging.INFO)
    access.propagate = False  # its lines are JSON as they are
    access.addHandler(logging.StreamHandler())


for _command in (
    serving.serve,
    serving.demo,
    importing.import_lines,
    figures.show_summary,
    figures.verify_figures,
    figures.mark_dirty,
    figures.reconcile_dirty,
    figures.rebuild,
    keeping.prune_history,
    keeping.back_up,
    keeping.copy_to,
):
    main.add_command(_command)
