"""Who a bearer token belongs to: the operator, or the holder of a named token."""

import time
from collections.abc import Callable

from . import credentials, tokens
from .credentials import OPERATOR, Caller, Credentials
from .tokens import Token

# A revoked token works for at most so long in a process that has just used it.
CACHE_SECONDS = 3.0


class BearerTokens:
    """Knows the tokens that this process has lately found in the database.  Threads share it.

    `clock` is monotonic, in seconds.
    """

    def __init__(self, known: Credentials, clock: Callable[[], float] = time.monotonic) -> None:
        self._credentials = known
        self._clock = clock
        self._found: dict[str, tuple[float, Token]] = {}  # by digest: when it was read, and what
        self._uses: dict[str, float] = {}  # by name: when the last use was to be stored

    def caller(self, authorization: str) -> Caller | None:
        """Who sends an `Authorization` header; None for nobody, or an expired or revoked token.

        The operator is recognised without the database.  Raises the errors of a database.
        """
        if self._credentials.is_operator(authorization):
            return OPERATOR
        secret = credentials.bearer_token(authorization)
        if not secret.startswith(credentials.PREFIX):
            return None
        token = self._token(credentials.digest(secret))
        return token.caller if token and token.is_valid else None

    def known_caller(self, authorization: str) -> Caller | None:
        """The same without the database: the operator, or the holder of a token that was just read, and of
        which no use has to be stored.
        """
        if self._credentials.is_operator(authorization):
            return OPERATOR
        secret = credentials.bearer_token(authorization)
        token = self._cached(credentials.digest(secret)) if secret.startswith(credentials.PREFIX) else None
        return token.caller if token and token.is_valid and not self._is_due(token.name) else None

    def use_is_due(self, name: str) -> bool:
        """Whether to store that a token is used: yes, once in a while."""
        if not self._is_due(name):
            return False
        self._uses[name] = self._clock()
        return True

    def _is_due(self, name: str) -> bool:
        return self._clock() - self._uses.get(name, float("-inf")) >= tokens.USE_SECONDS

    def _token(self, digest: str) -> Token | None:
        cached = self._cached(digest)
        if cached is not None:
            return cached
        now = self._clock()  # from before it is read: it may be revoked right after
        found = tokens.find(digest)
        if found is None:
            self._found.pop(digest, None)
        else:
            self._found[digest] = now, found
        return found

    def _cached(self, digest: str) -> Token | None:
        read_at, token = self._found.get(digest, (float("-inf"), None))
        return token if self._clock() - read_at < CACHE_SECONDS else None
