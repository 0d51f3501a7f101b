"""How long a thread waits for the database: for an answer, and for locks.

A request has one patience for all that it does; anybody else has a new one for each transaction.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOCK_SECONDS = 5.0
# Waits that are shorter than this don't count.
BRIEF_SECONDS = 1.0
# A further lock may take so long, however long others took.
LEAST_SECONDS = 0.3
# For one answer to a request; nobody else's is limited.
ANSWER_SECONDS = 7.0
# Between two tries of a lock that nobody passes on; the second is for whoever has waited for a while.
SOON_SECONDS, LATER_SECONDS = 0.001, 0.002
SOON_TRIES = 100


class _Patience(threading.local):
    answer_seconds: float | None = None
    waited = 0.0


_mine = _Patience()


@contextmanager
def impatient(answer_seconds: float = ANSWER_SECONDS, *, waited: float = 0.0) -> Iterator[None]:
    """For a request, which has already waited for so many seconds."""
    before = _mine.answer_seconds, _mine.waited
    _mine.answer_seconds, _mine.waited = answer_seconds, waited
    try:
        yield
    finally:
        _mine.answer_seconds, _mine.waited = before


def answer_seconds() -> float | None:
    """For how long this thread waits for one answer; None: for ever."""
    return _mine.answer_seconds


def lock_seconds() -> float:
    """For how long this thread waits for the next lock."""
    return max(LOCK_SECONDS - _mine.waited, LEAST_SECONDS)


def lock_ms() -> int:
    """The same in milliseconds, in steps, so that there are few different ones."""
    return math.ceil(lock_seconds() * 10) * 100


def asking_again(lock_ms: float) -> Callable[[int], bool]:
    """What SQLite calls as long as a lock is not free; after so many ms it gives up.

    By itself SQLite would wait up to 0.1 s between two tries: meanwhile the lock is often free, and
    somebody else takes it.
    """
    deadline = time.monotonic() + lock_ms / 1000

    def ask_again(tries: int) -> bool:
        if time.monotonic() >= deadline:
            return False
        time.sleep(SOON_SECONDS if tries < SOON_TRIES else LATER_SECONDS)
        return True

    return ask_again


def is_exhausted() -> bool:
    """Whether this is a request that has waited for locks for so long that it must not try again."""
    return _mine.answer_seconds is not None and _mine.waited >= LOCK_SECONDS - LEAST_SECONDS


def begin_transaction() -> None:
    if _mine.answer_seconds is None:
        _mine.waited = 0.0


def has_waited(seconds: float) -> None:
    """For a lock, or for something else that takes as long."""
    if seconds >= BRIEF_SECONDS:
        _mine.waited += seconds
