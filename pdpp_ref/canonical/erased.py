"""The list of what was erased, so that it stays away.  Of the names it has HMACs, which reveal nothing.

A writer reads the list after it has locked the stream, and an erasure adds to it under the same lock: so no
record arrives during its own erasure.
"""

import hmac
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from ..database import execute, execute_many, fetch_all, fetch_as, fetch_each, fetch_value


class Names(NamedTuple):
    """What was erased: a record, or one file of it, by its SHA-256."""

    connection: str
    stream: str
    key: str
    sha256: str | None = None


class Entry(NamedTuple):
    """A row of the list."""

    number: int
    hmac: str
    allowed: bool


def hmac_of(secret: str, names: Names) -> str:
    """In hex.  No name contains the separator, so no two different ones have the same text."""
    text = "\0".join(part for part in names if part is not None)
    return hmac.digest(bytes.fromhex(secret), text.encode(), "sha256").hex()


def secret_of_list() -> str | None:
    """The key of the HMACs; None if the list is empty: then nothing needs to be compared."""
    secret: str | None = fetch_value(
        """
        SELECT erasure_key
        FROM pdpp_ref_schema
        WHERE EXISTS (SELECT 1 FROM erasures)
        """
    )
    return secret


def erased_keys(connection: str, stream: str, keys: Collection[str], secret: str) -> set[str]:
    """Those of a stream's keys that were erased and not allowed again."""
    by_hmac = {hmac_of(secret, Names(connection, stream, key)): key for key in keys}
    return {by_hmac[each] for each in _listed(list(by_hmac))}


def is_erased(*names: Names) -> bool:
    """Whether any of them was erased and not allowed again."""
    secret = secret_of_list()
    return secret is not None and bool(_listed([hmac_of(secret, each) for each in names]))


def is_file_erased(names: Names, sha256: str) -> bool:
    """Whether a record or this file of it was erased and not allowed again."""
    return is_erased(names, names._replace(sha256=sha256))


def _listed(hmacs: Sequence[str]) -> list[str]:
    rows = fetch_each("SELECT hmac, allowed FROM erasures WHERE hmac = :each", [], hmacs)
    return [each for each, allowed in rows if not allowed]


def add(names: Names) -> None:
    """Add an erasure, which the bytes in free space have yet to follow."""
    _change(names, allowed=False)
    execute("UPDATE pdpp_ref_schema SET cleaned_pages = 0")


def allow(names: Names) -> bool:
    """Let what was erased arrive again, in the caller's transaction.  False if it was not erased."""
    if not is_erased(names):
        return False
    _change(names, allowed=True)
    return True


def _change(names: Names, *, allowed: bool) -> None:
    """Whoever changes the list holds its number until the transaction ends."""
    ((secret, number),) = fetch_all(
        """
        UPDATE pdpp_ref_schema
        SET last_erasure = last_erasure + 1
        RETURNING erasure_key, last_erasure
        """
    )
    store([Entry(number, hmac_of(secret, names), allowed)])


def store(entries: Iterable[Entry]) -> None:
    """Store rows of the list; the numbers are the caller's affair."""
    execute_many(
        """
        INSERT INTO erasures (number, hmac, allowed)
        VALUES (?, ?, ?)
        ON CONFLICT (hmac) DO UPDATE
        SET number = excluded.number, allowed = excluded.allowed
        """,
        list(entries),
    )


def entries_after(number: int) -> list[Entry]:
    """The rows with a later number, in order."""
    rows = fetch_as(
        Entry,
        """
        SELECT number, hmac, allowed
        FROM erasures
        WHERE number > ?
        ORDER BY number
        """,
        [number],
    )
    return [each._replace(allowed=bool(each.allowed)) for each in rows]
