"""How a command fails: with one line, and an exit code that says whether a retry can help."""

import click


class UsageError(click.ClickException):
    """The call or the setup is wrong.  Nothing was changed."""

    exit_code = 2


class TemporaryFailure(click.ClickException):
    """The database could not store or answer."""

    exit_code = 3
