"""Importing lines from a file or a pipe, in flat memory.

Lines are gathered into batches, and each batch is one transaction.  A STATE is passed on only after the
batch with everything before it has committed, and none after a rejected line, unless rejected lines are
stored too.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import NamedTuple, NoReturn, TypeVar

import peewee

from .. import signals
from ..database import PROBLEM_TEXT, Busy, problem
from ..parsing.json_lines import InvalidKey, TooLarge
from ..parsing.lines import Broken, Line, LineTooLong
from ..parsing.messages import (
    MAX_LINE_BYTES,
    ActivateVersion,
    Change,
    ExportBegin,
    ExportMessage,
    ExportSpelling,
    ExportStream,
    FileReference,
    Ignored,
    Message,
    Reader,
    Rejected,
    Schema,
    State,
)
from . import activation, export_streams, exported_files, records, retrying
from .errors import BlobTooLarge, DigestMismatch, NotFound, TempStorageFull
from .export_progress import ExportProgress, Options
from .read_ahead import Read, ReadAhead, messages, size_of

BATCH_LINES = 10_000
BATCH_BYTES = 4 * 1024 * 1024
BATCH_SECONDS = 1.0
T = TypeVar("T")
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
    exports: int = 0
    gaps: int = 0
    files: int = 0
    missing_files: int = 0


class NoConnection(Exception):
    """The lines are no export, and it is not known which connection they belong to."""


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
    lines: int = 0
    size: int = 0
    full_at: float = field(default_factory=lambda: time.monotonic() + BATCH_SECONDS)

    def is_full(self) -> bool:
        return self.lines >= BATCH_LINES or self.size >= BATCH_BYTES or time.monotonic() > self.full_at


class Importer:
    """Feeds lines to one connection, or to those that an export names; without `target` only to these.

    `on_state` gets each STATE line once everything before it is stored; `on_rejected` each rejected
    line, in order; `on_skipped` the number of a line with which something is missing, and what: a file,
    a part of an export, an ACTIVATE_VERSION that was not carried out; `on_progress` the report after
    each batch.  `stream` is the stream of lines that name none, and `time_fields` are the fields with
    record times (see Reader).  `stores_rejected`: `on_rejected` stores the lines, so a STATE may be
    passed on after one.  `outage_seconds`: for how long a database server may be away or read-only.
    `reads_ahead`: with a thread, while SQLite commits.
    """

    def __init__(
        self,
        target: records.Target | None,
        on_state: Callable[[str], None],
        on_rejected: Callable[[RejectedLine], None],
        on_progress: Callable[[Report], None] = lambda _: None,
        stream: str | None = None,
        *,
        stores_rejected: bool = False,
        on_skipped: Callable[[int, str], None] = lambda *_: None,
        time_fields: Mapping[str | None, str] = {},
        exports: Options = Options(),  # noqa: B008  # it is frozen
        outage_seconds: float = 0,
        reads_ahead: bool = False,
    ) -> None:
        self.report = Report()
        self._target = target
        self._on_state = on_state
        self._on_rejected = on_rejected
        self._on_progress = on_progress
        self._on_skipped = on_skipped
        self._stores_rejected = stores_rejected
        self._outage_seconds = outage_seconds
        self._reads_ahead = reads_ahead
        self._ahead: ReadAhead | None = None
        self._stream = stream
        self._reader = Reader(stream, time_fields)
        self._export = ExportProgress(exports)
        self._batch = self._begun_batch()

    def _begun_batch(self) -> _Batch:
        return _Batch(contacts={self._stream} if self._stream is not None else set())

    def run(self, lines: Iterable[Line | None]) -> Report:
        """Import all lines; None means that pending lines should be stored now.

        Raises StorageUnavailable, ConnectorMismatch, exports.Unsupported or SeveralConnections, and
        NoConnection before anything is stored; STATE lines that were already passed on stay valid.
        """
        with self._read(lines) as read:
            for line, message in read:
                if line is None:
                    self._flush()
                    continue
                self.report.lines += 1
                self._batch.lines += 1
                try:
                    self._take(line, message)
                except Rejected as reason:
                    self._reject(line, reason)
                if self._batch.is_full():
                    self._flush()
            self._flush()
        self._note_gaps(self._export.gaps_at_end())
        return self.report

    def _read(self, lines: Iterable[Line | None]) -> AbstractContextManager[Iterator[Read]]:
        read = messages(lines, self._reader)
        if not self._reads_ahead:
            return nullcontext(read)
        self._ahead = ReadAhead(read, BATCH_LINES, BATCH_BYTES)
        return self._ahead.running()

    def _take(self, line: Line, message: Message | Exception | None) -> None:
        if not isinstance(line, bytes):
            self._refuse(line)
        if isinstance(message, Change) and (self._target or self._export.stream):
            self._add(message, line)
            return
        if message is None:
            return
        if isinstance(message, Exception):
            raise message
        if self._target is None and not (self.report.exports or isinstance(message, ExportBegin)):
            raise NoConnection
        if isinstance(message, ExportMessage):
            self._take_exported(message)
        elif self._is_homeless(message):
            raise Rejected("is outside of an export; name its connection: --connection NAME")
        else:
            self._act_on(message, line)

    def _refuse(self, line: Broken | LineTooLong) -> NoReturn:
        if isinstance(line, LineTooLong):
            raise TooLarge(f"longer than {MAX_LINE_BYTES:,} bytes")
        self.report.broken = line
        raise Rejected(line.reason)

    def _add(self, change: Change, line: bytes) -> None:
        batch = self._batch
        if change.exported:
            self._export.count()
        batch.changes.append(change)
        batch.sources.append((self.report.lines, line))
        batch.size += len(line)

    def _is_homeless(self, message: Message) -> bool:
        return self._destination is None and isinstance(message, Change | ActivateVersion)

    @property
    def _destination(self) -> records.Target | None:
        """Where records go now."""
        stream = self._export.stream
        return stream.target if stream else self._target

    def _act_on(self, message: Message, line: bytes) -> None:
        if isinstance(message, State):
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
        target = self._target
        assert target is not None
        done = self._patiently(
            lambda: activation.activate_version(target, message.stream, message.version),
            lambda done: self.report.counts.add(records.Counts(removed=done.removed)),
        )
        self._on_progress(self.report)
        if done.skipped:
            self._on_skipped(self.report.lines, SKIPPED.format(message.stream))

    def _reject(self, line: Line, reason: Rejected) -> None:
        """Reported and counted with its batch, so that all are in the order of their lines."""
        raw = line.raw if isinstance(line, Broken) else line
        self._batch.rejected.append(RejectedLine(self.report.lines, str(reason), raw, reason.code))
        stream = self._stream if reason.stream is None else reason.stream
        self._batch.rejections.append(records.Rejection(stream, reason.table_version))
        self._batch.size += size_of(raw)

    def _flush(self) -> None:
        self._store_spellings()  # first: a stream with records takes none
        batch, self._batch = self._batch, self._begun_batch()
        if self._ahead:  # not after a long line: another one would take as much memory again
            self._ahead.is_allowed = batch.size < 2 * BATCH_BYTES
        refused = self._write(batch)
        for place, reason in refused.items():
            number, line = batch.sources[place]
            batch.rejected.append(RejectedLine(number, reason, line, InvalidKey.code))
        for rejected in sorted(batch.rejected, key=lambda each: each.number):
            self.report.rejected += 1
            self.report.first_rejected = self.report.first_rejected or rejected.number
            self._on_rejected(rejected)
        if self._export.stream:
            self._bind_files(self._export.stream.target, batch, refused)
        for number, state in batch.states:
            if self._vouches(number):
                self._on_state(state)
            else:
                self.report.withheld += 1

    def _write(self, batch: _Batch) -> dict[int, str]:
        """Store a batch.  Returns the places of changes that were refused, with the reasons."""
        target, stream = self._destination, self._export.stream
        if target is None or not (batch.changes or batch.rejections or batch.contacts):
            return {}
        section = stream.section if stream else None
        done = self._patiently(
            lambda: records.write(target, batch.changes, batch.rejections, batch.contacts, section),
            lambda done: self.report.counts.add(done.counts),
        )
        if stream and done.section:
            self._export.stream = replace(stream, section=done.section)
        self._on_progress(self.report)
        return dict(done.refused)

    def _vouches(self, number: int) -> bool:
        """Whether nothing before this line is lost."""
        first = self.report.first_rejected
        return self._stores_rejected or first is None or number < first

    # ---- exports -------------------------------------------------------------------------------

    def _take_exported(self, message: ExportMessage) -> None:
        if isinstance(message, ExportSpelling):
            self._export.spellings.append(message)
            if len(self._export.spellings) >= BATCH_LINES:
                self._store_spellings()
            return
        self._flush()
        self._finish_stream()
        if isinstance(message, ExportBegin):
            self._note_gaps(self._export.begin(message, self.report.lines))
            self.report.exports += 1
        elif isinstance(message, ExportStream):
            target = self._export.target_of(message)
            self._export.begin_stream(self._patiently(lambda: export_streams.begin(target, message)))
        else:
            self._note_gaps(self._export.compare(message))

    def _store_spellings(self) -> None:
        stream, spellings = self._export.stream, self._export.spellings
        self._export.spellings = []
        if stream and spellings:
            self._patiently(lambda: export_streams.add_spellings(stream, spellings))

    def _finish_stream(self) -> None:
        stream, self._export.stream = self._export.stream, None
        if stream:
            self._patiently(lambda: export_streams.finish(stream))

    def _note_gaps(self, gaps: Iterable[str]) -> None:
        for gap in gaps:
            self.report.gaps += 1
            self._on_skipped(self.report.lines, gap)

    def _bind_files(self, target: records.Target, batch: _Batch, refused: Collection[int]) -> None:
        """Bind the files of records that are stored; those that can't be are reported."""
        for place, change in enumerate(batch.changes):
            if change.exported is None or place in refused:
                continue
            for file in change.exported.files:
                if reason := self._bind(target, change, file):
                    self.report.missing_files += 1
                    self._on_skipped(batch.sources[place][0], f"file {file.sha256} {reason}")

    def _bind(self, target: records.Target, change: Change, file: FileReference) -> str | None:
        """Why a file can't be bound."""
        place = (target.connection, change.stream, change.key)
        try:
            if exported_files.is_settled(*place, file.sha256):
                return None
            open_file = self._export.options.open_file
            if not self._patiently(lambda: exported_files.bind(*place, file, open_file(file.sha256))):
                return "is missing; name the folder that has it: --files DIR"
            self.report.files += 1
        except DigestMismatch:
            return "is damaged: its bytes have another digest"
        except BlobTooLarge:
            return "is larger than a file may be"
        except NotFound:
            return "belongs to a record that somebody has deleted meanwhile"
        except TempStorageFull:
            raise StorageUnavailable("the temporary folder has no room for a file") from None
        return None

    # ---- storing -------------------------------------------------------------------------------

    def _patiently(self, write: Callable[[], T], count: Callable[[T], None] = lambda _: None) -> T:
        """Write and count it, before any signal ends this.  Raises StorageUnavailable."""
        try:
            with signals.uninterrupted():
                done = retrying.through_outages(write, self._outage_seconds)
                count(done)
                return done
        except Busy as error:
            raise StorageUnavailable(PROBLEM_TEXT["busy"]) from error
        except peewee.DatabaseError as error:
            raise StorageUnavailable(PROBLEM_TEXT[problem(error)]) from error
