"""Who may see the figures: the owner's password and the operator's token.

What is not set is made up on first start and kept in the instance folder, readable by its owner
alone: the password and the token as hashes, the cookie-signing key as it is.
"""

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from werkzeug.security import check_password_hash, generate_password_hash


@dataclass(frozen=True)
class Credentials:
    """Checks secrets in constant time.  `news` are the ones just made up, to be shown once."""

    secret_key: str
    news: dict[str, str]
    _password: str
    _password_is_hashed: bool
    _token_digest: str

    def is_owner(self, password: str) -> bool:
        if self._password_is_hashed:
            return check_password_hash(self._password, password)
        return hmac.compare_digest(_digest(password), _digest(self._password))

    def is_operator(self, token: str) -> bool:
        return hmac.compare_digest(_digest(token), self._token_digest)

    @property
    def session_mark(self) -> str:
        """What a session holds; it changes with the password, so that old sessions end."""
        key = self.secret_key.encode()
        return hmac.new(key, self._password.encode(), hashlib.sha256).hexdigest()[:32]


def load(folder: Path, *, password: str = "", token: str = "", secret_key: str = "") -> Credentials:
    """The credentials that are set, or kept in `folder`, or made up now and kept there."""
    news: dict[str, str] = {}
    hashed = password or _kept(folder / "owner_password.hash", _hash_password, "password", news)
    digest = _digest(token) if token else _kept(folder / "operator_token.hash", _digest, "token", news)
    key = secret_key or _kept(folder / "secret_key", str, "key", {})
    return Credentials(key, news, hashed, not password, digest)


def _kept(file: Path, store: type[str] | object, name: str, news: dict[str, str]) -> str:
    """The content of a file; if there is none, a new secret is stored in it and told in `news`."""
    assert callable(store)
    fresh = secrets.token_urlsafe(18)
    try:
        # Created with its content already limited to the owner; a second process loses and reads.
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return file.read_text().strip()
    with os.fdopen(descriptor, "w") as out:
        content: str = store(fresh)
        out.write(content)
    news[name] = fresh
    return content


def _hash_password(password: str) -> str:
    return generate_password_hash(password)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
