"""Importing lines from a file or a pipe, in flat memory.

Lines are gathered into batches, and each batch is one transaction.  A STATE is passed on only after the
batch with everything before it has committed, and none after a rejected line, unless rejected lines are
stored too.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import peewee

from .. import signals
from ..database import PROBLEM_TEXT, Busy, problem
from ..parsing.json_lines import BYTE_ORDER_MARK, InvalidKey, TooLarge
from ..parsing.lines import Broken, Line, LineTooLong
from ..parsing.messages import (
    MAX_LINE_BYTES,
    ActivateVersion,
    Change,
    Ignored,
    Message,
    Reader,
    Rejected,
    Schema,
    State,
)
from . import activation, records

BATCH_RECORDS = 2_000
BATCH_BYTES = 4 * 1024 * 1024
BATCH_SECONDS = 1.0
TRIES_WHEN_BUSY = 5
IGNORED_TYPES = 20  # reported by name; a source with endless types must not fill the memory
SKIPPED = (
    "version not activated: a line of stream {!r} was rejected since it began, so records of older "
    "versions stay; correct the source and run it again"
)


class StorageUnavailable(Exception):
    """A batch could not be stored.  The message says why, and which lines are not stored."""


class RejectedLine(NamedTuple):
    """A line that is not stored: its number, the reason, the line as received, and the reason's code."""

    number: int
    reason: str
    raw: bytes | LineTooLong
    code: str = Rejected.code


@dataclass
class Report:
    """The outcome of the lines so far.

    `first_rejected` is the number of the first rejected line; `withheld` counts the STATE lines that
    were not passed on because of it.  `broken`: the input is damaged, and ends there.
    """

    lines: int = 0
    rejected: int = 0
    counts: records.Counts = field(default_factory=records.Counts)
    ignored: Counter[str] = field(default_factory=Counter)
    first_rejected: int | None = None
    withheld: int = 0
    broken: Broken | None = None


@dataclass
class _Batch:
    """Lines that wait for the next transaction; `sources` are the number and text of each change's line.

    `rejections` have the stream and table version of each rejected line, if known; `contacts` are the
    streams that the lines mention.
    """

    changes: list[Change] = field(default_factory=list)
    sources: list[tuple[int, bytes]] = field(default_factory=list)
    states: list[tuple[int, str]] = field(default_factory=list)
    rejected: list[RejectedLine] = field(default_factory=list)
    rejections: list[records.Rejection] = field(default_factory=list)
    contacts: set[str] = field(default_factory=set)
    size: int = 0
    began: float = field(default_factory=time.monotonic)

    def is_full(self) -> bool:
        pending = len(self.changes) + len(self.states) + len(self.rejected)
        old = time.monotonic() - self.began > BATCH_SECONDS
        return pending >= BATCH_RECORDS or self.size >= BATCH_BYTES or (old and pending > 0)


