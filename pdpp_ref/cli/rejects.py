"""The file that rejected lines are stored in: one JSON object per line, durable before the next STATE."""

import base64
import errno
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from ..canonical.importer import RejectedLine
from ..parsing.lines import LineTooLong
from .common import shown_name
from .errors import UsageError

START = b'{"line":'  # the beginning of each line
PART_BYTES = 3 * 64 * 1024  # a multiple of three: base64 of the parts is that of the whole
MAX_CHECKED_BYTES = 64 * 1024 * 1024


class NotWritten(Exception):
    """A rejected line could not be stored; the message says why."""


@contextmanager
def opened(path: Path | None, *others: int) -> Iterator["Rejects | None"]:
    """The file, created if it does not exist, locked by this process.  Raises UsageError.

    `others` are the descriptors of files that it must not be.  If the call turns out to be wrong, no
    new file is left.
    """
    if path is None:
        yield None
        return
    store = Rejects(path, others)
    try:
        yield store
    except UsageError:
        store.forget()
        raise
    finally:
        store.close()


class Rejects:
    """Appends to the file at `path`, which only its owner can read."""

    def __init__(self, path: Path, others: tuple[int, ...]) -> None:
        self._path = path
        self._created = False
        try:
            self._file = self._open()
            try:
                self._prepare(others)
            except BaseException:
                self.close()
                raise
        except OSError as error:
            raise UsageError(f"{self.name} can't be written: {error.strerror}") from None
        self._is_durable = True

    @property
    def name(self) -> str:
        return shown_name(self._path.name or ".")

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
        try:
            made = os.open(self._path, flags | os.O_CREAT | os.O_EXCL, 0o600)
            self._created = True
            return made
        except FileExistsError:
            # Without waiting for the other side of a named pipe.
            return os.open(self._path, flags | getattr(os, "O_NONBLOCK", 0))

    def _prepare(self, others: tuple[int, ...]) -> None:
        status = os.fstat(self._file)
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{self.name} is not an ordinary file; name another for --rejects")
        if any(os.path.samestat(status, os.fstat(other)) for other in others):
            raise UsageError(f"{self.name} is in use as input or output; name another for --rejects")
        self._lock()
        self._end_last_line(os.fstat(self._file).st_size)
        os.fchmod(self._file, 0o600)
        os.fsync(self._file)
        _make_entry_durable(self._path.parent)

    def _lock(self) -> None:
        if sys.platform == "win32":
            return
        import fcntl

        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise UsageError(f"another import writes to {self.name}; name another file") from None
            # Not every file system has locks.

    def _end_last_line(self, size: int) -> None:
        """Remove a partial line of an interrupted import.  Raises UsageError for another kind of file."""
        if not START.startswith(start := os.pread(self._file, len(START), 0)) and start:
            raise UsageError(f"{self.name} is not a rejects file; name another file for --rejects")
        end = size
        while end and os.pread(self._file, 1, end - 1) != b"\n":
            step = min(end, PART_BYTES)
            end = end - step + os.pread(self._file, step, end - step).rfind(b"\n") + 1
        if end < size and not self._is_whole(end, size):
            os.ftruncate(self._file, end)
        elif end < size:
            self._write(b"\n")

    def _is_whole(self, start: int, end: int) -> bool:
        """Whether only the line end is missing, as some editors leave it."""
        try:
            msgspec.json.decode(os.pread(self._file, min(end - start, MAX_CHECKED_BYTES), start))
        except msgspec.DecodeError:
            return False
        return True

    def add(self, line: RejectedLine) -> None:
        """Raises NotWritten, and then leaves no part of the line."""
        before = os.fstat(self._file).st_size
        try:
            self._is_durable = False
            for part in _encoded(line):
                self._write(part)
        except OSError as error:
            self._undo(before)
            raise NotWritten(error.strerror) from None
        except BaseException:
            self._undo(before)
            raise

    def _write(self, part: bytes) -> None:
        while part:
            part = part[os.write(self._file, part) :]

    def _undo(self, size: int) -> None:
        try:
            os.ftruncate(self._file, size)
        except OSError:
            return  # the next import removes it

    def make_durable(self) -> None:
        """Make all lines so far survive a power cut.  Raises NotWritten."""
        if self._is_durable:
            return
        try:
            os.fsync(self._file)
        except OSError as error:
            raise NotWritten(error.strerror) from None
        self._is_durable = True

    def spool(self) -> BinaryIO:
        """A file without a name, for a line that is too large for memory."""
        for folder in (self._path.parent, None):  # a folder in which only this file can be written
            try:
                made = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115  # closed once read
                return _Spool(made)  # type: ignore[return-value]
            except OSError as error:
                reason = error.strerror
        raise NotWritten(reason)

    def forget(self) -> None:
        """Remove the file if it is new and empty."""
        if self._created and not os.fstat(self._file).st_size:
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        os.close(self._file)


class _Spool:
    """A file whose writes fail like those of the rejects file."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, part: bytes) -> None:
        try:
            while part:
                part = part[self._file.write(part) :]
        except OSError as error:
            raise NotWritten(error.strerror) from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> Any:
        return self._file

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _make_entry_durable(folder: Path) -> None:
    try:
        entry = os.open(folder, os.O_RDONLY)
    except OSError:  # a platform on which folders can't be opened
        return
    try:
        os.fsync(entry)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(entry)


def _encoded(line: RejectedLine) -> Iterator[bytes]:
    start = START + str(line.number).encode() + b',"reason":' + msgspec.json.encode(line.reason)
    if isinstance(line.raw, LineTooLong):
        yield start + b',"base64":"'
        for part in line.raw.parts(PART_BYTES):
            yield base64.b64encode(part)
        yield b'"}\n'
        return
    try:
        yield start + b',"text":' + msgspec.json.encode(line.raw.decode()) + b"}\n"
    except UnicodeDecodeError:
        yield start + b',"base64":"' + base64.b64encode(line.raw) + b'"}\n'
