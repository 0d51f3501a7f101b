"""One read answers all who asked before it began."""

import asyncio
import threading
from collections.abc import Coroutine
from itertools import count
from typing import Any

import pytest

from pdpp_ref.server.shared_reads import SharedReads

Answers = list[int | BaseException | None]


class Database:
    """Each read returns its number, once it may end."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self.begun, self.may_end = threading.Semaphore(0), threading.Semaphore(0)

    def read(self) -> int:
        number = next(self._numbers)
        self.begun.release()
        assert self.may_end.acquire(timeout=60)
        return number


@pytest.fixture
def database() -> Database:
    return Database()


def run(main: Coroutine[Any, Any, Answers]) -> Answers:
    return asyncio.run(asyncio.wait_for(main, 60))


def test_all_who_ask_before_a_read_begins_share_it(database: Database) -> None:
    async def main() -> Answers:
        shared = SharedReads(database.read)
        asked = [asyncio.create_task(shared.read()) for _ in range(3)]
        await asyncio.to_thread(database.begun.acquire)
        # The first read may already have seen the data, so these need another one.
        asked += [asyncio.create_task(shared.read()) for _ in range(3)]
        await asyncio.sleep(0)
        database.may_end.release(2)
        return list(await asyncio.gather(*asked))

    assert run(main()) == [1, 1, 1, 2, 2, 2]


def test_who_leaves_takes_the_answer_from_nobody(database: Database) -> None:
    async def main() -> Answers:
        shared = SharedReads(database.read)
        leaves, stays = [asyncio.create_task(shared.read()) for _ in range(2)]
        await asyncio.to_thread(database.begun.acquire)
        leaves.cancel()
        database.may_end.release()
        return list(await asyncio.gather(leaves, stays, return_exceptions=True))

    left, answer = run(main())
    assert (type(left), answer) == (asyncio.CancelledError, 1)


def test_a_read_that_fails_is_not_the_end() -> None:
    numbers = count()

    async def main() -> Answers:
        shared = SharedReads(lambda: 1 // next(numbers))
        return [await shared.read(), await shared.read()]

    assert run(main()) == [None, 1]


def test_behind_a_late_read_nobody_waits(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdpp_ref.server.shared_reads.LATE_SECONDS", 0.05)

    async def main() -> Answers:
        shared = SharedReads(database.read)
        first = asyncio.create_task(shared.read())
        await asyncio.to_thread(database.begun.acquire)
        second = asyncio.create_task(shared.read())
        answers = [await first, await second, await shared.read()]
        database.may_end.release(2)
        while (answer := await shared.read()) is None:
            await asyncio.sleep(0.01)
        return [*answers, answer]

    assert run(main()) == [None, None, None, 2]
