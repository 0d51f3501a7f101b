"""Importing lines from a file or a pipe, in flat memory.

Lines are gathered into batches and each batch is one transaction.  A STATE is handed back only
after the batch with everything before it has committed.
"""

import os
import select
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import peewee

from ..database import PROBLEM_TEXT, Busy, problem
from . import activation, ingest
from .messages import MAX_LINE_BYTES, ActivateVersion, Change, Ignored, Reader, Rejected, State

BATCH_RECORDS = 2_000
BATCH_BYTES = 4 * 1024 * 1024
BATCH_SECONDS = 1.0
READ_BYTES = 256 * 1024
# A source that has nothing to say for this long gets what it said so far made durable.
IDLE_SECONDS = 0.2
TRIES_WHEN_BUSY = 5
IGNORED_TYPES = 20  # told by name; a source that makes them up must not fill the memory
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # what some editors put before UTF-8


class NotStored(Exception):
    """A batch could not be stored.  The message says why, and which lines are not in."""


@dataclass
class Report:
    """What became of the lines so far."""

    lines: int = 0
    rejected: int = 0
    counts: ingest.Counts = field(default_factory=ingest.Counts)
    ignored: Counter[str] = field(default_factory=Counter)


class LineTooLong:
    """Stands for a line that was over the limit and was skipped unread."""


def read_lines(descriptor: int) -> Iterator[bytes | LineTooLong | None]:
    """The lines of an open file, pipe or terminal; None whenever the source is idle."""
    return split_lines(_blocks(descriptor))


def _blocks(descriptor: int) -> Iterator[bytes | None]:
    while True:
        if not _ready(descriptor):
            yield None
        elif block := os.read(descriptor, READ_BYTES):
            yield block
        else:
            return


def split_lines(blocks: Iterable[bytes | None]) -> Iterator[bytes | LineTooLong | None]:
    """Lines of what comes in blocks, the last with or without its end; None is handed on.

    Of a line over the limit no more is kept than shows that it is.
    """
    rest = bytearray()
    for block in blocks:
        if block is None:
            yield None
            continue
        *lines, last = block.split(b"\n")
        if lines and rest:
            lines[0] = bytes(rest + lines[0])
            rest.clear()
        for line in lines:
            yield _within_limit(line)
        if len(rest) <= MAX_LINE_BYTES:
            rest += last
    if rest:
        yield _within_limit(bytes(rest))


def _within_limit(line: bytes) -> bytes | LineTooLong:
    return line if len(line) <= MAX_LINE_BYTES else LineTooLong()


def _ready(descriptor: int) -> bool:
    try:
        return bool(select.select([descriptor], [], [], IDLE_SECONDS)[0])
    except OSError:  # a platform on which only sockets can be waited for
        return True


class Importer:
    """Feeds lines to one connection.

    `on_state` gets each STATE line once it may be relied upon; `on_rejected` a line's number and
    the reason; `on_progress` the report after each batch.  `stream` is that of lines that name none.
    """

    def __init__(
        self,
        target: ingest.Target,
        on_state: Callable[[str], None],
        on_rejected: Callable[[int, str], None],
        on_progress: Callable[[Report], None] = lambda _: None,
        stream: str | None = None,
    ) -> None:
        self.report = Report()
        self._target = target
        self._on_state = on_state
        self._on_rejected = on_rejected
        self._on_progress = on_progress
        self._reader = Reader(stream)
        self._begin_batch()

    def _begin_batch(self) -> None:
        self._changes: list[Change] = []
        self._states: list[str] = []
        self._size = 0
        self._began = time.monotonic()

    def run(self, lines: Iterator[bytes | LineTooLong | None]) -> Report:
        """Take all lines.  Raises NotStored or ingest.WrongConnector; every STATE handed back holds."""
        for line in lines:
            if line is None:
                self._flush()
                continue
            self.report.lines += 1
            try:
                self._take(line)
            except Rejected as reason:
                self.report.rejected += 1
                self._on_rejected(self.report.lines, str(reason))
            if self._is_full():
                self._flush()
        self._flush()
        return self.report

    def _take(self, line: bytes | LineTooLong) -> None:
        if isinstance(line, LineTooLong):
            raise Rejected(f"longer than {MAX_LINE_BYTES:,} bytes")
        if self.report.lines == 1:
            line = line.removeprefix(BYTE_ORDER_MARK)
        if not line or line.isspace():
            return
        message = self._reader.read(line)
        if isinstance(message, Change):
            self._changes.append(message)
            self._size += len(line)
        elif isinstance(message, State):
            self._states.append(message.line)
            self._size += len(line)
        elif isinstance(message, ActivateVersion):
            self._flush()
            self._store(lambda: self._activate(message))
        elif isinstance(message, Ignored):
            known = message.type in self.report.ignored or len(self.report.ignored) < IGNORED_TYPES
            self.report.ignored[message.type if known else "of other types"] += 1

    def _activate(self, message: ActivateVersion) -> ingest.Counts:
        done = activation.activate_version(self._target, message.stream, message.version)
        return ingest.Counts(removed=done.removed)

    def _is_full(self) -> bool:
        pending = len(self._changes) + len(self._states)
        old = time.monotonic() - self._began > BATCH_SECONDS
        return pending >= BATCH_RECORDS or self._size >= BATCH_BYTES or (old and pending > 0)

    def _flush(self) -> None:
        if self._changes:
            changes = self._changes
            self._store(lambda: ingest.write(self._target, changes).counts)
        for state in self._states:
            self._on_state(state)
        self._begin_batch()

    def _store(self, write: Callable[[], ingest.Counts]) -> None:
        try:
            self.report.counts.add(_patiently(write))
        except Busy as error:
            raise NotStored(PROBLEM_TEXT["busy"]) from error
        except peewee.DatabaseError as error:
            raise NotStored(PROBLEM_TEXT[problem(error)]) from error
        self._on_progress(self.report)


def _patiently(write: Callable[[], ingest.Counts]) -> ingest.Counts:
    """Another writer may hold the database for longer than one time-out."""
    for _ in range(TRIES_WHEN_BUSY - 1):
        try:
            return write()
        except Busy:
            continue
    return write()


def looks_wrong(start: bytes) -> str | None:
    """What is wrong with a file that begins like this and can't hold JSON lines, or None."""
    kinds: Sequence[tuple[bytes, str]] = (
        (b"\x1f\x8b", "is compressed with gzip; pipe it in: gunzip -c FILE | pdpp-ref import ..."),
        (b"PK\x03\x04", "is a zip archive; unpack it first"),
        (b"\x28\xb5\x2f\xfd", "is compressed with zstd; pipe it in: zstd -dc FILE | pdpp-ref import ..."),
        (b"BZh", "is compressed with bzip2; pipe it in: bunzip2 -c FILE | pdpp-ref import ..."),
        (b"SQLite format 3", "is a database, not a file of JSON lines"),
        (b"\xff\xfe", "is UTF-16 text; convert it to UTF-8 first"),
        (b"\xfe\xff", "is UTF-16 text; convert it to UTF-8 first"),
    )
    if not start:
        return "is empty; there is nothing to import"
    return next((what for magic, what in kinds if start.startswith(magic)), None)
