"""Replacing the owner's password."""

import click

from .. import credentials
from ..config import Settings
from .common import answer, cli_errors, replaced_secret
from .settings_help import Command


@click.command("password", cls=Command)
def password() -> None:
    """Replace the owner's password, and print the new one, this once.

    Running servers that share the instance folder accept it at once, and refuse the old one.  All sessions
    end: sign in again.
    """
    with cli_errors():
        settings = Settings.load()
        set_by = "PDPP_OWNER_PASSWORD sets the password"
        secret = replaced_secret(
            settings, settings.owner_password, set_by, credentials.renew_owner_password
        )
    answer(secret)
