"""Lines of a file, a pipe or a request, in flat memory."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, NamedTuple

from ..descriptors import can_read
from . import unpacking
from .json_lines import MAX_LINE_BYTES

READ_BYTES = 256 * 1024
# If a source is silent for this long, the lines so far are made durable.
IDLE_SECONDS = 0.2


class LineTooLong:
    """A line over the limit: its start, and all of it in a file if there is one."""

    START_BYTES = 4096

    def __init__(self, spool: BinaryIO | None = None) -> None:
        self.start = b""
        self.size = 0
        self._spool = spool

    def add(self, part: bytes) -> None:
        self.start += part[: self.START_BYTES - len(self.start)]
        self.size += len(part)
        if self._spool is not None:
            self._spool.write(part)

    def parts(self, size: int) -> Iterator[bytes]:
        """All of it, or its start if there is no file, in parts of this size; then the file is deleted."""
        if self._spool is None:
            yield from (self.start[at : at + size] for at in range(0, len(self.start), size))
            return
        with self._spool as file:
            file.seek(0)
            yield from iter(lambda: file.read(size), b"")


class Broken(NamedTuple):
    """The end of damaged input; `raw` is the beginning of the line that it cuts off."""

    code: str
    reason: str
    raw: "bytes | LineTooLong"


Line = bytes | LineTooLong | Broken
Spool = Callable[[], BinaryIO]


def read_lines(
    descriptor: int, spool: Spool | None = None, most: int = MAX_LINE_BYTES
) -> Iterator[Line | None]:
    """The lines of an open file, pipe or terminal, compressed or not; None whenever the source is idle.

    `spool` makes the file that holds a line over the limit, `most`.
    """
    return split_lines(unpacking.plain(_blocks(descriptor)), spool, most)


def _blocks(descriptor: int) -> Iterator[bytes | None]:
    while True:
        if not can_read(descriptor, IDLE_SECONDS):
            yield None
            continue
        try:
            block = os.read(descriptor, READ_BYTES)
        except BlockingIOError:  # another process has read it
            yield None
            continue
        except OSError as error:
            reason = f"the input can't be read any further: {error.strerror}"
            raise unpacking.Damaged("unreadable", reason) from None
        if not block:
            return
        yield block


def split_lines(
    blocks: Iterable[bytes | None], spool: Spool | None = None, most: int = MAX_LINE_BYTES
) -> Iterator[Line | None]:
    """The lines of blocks, the last with or without its end; None is passed on.

    A line over the limit is not read into memory beyond the limit.
    """
    begun = _Begun(spool, most)
    try:
        for block in blocks:
            if block is None:
                yield None
                continue
            *lines, last = block.split(b"\n")
            if lines and begun:
                yield begun.end(lines.pop(0))
            for line in lines:
                yield line if len(line) <= most else begun.end(line)
            begun.add(last)
    except unpacking.Damaged as damage:
        yield Broken(damage.code, str(damage), begun.end(b""))
        return
    if begun:
        yield begun.end(b"")


class _Begun:
    """A line whose end has not been read yet."""

    def __init__(self, spool: Spool | None, most: int) -> None:
        self._spool = spool
        self._most = most
        self._held = bytearray()
        self._long: LineTooLong | None = None

    def __bool__(self) -> bool:
        return bool(self._held) or self._long is not None

    def add(self, part: bytes) -> None:
        if self._long is not None:
            self._long.add(part)
            return
        self._held += part
        if len(self._held) > self._most:
            self._long = LineTooLong(self._spool() if self._spool else None)
            self._long.add(bytes(self._held))
            self._held.clear()

    def end(self, part: bytes) -> bytes | LineTooLong:
        self.add(part)
        ended = bytes(self._held) if self._long is None else self._long
        self._held.clear()
        self._long = None
        return ended
