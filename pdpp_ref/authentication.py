"""Who a bearer token belongs to: the operator, or the holder of a named token."""

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from . import credentials, tokens
from .credentials import OPERATOR, Caller, Credentials
from .database import Busy, db
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
        self._looking = threading.Lock()

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

    def caller_within(self, seconds: float, authorization: str) -> Caller | None:
        """The same for a thread that must not wait for the database.

        Raises Busy if that takes longer, and while such a look-up still waits; else as above.
        """
        if not self._needs_database(authorization):
            return self.caller(authorization)
        if not self._looking.acquire(blocking=False):
            raise Busy
        answer: SimpleQueue[Caller | Exception | None] = SimpleQueue()
        threading.Thread(target=self._answer, args=(authorization, answer), daemon=True).start()
        try:
            found = answer.get(timeout=seconds)
        except Empty:
            raise Busy from None
        if isinstance(found, Exception):
            raise found
        return found

    def use_is_due(self, name: str) -> bool:
        """Whether to store that a token is used: yes, once in a while."""
        now = self._clock()
        if now - self._uses.get(name, float("-inf")) < tokens.USE_SECONDS:
            return False
        self._uses[name] = now
        return True

    def _answer(self, authorization: str, answer: SimpleQueue[Caller | Exception | None]) -> None:
        found: Caller | Exception | None
        try:
            found = self.caller(authorization)
        except Exception as error:
            found = error
        finally:
            db.close()  # this thread's connection
            self._looking.release()
        answer.put(found)

    def _needs_database(self, authorization: str) -> bool:
        secret = credentials.bearer_token(authorization)
        return (
            secret.startswith(credentials.PREFIX)
            and not self._credentials.is_operator(authorization)
            and self._cached(credentials.digest(secret)) is None
        )

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
