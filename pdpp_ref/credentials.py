"""Who can see the totals: the owner's password and the operator's token.

A secret that is not set is generated on first start and stored in the instance folder, in a file that only
its owner can read: the password and the token as hashes, the key that signs cookies as it is.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from werkzeug.security import check_password_hash, generate_password_hash

from . import private_files

# What a caller may do: read the totals, maintain them; write, read and erase records.
FIGURES, MAINTAIN, WRITE, READ, ERASE = SCOPES = ("figures", "maintain", "write", "read", "erase")


@dataclass(frozen=True)
class Caller:
    """`connection`: the only one whose records the caller may touch; None for all."""

    scopes: frozenset[str]
    connection: str | None = None


OWNER = Caller(frozenset(SCOPES))
# It is in the configuration of a monitoring system or a connector, so it can't read records.
OPERATOR = Caller(frozenset({FIGURES, MAINTAIN, WRITE}))


@dataclass(frozen=True)
class Credentials:
    """Checks secrets in constant time."""

    secret_key: str = field(repr=False)
    new_secrets: dict[str, str] = field(repr=False)  # by name, to be shown once
    _password: str = field(repr=False)
    _password_is_hashed: bool
    _token_digest: str = field(repr=False)

    def is_owner(self, password: str) -> bool:
        if not _is_text(password):
            return False
        if self._password_is_hashed:
            return check_password_hash(self._password, password)
        return hmac.compare_digest(_digest(password), _digest(self._password))

    def is_operator(self, authorization: str) -> bool:
        """Whether an `Authorization` header has the operator's token."""
        scheme, _, token = authorization.partition(" ")
        right = hmac.compare_digest(_digest(token.strip()), self._token_digest)
        return right and scheme.lower() == "bearer"

    @property
    def session_fingerprint(self) -> str:
        """Stored in each session.  It changes with the password, which ends older sessions."""
        key = self.secret_key.encode()
        return hmac.new(key, self._password.encode(), hashlib.sha256).hexdigest()[:32]


def load(folder: Path, *, password: str = "", token: str = "", secret_key: str = "") -> Credentials:
    """The credentials that are set, or stored in `folder`, or generated now and stored there.

    Raises OSError if the folder can't be read or written.
    """
    new: dict[str, str] = {}
    hashed = password or _stored(folder / "owner_password.hash", _hash_password, "owner password", new)
    digest = (
        _digest(token) if token else _stored(folder / "operator_token.hash", _digest, "operator token", new)
    )
    key = secret_key or _stored(folder / "secret_key", str, "key", {})
    return Credentials(key, new, hashed, not password, digest)


def _stored(file: Path, encode: Callable[[str], str], name: str, new: dict[str, str]) -> str:
    """The content of a file.  If it does not exist, a new secret is stored in it and added to `new`.

    The file appears complete or not at all: if several programs start at once, one of them writes it and
    the others read it, and a crash leaves no part of it.
    """
    if not file.exists():
        secret = secrets.token_urlsafe(18)
        try:
            with private_files.whole(file) as part:
                part.write_text(encode(secret))
            new[name] = secret
        except FileExistsError:  # another program has just written it
            pass
    private_files.close_to_others(file)
    content = file.read_text().strip()
    if not content:
        raise OSError(f"{file.name} is empty")
    return content


def _hash_password(password: str) -> str:
    return generate_password_hash(password)


def _is_text(secret: str) -> bool:
    """Whether it can be encoded: JSON can contain halves of surrogate pairs."""
    return not any("\ud800" <= character <= "\udfff" for character in secret)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
