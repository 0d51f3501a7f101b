"""Replacing the owner's password."""

import click

from .. import credentials, instance_folder
from ..config import Settings
from .common import answer, cli_errors
from .errors import UsageError
from .settings_help import Command


@click.command("password", cls=Command)
def password() -> None:
    """Replace the owner's password, and print the new one, this once.

    Running servers that share the instance folder accept it at once, and refuse the old one.  All sessions
    end: sign in again.
    """
    with cli_errors():
        settings = Settings.load()
        if settings.owner_password:
            raise UsageError("PDPP_OWNER_PASSWORD sets the password; change it there, and restart")
        folder = instance_folder.create(settings)
        try:
            secret = credentials.renew_owner_password(folder)
        except OSError:
            raise UsageError(instance_folder.UNUSABLE) from None
    answer(secret)