class Importer:
    """Feeds lines to one connection.

    `on_state` gets each STATE line once everything before it is stored; `on_rejected` each rejected
    line, in order; `on_skipped` the number of each ACTIVATE_VERSION that was not carried out, and why;
    `on_progress` the report after each batch.  `stream` is the stream of lines that name none, and
    `time_fields` are the fields with record times (see Reader).
    `stores_rejected`: `on_rejected` stores the lines, so a STATE may be passed on after one.
    """

    def __init__(
        self,
        target: records.Target,
        on_state: Callable[[str], None],
        on_rejected: Callable[[RejectedLine], None],
        on_progress: Callable[[Report], None] = lambda _: None,
        stream: str | None = None,
        *,
        stores_rejected: bool = False,
        on_skipped: Callable[[int, str], None] = lambda *_: None,
        time_fields: Mapping[str | None, str] = {},
    ) -> None:
        self.report = Report()
        self._target = target
        self._on_state = on_state
        self._on_rejected = on_rejected
        self._on_progress = on_progress
        self._on_skipped = on_skipped
        self._stores_rejected = stores_rejected
        self._stream = stream
        self._reader = Reader(stream, time_fields)
        self._batch = self._begun_batch()

    def _begun_batch(self) -> _Batch:
        return _Batch(contacts={self._stream} if self._stream is not None else set())

    def run(self, lines: Iterable[Line | None]) -> Report:
        """Import all lines; None means that pending lines should be stored now.

        Raises StorageUnavailable or ConnectorMismatch; STATE lines that were already passed on stay valid.
        """
        for line in lines:
            if line is None:
                self._flush()
                continue
            self.report.lines += 1
            try:
                self._take(line)
            except Rejected as reason:
                self._reject(line, reason)
            if self._batch.is_full():
                self._flush()
        self._flush()
        return self.report

    def _take(self, line: Line) -> None:
        if isinstance(line, Broken):
            self.report.broken = line
            raise Rejected(line.reason)
        if isinstance(line, LineTooLong):
            raise TooLarge(f"longer than {MAX_LINE_BYTES:,} bytes")
        if self.report.lines == 1:
            line = line.removeprefix(BYTE_ORDER_MARK)
        if not line or line.isspace():
            return
        self._act_on(self._reader.read(line), line)

    def _act_on(self, message: Message, line: bytes) -> None:
        if isinstance(message, Change):
            self._batch.changes.append(message)
            self._batch.sources.append((self.report.lines, line))
            self._batch.size += len(line)
        elif isinstance(message, State):
            self._batch.states.append((self.report.lines, message.line))
            self._batch.size += len(line)
            if message.stream is not None:
                self._batch.contacts.add(message.stream)
        elif isinstance(message, Schema):
            self._batch.contacts.add(message.stream)
        elif isinstance(message, ActivateVersion):
            self._flush()
            self._activate(message)
        elif isinstance(message, Ignored):
            known = message.type in self.report.ignored or len(self.report.ignored) < IGNORED_TYPES
            self.report.ignored[message.type if known else "of other types"] += 1

    def _activate(self, message: ActivateVersion) -> None:
        done = self._store(lambda: self._activated(message))
        if done.skipped:
            self._on_skipped(self.report.lines, SKIPPED.format(message.stream))

    def _activated(self, message: ActivateVersion) -> "_Stored":
        done = activation.activate_version(self._target, message.stream, message.version)
        return _Stored(records.Counts(removed=done.removed), skipped=done.skipped)

    def _written(self, batch: _Batch) -> "_Stored":
        done = records.write(self._target, batch.changes, batch.rejections, batch.contacts)
        return _Stored(done.counts, done.refused)

    def _reject(self, line: Line, reason: Rejected) -> None:
        """Reported and counted with its batch, so that all are in the order of their lines."""
        raw = line.raw if isinstance(line, Broken) else line
        self._batch.rejected.append(RejectedLine(self.report.lines, str(reason), raw, reason.code))
        stream = self._stream if reason.stream is None else reason.stream
        self._batch.rejections.append(records.Rejection(stream, reason.table_version))
        self._batch.size += raw.size if isinstance(raw, LineTooLong) else len(raw)

    def _flush(self) -> None:
        batch, self._batch = self._batch, self._begun_batch()
        if batch.changes or batch.rejections or batch.contacts:
            for index, reason in self._store(lambda: self._written(batch)).refused:
                number, line = batch.sources[index]
                batch.rejected.append(RejectedLine(number, reason, line, InvalidKey.code))
        for rejected in sorted(batch.rejected, key=lambda each: each.number):
            self.report.rejected += 1
            self.report.first_rejected = self.report.first_rejected or rejected.number
            self._on_rejected(rejected)
        for number, state in batch.states:
            if self._vouches(number):
                self._on_state(state)
            else:
                self.report.withheld += 1

    def _vouches(self, number: int) -> bool:
        """Whether nothing before this line is lost."""
        first = self.report.first_rejected
        return self._stores_rejected or first is None or number < first

    def _store(self, write: Callable[[], "_Stored"]) -> "_Stored":
        try:
            with signals.uninterrupted():
                stored = _patiently(write)
                self.report.counts.add(stored.counts)
        except Busy as error:
            raise StorageUnavailable(PROBLEM_TEXT["busy"]) from error
        except peewee.DatabaseError as error:
            raise StorageUnavailable(PROBLEM_TEXT[problem(error)]) from error
        self._on_progress(self.report)
        return stored


class _Stored(NamedTuple):
    """The outcome of a transaction or an activation."""

    counts: records.Counts
    refused: Sequence[tuple[int, str]] = ()
    skipped: bool = False


def _patiently(write: Callable[[], _Stored]) -> _Stored:
    """Retry while the database is busy: another writer may hold it for longer than one timeout."""
    for _ in range(TRIES_WHEN_BUSY - 1):
        try:
            return write()
        except Busy:
            if signals.is_requested():
                raise
    return write()
