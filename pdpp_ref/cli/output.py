"""Writing to standard output and standard error, even if nobody reads them any more.

Work never stops because nobody reads its progress.  Output bypasses Python's own buffers: the rest of a
buffer would be written again at exit, and its failure would change the exit code.
"""

import errno
import os
import sys
import time
from typing import TextIO

from ..descriptors import can_write

PATIENCE_SECONDS = 5.0  # for a full pipe on standard error; then the rest is dropped
PIPE_BYTES = 512  # always fits a pipe that reports room
HIDE_CURSOR, SHOW_CURSOR, ERASE_LINE = "\033[?25l", "\033[?25h", "\r\033[K"
GONE = (errno.EPIPE, errno.ECONNRESET, errno.ESHUTDOWN)


def keep_descriptors() -> None:
    """Keep 0, 1 and 2 from becoming descriptors of our files: a stray message would be written into one."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            if os.open(os.devnull, os.O_RDWR) != number:
                return


def leave() -> None:
    """Discard the rest of Python's buffers, so that it can't change the exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            try:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            except (OSError, ValueError):
                continue


# ---- standard error ----------------------------------------------------------------------------


class _Errors:
    """Standard error: its failures do not matter to the work.

    `_rest` is the rest of a line that was begun; it is written before the next line.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._gone = False
        self._patience = PATIENCE_SECONDS

    def write(self, text: str, *, wait: bool) -> None:
        """`wait` for room, up to a limit; otherwise drop the text if there is none."""
        descriptor = _descriptor(sys.stderr)
        if self._gone or descriptor is None:
            return
        data = _encoded(sys.stderr, text)
        if not wait and (self._rest or len(data) > PIPE_BYTES or not can_write(descriptor, 0)):
            return
        self._rest = self._write(descriptor, self._rest, wait)
        if not self._rest:
            left = self._write(descriptor, data, wait)
            self._rest = left if len(left) < len(data) else b""  # not a part of it was written: drop it

    def _write(self, descriptor: int, data: bytes, wait: bool) -> bytes:
        """The part that could not be written."""
        until = time.monotonic() + self._patience
        try:
            while data:
                try:
                    data = data[os.write(descriptor, data) :]
                    self._patience = PATIENCE_SECONDS
                except BlockingIOError:
                    left = until - time.monotonic()
                    if not wait or left <= 0 or not can_write(descriptor, left):
                        self._patience = 0  # until there is room again
                        break
        except OSError:
            self._gone = True
            return b""
        return data


_errors = _Errors()


def report(text: str) -> None:
    """A line on standard error that a person should see."""
    Terminal.clear()
    _errors.write(f"{text}\n", wait=True)


def mention(text: str) -> None:
    """A line on standard error that is soon followed by another: dropped if there is no room."""
    _errors.write(f"{text}\n", wait=False)


class Terminal:
    """Standard error as a file to draw on, which never fails.

    The cursor stays visible: a program that is killed or suspended could not show it again.
    """

    encoding = "utf-8"
    is_begun = False  # whether the last line has no end yet

    def write(self, text: str) -> int:
        _errors.write(text.replace(HIDE_CURSOR, "").replace(SHOW_CURSOR, ""), wait=True)
        Terminal.is_begun = not text.endswith("\n")
        return len(text)

    @staticmethod
    def clear() -> None:
        """Erase a line that was begun, so that others don't mix with it."""
        if Terminal.is_begun:
            Terminal.is_begun = False
            _errors.write(ERASE_LINE, wait=True)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return sys.stderr is not None and sys.stderr.isatty()

    def fileno(self) -> int:
        return sys.stderr.fileno()


# ---- standard output ---------------------------------------------------------------------------


class Closed(Exception):
    """The reader of standard output is gone."""


def put(text: str, encoding: str | None = None) -> None:
    """Write all of it to standard output, however slowly it is read.

    Raises Closed, or OSError if the target can't store it.
    """
    put_bytes(
        text.encode(encoding or "utf-8") if encoding or sys.stdout is None else _encoded(sys.stdout, text)
    )


def put_bytes(block: bytes) -> None:
    """The same for bytes."""
    descriptor = _descriptor(sys.stdout)
    if descriptor is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    if _STDOUT_IS_TERMINAL:
        Terminal.clear()
    data = memoryview(block)
    try:
        while data:
            try:
                data = data[os.write(descriptor, data) :]
            except BlockingIOError:
                can_write(descriptor, 1.0)
    except OSError as error:
        if error.errno in GONE or (error.errno == errno.EIO and _STDOUT_IS_TERMINAL):
            raise Closed from None
        raise


def stdout_is_terminal() -> bool:
    """Whether it was one when the command started."""
    return _STDOUT_IS_TERMINAL


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


_STDOUT_IS_TERMINAL = _is_terminal(sys.stdout)  # one that has gone no longer says that it was one


def _descriptor(stream: TextIO | None) -> int | None:
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError):
        return None


def _encoded(stream: TextIO, text: str) -> bytes:
    return text.encode(stream.encoding or "utf-8", "backslashreplace")
