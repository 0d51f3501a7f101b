"""State that all worker processes of a server share.

It is made before they are forked, lives in memory alone, and so is there when a disk is full.
"""

import fcntl
import mmap
import os
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import msgspec

from .config import MOST_WORKERS

SIZE_BYTES = 8

T = TypeVar("T")


class _Process:
    number = 0


def be_process(number: int) -> None:
    """Call it in a worker process.  Its number is below MOST_WORKERS, and that of the one it replaces."""
    _Process.number = number


class SharedNumbers:
    """So many numbers for each process.  A process changes its own and reads everybody's."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._all: Any = memoryview(mmap.mmap(-1, MOST_WORKERS * count * 8)).cast("d")
        self._lock = threading.Lock()

    def add(self, amounts: dict[int, float]) -> None:
        """Add to this process's numbers, by their index."""
        start = _Process.number * self._count
        with self._lock:
            for index, amount in amounts.items():
                self._all[start + index] += amount

    def set(self, values: dict[int, float]) -> None:
        """Set this process's numbers, by their index."""
        start = _Process.number * self._count
        for index, value in values.items():
            self._all[start + index] = value

    def of_each(self, first: int, step: int = 1, count: int = 1) -> list[list[float]]:
        """`count` numbers from the index `first` on, in steps, of each process; zeros if it never ran."""
        starts = range(first, len(self._all), self._count)
        return [self._all[start : start + step * count : step].tolist() for start in starts]


class SharedValue(Generic[T]):
    """One value of a type that msgspec stores.  `lost` makes it, also after a process died writing."""

    def __init__(self, kind: type[T], lost: Any, size: int) -> None:
        self._memory = mmap.mmap(-1, size)
        self._decoder = msgspec.json.Decoder(kind)
        self._lost = lost
        self._threads = threading.Lock()
        # The system releases a lock of this file if the process dies.
        self._file = _unnamed_file()
        weakref.finalize(self, os.close, self._file)
        self._room = size - SIZE_BYTES

    def read(self) -> T:
        with self._locked():
            return self._load()

    @contextmanager
    def changing(self) -> Iterator[T]:
        """The value, to be changed in the block.  Others wait.  Raises ValueError if it gets too large."""
        with self._locked():
            value = self._load()
            yield value
            text = msgspec.json.encode(value)
            if len(text) > self._room:
                raise ValueError("too large for its memory")
            self._memory[:SIZE_BYTES] = bytes(SIZE_BYTES)
            self._memory[SIZE_BYTES : SIZE_BYTES + len(text)] = text
            self._memory[:SIZE_BYTES] = len(text).to_bytes(SIZE_BYTES, "big")

    def _load(self) -> T:
        size = int.from_bytes(self._memory[:SIZE_BYTES], "big")
        if not size:
            made: T = self._lost()
            return made
        return self._decoder.decode(self._memory[SIZE_BYTES : SIZE_BYTES + size])

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._threads:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)


def _unnamed_file() -> int:
    """A descriptor of an empty file, which takes no space of a disk where the system allows it."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("pdpp-ref")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
