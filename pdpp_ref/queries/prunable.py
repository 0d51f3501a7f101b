"""How many versions could be pruned, by stream: counted from indexes, at once."""

import time
from typing import NamedTuple

from ..database import fetch_all, fetch_value

# Of records with more versions than are to stay, no more are counted, nor for longer.
COUNTED_RECORDS = 2_000_000
SECONDS = 1.0


class Prunable(NamedTuple):
    """A stream with versions that could be pruned."""

    stream_id: int
    connection: str
    stream: str
    versions: int


class Counted(NamedTuple):
    """The streams with the most first.  `is_exact`: there are no others, and no more versions."""

    streams: list[Prunable]
    is_exact: bool

    @property
    def versions(self) -> int:
        return sum(each.versions for each in self.streams)


def count(
    keep: int, before: str | None = None, connection: str | None = None, stream: str | None = None
) -> Counted:
    """What is not among the newest `keep` versions of its record; and arrived before a time, if given.

    `connection` and `stream` restrict it to those of that name.  With `before`, `keep` is 1.
    """
    found = _beyond(keep, connection, stream)
    return found if before is None else _arrived(found, before)


def _beyond(keep: int, connection: str | None, stream: str | None) -> Counted:
    rows = fetch_all(
        """
        SELECT s.id, c.connector_instance_id, s.name, t.versions, t.records, COALESCE(r.rollups_dirty, TRUE)
        FROM (
            SELECT
                stream_id,
                CAST(SUM(record_history_count) AS BIGINT) - ? * COUNT(*) AS versions,
                COUNT(*) AS records
            FROM (
                SELECT stream_id, record_history_count
                FROM retained_size_record
                WHERE record_history_count > ? AND stream_id IN (
                    SELECT s.id
                    FROM streams s
                    JOIN connections c ON c.id = s.connection_id
                    WHERE c.connector_instance_id = COALESCE(?, c.connector_instance_id)
                        AND s.name = COALESCE(?, s.name)
                )
                LIMIT ?
            ) AS longer
            GROUP BY stream_id
        ) AS t
        JOIN streams s ON s.id = t.stream_id
        JOIN connections c ON c.id = s.connection_id
        LEFT JOIN retained_size_stream r ON r.stream_id = s.id
        ORDER BY t.versions DESC, c.connector_instance_id, s.name
        """,
        (keep, keep, connection, stream, COUNTED_RECORDS),
    )
    is_whole = sum(row[4] for row in rows) < COUNTED_RECORDS
    return Counted([Prunable(*row[:4]) for row in rows], is_whole and not any(row[5] for row in rows))


def _arrived(found: Counted, before: str) -> Counted:
    deadline = time.monotonic() + SECONDS
    counted: list[Prunable] = []
    for each in found.streams:
        if counted and time.monotonic() > deadline:
            return Counted(_ranked(counted), is_exact=False)
        counted.append(each._replace(versions=_old_versions(each.stream_id, before)))
    return Counted(_ranked(counted), found.is_exact)


def _ranked(streams: list[Prunable]) -> list[Prunable]:
    return sorted(
        (each for each in streams if each.versions),
        key=lambda each: (-each.versions, each.connection, each.stream),
    )


def _old_versions(stream_id: int, before: str) -> int:
    """All versions from before a time, but for the newest of each record, live or deleted."""
    first = _first_since(stream_id, before)
    ((every, live, deleted),) = fetch_all(
        """
        SELECT
            (SELECT COUNT(*) FROM record_changes WHERE stream_id = ? AND version < ?),
            (SELECT COUNT(*) FROM records WHERE stream_id = ? AND version < ?),
            (
                SELECT COUNT(*)
                FROM retained_size_record
                WHERE stream_id = ? AND record_count = 0 AND version < ?
            )
        """,
        (stream_id, first) * 3,
    )
    return max(int(every - live - deleted), 0)


def _first_since(stream_id: int, moment: str) -> int:
    """The first version that arrived at a time or later; versions are numbered as they arrive.

    If the clock was set back in between, it is one of several such places.
    """
    low, high = 1, 1 + int(fetch_value("SELECT last_version FROM streams WHERE id = ?", [stream_id]) or 0)
    while low < high:
        middle = (low + high) // 2
        rows = fetch_all(
            """
            SELECT version, ingested_at
            FROM record_changes
            WHERE stream_id = ? AND version >= ?
            ORDER BY version
            LIMIT 1
            """,
            (stream_id, middle),
        )
        if rows and rows[0][1] < moment:
            low = rows[0][0] + 1
        else:
            high = middle
    return low
