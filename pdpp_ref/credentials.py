"""Who may see the figures: the owner's password and the operator's token.

What is not set is made up on first start and kept in the instance folder, readable by its owner
alone: the password and the token as hashes, the cookie-signing key as it is.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from werkzeug.security import check_password_hash, generate_password_hash

from . import private_files


@dataclass(frozen=True)
class Credentials:
    """Checks secrets in constant time.  `news` are the ones just made up, to be shown once."""

    secret_key: str
    news: dict[str, str]
    _password: str
    _password_is_hashed: bool
    _token_digest: str

    def is_owner(self, password: str) -> bool:
        if not _is_text(password):
            return False
        if self._password_is_hashed:
            return check_password_hash(self._password, password)
        return hmac.compare_digest(_digest(password), _digest(self._password))

    def is_operator(self, authorization: str) -> bool:
        """Whether an `Authorization` header holds the operator's token."""
        scheme, _, token = authorization.partition(" ")
        right = hmac.compare_digest(_digest(token.strip()), self._token_digest)
        return right and scheme.lower() == "bearer"

    @property
    def session_fingerprint(self) -> str:
        """What a session holds; it changes with the password, so that old sessions end."""
        key = self.secret_key.encode()
        return hmac.new(key, self._password.encode(), hashlib.sha256).hexdigest()[:32]


def load(folder: Path, *, password: str = "", token: str = "", secret_key: str = "") -> Credentials:
    """The credentials that are set, or kept in `folder`, or made up now and kept there.

    Raises OSError where the folder can't be read or written.
    """
    news: dict[str, str] = {}
    hashed = password or _kept(folder / "owner_password.hash", _hash_password, "password", news)
    digest = _digest(token) if token else _kept(folder / "operator_token.hash", _digest, "token", news)
    key = secret_key or _kept(folder / "secret_key", str, "key", {})
    return Credentials(key, news, hashed, not password, digest)


def _kept(file: Path, store: Callable[[str], str], name: str, news: dict[str, str]) -> str:
    """The content of a file; if there is none, a new secret is stored in it and told in `news`.

    The file appears complete or not at all: of programs that start at once, all but one read what
    the one has written, and a crash leaves nothing half done.
    """
    if not file.exists():
        fresh = secrets.token_urlsafe(18)
        try:
            with private_files.whole(file) as part:
                part.write_text(store(fresh))
            news[name] = fresh
        except FileExistsError:  # another program's, made this moment
            pass
    private_files.close_to_others(file)
    content = file.read_text().strip()
    if not content:
        raise OSError(f"{file.name} is empty")
    return content


def _hash_password(password: str) -> str:
    return generate_password_hash(password)


def _is_text(secret: str) -> bool:
    """Whether it can be encoded: JSON can bring in halves of surrogate pairs."""
    return not any("\ud800" <= character <= "\udfff" for character in secret)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
