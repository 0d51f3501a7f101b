"""The rows that rollups of records are derived from, and those that are written on the way."""

from collections.abc import Sequence
from typing import NamedTuple

from ..database import (
    execute,
    execute_many,
    fetch_all,
    fetch_as,
    fetch_column,
    fetch_each,
    fetch_value,
    insert_many,
)
from ..models import RetainedSizeRecord, RollupCheckpoint, RollupCount
from ..models.measures import MEASURE_NAMES

ROLLUP_COLUMNS = ("stream_id", "key", "version", "changed_at", *MEASURE_NAMES)


class Version(NamedTuple):
    """A stored version.  `previous`: the key's previous version, as this one names it; `live`: its own
    number if it is the live one.
    """

    version: int
    key: str
    json_bytes: int
    previous: int | None
    live: int | None = None


class Count(NamedTuple):
    """The versions of a key that were counted: the newest, how many there are, and their bytes."""

    version: int
    versions: int = 0
    json_bytes: int = 0

    def plus(self, other: Version) -> "Count":
        return Count(other.version, self.versions + 1, self.json_bytes + other.json_bytes)


class LiveRecord(NamedTuple):
    """A live version; the last two are those of its row in record_changes, None if that is missing."""

    version: int
    json_bytes: int
    has_rollup: bool
    ingested_at: str
    history_bytes: int | None
    previous: int | None


class Files(NamedTuple):
    """The files of a key: number, bytes, when the last was bound.

    `dates_rollup`: the key's rollup has the time of one of them.
    """

    number: int
    size: int
    bound_at: str
    dates_rollup: int


class Rollup(NamedTuple):
    """A row of RetainedSizeRecord, in the order of ROLLUP_COLUMNS."""

    stream_id: int
    key: str
    version: int
    changed_at: str
    record_count: int
    current_record_json_bytes: int
    record_history_count: int
    record_history_json_bytes: int
    blob_count: int
    blob_bytes: int


# ---- counting ----------------------------------------------------------------------------------


def end_of_bytes(stream_id: int, after: int, through: int, most_bytes: int) -> int | None:
    """The first version in (after, through] with which the versions so far have `most_bytes`, or None."""
    version: int | None = fetch_value(
        """
        SELECT MIN(version)
        FROM (
            SELECT version, SUM(json_bytes) OVER (ORDER BY version) AS bytes
            FROM record_changes
            WHERE stream_id = ? AND version > ? AND version <= ?
        ) AS summed
        WHERE bytes >= ?
        """,
        (stream_id, after, through, most_bytes),
    )
    return version


def versions_to_count(stream_id: int, after: int, through: int, limit: int) -> list[Version]:
    """The versions in (after, through] that are not live or name a version before them, oldest first.

    They are found in indexes alone.  Both sides of the EXCEPT are in the order of one, so they are merged.
    """
    span = (stream_id, after, through)
    versions = fetch_column(
        """
        SELECT version
        FROM (
            SELECT version
            FROM record_changes
            WHERE stream_id = ? AND version > ? AND version <= ?
            EXCEPT
            SELECT version
            FROM records
            WHERE stream_id = ? AND version > ? AND version <= ?
            ORDER BY 1
        ) AS not_live
        UNION
        SELECT version
        FROM record_changes
        WHERE stream_id = ? AND version > ? AND version <= ? AND previous_version IS NOT NULL
        ORDER BY 1
        LIMIT ?
        """,
        (*span, *span, *span, limit),
    )
    rows = fetch_each(
        """
        SELECT
            c.version, c.key, c.json_bytes, c.previous_version,
            (SELECT h.version FROM records h WHERE h.stream_id = c.stream_id AND h.version = c.version)
        FROM record_changes c
        WHERE c.stream_id = ? AND c.version = :each
        """,
        [stream_id],
        versions,
    )
    return sorted(Version(*row) for row in rows)


def version_of_key(stream_id: int, version: int, key: str) -> Version | None:
    """A version, if it is one of the key's."""
    rows = fetch_as(
        Version,
        """
        SELECT version, key, json_bytes, previous_version
        FROM record_changes
        WHERE stream_id = ? AND version = ? AND key = ?
        """,
        (stream_id, version, key),
    )
    return rows[0] if rows else None


def counts_of(stream_id: int, keys: Sequence[str]) -> dict[str, Count]:
    rows = fetch_each(
        """
        SELECT key, version, versions, json_bytes
        FROM retained_size_record_counts
        WHERE stream_id = ? AND key = :each
        """,
        [stream_id],
        keys,
    )
    return {key: Count(*count) for key, *count in rows}


def store_counts(stream_id: int, counts: dict[str, Count]) -> None:
    rows = [(stream_id, key, *count) for key, count in counts.items()]
    insert_many(RollupCount, ("stream_id", "key", *Count._fields), rows, ("stream_id", "key"))


def clear_has_rollup(stream_id: int, after: int, through: int) -> None:
    """Clear the flag of live records in (after, through] that have no rollup."""
    execute(
        """
        UPDATE records
        SET has_rollup = FALSE, ranked = TRUE
        WHERE records.stream_id = ? AND records.version > ? AND records.version <= ?
            AND has_rollup
            AND NOT EXISTS (
                SELECT 1
                FROM retained_size_record t
                WHERE t.stream_id = records.stream_id AND t.key = records.key
            )
        """,
        (stream_id, after, through),
    )


