"""Removing the rows of deleted streams, in bounded steps.

Nobody sees these rows any more, so a step can end anywhere, and another process may continue.
"""

import time
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from .. import signals
from ..database import (
    execute,
    execute_many,
    fetch_all,
    fetch_as,
    is_replica,
    let_others_write,
    read_snapshot,
    step_transaction,
)
from ..models import locking
from ..models.locking import DeletedStream
from . import blobs

# Limits of one step: rows, bytes of texts or files, and seconds after which no new part is begun.  At least
# one row is removed.
ROWS_PER_STEP = 2_000
SECONDS_PER_STEP = 0.1
ROWS_AT_ONCE = 250
BYTES_PER_STEP = 16 * 1024 * 1024
FILES_PER_STEP = 100
COST_OF_STREAM = 10  # rows that take as long as removing a stream's own row


class _Part(NamedTuple):
    """The stream's rows of one table, which are removed in the order of a column, from `first` on.

    An index begins with the stream and this column; `size` is SQL for the bytes of a row.
    """

    table: str
    column: str
    first: str | int = ""
    size: str = "0"


_PARTS = (
    _Part("records", "version", 0, "json_bytes"),
    _Part("record_changes", "version", 0, "json_bytes"),
    _Part("key_spellings", "key"),
    _Part("retained_size_record", "key"),
    _Part("retained_size_record_counts", "key"),
    _Part("retained_size_stream_days", "day"),
)


class _Position(NamedTuple):
    """Where a step ended: the stream's incarnation, the place in _PARTS, and the last value removed.

    Without it each step would search through the entries of removed rows, which an index keeps for a while.
    """

    incarnation: str = ""
    part: int = 0
    after: Any = None


class _File(NamedTuple):
    key: str
    sha256: str
    byte_length: int


class Removal:
    """The steps of one process.  `rows` is how many rows they have removed."""

    def __init__(self) -> None:
        self.rows = 0
        self._position = _Position()

    def step(self, *, wait: bool = False) -> bool:
        """Remove some rows, in one transaction.  Returns whether there may be more.

        `wait` waits for other writers.  Raises Busy or peewee.DatabaseError.
        """
        if not _is_needed():
            return False
        step = _Step(self._position)
        with step_transaction(wait=wait):
            is_unfinished = step.run()
        self._position = step.position
        self.rows += step.rows
        return is_unfinished


def _is_needed() -> bool:
    """A look without a lock: mostly nothing is to be done, and on a replica nothing can."""
    with read_snapshot():
        deleted = fetch_all("SELECT 1 FROM streams WHERE connection_id IS NULL LIMIT 1")
        return bool(deleted) and not is_replica()


def remove_all(progress: Callable[[int], None] = lambda _: None) -> int:
    """Remove all rows of deleted streams, and return how many; `progress` gets how many so far.

    Raises Busy or peewee.DatabaseError; rows removed before that stay removed.
    """
    removal = Removal()
    while True:
        began = time.monotonic()
        with signals.uninterrupted():
            is_unfinished = removal.step(wait=True)
        progress(removal.rows)
        if not is_unfinished:
            return removal.rows
        let_others_write(time.monotonic() - began)


class _Step:
    """One step, from a position on."""

    def __init__(self, position: _Position) -> None:
        self.position = position
        self.rows = 0
        self._room = ROWS_PER_STEP
        self._bytes = BYTES_PER_STEP
        self._deadline = time.monotonic() + SECONDS_PER_STEP

    @property
    def _is_full(self) -> bool:
        is_late = self.rows > 0 and time.monotonic() > self._deadline
        return is_late or self._room <= 0 or self._bytes <= 0

    def run(self) -> bool:
        """False if nothing is left."""
        while not self._is_full:
            stream = locking.lock_deleted_stream()
            if stream is None:
                return False
            if self.position.incarnation != stream.incarnation:
                self.position = _Position(stream.incarnation)
            if self._remove_files(stream.id) and self._remove_parts(stream):
                execute("DELETE FROM streams WHERE id = ?", [stream.id])
                self._removed(1, 0)
                self._room -= COST_OF_STREAM
        return True

    def _removed(self, rows: int, size: int) -> None:
        self.rows += rows
        self._room -= rows
        self._bytes -= size

    def _remove_files(self, stream_id: int) -> bool:
        """True if none is left.  Files count by the bytes that they free at most."""
        bound = fetch_as(
            _File,
            """
            SELECT key, sha256, byte_length
            FROM blob_bindings
            WHERE stream_id = ?
            ORDER BY key, sha256
            LIMIT ?
            """,
            (stream_id, FILES_PER_STEP),
        )
        taken = bound[: fitting([each.byte_length for each in bound], self._bytes)]
        execute_many(
            "DELETE FROM blob_bindings WHERE stream_id = ? AND key = ? AND sha256 = ?",
            [(stream_id, each.key, each.sha256) for each in taken],
        )
        blobs.drop_unbound({each.sha256 for each in taken})
        self._removed(len(taken), sum(each.byte_length for each in taken))
        return len(taken) == len(bound) < FILES_PER_STEP

    def _remove_parts(self, stream: DeletedStream) -> bool:
        """True if none is left."""
        while self.position.part < len(_PARTS):
            if self._is_full:
                return False
            if self._remove_rows(stream.id):
                self.position = _Position(stream.incarnation, self.position.part + 1)
        return True

    def _remove_rows(self, stream_id: int) -> bool:
        """Remove rows of the current part.  True if none is left."""
        part, room = _PARTS[self.position.part], min(self._room, ROWS_AT_ONCE)
        after = part.first if self.position.after is None else self.position.after
        rows = fetch_all(
            f"""
            SELECT {part.column}, {part.size}
            FROM {part.table}
            WHERE stream_id = ? AND {part.column} > ?
            ORDER BY {part.column}
            LIMIT ?
            """,
            (stream_id, after, room),
        )
        taken = rows[: fitting([size for _, size in rows], self._bytes)]
        if taken:
            through = taken[-1][0]
            execute(
                f"""
                DELETE FROM {part.table}
                WHERE stream_id = ? AND {part.column} > ? AND {part.column} <= ?
                """,
                (stream_id, after, through),
            )
            self.position = self.position._replace(after=through)
        self._removed(len(taken), sum(size for _, size in taken))
        return len(taken) == len(rows) < room


def fitting(sizes: Sequence[int], most: int) -> int:
    """How many of the sizes together are no more than `most`; at least 1."""
    return max(1, sum(total <= most for total in accumulate(sizes)))
