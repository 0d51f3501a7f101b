"""Verifying the rollup of each single record, its place in the ranking by size, and the links between its
versions.
"""

import operator
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..database import byte_length, fetch_all, fetch_lazily
from ..models.measures import MEASURE_NAMES
from ..projection import ranked
from .differences import Difference

_COLUMNS = ("version", *MEASURE_NAMES)


# Streams are verified together, up to so many versions, or a hundredth of all.
VERSIONS_AT_ONCE = 20_000
MOST_PARTS = 100


class Part(NamedTuple):
    """The streams whose ids are in a range, and about how many versions they have."""

    first: int
    last: int
    versions: int


def parts() -> list[Part]:
    """All streams that are not deleted."""
    streams = fetch_all(
        """
        SELECT id, last_version
        FROM streams
        WHERE connection_id IS NOT NULL
        ORDER BY id
        """
    )
    most = max(VERSIONS_AT_ONCE, sum(versions for _, versions in streams) // MOST_PARTS)
    found: list[Part] = []
    for stream, versions in streams:
        if found and found[-1].versions + versions <= most:
            found[-1] = Part(found[-1].first, stream, found[-1].versions + versions)
        else:
            found.append(Part(stream, stream, versions))
    return found


def differences(chosen: list[Part], checked: Callable[[int], None]) -> Iterator[Difference]:
    """Every difference between what is stored about single records, and their versions and files.

    `checked` gets the number of versions after each part.
    """
    for part in chosen:
        yield from _rollups(part)
        yield from _links(part)
        yield from _ranked(part)
        yield from _largest_sizes(part)
        checked(part.versions)


def _rollups(part: Part) -> Iterator[Difference]:
    """A record with one version and no file may do without a rollup."""
    width = len(_COLUMNS)
    rows = fetch_lazily(_wrong_rollups(), (part.first, part.last) * 6)
    for connection, stream, key, dirty, has_row, is_right, *values in rows:
        row = ("record", connection, stream, key)
        stored, counted = values[:width], values[width : 2 * width]
        has_rollup, changed_at, newest_at = values[2 * width :]
        for name, held, value in zip(_COLUMNS, stored, counted, strict=True):
            if not is_right and (held != value or not has_row):
                yield Difference(row, name, held, value, bool(dirty))
        if has_row and changed_at != newest_at:
            yield Difference(row, "changed_at", changed_at, newest_at, bool(dirty))
        if has_rollup not in (None, has_row):
            yield Difference(row, "has_rollup", int(has_rollup), int(has_row), bool(dirty))


def _wrong_rollups() -> str:
    """A rollup is dated by the newest version or by one of the files."""
    return f"""
        SELECT *
        FROM (
            SELECT
                c.connector_instance_id,
                s.name,
                k.key,
                COALESCE(g.rollups_dirty, TRUE) AS is_dirty,
                t.key IS NOT NULL AS has_row,
                CASE
                    WHEN t.key IS NULL
                    THEN r.live = 1 AND h.versions = 1 AND f.files IS NULL
                    ELSE t.version IS NOT DISTINCT FROM h.version
                        AND t.record_count = COALESCE(r.live, 0)
                        AND t.current_record_json_bytes = COALESCE({byte_length("r.data")}, 0)
                        AND t.record_history_count = COALESCE(h.versions, 0)
                        AND t.record_history_json_bytes = COALESCE(h.bytes, 0)
                        AND t.blob_count = COALESCE(f.files, 0)
                        AND t.blob_bytes = COALESCE(f.bytes, 0)
                END AS is_right,
                {", ".join(f"t.{name} AS stored_{name}" for name in _COLUMNS)},
                h.version AS counted_version,
                COALESCE(r.live, 0) AS counted_records,
                COALESCE({byte_length("r.data")}, 0) AS counted_current_bytes,
                COALESCE(h.versions, 0) AS counted_versions,
                COALESCE(h.bytes, 0) AS counted_history_bytes,
                COALESCE(f.files, 0) AS counted_files,
                COALESCE(f.bytes, 0) AS counted_file_bytes,
                r.has_rollup AS has_rollup,
                t.changed_at AS changed_at,
                CASE
                    WHEN EXISTS (
                        SELECT 1
                        FROM blob_bindings b
                        WHERE b.stream_id = t.stream_id AND b.key = t.key AND b.bound_at = t.changed_at
                    )
                    THEN t.changed_at
                    ELSE n.ingested_at
                END AS newest_at
            FROM (
                SELECT stream_id, key FROM record_changes WHERE stream_id BETWEEN ? AND ?
                UNION
                SELECT stream_id, key FROM records WHERE stream_id BETWEEN ? AND ?
                UNION
                SELECT stream_id, key FROM retained_size_record WHERE stream_id BETWEEN ? AND ?
                UNION
                SELECT stream_id, key FROM blob_bindings WHERE stream_id BETWEEN ? AND ?
            ) k
            JOIN streams s ON s.id = k.stream_id
            JOIN connections c ON c.id = s.connection_id
            LEFT JOIN retained_size_stream g ON g.stream_id = s.id
            LEFT JOIN (
                SELECT
                    stream_id,
                    key,
                    COUNT(*) AS versions,
                    SUM(COALESCE({byte_length("data")}, 0)) AS bytes,
                    MAX(version) AS version
                FROM record_changes
                WHERE stream_id BETWEEN ? AND ?
                GROUP BY stream_id, key
            ) h ON h.stream_id = k.stream_id AND h.key = k.key
            LEFT JOIN (
                SELECT 1 AS live, records.*
                FROM records
            ) r ON r.stream_id = k.stream_id AND r.key = k.key
            LEFT JOIN retained_size_record t ON t.stream_id = k.stream_id AND t.key = k.key
            LEFT JOIN record_changes n ON n.stream_id = h.stream_id AND n.version = h.version
            LEFT JOIN (
                SELECT stream_id, key, COUNT(*) AS files, SUM(blobs.byte_length) AS bytes
                FROM blob_bindings
                JOIN blobs ON blobs.sha256 = blob_bindings.sha256
                WHERE stream_id BETWEEN ? AND ?
                GROUP BY stream_id, key
            ) f ON f.stream_id = k.stream_id AND f.key = k.key
        ) found
        WHERE NOT is_right IS TRUE
            OR has_rollup <> has_row
            OR (has_row AND changed_at IS DISTINCT FROM newest_at)
        """


def _links(part: Part) -> Iterator[Difference]:
    """The version that each version names as the key's version before it."""
    rows = fetch_lazily(
        """
        SELECT
            c.connector_instance_id,
            s.name,
            k.key,
            COALESCE(g.rollups_dirty, TRUE),
            k.version,
            k.previous_version,
            k.before
        FROM (
            SELECT
                stream_id,
                key,
                version,
                previous_version,
                LAG(version) OVER (PARTITION BY stream_id, key ORDER BY version) AS before
            FROM record_changes
            WHERE stream_id BETWEEN ? AND ?
        ) k
        JOIN streams s ON s.id = k.stream_id
        JOIN connections c ON c.id = s.connection_id
        LEFT JOIN retained_size_stream g ON g.stream_id = s.id
        WHERE k.previous_version IS DISTINCT FROM k.before
        """,
        (part.first, part.last),
    )
    for connection, stream, key, dirty, version, stored, counted in rows:
        row = ("record", connection, stream, key)
        yield Difference(row, f"version before {version}", stored, counted, bool(dirty))


def _ranked(part: Part) -> Iterator[Difference]:
    """Records that the ranking by size has no entry for, and needs one for: see `projection/ranked.py`."""
    rows = fetch_lazily(
        f"""
        SELECT c.connector_instance_id, s.name, k.key
        FROM (
            SELECT
                stream_id,
                key,
                ranked,
                has_rollup,
                SUM(CASE WHEN ranked AND NOT has_rollup THEN 1 ELSE 0 END) OVER (
                    PARTITION BY stream_id, version / {ranked.BLOCK}
                    ORDER BY {byte_length("data")} DESC, key
                    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                ) AS ranked_before
            FROM records
            WHERE stream_id BETWEEN ? AND ?
        ) k
        JOIN streams s ON s.id = k.stream_id
        JOIN connections c ON c.id = s.connection_id
        WHERE NOT k.ranked AND (k.has_rollup OR COALESCE(k.ranked_before, 0) < {ranked.RANKED})
        """,
        (part.first, part.last),
    )
    for connection, stream, key in rows:
        yield Difference(("record", connection, stream, key), "ranked", 0, 1, dirty=False)


def _largest_sizes(part: Part) -> Iterator[Difference]:
    """What a stream remembers for its next write: sizes that at least as many of its records have."""
    rows = fetch_all(
        """
        SELECT c.connector_instance_id, s.name, s.id, s.last_version, s.largest_sizes
        FROM streams s
        JOIN connections c ON c.id = s.connection_id
        WHERE s.id BETWEEN ? AND ? AND s.largest_sizes <> ''
        ORDER BY s.id
        """,
        (part.first, part.last),
    )
    for connection, stream, stream_id, last, stored in rows:
        block = ranked.block_of(last + 1)
        counted = " ".join(map(str, [block, *_sizes_of_ranked(stream_id, block)]))
        if not _may_remember(stored, counted):
            yield Difference(("stream", connection, stream), "largest_sizes", stored, counted, dirty=False)


def _sizes_of_ranked(stream_id: int, block: int) -> list[int]:
    """The sizes of the largest records without a rollup that are ranked, in one block of a stream."""
    rows = fetch_all(
        f"""
        SELECT {byte_length("data")}
        FROM records
        WHERE stream_id = ? AND version >= ? AND version < ? AND ranked AND NOT has_rollup
        ORDER BY 1 DESC
        LIMIT {ranked.RANKED}
        """,
        (stream_id, block * ranked.BLOCK, (block + 1) * ranked.BLOCK),
    )
    return [size for (size,) in rows]


def _may_remember(stored: str, counted: str) -> bool:
    """Whether it leaves no record out: a smaller size, or an earlier block, only adds entries."""
    try:
        (block, *sizes), (now, *largest) = (list(map(int, text.split())) for text in (stored, counted))
    except ValueError:
        return False
    if block < now:
        return True
    known = largest if block == now else []
    ordered = sorted(sizes, reverse=True)
    return len(ordered) <= len(known) and all(map(operator.le, ordered, known))
