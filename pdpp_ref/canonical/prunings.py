"""Pruning that an owner has asked for on a page: done by the server, in steps.

How far it is, is stored with each step, so that another process may continue, and the outcome stays as a
report.
"""

import logging
from typing import NamedTuple

import peewee

from ..database import (
    PROBLEM_TEXT,
    execute,
    execute_one,
    fetch_as,
    is_replica,
    problem,
    read_snapshot,
    step_transaction,
    write_transaction,
)
from ..models import StoredStream
from ..projection.apart import OF_ROWS
from ..timestamps import utc_now
from .retention import Policy, Pruned, StreamPruning, streams

log = logging.getLogger(__name__)

RETAINED_REPORTS = 20
# Then a stream that can't be pruned, as if its data are damaged, delays the others no longer.
TRIES = 3


class Request(NamedTuple):
    """What to prune: by a policy, in all streams of a connection and of a name, if given."""

    policy: Policy
    connection: str | None = None
    stream: str | None = None


class Report(NamedTuple):
    """A row of `prunings`."""

    id: str
    connection: str | None
    stream: str | None
    keep: int
    before: str | None
    expected: int
    started_at: str
    finished_at: str | None
    next_stream: int
    through_version: int
    versions: int
    json_bytes: int
    files: int
    file_bytes: int
    skipped: int

    @property
    def request(self) -> Request:
        return Request(Policy(self.keep, self.before), self.connection, self.stream)


_COLUMNS = ", ".join(Report._fields)


def ask(pruning_id: str, request: Request, expected: int) -> None:
    """Store what is to be pruned.  Asking again with the same id changes nothing.

    Raises Busy or peewee.DatabaseError.
    """
    with write_transaction():
        execute(
            """
            INSERT INTO prunings (id, connection, stream, keep, before, expected, started_at)
            VALUES (?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (id) DO NOTHING
            """,
            (pruning_id, request.connection, request.stream, *request.policy, expected, utc_now()),
        )
        execute(
            """
            DELETE FROM prunings
            WHERE finished_at IS NOT NULL AND id NOT IN (
                SELECT id
                FROM prunings
                ORDER BY started_at DESC, id
                LIMIT ?
            )
            """,
            [RETAINED_REPORTS],
        )


def find(pruning_id: str) -> Report | None:
    found = fetch_as(Report, f"SELECT {_COLUMNS} FROM prunings WHERE id = ?", [pruning_id])
    return found[0] if found else None


def reports() -> list[Report]:
    """The newest first."""
    return fetch_as(
        Report,
        f"""
        SELECT {_COLUMNS}
        FROM prunings
        ORDER BY started_at DESC, id
        LIMIT ?
        """,
        [RETAINED_REPORTS],
    )


class Prunings:
    """The steps of one process.  `_current` is the stream that it is at, of a request."""

    def __init__(self) -> None:
        self._current: tuple[str, StreamPruning] | None = None
        self._failed: tuple[Report | None, int] = (None, 0)  # where, and how often in a row

    def step(self) -> bool:
        """Prune some records, in one transaction.  Returns whether there may be more.

        Raises Busy or peewee.DatabaseError.
        """
        report = _unfinished()
        if report is None:
            self._current = None
            return False
        try:
            self._advance(report)
        except peewee.DatabaseError as error:
            place, times = self._failed
            self._failed = (report, times + 1 if place == report else 1)
            if problem(error) not in OF_ROWS or self._failed[1] < TRIES:
                raise
            log.warning("a stream could not be pruned: %s", PROBLEM_TEXT[problem(error)])
            self._skip(report)
        return True

    def _advance(self, report: Report) -> None:
        pruning = self._pruning(report)
        with step_transaction(wait=False):
            if find(report.id) != report:  # another process was faster
                return
            if pruning is None:
                execute_one("UPDATE prunings SET finished_at = ? WHERE id = ?", (utc_now(), report.id))
            else:
                _store(report, pruning.stream.id, pruning.step(), pruning)

    def _skip(self, report: Report) -> None:
        stream = _next_stream(report)
        with step_transaction(wait=False):
            if stream is not None and find(report.id) == report:
                execute_one(
                    """
                    UPDATE prunings
                    SET next_stream = ?,
                        through_version = 0,
                        skipped = skipped + 1
                    WHERE id = ?
                    """,
                    (stream.id + 1, report.id),
                )

    def _pruning(self, report: Report) -> StreamPruning | None:
        """The stream to continue with; None if all are done."""
        if self._current is not None:
            request, pruning = self._current
            place = (report.id, report.next_stream, report.through_version)
            if (request, pruning.stream.id, pruning.after) == place and not pruning.is_done:
                return pruning
        stream = _next_stream(report)
        if stream is None:
            return None
        after = report.through_version if stream.id == report.next_stream else 0
        pruning = StreamPruning(stream, report.request.policy, after)
        pruning.prepare()
        self._current = (report.id, pruning)
        return pruning


def _unfinished() -> Report | None:
    """A look without a lock: on a replica nothing can be done."""
    with read_snapshot():
        found = fetch_as(
            Report,
            f"""
            SELECT {_COLUMNS}
            FROM prunings
            WHERE finished_at IS NULL
            ORDER BY started_at, id
            LIMIT 1
            """,
        )
        return None if not found or is_replica() else found[0]


def _next_stream(report: Report) -> StoredStream | None:
    """The stream that the request has come to, or the next one that may have something to prune."""
    found = streams(report.connection, report.stream, report.next_stream, 1)
    return found[0] if found else None


def _store(report: Report, stream_id: int, done: Pruned, pruning: StreamPruning) -> None:
    place = (stream_id + 1, 0) if pruning.is_done else (stream_id, pruning.after)
    execute_one(
        """
        UPDATE prunings
        SET next_stream = ?,
            through_version = ?,
            versions = versions + ?,
            json_bytes = json_bytes + ?,
            files = files + ?,
            file_bytes = file_bytes + ?
        WHERE id = ?
        """,
        (*place, *done, report.id),
    )
