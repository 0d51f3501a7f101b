"""What one stream holds: its largest records and files, and all of them in batches."""

from collections.abc import Iterator
from typing import Any

from ..database import fetch_all
from ..models.measures import TOTAL_SQL
from . import items
from .items import MEASURE_COLUMNS, ItemRow, names_of

# Of a longer stream only the newest versions are searched, which bounds the cost of its page.
SEARCHED_VERSIONS = 1_000_000


def is_searched_whole(stream_id: int) -> bool:
    """Whether the largest of the stream are the largest of all its versions."""
    return _first_searched(stream_id) <= 1


def _first_searched(stream_id: int) -> int:
    ((last,),) = fetch_all("SELECT last_version FROM streams WHERE id = ?", [stream_id])
    return int(last) - SEARCHED_VERSIONS + 1


def largest_records(stream_id: int, limit: int) -> list[ItemRow]:
    """A stream's records with the largest totals, deleted ones included, the largest first.

    A record with `has_rollup` retains at least twice its current length, and any other exactly that,
    so the largest of each kind include the largest of all.  Both are found by sorting one stream's
    index entries: an index by size within the stream would slow down every import.
    """
    first = _first_searched(stream_id)
    current = fetch_all(
        """
        SELECT version
        FROM records
        WHERE stream_id = ? AND version >= ?
        ORDER BY json_bytes DESC, version
        LIMIT ?
        """,
        (stream_id, first, limit),
    )
    keys = [_key_of(stream_id, version) for (version,) in current]
    rollups = fetch_all(
        f"""
        SELECT key
        FROM retained_size_record
        WHERE stream_id = ? AND version >= ?
        ORDER BY {TOTAL_SQL} DESC, key
        LIMIT ?
        """,
        (stream_id, first, limit),
    )
    distinct = dict.fromkeys([*keys, *(key for (key,) in rollups)])
    rows = [items.record(stream_id, key) for key in distinct]
    return sorted(rows, key=lambda row: (-row.total_retained_bytes, row.names))[:limit]


def _key_of(stream_id: int, version: int) -> str:
    sql = "SELECT key FROM records WHERE stream_id = ? AND version = ?"
    ((key,),) = fetch_all(sql, (stream_id, version))
    return str(key)


def largest_files(stream_id: int, limit: int) -> list[ItemRow]:
    """The largest files of a stream's records, the largest first."""
    found = fetch_all(
        """
        SELECT key, sha256
        FROM blob_bindings
        WHERE stream_id = ? AND version >= ?
        ORDER BY byte_length DESC, key, sha256
        LIMIT ?
        """,
        (stream_id, _first_searched(stream_id), limit),
    )
    return [items.file(stream_id, key, sha256) for key, sha256 in found]


# ---- everything, by name -----------------------------------------------------------------------

# A batch begins after the last key of the one before it, so that none costs more than its rows and no
# cursor stays open.  No key is empty: '' comes before all.


def record_count(stream_id: int) -> int:
    """How many records `record_batches` yields."""
    ((live, deleted),) = fetch_all(
        """
        SELECT
            (SELECT COUNT(*) FROM records WHERE stream_id = ?),
            (SELECT COUNT(*) FROM retained_size_record t WHERE t.stream_id = ? AND NOT EXISTS
                (SELECT 1 FROM records r WHERE r.stream_id = t.stream_id AND r.key = t.key))
        """,
        (stream_id, stream_id),
    )
    return int(live + deleted)


def record_batches(stream_id: int, size: int) -> Iterator[list[ItemRow]]:
    """All records of a stream, deleted ones with history included, in the order of their keys.

    A batch reads up to `size` live records and as many rollups, and ends at the last key that both
    have reached.
    """
    names, after = names_of(stream_id), ""
    while True:
        live = _by_key(_LIVE, stream_id, after, size)
        rollups = _by_key(_ROLLUPS, stream_id, after, size)
        full = [found for found in (live, rollups) if len(found) == size]
        reached = min((next(reversed(found)) for found in full), default=None)
        found = _of_one_version(live) | rollups
        keys = sorted(key for key in found if reached is None or key <= reached)
        yield [items.record_row(names, key, *found[key]) for key in keys]
        if reached is None:
            return
        after = reached


# A record without a rollup has one version.  `has_rollup` without one: it was lost, and the time with it.
_LIVE = """
    SELECT key, CASE WHEN NOT has_rollup THEN ingested_at END, json_bytes
    FROM records
    WHERE stream_id = ? AND key > ?
    ORDER BY key
    LIMIT ?
"""
_ROLLUPS = f"""
    SELECT key, changed_at, {MEASURE_COLUMNS}
    FROM retained_size_record
    WHERE stream_id = ? AND key > ?
    ORDER BY key
    LIMIT ?
"""
# When it changed, and its measures.
_Record = tuple[str | None, tuple[int, ...]]


def _by_key(sql: str, stream_id: int, after: str, size: int) -> dict[str, _Record]:
    rows = fetch_all(sql, (stream_id, after, size))
    return {key: (changed_at, tuple(measures)) for key, changed_at, *measures in rows}


def _of_one_version(live: dict[str, _Record]) -> dict[str, _Record]:
    return {key: (at, (1, size, 1, size, 0, 0)) for key, (at, (size,)) in live.items()}


def file_count(stream_id: int) -> int:
    ((count,),) = fetch_all("SELECT COUNT(*) FROM blob_bindings WHERE stream_id = ?", [stream_id])
    return int(count)


def file_batches(stream_id: int, size: int) -> Iterator[list[ItemRow]]:
    """All files of a stream's records, in the order of keys and digests."""
    names = names_of(stream_id)
    after: tuple[Any, ...] = ("", "")
    while found := fetch_all(_FILES, (stream_id, *after, size)):
        yield [items.file_row(names, *row) for row in found]
        after = found[-1][:2]


_FILES = """
    SELECT key, sha256, byte_length, bound_at
    FROM blob_bindings
    WHERE stream_id = ? AND (key, sha256) > (?, ?)
    ORDER BY key, sha256
    LIMIT ?
"""
