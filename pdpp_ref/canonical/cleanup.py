"""Removing files that no record has claimed, in bounded steps.

A file is removed by the second of two cleanups of one process, which are at least the waiting time apart on
its monotonic clock: a wall clock that jumps removes nothing.  The first one marks the file.  Uploading the
file again takes the mark away.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..database import (
    execute,
    execute_many,
    fetch_all,
    fetch_as,
    fetch_column,
    for_update,
    is_replica,
    placeholders,
    read_snapshot,
    step_transaction,
)
from ..models.base import new_id
from . import blobs
from .removal import BYTES_PER_STEP, fitting

FILES_PER_STEP = 100
MARKS_PER_STEP = 1_000


class _Unclaimed(NamedTuple):
    id: int
    sha256: str
    byte_length: int


class Cleanup:
    """The cleanups of one process, `wait` seconds apart; `clock` is monotonic.

    `_seen` are the marks that were found by the last cleanup: whatever has one of them still was there
    then.  Other processes mark too, but each relies only on what it has seen itself.
    """

    def __init__(self, wait: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._wait, self._clock = wait, clock
        self._due = clock()
        self._seen: list[str] = []

    def step(self) -> bool:
        """One transaction, at most.  Returns whether there may be more to do now.

        Raises Busy or peewee.DatabaseError.
        """
        if not _is_needed(deleted_only=self._clock() < self._due):
            return False
        with step_transaction(wait=False):
            if _remove("connection_id IS NULL", []):
                return True
            if self._clock() < self._due:
                return False
            if self._seen and _remove(f"marked IN ({placeholders(self._seen)})", self._seen):
                return True
            if _mark() == MARKS_PER_STEP:
                return True
            seen = fetch_column("SELECT DISTINCT marked FROM unclaimed_files WHERE marked IS NOT NULL")
        self._seen, self._due = seen, self._clock() + self._wait
        return False


def _is_needed(*, deleted_only: bool) -> bool:
    """A look without a lock."""
    with read_snapshot():
        which = "connection_id IS NULL" if deleted_only else "TRUE"
        found = fetch_all(f"SELECT 1 FROM unclaimed_files WHERE {which} LIMIT 1")
        return bool(found) and not is_replica()


def _remove(which: str, values: Sequence[str]) -> int:
    """Remove some files; one that a record is claiming is left to it.  Returns how many."""
    files = fetch_as(
        _Unclaimed,
        f"""
        SELECT id, sha256, byte_length
        FROM unclaimed_files
        WHERE {which}
        ORDER BY id
        LIMIT ?
        {for_update(wait=False)}
        """,
        [*values, FILES_PER_STEP],
    )
    files = files[: fitting([file.byte_length for file in files], BYTES_PER_STEP)]
    execute_many("DELETE FROM unclaimed_files WHERE id = ?", [(file.id,) for file in files])
    blobs.drop_unbound({file.sha256 for file in files})
    return len(files)


def _mark() -> int:
    """Mark files that have no mark.  Returns how many."""
    return execute(
        f"""
        UPDATE unclaimed_files
        SET marked = ?
        WHERE id IN (
            SELECT id
            FROM unclaimed_files
            WHERE marked IS NULL
            ORDER BY id
            LIMIT ?
            {for_update(wait=False)}
        )
        """,
        (new_id(), MARKS_PER_STEP),
    )
