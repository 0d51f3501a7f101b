"""Accepting connections so that each worker process gets its share.

All of them wait for the same sockets.  Whoever is quicker would take most connections, and keep them for as
long as their clients do: of four, often all four.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from ..shared_memory import SharedNumbers

# How long a process that has its share leaves connections to the others, which may be at work.
LEAVE_SECONDS = 0.005
# After an error, such as no free descriptor, which a connection that ends may put right.
AGAIN_SECONDS = 0.1

log = logging.getLogger(__name__)


class Shares:
    """How many connections each of the worker processes holds.  It is made before they are forked."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._held = SharedNumbers(1)

    def hold(self, connections: int) -> None:
        self._held.set({0: connections})

    def of_each(self) -> list[float]:
        return [held for (held,) in self._held.of_each(0)[: self._processes]]


class Acceptor:
    """Accepts the connections of one socket; `held` is how many this process holds."""

    def __init__(
        self,
        listening: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        shares: Shares,
        held: Callable[[], int],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listening = listening
        self._protocol = protocol
        self._shares = shares
        self._held = held
        self._beginning: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._fails = False
        # When a connection was left to others last, and since when, with which shares.
        self._left = self._left_since = float("-inf")
        self._left_at: list[float] = []
        listening.setblocking(False)
        self._listen()

    def close(self) -> None:
        if self._pause:
            self._pause.cancel()
        self._loop.remove_reader(self._listening)

    async def wait_closed(self) -> None:
        """Nothing to do."""

    def _listen(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listening, self._on_client)

    def _on_client(self) -> None:
        if self._is_left():
            os.sched_yield()  # the event loop calls this again, unless another process has accepted it
        else:
            self._accept()

    def _is_left(self) -> bool:
        """Whether to leave this connection to others.  A timer would be too coarse, and deaf meanwhile."""
        shares = self._shares.of_each()
        if self._held() + len(self._beginning) <= min(shares):
            return False
        now = time.monotonic()
        if shares != self._left_at or now - self._left > LEAVE_SECONDS:  # then this is another one
            self._left_at, self._left_since = shares, now
        self._left = now
        return now - self._left_since < LEAVE_SECONDS

    def _accept(self) -> None:
        try:
            client, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another process has accepted it, or the client has gone
        except OSError as error:
            if not self._fails:
                log.error("no connection can be accepted: %s", error.strerror)
            self._fails = True
            self._loop.remove_reader(self._listening)
            self._pause = self._loop.call_later(AGAIN_SECONDS, self._listen)
            return
        self._fails = False
        client.setblocking(False)
        task = self._loop.create_task(self._begin(client))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)
        self._shares.hold(self._held() + len(self._beginning))

    async def _begin(self, client: socket.socket) -> None:
        with suppress(OSError):  # it has gone already
            await self._loop.connect_accepted_socket(self._protocol, client)
