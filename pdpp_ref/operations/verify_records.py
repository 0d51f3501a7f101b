"""Verifying the rollup of each single record, its place in the ranking by size, and the links between its
versions.
"""

import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

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
    rows = fetch_lazily(_WRONG_ROLLUPS, (part.first, part.last) * 4)
    for connection, stream, key, dirty, *values in rows:
        row = ("record", connection, stream, key)
        counted, stored = values[:width], values[width : 2 * width]
        is_live, has_rollup, has_row, is_right, changed_at, newest_at = values[2 * width :]
        for name, held, value in zip(_COLUMNS, stored, counted, strict=True):
            if not is_right and (held != value or not has_row):
                yield Difference(row, name, int(held) if has_row else None, _number(value), bool(dirty))
        if has_row and changed_at != newest_at:
            yield Difference(row, "changed_at", changed_at, newest_at, bool(dirty))
        if is_live and has_rollup != has_row:
            yield Difference(row, "has_rollup", int(has_rollup), int(has_row), bool(dirty))


def _number(counted: Any) -> int | None:
    return None if counted is None else int(counted)


def _wrong_rollups() -> str:
    """What is wrong about single records.  A rollup is dated by the newest version or by one of the files.

    All rows about a key come together by sorting, not by joins: without statistics PostgreSQL would compare
    each row of one table with each of the others.
    """
    stored = [f"stored_{name}" for name in _COLUMNS]
    counted = ["version", "live", "live_bytes", "versions", "bytes", "files", "file_bytes"]
    others = ["has_rollup", "has_row", "is_right", "changed_at", "newest_at"]
    texts = ("ingested_at", "changed_at", "bound_at")
    columns = (*counted, "has_rollup", "has_row", *stored, *texts)

    def rows(table: str, **values: str) -> str:
        """Rows of a table with those of the columns that it knows."""
        nothing = {name: "''" if name in texts else "0" for name in columns}
        selected = ", ".join(f"{value} AS {name}" for name, value in {**nothing, **values}.items())
        return f"SELECT stream_id, key, {selected} FROM {table} WHERE stream_id BETWEEN ? AND ?"

    length = f"COALESCE({byte_length('data')}, 0)"
    versions = {"version": "version", "versions": "1", "bytes": length, "ingested_at": "ingested_at"}
    live = {"live": "1", "live_bytes": length, "has_rollup": "CASE WHEN has_rollup THEN 1 ELSE 0 END"}
    rollups = dict(zip(stored, _COLUMNS, strict=True)) | {"has_row": "1", "changed_at": "changed_at"}
    files = {"files": "1", "file_bytes": "blobs.byte_length", "bound_at": "bound_at"}
    bound = "blob_bindings JOIN blobs ON blobs.sha256 = blob_bindings.sha256"
    matches = " AND ".join(map("{} IS NOT DISTINCT FROM {}".format, stored, counted))
    return f"""
        SELECT
            c.connector_instance_id,
            s.name,
            k.key,
            COALESCE(g.rollups_dirty, TRUE),
            {", ".join(f"k.{name}" for name in (*counted, *stored, "live", *others))}
        FROM (
            SELECT
                *,
                CASE
                    WHEN has_row = 0 THEN live = 1 AND versions = 1 AND files = 0
                    ELSE {matches}
                END AS is_right,
                CASE WHEN is_dated_by_file = 1 THEN changed_at ELSE counted_at END AS newest_at
            FROM (
                SELECT
                    stream_id,
                    key,
                    NULLIF(MAX(version), 0) AS version,
                    {", ".join(f"SUM({name}) AS {name}" for name in (*counted[1:], *stored))},
                    SUM(has_rollup) AS has_rollup,
                    SUM(has_row) AS has_row,
                    MAX(changed_at) AS changed_at,
                    MAX(CASE WHEN version = newest AND versions = 1 THEN ingested_at END) AS counted_at,
                    MAX(CASE WHEN files = 1 AND bound_at = dated THEN 1 ELSE 0 END) AS is_dated_by_file
                FROM (
                    SELECT
                        *,
                        MAX(version) OVER (PARTITION BY stream_id, key) AS newest,
                        MAX(changed_at) OVER (PARTITION BY stream_id, key) AS dated
                    FROM (
                        {rows("record_changes", **versions)}
                        UNION ALL
                        {rows("records", **live)}
                        UNION ALL
                        {rows("retained_size_record", **rollups)}
                        UNION ALL
                        {rows(bound, **files)}
                    ) of_keys
                ) by_key
                GROUP BY stream_id, key
            ) counted
        ) k
        JOIN streams s ON s.id = k.stream_id
        JOIN connections c ON c.id = s.connection_id
        LEFT JOIN retained_size_stream g ON g.stream_id = s.id
        WHERE NOT k.is_right
            OR (k.live = 1 AND k.has_rollup <> k.has_row)
            OR (k.has_row = 1 AND k.changed_at IS DISTINCT FROM k.newest_at)
        """


_WRONG_ROLLUPS = _wrong_rollups()


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
        SELECT c.connector_instance_id, s.name, k.key, COALESCE(g.rollups_dirty, TRUE)
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
        LEFT JOIN retained_size_stream g ON g.stream_id = s.id
        WHERE NOT k.ranked AND (k.has_rollup OR COALESCE(k.ranked_before, 0) < {ranked.RANKED})
        """,
        (part.first, part.last),
    )
    for connection, stream, key, dirty in rows:
        yield Difference(("record", connection, stream, key), "ranked", 0, 1, bool(dirty))


def _largest_sizes(part: Part) -> Iterator[Difference]:
    """What a stream remembers for its next write: sizes that at least as many of its records have."""
    rows = fetch_all(
        """
        SELECT
            c.connector_instance_id,
            s.name,
            COALESCE(g.rollups_dirty, TRUE),
            s.id,
            s.last_version,
            s.largest_sizes
        FROM streams s
        JOIN connections c ON c.id = s.connection_id
        LEFT JOIN retained_size_stream g ON g.stream_id = s.id
        WHERE s.id BETWEEN ? AND ? AND s.largest_sizes <> ''
        ORDER BY s.id
        """,
        (part.first, part.last),
    )
    for connection, stream, dirty, stream_id, last, stored in rows:
        block = ranked.block_of(last + 1)
        counted = " ".join(map(str, [block, *_sizes_of_ranked(stream_id, block)]))
        if not _may_remember(stored, counted):
            yield Difference(("stream", connection, stream), "largest_sizes", stored, counted, bool(dirty))


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
