"""Files that are prepared for the owner: written at disk speed, then read as slowly as a client likes.

All processes of a server share them.  A prepared file has no name in its folder: it exists as long as some
process has it open, so that a killed server leaves nothing behind.  Therefore a fixed number of them is
opened before the processes are forked, and each is used again and again.
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
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from hmac import compare_digest
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import peewee
from msgspec import Struct

from ..database import PROBLEM_TEXT, Busy, db
from ..database import problem as database_problem
from ..shared_memory import SharedValue

WORKERS = 2  # of each process
LIFETIME_SECONDS = 3600.0  # from the moment a file is ready
IN_USE_SECONDS = 120.0  # after the last read; a client that takes nothing is disconnected before
TOUCH_SECONDS = 5.0
REPORT_SECONDS = 0.1
MAX_FILES = 16  # of them, those that are finished make room for new ones
MAX_GAPS = 50
MEMORY_BYTES = 1024 * 1024
RESERVED_BYTES = 64 * 1024 * 1024  # stay free for everything else

State = Literal["waiting", "preparing", "ready", "failed"]
Problem = Literal["full", "storage", "other"]
Progress = Callable[[int], None]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

log = logging.getLogger(__name__)


class DiskFull(Exception):
    """The file would not leave RESERVED_BYTES of its disk free."""


class TooManyFiles(Exception):
    """MAX_FILES are being prepared, wait for it, or are being sent."""


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


class PreparedFile(Struct):
    """What is known of a file.  `owner` is a secret of the session that asked for it.

    `process` prepares it, in the place `slot`.  `size` and `gaps`, what is missing, are known once it is
    ready.  Times are those of the clock.
    """

    id: str
    owner: str
    content: str
    name: str
    records: int
    process: int
    slot: int
    state: State = "waiting"
    problem: Problem | None = None
    written: int = 0
    size: int = 0
    gaps: Sequence[str] = ()
    ended_at: float = 0
    used_at: float = float(-IN_USE_SECONDS)

    @property
    def is_finished(self) -> bool:
        return self.state in ("ready", "failed")


Files = dict[str, PreparedFile]


class PreparedFiles:
    """The files of this server.  `folder` is on the disk that is to have them.

    `clock` is monotonic, in seconds, and the same in all processes.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._files: SharedValue[Files] = SharedValue(Files, dict, MEMORY_BYTES)
        self._slots: list[int] = []  # descriptors
        self._lock = threading.Condition()
        self._waiting: deque[tuple[PreparedFile, Job]] = deque()
        self._workers = 0

    def share(self) -> None:
        """Open the files; call it before processes are forked.  Raises OSError."""
        while len(self._slots) < MAX_FILES:
            with tempfile.TemporaryFile(dir=self._folder) as file:
                self._slots.append(os.dup(file.fileno()))
            weakref.finalize(self, os.close, self._slots[-1])

    def request(self, job: Job, owner: str) -> str:
        """The id of a file that is being prepared.  Raises DiskFull and TooManyFiles.

        If the owner has asked for the same and it is not finished, it is that one's.
        """
        self.remove_expired()
        with self._lock, self._files.changing() as files:
            for file in files.values():
                if file.owner == owner and file.content == repr(job.content) and not file.is_finished:
                    return file.id
            self._check_space(job.size)
            file = self._new(files, job, owner)
            self._waiting.append((file, job))
            if self._workers < WORKERS:
                self._workers += 1
                threading.Thread(target=self._work, name="prepare", daemon=True).start()
        return file.id

    def find(self, file_id: str, owner: str) -> PreparedFile | None:
        """The file, for the one who asked for it and until its time is up."""
        self.remove_expired()
        file = self._files.read().get(file_id)
        if file is None or self._is_expired(file):
            return None
        return file if compare_digest(file.owner.encode(), owner.encode()) else None

    def open(self, file: PreparedFile, start: int, end: int) -> "Reader | None":
        """A reader of a part of a file that is ready; None if its time was up."""
        if not self._touch(file.id):
            return None
        return Reader(os.dup(self._slots[file.slot]), start, end, lambda: self._touch(file.id))

    def clean(self) -> bool:
        """The job of housekeeping that removes files without a request.  There is never more to do."""
        self.remove_expired()
        return False

    def remove_expired(self) -> None:
        """Also end those whose process has ended."""
        if not self._files.read():
            return
        with self._files.changing() as files:
            for file in list(files.values()):
                if self._is_expired(file) and not self._is_in_use(file):
                    self._remove(files, file)
                elif not file.is_finished and not _is_running(file.process):
                    file.state, file.problem, file.ended_at = "failed", "other", self._clock()

    def wait(self) -> None:
        """Until this process prepares nothing; for tests."""
        with self._lock:
            self._lock.wait_for(lambda: not self._workers, 60)

    def _new(self, files: Files, job: Job, owner: str) -> PreparedFile:
        slot = self._free_slot(files)
        new = PreparedFile(
            id=secrets.token_urlsafe(24),
            owner=owner,
            content=repr(job.content),
            name=job.name,
            records=job.records,
            process=os.getpid(),
            slot=slot,
        )
        files[new.id] = new
        return new

    def _free_slot(self, files: Files) -> int:
        try:
            self.share()
        except OSError:
            raise DiskFull from None
        if len(files) >= MAX_FILES:
            finished = [file for file in files.values() if file.is_finished and not self._is_in_use(file)]
            if not finished:
                raise TooManyFiles
            self._remove(files, min(finished, key=lambda file: file.ended_at))
        taken = {file.slot for file in files.values()}
        return next(slot for slot in range(MAX_FILES) if slot not in taken)

    def _remove(self, files: Files, file: PreparedFile) -> None:
        del files[file.id]
        os.ftruncate(self._slots[file.slot], 0)

    def _is_expired(self, file: PreparedFile) -> bool:
        return file.is_finished and file.ended_at + LIFETIME_SECONDS <= self._clock()

    def _is_in_use(self, file: PreparedFile) -> bool:
        return file.used_at + IN_USE_SECONDS > self._clock()

    def _touch(self, file_id: str) -> bool:
        """Whether the file is still there; then it is for a while longer."""
        file = self._files.read().get(file_id)
        if file is None:
            return False
        if self._clock() - file.used_at < TOUCH_SECONDS:
            return True
        return self._change(file_id, used_at=self._clock())

    def _change(self, file_id: str, **values: Any) -> bool:
        """Whether the file was still there to be changed."""
        with self._files.changing() as files:
            file = files.get(file_id)
            for name, value in values.items() if file else ():
                setattr(file, name, value)
            return file is not None

    def _check_space(self, size: int = 0) -> None:
        if shutil.disk_usage(self._folder).free < size + RESERVED_BYTES:
            raise DiskFull

    # ---- in a thread -----------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while found := self._next():
                self._prepare(*found)
        finally:
            db.close()

    def _next(self) -> tuple[PreparedFile, Job] | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._workers -= 1
            self._lock.notify_all()
            return None

    def _prepare(self, file: PreparedFile, job: Job) -> None:
        self._change(file.id, state="preparing")
        written = _Written(self, file.id)
        slot = self._slots[file.slot]
        out: IO[bytes] | None = None
        try:
            os.lseek(slot, 0, os.SEEK_SET)
            out = open(os.dup(slot), "r+b")  # noqa: SIM115  # its last bytes may not fit the disk
            gaps = _bounded(job.write(out, written.report))
            out.flush()
            size = os.fstat(slot).st_size
            self._end(file.id, state="ready", written=written.count, gaps=gaps, size=size)
        except Exception as error:
            log.warning("a download could not be prepared: %s", _reason(error))
            self._end(file.id, state="failed", written=written.count, problem=_problem(error))
        finally:
            if out:
                with suppress(OSError):
                    out.close()

    def _end(self, file_id: str, **values: Any) -> None:
        self._change(file_id, ended_at=self._clock(), **values)


class _Written:
    """How many records of a file have been written.  Others see it a few times a second."""

    def __init__(self, files: PreparedFiles, file_id: str) -> None:
        self._files, self._id = files, file_id
        self._reported_at = float("-inf")
        self.count = 0

    def report(self, count: int) -> None:
        """Raises DiskFull."""
        self.count = count
        if time.monotonic() - self._reported_at > REPORT_SECONDS:
            self._reported_at = time.monotonic()
            self._files._change(self._id, written=count)
        self._files._check_space()


def _bounded(gaps: Sequence[str]) -> list[str]:
    more = [f"{len(gaps) - MAX_GAPS} more"] if len(gaps) > MAX_GAPS else []
    return [*gaps[:MAX_GAPS], *more]


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True


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

    `is_there` says whether the descriptor still has this file and not another.  Raises OSError where bytes
    are missing: a shorter file must not look complete.
    """

    def __init__(self, descriptor: int, start: int, end: int, is_there: Callable[[], bool]) -> None:
        self._descriptor, self._start, self._size = descriptor, start, end - start
        self._is_there = is_there
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
        # It is asked after the read: whoever takes a file away does so before it writes another.
        if wanted and (not data or not self._is_there()):
            raise OSError("a prepared file has lost bytes")
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()
