"""Lines that are read while there is a commit are the same, in the same order."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import pytest

from pdpp_ref.canonical import read_ahead
from pdpp_ref.canonical.read_ahead import Read, ReadAhead, messages
from pdpp_ref.parsing.json_lines import Rejected
from pdpp_ref.parsing.messages import Change, Reader

LINES = [b"%d" % number for number in range(1_000)]


class Source:
    """Yields lines, notes the threads that ask for them, and may fail after the last."""

    def __init__(self, lines: list[bytes], failure: Exception | None = None) -> None:
        self.threads: list[str] = []
        self.given = 0
        self._lines = lines
        self._failure = failure

    def __iter__(self) -> Iterator[Read]:
        for line in self._lines:
            self.threads.append(threading.current_thread().name)
            self.given += 1
            yield line, None
        if self._failure:
            raise self._failure


@pytest.fixture
def commit(monkeypatch: pytest.MonkeyPatch) -> Callable[[], AbstractContextManager[None]]:
    """What surrounds a commit."""
    entered: list[Callable[[], AbstractContextManager[None]]] = []

    def around(given: Callable[[], AbstractContextManager[None]]) -> AbstractContextManager[None]:
        entered.append(given)
        return nullcontext()

    monkeypatch.setattr(read_ahead, "around_commits", around)
    return lambda: entered[-1]()


def wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.001)


def test_what_is_read_during_commits_comes_in_order(
    commit: Callable[[], AbstractContextManager[None]],
) -> None:
    source = Source(LINES)
    with ReadAhead(iter(source), 10, 1_000).running() as read:
        found = [next(read)[0]]
        for _ in range(20):
            before = source.given
            with commit():
                wait_until(lambda before=before: source.given == before + 10)
            found += [next(read)[0] for _ in range(15)]
        found += [line for line, _ in read]
    assert found == LINES
    assert source.threads.count("read ahead") == 200


def test_no_more_bytes_are_read_than_allowed_and_one_line(
    commit: Callable[[], AbstractContextManager[None]],
) -> None:
    source = Source([b"x" * 40] * 10)
    with ReadAhead(iter(source), 100, 100).running() as read:
        with commit():
            wait_until(lambda: source.given == 3)
            time.sleep(0.05)
        assert source.given == 3
        assert len(list(read)) == 10


def test_the_importer_may_forbid_it(commit: Callable[[], AbstractContextManager[None]]) -> None:
    source = Source(LINES)
    ahead = ReadAhead(iter(source), 100, 100)
    with ahead.running() as read:
        ahead.is_allowed = False
        with commit():
            time.sleep(0.05)
        assert source.given == 0
        assert len(list(read)) == len(LINES)


def test_nothing_is_read_before_what_was_read_is_used(
    commit: Callable[[], AbstractContextManager[None]],
) -> None:
    source = Source(LINES)
    with ReadAhead(iter(source), 10, 1_000).running() as read:
        with commit():
            wait_until(lambda: source.given == 10)
        next(read)
        with commit():
            time.sleep(0.05)
        assert source.given == 10


def test_a_failure_of_the_source_comes_after_what_it_gave(
    commit: Callable[[], AbstractContextManager[None]],
) -> None:
    source = Source(LINES[:5], OSError("gone"))
    found = []
    with ReadAhead(iter(source), 10, 1_000).running() as read:
        with commit():
            wait_until(lambda: source.given == 5)
            time.sleep(0.05)
        with pytest.raises(OSError, match="gone"):
            found.extend(line for line, _ in read)
    assert found == LINES[:5]


def test_each_line_comes_with_its_message_or_the_reason_why_it_has_none() -> None:
    lines = [None, b'\xef\xbb\xbf{"stream":"s","key":"a","data":{}}', b"", b"{", None]
    (idle, first, blank, broken, last) = messages(lines, Reader())
    assert idle == last == (None, None)
    assert isinstance(first[1], Change)
    assert blank == (b"", None)
    assert isinstance(broken[1], Rejected)
