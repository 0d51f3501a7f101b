"""Reads of a database in another process, shared by all who ask at the same time."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Generic, TypeVar

from ..database import impatient

# Whoever waits longer than that for the database does it in a thread of the application.
LATE_SECONDS = 0.5
ANSWER_SECONDS = 2.0

T = TypeVar("T")


class SharedReads(Generic[T]):
    """Runs `read` in a thread, once for all who ask before it begins.

    So nobody gets what is older than their question, and many who ask cost little more than one.
    """

    def __init__(self, read: Callable[[], T | None]) -> None:
        self._read = read
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hot")
        self._next: asyncio.Task[T | None] | None = None  # it has not begun
        self._late: Future[T | None] | None = None

    async def read(self) -> T | None:
        """None if the read fails, or takes its time, and from then on until it has ended."""
        if self._late is not None and not self._late.done():
            return None
        asked = self._next
        if asked is None:
            asked = self._next = asyncio.create_task(self._ask())
        return await asyncio.shield(asked)  # one who leaves ends it for nobody else

    async def _ask(self) -> T | None:
        asked = self._thread.submit(self._begin)
        done, _ = await asyncio.wait([asyncio.wrap_future(asked)], timeout=LATE_SECONDS)
        if done:
            return asked.result()
        if asked.cancel():  # the read before it is late
            self._next = None
        else:
            self._late = asked
        return None

    def _begin(self) -> T | None:
        self._next = None
        with suppress(Exception), impatient(ANSWER_SECONDS):
            return self._read()
        return None
