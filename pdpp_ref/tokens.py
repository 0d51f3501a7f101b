"""Named bearer tokens: each has scopes, and may expire, be revoked or be restricted to one connection.

A token is random text that is shown once.  Only its digest is stored, so nobody can read it again.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import peewee

from . import credentials
from .credentials import Caller
from .database import Busy, DatabaseNotReady, execute, fetch_as, for_no_key_update, write_attempt
from .timestamps import utc_now

# Uses are stored so often at most.
USE_SECONDS = 60


class NameTaken(Exception):
    """A token of this name exists, or existed: revoked ones stay in the list."""


@dataclass(frozen=True)
class Token:
    """A row without its digest.  Times are UTC text; `connection` is None for all of them."""

    name: str
    scopes: tuple[str, ...]
    connection: str | None
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    revoked_at: str | None

    @property
    def is_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= utc_now()

    @property
    def is_valid(self) -> bool:
        return self.revoked_at is None and not self.is_expired

    @property
    def caller(self) -> Caller:
        return Caller(frozenset(self.scopes), self.connection, self.name)


def create(name: str, scopes: tuple[str, ...], connection: str | None, days: int | None) -> str:
    """Store a new token and return its text, which can't be had again.  Raises NameTaken.

    `connection`: the only one that it may touch, which need not exist yet.  It expires after `days`.
    """
    secret = credentials.new_token()
    expires_at = None if days is None else utc_now(timedelta(days))
    created = execute(
        """
        INSERT INTO tokens (name, digest, scopes, connection, created_at, expires_at)
        VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT (name) DO NOTHING
        """,
        (name, credentials.digest(secret), " ".join(scopes), connection, utc_now(), expires_at),
    )
    if not created:
        raise NameTaken(name)
    return secret


def listed() -> list[Token]:
    """All tokens by name, those that are revoked or expired included."""
    return fetch_as(
        _token,
        """
        SELECT name, scopes, connection, created_at, expires_at, last_used_at, revoked_at
        FROM tokens
        ORDER BY name
        """,
    )


def find(digest: str) -> Token | None:
    """The token with this digest, valid or not."""
    found = fetch_as(
        _token,
        """
        SELECT name, scopes, connection, created_at, expires_at, last_used_at, revoked_at
        FROM tokens
        WHERE digest = ?
        """,
        [digest],
    )
    return next(iter(found), None)


def named(name: str) -> Token | None:
    """The token with this name, valid or not."""
    return next((token for token in listed() if token.name == name), None)


def revoke(name: str) -> bool:
    """Revoke a token for good.  Returns False if it is revoked already, or does not exist."""
    return bool(
        execute(
            """
            UPDATE tokens
            SET revoked_at = ?
            WHERE name = ? AND revoked_at IS NULL
            """,
            (utc_now(), name),
        )
    )


def record_use(name: str) -> None:
    """Store that a token was used, unless another process has just done so.

    It is left out if the database is busy, read-only or away: no request may wait for it or fail.
    """
    with suppress(Busy, DatabaseNotReady, peewee.DatabaseError), write_attempt():
        execute(
            f"""
            UPDATE tokens
            SET last_used_at = ?
            WHERE name IN (
                SELECT name
                FROM tokens
                WHERE name = ? AND (last_used_at IS NULL OR last_used_at <= ?)
                {for_no_key_update(wait=False)}
            )
            """,
            (utc_now(), name, utc_now(timedelta(seconds=-USE_SECONDS))),
        )


def _token(name: str, scopes: str, *rest: str | None) -> Token:
    return Token(name, tuple(scopes.split()), *rest)  # type: ignore[arg-type]
