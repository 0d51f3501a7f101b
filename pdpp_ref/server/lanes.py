"""Who may use the threads: requests that write can't take those of requests that read.

A request waits for its turn without a thread, and not for long.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

from ..lane_use import LaneUse
from .refusals import Refused

WAIT_SECONDS = 4.0
READS, WRITES, STREAMS = 8, 6, 24

SAFE = ("GET", "HEAD", "OPTIONS")


class _Lane(asyncio.Semaphore):
    """Counts who is in it."""

    def __init__(self, name: str, places: int, use: LaneUse) -> None:
        super().__init__(places)
        self._name, self._use = name, use

    async def acquire(self) -> Literal[True]:
        await super().acquire()
        self._use.add(self._name, 1)
        return True

    def release(self) -> None:
        self._use.add(self._name, -1)
        super().release()


class Lanes:
    """Of one process."""

    def __init__(self, use: LaneUse) -> None:
        use.begin()
        self._reads = _Lane("reads", READS, use)
        self._writes = _Lane("writes", WRITES, use)
        self._streams = _Lane("streams", STREAMS, use)

    @asynccontextmanager
    async def enter(self, scope: Any) -> AsyncIterator["Place"]:
        """A place in the request's lane, for as long as the block runs.  Raises Refused."""
        is_write = scope["method"] not in SAFE and not scope["raw_path"].startswith(b"/owner/")
        place = Place(self._writes if is_write else self._reads, self._streams)
        await place.take()
        try:
            yield place
        finally:
            place.give_back()


class Place:
    """A request's place in a lane; `leave` changes it for one among responses that are made while sent."""

    def __init__(self, lane: asyncio.Semaphore, streams: asyncio.Semaphore) -> None:
        self._lane, self._streams = lane, streams

    async def take(self) -> None:
        if not self._lane.locked():
            await self._lane.acquire()
            return
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._lane.acquire()
        except TimeoutError:
            raise Refused("server_busy") from None

    async def leave(self) -> None:
        """Raises Refused if too many are made while they are sent."""
        if self._streams.locked():
            raise Refused("server_busy")
        await self._streams.acquire()
        self._lane.release()
        self._lane = self._streams

    def give_back(self) -> None:
        self._lane.release()
