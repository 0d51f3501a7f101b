"""Files that are prepared for the owner: written at disk speed, then read as slowly as a client likes.

A prepared file has no name in its folder.  It exists as long as this process has it open, so that a killed
server leaves nothing behind.
"""

import errno
import io
import logging
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hmac import compare_digest
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import peewee

from ..database import PROBLEM_TEXT, Busy, db
from ..database import problem as database_problem

WORKERS = 2
LIFETIME_SECONDS = 3600.0  # from the moment a file is ready
MAX_FILES = 16  # of them, those that are finished make room for new ones
RESERVED_BYTES = 64 * 1024 * 1024  # stay free for everything else

State = Literal["waiting", "preparing", "ready", "failed"]
Problem = Literal["full", "storage", "other"]
Progress = Callable[[int], None]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

log = logging.getLogger(__name__)


class DiskFull(Exception):
    """The file would not leave RESERVED_BYTES of its disk free."""


class TooManyFiles(Exception):
    """MAX_FILES are being prepared or wait for it."""


class Job(NamedTuple):
    """`content` identifies what is written, and `size` is about how many bytes that will be.

    `write` is called in a thread of its own.  It reports how many records it has written, of `records`,
    and returns the names of what it could not read.
    """

    content: Hashable
    name: str
    records: int
    size: int
    write: Callable[[IO[bytes], Progress], Sequence[str]]


@dataclass
class PreparedFile:
    """`owner` is a secret of the session that asked for it.

    `size` and `gaps`, what is missing, are known once it is ready.
    """

    job: Job
    owner: str
    id: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    state: State = "waiting"
    problem: Problem | None = None
    written: int = 0
    size: int = 0
    gaps: Sequence[str] = ()
    ended_at: float = 0
    file: IO[bytes] | None = None

    @property
    def is_finished(self) -> bool:
        return self.state in ("ready", "failed")


class PreparedFiles:
    """The files of this process.  `folder` is on the disk that is to have them."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._lock = threading.Condition()
        self._files: dict[str, PreparedFile] = {}
        self._waiting: deque[PreparedFile] = deque()
        self._workers = 0

    def request(self, job: Job, owner: str) -> str:
        """The id of a file that is being prepared.  Raises DiskFull and TooManyFiles.

        If the owner has asked for the same and it is not finished, it is that one's.
        """
        self.remove_expired()
        with self._lock:
            for file in self._files.values():
                if file.owner == owner and file.job.content == job.content and not file.is_finished:
                    return file.id
            self._check_space(job.size)
            self._make_room()
            file = PreparedFile(job, owner)
            self._files[file.id] = file
            self._waiting.append(file)
            if self._workers < WORKERS:
                self._workers += 1
                threading.Thread(target=self._work, name="prepare", daemon=True).start()
        return file.id

    def find(self, file_id: str, owner: str) -> PreparedFile | None:
        """The file, for the one who asked for it and until its time is up."""
        self.remove_expired()
        file = self._files.get(file_id)
        return file if file and compare_digest(file.owner.encode(), owner.encode()) else None

    def open(self, file: PreparedFile, start: int, end: int) -> "Reader | None":
        """A reader of a part of a file that is ready; None if its time was up."""
        with self._lock:
            return Reader(os.dup(file.file.fileno()), start, end) if file.file else None

    def remove_expired(self) -> None:
        with self._lock:
            ended_before = self._clock() - LIFETIME_SECONDS
            for file in [file for file in self._files.values() if file.is_finished]:
                if file.ended_at <= ended_before:
                    self._remove(file)

    def wait(self) -> None:
        """Until nothing is being prepared; for tests."""
        with self._lock:
            self._lock.wait_for(lambda: not self._workers, 60)

    def _make_room(self) -> None:
        if len(self._files) < MAX_FILES:
            return
        finished = [file for file in self._files.values() if file.is_finished]
        if not finished:
            raise TooManyFiles
        self._remove(min(finished, key=lambda file: file.ended_at))

    def _remove(self, file: PreparedFile) -> None:
        """A transfer that has begun has a descriptor of its own, and ends as it would have."""
        del self._files[file.id]
        if file.file:
            file.file.close()
            file.file = None

    def _check_space(self, size: int = 0) -> None:
        if shutil.disk_usage(self._folder).free < size + RESERVED_BYTES:
            raise DiskFull

    # ---- in a thread -----------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while file := self._next():
                self._prepare(file)
        finally:
            db.close()

    def _next(self) -> PreparedFile | None:
        with self._lock:
            if self._waiting:
                file = self._waiting.popleft()
                file.state = "preparing"
                return file
            self._workers -= 1
            self._lock.notify_all()
            return None

    def _prepare(self, file: PreparedFile) -> None:
        out: IO[bytes] | None = None
        try:
            out = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  # it stays open
            file.gaps = file.job.write(out, lambda written: self._report(file, written))
            out.flush()
            self._end(file, "ready", out)
        except Exception as error:
            log.warning("a download could not be prepared: %s", _reason(error))
            if out:
                with suppress(OSError):  # its last bytes may not fit the disk
                    out.close()
            file.problem = _problem(error)
            self._end(file, "failed", None)

    def _report(self, file: PreparedFile, written: int) -> None:
        file.written = written
        self._check_space()

    def _end(self, file: PreparedFile, state: State, out: IO[bytes] | None) -> None:
        with self._lock:
            file.file, file.ended_at = out, self._clock()
            file.size = os.fstat(out.fileno()).st_size if out else 0
            file.state = state
        # Without a request, nobody else would remove it.
        timer = threading.Timer(LIFETIME_SECONDS, self.remove_expired)
        timer.daemon = True
        timer.start()


def _problem(error: Exception) -> Problem:
    if isinstance(error, DiskFull) or (isinstance(error, OSError) and error.errno in _FULL):
        return "full"
    return "storage" if isinstance(error, Busy | peewee.DatabaseError) else "other"


def _reason(error: Exception) -> str:
    """The error's own text may have a path or personal data."""
    kind = "busy" if isinstance(error, Busy) else database_problem(error)
    return type(error).__name__ if kind == "other" else PROBLEM_TEXT[kind]


class Reader(io.RawIOBase):
    """Reads a descriptor from `start` up to `end`, and closes it; positions count from `start`.

    Raises OSError where bytes are missing: a shorter file must not look complete.
    """

    def __init__(self, descriptor: int, start: int, end: int) -> None:
        self._descriptor, self._start, self._size = descriptor, start, end - start
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + {os.SEEK_CUR: self._position, os.SEEK_END: self._size}.get(whence, 0)
        return self._position

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), max(0, self._size - self._position))
        data = os.pread(self._descriptor, wanted, self._start + self._position)
        if wanted and not data:
            raise OSError("a prepared file has lost bytes")
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()
