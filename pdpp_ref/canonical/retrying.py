"""Writing again what could not be written at once: what was stored after all is unchanged then."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

import peewee

from .. import signals
from ..database import PROBLEM_TEXT, Busy, db, is_exhausted, may_return, problem

TRIES_WHEN_BUSY = 5
AGAIN_SECONDS = 1.0
T = TypeVar("T")

log = logging.getLogger(__name__)


def through_outages(write: Callable[[], T], seconds: float) -> T:
    """Retry for so long while the server of the database is away, or another one takes over.

    Raises Busy or peewee.DatabaseError.
    """
    until, shown = time.monotonic() + seconds, ""
    while True:
        try:
            return _while_busy(write)
        except peewee.DatabaseError as error:
            if signals.is_requested() or time.monotonic() >= until or not may_return(error):
                raise
            if (reason := PROBLEM_TEXT[problem(error)]) != shown:
                shown = reason
                log.warning("%s; waiting for up to %d s", reason, seconds)
        db.close()  # it may be to a server that is no primary any more
        time.sleep(AGAIN_SECONDS)


def _while_busy(write: Callable[[], T]) -> T:
    """Another writer may hold the database for longer than one timeout."""
    for _ in range(TRIES_WHEN_BUSY - 1):
        try:
            return write()
        except Busy:
            if signals.is_requested() or is_exhausted():
                raise
    return write()
