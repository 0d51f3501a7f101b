"""A worker process that holds more connections than another leaves the next one to that, if it takes it."""

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from pdpp_ref import shared_memory
from pdpp_ref.server import accepting
from pdpp_ref.server.accepting import Acceptor, Shares


class Held(asyncio.Protocol):
    """The connections of this process."""

    all: set[asyncio.BaseTransport]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.all.add(transport)


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    Held.all = set()
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found


@pytest.fixture
def shares(monkeypatch: pytest.MonkeyPatch) -> Shares:
    """Of two processes: this one, and one that holds a connection."""
    found = Shares(2)
    monkeypatch.setattr(shared_memory._Process, "number", 1)
    found.hold(1)
    monkeypatch.setattr(shared_memory._Process, "number", 0)
    return found


def run(
    listening: socket.socket, shares: Shares, clients: int, done: Callable[[], Coroutine[Any, Any, object]]
) -> int:
    """Let so many clients connect at once.  Returns how many this process holds then."""

    async def main() -> int:
        acceptor = Acceptor(listening, Held, shares, lambda: len(Held.all))
        for _ in range(clients):
            connected.append(socket.create_connection(listening.getsockname()))
        await asyncio.wait_for(done(), 60)
        acceptor.close()
        held = len(Held.all)
        for each in Held.all:
            each.close()  # type: ignore[attr-defined]
        return held

    connected: list[socket.socket] = []
    try:
        return asyncio.run(main())
    finally:
        for each in connected:
            each.close()


async def held(number: int) -> None:
    while len(Held.all) < number:
        await asyncio.sleep(0.001)


def test_what_nobody_else_takes_is_accepted(listening: socket.socket, shares: Shares) -> None:
    assert run(listening, shares, 5, lambda: held(5)) == 5


def test_the_other_process_gets_its_share(
    listening: socket.socket, shares: Shares, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "LEAVE_SECONDS", 60)

    async def others() -> None:
        await held(2)
        for _ in range(3):
            taken, _ = await asyncio.get_running_loop().run_in_executor(None, take)
            taken.close()

    def take() -> tuple[socket.socket, object]:
        with socket.socket(fileno=os.dup(listening.fileno())) as same:
            same.settimeout(60)
            return same.accept()

    assert run(listening, shares, 5, others) == 2, "one more than the other process"


def test_a_process_alone_leaves_nothing(listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "LEAVE_SECONDS", 60)
    assert run(listening, Shares(1), 5, lambda: held(5)) == 5


def test_without_a_free_descriptor_it_is_tried_again(
    shares: Shares, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Exhausted(socket.socket):
        left = 3

        def accept(self) -> tuple[socket.socket, Any]:
            self.left -= 1
            if self.left >= 0:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return super().accept()

    monkeypatch.setattr(accepting, "AGAIN_SECONDS", 0.01)
    Held.all = set()
    with Exhausted() as listening, caplog.at_level(logging.ERROR):
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        assert run(listening, shares, 2, lambda: held(2)) == 2
    assert [record.getMessage() for record in caplog.records] == [
        "no connection can be accepted: Too many open files"
    ]
