"""Who may use the threads: requests that write can't take those of requests that read.

A request waits for its turn without a thread, and not for long.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

from ..lane_use import LaneUse
from .refusals import Refused

WAIT_SECONDS = 4.0
READS, WRITES, STREAMS, PROBES = 8, 6, 24, 4

SAFE = ("GET", "HEAD", "OPTIONS")
HEALTH = (b"/healthz", b"/readyz")


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
        self._probes = _Lane("probes", PROBES, use)

    @asynccontextmanager
    async def enter(self, scope: Any) -> AsyncIterator["Place"]:
        """A place in the request's lane, for as long as the block runs.  Raises Refused."""
        place = Place(self._lane(scope["method"], scope["raw_path"]), self._streams)
        await place.take()
        try:
            yield place
        finally:
            place.give_back()

    def _lane(self, method: str, path: bytes) -> asyncio.Semaphore:
        if path in HEALTH:
            return self._probes
        is_read = method in SAFE or path.startswith(b"/owner/")
        return self._reads if is_read else self._writes


class Place:
    """A request's place in a lane; `leave` changes it for one among responses that are made while sent.

    `waited` is for how many seconds the request waited for it.
    """

    waited = 0.0

    def __init__(self, lane: asyncio.Semaphore, streams: asyncio.Semaphore) -> None:
        self._lane, self._streams = lane, streams

    async def take(self) -> None:
        if not self._lane.locked():
            await self._lane.acquire()
            return
        began = time.monotonic()
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._lane.acquire()
        except TimeoutError:
            raise Refused("server_busy") from None
        self.waited = time.monotonic() - began

    async def leave(self) -> None:
        """Raises Refused if too many are made while they are sent."""
        if self._streams.locked():
            raise Refused("server_busy")
        await self._streams.acquire()
        self._lane.release()
        self._lane = self._streams

    def give_back(self) -> None:
        self._lane.release()
