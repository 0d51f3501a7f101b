"""Commands whose help ends with the settings that they obey."""

import click

from ..config import declarations


class _WithSettings(click.Command):
    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(context, formatter)
        name = _name(context)
        rows = [
            (each.variable, f"{each.meaning}  [{each.default}]".replace("`", ""))
            for each in declarations()
            if each.is_of(name)
        ]
        if rows:
            with formatter.section("Settings, as environment variables"):
                formatter.write_dl(rows)


class Command(_WithSettings):
    """A command."""


class Group(_WithSettings, click.Group):
    """A command with subcommands, which obey the same settings."""

    command_class = Command


def _name(context: click.Context) -> str:
    """Of the command right below the program."""
    while context.parent is not None and context.parent.parent is not None:
        context = context.parent
    return context.info_name or ""
