"""Bearer tokens: creating, listing and revoking them, and replacing the operator's."""

import re
from collections.abc import Iterator, Sequence

import click

from .. import credentials, instance_folder, startup, tokens
from ..config import Settings
from ..credentials import OF_RECORDS, SCOPES
from ..tokens import Token
from . import output
from .common import answer, checked, cli_errors, opened_database, replaced_secret, shown_name
from .errors import UsageError
from .settings_help import Group

MAX_DAYS = 36_500
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
HEADINGS = ("NAME", "SCOPES", "CONNECTION", "CREATED", "EXPIRES", "LAST USE", "ACCESS")


@click.group(cls=Group)
def token() -> None:
    """Create, list and revoke bearer tokens, or replace the operator's."""


def _checked_name(_: click.Context, __: click.Parameter, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError("NAME must have 1 to 64 letters, digits, dots, dashes or underscores")
    return name


def _scopes(_: click.Context, __: click.Parameter, text: str) -> tuple[str, ...]:
    """In the order in which they are documented, each once."""
    given = {name.strip() for name in text.split(",")}
    if unknown := sorted(given - set(SCOPES)):
        raise UsageError(f"{shown_name(unknown[0])} is not a scope; the scopes are {', '.join(SCOPES)}")
    return tuple(scope for scope in SCOPES if scope in given)


@token.command("new")
@click.argument("name", callback=_checked_name)
@click.option(
    "--scope", "scopes", required=True, callback=_scopes, help=f"Some of {', '.join(SCOPES)}, with commas."
)
@click.option(
    "--connection", callback=checked, help="Restrict it to this connection, which need not exist yet."
)
@click.option("--expires", "days", type=click.IntRange(1, MAX_DAYS), help="Days until it expires.")
def new(name: str, scopes: tuple[str, ...], connection: str | None, days: int | None) -> None:
    """Create a bearer token called NAME, and print it, this once."""
    of_all = [scope for scope in scopes if scope not in OF_RECORDS]
    if connection is not None and of_all:
        raise UsageError(f"{of_all[0]} is about all connections: leave out --connection, or that scope")
    with opened_database() as settings:
        try:
            secret = tokens.create(name, scopes, connection, days)
        except tokens.NameTaken:
            raise UsageError(
                f"there is a token {name} already, valid or not; choose another name"
            ) from None
        startup.watch_for_restores(instance_folder.create(settings))
    answer(secret)


@token.command("list")
def list_tokens() -> None:
    """List tokens with what they may do, until when, and their last use."""
    with opened_database():
        listed = tokens.listed()
    if not listed:
        output.report("There are no tokens but the operator's.")
        return
    for line in _table([HEADINGS, *(_row(each) for each in listed)]):
        answer(line)


@token.command("revoke")
@click.argument("name")
def revoke(name: str) -> None:
    """Revoke the token NAME for good.  Servers refuse it within 5 seconds."""
    with opened_database():
        revoked = tokens.revoke(name)
        if not revoked and tokens.named(name) is None:
            raise UsageError(f"there is no token {shown_name(name)}; pdpp-ref token list shows them")
    answer(f"Revoked {name}." if revoked else f"{name} is revoked already.")


@token.command("rotate")
def rotate() -> None:
    """Replace the operator's token, and print the new one, this once.

    Running servers that share the instance folder accept it at once, and refuse the old one.
    """
    with cli_errors():
        settings = Settings.load()
        set_by = "PDPP_OPERATOR_TOKEN sets the operator's token"
        secret = replaced_secret(
            settings, settings.operator_token, set_by, credentials.rotate_operator_token
        )
    answer(secret)


def _row(token: Token) -> Sequence[str]:
    return (
        token.name,
        ",".join(token.scopes),
        "all" if token.connection is None else shown_name(token.connection),
        token.created_at[:10],
        token.expires_at[:10] if token.expires_at else "never",
        f"{token.last_used_at[:16]}Z" if token.last_used_at else "never",
        f"revoked {token.revoked_at[:10]}"
        if token.revoked_at
        else "expired"
        if token.is_expired
        else "valid",
    )


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines with columns of the same width."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(HEADINGS))]
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
