"""The owner's password, the operator's token, and what callers may do.

A secret that is not set is generated on first start and stored in the instance folder, in a file that only
its owner can read: the password and the token as hashes, the key that signs cookies as it is.
Named tokens are in the database: see `tokens.py`.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from . import private_files

# What a caller may do: read the totals, maintain them; write, read and erase records.
FIGURES, MAINTAIN, WRITE, READ, ERASE = SCOPES = ("figures", "maintain", "write", "read", "erase")

# Scopes for records: a token with no others may be restricted to one connection.
OF_RECORDS = frozenset({WRITE, READ, ERASE})
# Tokens begin with it, so that programs which search files for secrets find them.
PREFIX = "pdpp_"
OPERATOR_FILE = "operator_token.hash"
OWNER_FILE = "owner_password.hash"


@dataclass(frozen=True)
class Caller:
    """`connection`: the only one whose records the caller may touch; None for all.

    `token`: the name of the token, if it has one.
    """

    scopes: frozenset[str]
    connection: str | None = None
    token: str | None = None


OWNER = Caller(frozenset(SCOPES))
# It is in the configuration of a monitoring system or a connector, so it can't read records.
OPERATOR = Caller(frozenset({FIGURES, MAINTAIN, WRITE}))


@dataclass(frozen=True)
class Credentials:
    """Checks secrets in constant time."""

    secret_key: str = field(repr=False)
    new_secrets: dict[str, str] = field(repr=False)  # by name, to be shown once
    _password: Callable[[], str] = field(repr=False)
    _password_is_hashed: bool
    _token_digest: Callable[[], str] = field(repr=False)

    def is_owner(self, password: str) -> bool:
        if not _is_text(password):
            return False
        if self._password_is_hashed:
            from werkzeug.security import check_password_hash  # commands start without it

            return check_password_hash(self._password(), password)
        return hmac.compare_digest(digest(password), digest(self._password()))

    def is_operator(self, authorization: str) -> bool:
        """Whether an `Authorization` header has the operator's token."""
        return hmac.compare_digest(digest(bearer_token(authorization)), self._token_digest())

    @property
    def session_fingerprint(self) -> str:
        """Stored in each session.  It changes with the password, which ends older sessions."""
        return _fingerprint(self.secret_key, self._password())

    @property
    def form_token(self) -> str:
        """The secret of all forms of the owner's pages.  It changes with the password, as sessions end."""
        return _fingerprint(self.secret_key, "forms " + self.session_fingerprint)


def load(folder: Path, *, password: str = "", token: str = "", secret_key: str = "") -> Credentials:
    """The credentials that are set, or stored in `folder`, or generated now and stored there.

    Raises OSError if the folder can't be read or written.
    """
    new: dict[str, str] = {}
    known = _owner(folder, password, new)
    key = secret_key or _stored(folder / "secret_key", str, "key", {})
    return Credentials(key, new, known, not password, _operator(folder, token, new))


def renew_owner_password(folder: Path) -> str:
    """Replace the owner's password that is stored in `folder`.  Returns the new one.  Raises OSError.

    Running servers use it from then on, and all sessions end.
    """
    secret = _new_secret()
    private_files.replace(folder / OWNER_FILE, _hash_password(secret))
    return secret


def rotate_operator_token(folder: Path) -> str:
    """Replace the operator's token that is stored in `folder`.  Returns the new one.  Raises OSError.

    Running servers use it from then on.
    """
    secret = new_token()
    private_files.replace(folder / OPERATOR_FILE, digest(secret))
    return secret


def new_token() -> str:
    """160 random bits."""
    return PREFIX + secrets.token_hex(20)


def bearer_token(authorization: str) -> str:
    """The token in an `Authorization` header; empty if it has none."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def digest(text: str) -> str:
    """SHA-256, in hex.  Texts are compared by it, so the time that takes says nothing about them."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


class _ReplacedFile:
    """The content of a file that others may replace.  If it is gone, the last content still counts."""

    def __init__(self, file: Path, content: str) -> None:
        self._file, self._content = file, content
        self._identity: tuple[int, int] | None = None

    def __call__(self) -> str:
        with suppress(OSError):
            status = self._file.stat()
            if (identity := (status.st_ino, status.st_mtime_ns)) != self._identity:
                self._content = self._file.read_text().strip() or self._content
                self._identity = identity
        return self._content


def _owner(folder: Path, password: str, new: dict[str, str]) -> Callable[[], str]:
    """A function that returns the owner's password, or its hash if it is stored."""
    if password:
        return lambda: password
    file = folder / OWNER_FILE
    return _ReplacedFile(file, _stored(file, _hash_password, "owner password", new))


def _operator(folder: Path, token: str, new: dict[str, str]) -> Callable[[], str]:
    """A function that returns the digest of the operator's token."""
    if token:
        given = digest(token)
        return lambda: given
    file = folder / OPERATOR_FILE
    return _ReplacedFile(file, _stored(file, digest, "operator token", new, new_token))


@lru_cache(maxsize=4)
def _fingerprint(secret_key: str, text: str) -> str:
    return hmac.new(secret_key.encode(), text.encode(), hashlib.sha256).hexdigest()[:32]


def _new_secret() -> str:
    return secrets.token_urlsafe(18)


def _stored(
    file: Path,
    encode: Callable[[str], str],
    name: str,
    new: dict[str, str],
    make: Callable[[], str] = _new_secret,
) -> str:
    """The content of a file.  If it does not exist, a new secret is stored in it and added to `new`.

    The file appears complete or not at all: if several programs start at once, one of them writes it and
    the others read it, and a crash leaves no part of it.
    """
    if not file.exists():
        secret = make()
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
    from werkzeug.security import generate_password_hash  # commands start without it

    return generate_password_hash(password)


def _is_text(secret: str) -> bool:
    """Whether it can be encoded: JSON can contain halves of surrogate pairs."""
    return not any("\ud800" <= character <= "\udfff" for character in secret)
