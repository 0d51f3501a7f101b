"""Rules of retention: how many versions of a stream's records the server retains by itself.

A rule is applied to the records that have changed since it last was, in steps that store how far it is.
"""

from typing import NamedTuple

from ..database import (
    execute,
    execute_one,
    fetch_all,
    fetch_as,
    for_no_key_update,
    is_replica,
    read_snapshot,
    step_transaction,
    write_transaction,
)
from ..models import STORED_STREAM_COLUMNS, StoredStream
from ..timestamps import utc_now
from .records import known_stream
from .retention import Policy, Pruned, StreamPruning


class Rule(NamedTuple):
    """A rule with the names of its stream; what it has removed, and when it was last applied to all.

    `is_applied`: nothing has changed since.
    """

    connection: str
    stream: str
    keep: int
    set_at: str
    applied_at: str | None
    is_applied: bool
    versions: int
    json_bytes: int
    files: int
    file_bytes: int


def set_rule(connection: str, stream: str, keep: int) -> None:
    """Retain the newest `keep` (at least 1) versions of each record of a stream, from now on.

    It replaces the stream's rule.  Raises StreamNotFound, Busy or peewee.DatabaseError.
    """
    with write_transaction():
        execute(
            """
            INSERT INTO retention_rules (stream_id, keep, set_at)
            VALUES (?, ?, ?)
            ON CONFLICT (stream_id) DO UPDATE
            SET keep = excluded.keep,
                set_at = excluded.set_at,
                applied_at = NULL,
                through_version = 0
            WHERE retention_rules.keep <> excluded.keep
            """,
            (known_stream(connection, stream).id, keep, utc_now()),
        )


def remove_rule(connection: str, stream: str) -> bool:
    """Prune a stream no more by itself.  False if it has no rule.

    Raises StreamNotFound, Busy or peewee.DatabaseError.
    """
    with write_transaction():
        stream_id = known_stream(connection, stream).id
        return execute("DELETE FROM retention_rules WHERE stream_id = ?", [stream_id]) == 1


def rules(connection: str | None = None, stream: str | None = None) -> list[Rule]:
    """The rules of a connection, or of a stream of it, if given; by their names."""
    return [
        Rule(*row)._replace(is_applied=bool(row[5]))
        for row in fetch_all(
            """
            SELECT
                c.connector_instance_id, s.name, r.keep, r.set_at, r.applied_at,
                s.last_version <= r.through_version, r.versions, r.json_bytes, r.files, r.file_bytes
            FROM retention_rules r
            JOIN streams s ON s.id = r.stream_id
            JOIN connections c ON c.id = s.connection_id
            WHERE c.connector_instance_id = COALESCE(?, c.connector_instance_id)
                AND s.name = COALESCE(?, s.name)
            ORDER BY c.connector_instance_id, s.name
            """,
            (connection, stream),
        )
    ]


class _Due(NamedTuple):
    """A rule that is to be applied, as it was read."""

    stream_id: int
    keep: int
    set_at: str
    through_version: int


class Rules:
    """The steps of one process.  `_last` is the stream of the last one: the others get their turn."""

    def __init__(self) -> None:
        self._last = 0
        self._current: tuple[_Due, StreamPruning] | None = None

    def step(self) -> bool:
        """Apply a rule to some records, in one transaction.  Returns whether there may be more.

        Raises Busy or peewee.DatabaseError.
        """
        due = self._next_due()
        if due is None:
            return False
        self._last = due.stream_id
        pruning = self._pruning(due)
        with step_transaction(wait=False):
            if pruning is None or _again(due) != [due]:  # another process was faster, or the owner
                return True
            done = pruning.step()
            through = pruning.last_version if pruning.is_done else pruning.after
            _store(due, done, through, pruning.is_done)
        self._current = None if pruning.is_done else (due._replace(through_version=pruning.after), pruning)
        return True

    def _next_due(self) -> _Due | None:
        """A look without a lock: on a replica nothing can be done."""
        with read_snapshot():
            found = fetch_as(
                _Due,
                """
                SELECT r.stream_id, r.keep, r.set_at, r.through_version
                FROM retention_rules r
                JOIN streams s ON s.id = r.stream_id
                WHERE s.connection_id IS NOT NULL AND s.last_version > r.through_version
                ORDER BY r.stream_id <= ?, r.stream_id
                LIMIT 1
                """,
                [self._last],
            )
            return None if not found or is_replica() else found[0]

    def _pruning(self, due: _Due) -> StreamPruning | None:
        if self._current is not None and self._current[0] == due:
            return self._current[1]
        streams = fetch_as(
            StoredStream, f"SELECT {STORED_STREAM_COLUMNS} FROM streams WHERE id = ?", [due.stream_id]
        )
        if not streams:
            return None
        pruning = StreamPruning(streams[0], Policy(due.keep), due.through_version)
        if not due.through_version:
            pruning.prepare()
        return pruning


def _again(due: _Due) -> list[_Due]:
    return fetch_as(
        _Due,
        f"""
        SELECT stream_id, keep, set_at, through_version
        FROM retention_rules
        WHERE stream_id = ?
        {for_no_key_update()}
        """,
        [due.stream_id],
    )


def _store(due: _Due, done: Pruned, through_version: int, is_done: bool) -> None:
    execute_one(
        """
        UPDATE retention_rules
        SET through_version = ?,
            applied_at = CASE WHEN ? THEN ? ELSE applied_at END,
            versions = versions + ?,
            json_bytes = json_bytes + ?,
            files = files + ?,
            file_bytes = file_bytes + ?
        WHERE stream_id = ?
        """,
        (through_version, is_done, utc_now(), *done, due.stream_id),
    )