def set_previous(links: Sequence[tuple[int | None, int, int]]) -> None:
    """Correct which version a version names.  Values: the one before it, the stream, the version."""
    execute_many(
        """
        UPDATE record_changes
        SET previous_version = ?
        WHERE stream_id = ? AND version = ?
        """,
        links,
    )


def remove_some_counts(stream_id: int, limit: int) -> int:
    """Delete counts of an earlier derivation, at most so many.  Returns how many."""
    return execute(
        """
        DELETE FROM retained_size_record_counts
        WHERE stream_id = ?
            AND key IN (
                SELECT key
                FROM retained_size_record_counts
                WHERE stream_id = ?
                ORDER BY key
                LIMIT ?
            )
        """,
        (stream_id, stream_id, limit),
    )


def store_checkpoint(stream_id: int, through: int, after: str) -> None:
    columns = ("stream_id", "through_version", "after_key")
    insert_many(RollupCheckpoint, columns, [(stream_id, through, after)], columns[:1])


# ---- settling ----------------------------------------------------------------------------------


def keys_to_settle(stream_id: int, after: str, limit: int) -> list[str]:
    """The next keys with a count, a rollup or a file, in order."""
    part = (stream_id, after, limit)
    return fetch_column(
        """
        SELECT key
        FROM (
            SELECT key
            FROM (
                SELECT DISTINCT key
                FROM retained_size_record_counts
                WHERE stream_id = ? AND key > ?
                ORDER BY key
                LIMIT ?
            ) AS of_counts
            UNION
            SELECT key
            FROM (
                SELECT DISTINCT key
                FROM retained_size_record
                WHERE stream_id = ? AND key > ?
                ORDER BY key
                LIMIT ?
            ) AS of_rollups
            UNION
            SELECT key
            FROM (
                SELECT DISTINCT key
                FROM blob_bindings
                WHERE stream_id = ? AND key > ?
                ORDER BY key
                LIMIT ?
            ) AS of_files
        ) AS following
        ORDER BY key
        LIMIT ?
        """,
        (*part, *part, *part, limit),
    )


def files_between(stream_id: int, after: str, last: str) -> dict[str, Files]:
    """The files of the keys in (after, last]."""
    rows = fetch_all(
        """
        SELECT
            b.key,
            COUNT(*),
            SUM(b.byte_length),
            MAX(b.bound_at),
            MAX(CASE WHEN b.bound_at = t.changed_at THEN 1 ELSE 0 END)
        FROM blob_bindings b
        LEFT JOIN retained_size_record t ON t.stream_id = b.stream_id AND t.key = b.key
        WHERE b.stream_id = ? AND b.key > ? AND b.key <= ?
        GROUP BY b.key
        """,
        (stream_id, after, last),
    )
    return {
        key: Files(int(number), int(size), bound_at, dates_rollup)
        for key, number, size, bound_at, dates_rollup in rows
    }


def rollups_between(stream_id: int, after: str, last: str) -> dict[str, Rollup]:
    """The stored rollups of the keys in (after, last]."""
    rows = fetch_as(
        Rollup,
        f"""
        SELECT {", ".join(ROLLUP_COLUMNS)}
        FROM retained_size_record
        WHERE stream_id = ? AND key > ? AND key <= ?
        """,
        (stream_id, after, last),
    )
    return {row.key: row for row in rows}


def live_records(stream_id: int, keys: Sequence[str]) -> dict[str, LiveRecord]:
    rows = fetch_each(
        """
        SELECT
            r.key, r.version, r.json_bytes, r.has_rollup, r.ingested_at, c.json_bytes,
            c.previous_version
        FROM records r
        LEFT JOIN record_changes c
            ON c.stream_id = r.stream_id AND c.version = r.version AND c.key = r.key
        WHERE r.stream_id = ? AND r.key = :each
        """,
        [stream_id],
        keys,
    )
    return {key: LiveRecord(*row) for key, *row in rows}


def time_of_version(stream_id: int, version: int) -> str:
    time: str = fetch_value(
        "SELECT ingested_at FROM record_changes WHERE stream_id = ? AND version = ?", (stream_id, version)
    )
    return time


def store_rollups(rows: Sequence[Rollup]) -> None:
    insert_many(RetainedSizeRecord, ROLLUP_COLUMNS, rows, ROLLUP_COLUMNS[:2])


def remove_rollups(stream_id: int, keys: Sequence[str]) -> None:
    execute_many(
        "DELETE FROM retained_size_record WHERE stream_id = ? AND key = ?",
        [(stream_id, key) for key in keys],
    )


def set_has_rollup(flags: Sequence[tuple[bool, int, str]]) -> None:
    """Values: the flag, the stream, the key.  The caller takes those with a rollup out of the ranking."""
    execute_many("UPDATE records SET has_rollup = ?, ranked = TRUE WHERE stream_id = ? AND key = ?", flags)


def remove_counts_between(stream_id: int, after: str, last: str) -> None:
    """Delete the counts of the keys in (after, last]."""
    execute(
        """
        DELETE FROM retained_size_record_counts
        WHERE stream_id = ? AND key > ? AND key <= ?
        """,
        (stream_id, after, last),
    )
