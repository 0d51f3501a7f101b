"""Reads the lines of an import, some of them while SQLite commits earlier ones.

A commit writes and syncs files, and meanwhile Python's interpreter lock is free: another thread can read.
At any other time the two threads would take turns, which costs more than it saves.
"""

import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ..database import around_commits
from ..parsing.json_lines import BYTE_ORDER_MARK
from ..parsing.lines import Broken, Line, LineTooLong
from ..parsing.messages import Message, Reader

# After a commit, the importer waits for at most so long until the other thread lets it have the lock.
SWITCH_SECONDS = 0.0005

# A line, None if the source is idle, and its message; or why it has none, or None if it is blank.
Read = tuple[Line | None, Message | Exception | None]


def messages(lines: Iterable[Line | None], reader: Reader) -> Iterator[Read]:
    read, is_first = reader.read, True
    for line in lines:
        message: Message | Exception | None = None
        if isinstance(line, bytes):
            if is_first:
                line, is_first = line.removeprefix(BYTE_ORDER_MARK), False
            if line and not line.isspace():
                try:
                    message = read(line)
                except Exception as reason:
                    message = reason
        elif line is not None:
            is_first = False
        yield line, message


def size_of(line: Line | None) -> int:
    """Its bytes in memory or in a file."""
    line = line.raw if isinstance(line, Broken) else line
    return line.size if isinstance(line, LineTooLong) else len(line or b"")


class ReadAhead:
    """Passes on what a source reads; that must not depend on what becomes of earlier lines.

    During a commit the thread reads up to `most_lines`, and no more than `most_bytes` and one line.  The
    importer may forbid it for its next commit: `is_allowed`.
    """

    def __init__(self, source: Iterator[Read], most_lines: int, most_bytes: int) -> None:
        self.is_allowed = True
        self._source = source
        self._most_lines, self._most_bytes = most_lines, most_bytes
        self._read: deque[Read] = deque()
        self._failure: Exception | None = None  # the source's, after what was read
        self._reading = threading.Lock()  # held by whoever asks the source
        self._wanted = threading.Event()
        self._is_committing = False
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="read ahead", daemon=True)

    @contextmanager
    def running(self) -> Iterator[Iterator[Read]]:
        """All of it, in order."""
        interval = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)
        self._thread.start()
        try:
            with around_commits(self._committing):
                yield self._items()
        finally:
            sys.setswitchinterval(interval)
            self._is_closed = True
            self._wanted.set()
            self._thread.join()

    @contextmanager
    def _committing(self) -> Iterator[None]:
        self._is_committing = True
        if self.is_allowed and not self._read:
            self._wanted.set()
        try:
            yield
        finally:
            self._is_committing = False

    def _items(self) -> Iterator[Read]:
        while self._read or self._read_next():
            yield self._read.popleft()
        if self._failure is not None:
            raise self._failure

    def _read_next(self) -> bool:
        with self._reading:
            # The thread may have read some while this waited for it.
            return bool(self._read) or self._read_one() is not None

    def _read_one(self) -> Read | None:
        """None at the end."""
        if self._failure is not None:
            return None
        try:
            item = next(self._source, None)
        except Exception as failure:
            self._failure = failure
            return None
        if item is not None:
            self._read.append(item)
        return item

    def _work(self) -> None:
        while self._wanted.wait() and not self._is_closed:
            self._wanted.clear()
            with self._reading:
                self._read_some()

    def _read_some(self) -> None:
        size = 0
        for _ in range(self._most_lines):
            if not self._is_committing or size > self._most_bytes:
                return
            item = self._read_one()
            if item is None:
                return
            size += size_of(item[0])
