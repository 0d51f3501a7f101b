"""Reading the versions of a stream page by page, in the order of their numbers."""

from collections.abc import Iterator

import msgspec

from ..database import fetch_all, fetch_as, fetch_value
from ..queries import records, versions

MAX_VERSIONS = 2**31  # of a key; as many as it has
PAGE_ROWS = 2_000
PAGE_BYTES = 2 * 1024 * 1024  # of data; a page may be larger only if it is a single record


class Row(msgspec.Struct, frozen=True, gc=False):
    """A version; `data` is None for a tombstone.

    `record_time` and the mark of pruned versions are read with the history only; the table version and the
    record time are those of live records.
    """

    version: int
    key: str
    data: str | None
    emitted_at: str | None
    table_version: int | None
    record_time: str | None
    pruned_at: str | None
    pruned_digest: str | None


def pages(stream_id: int, history: bool, since: str | None, *, bare: bool = False) -> Iterator[list[Row]]:
    """The rows of an export of a stream; see Selection for what belongs to it.

    `bare`: its records have neither table versions nor record times, so the history alone is read.
    """
    table = _table(history, since)
    sql, values = _query(history, since, bare)
    after, limit = 0, PAGE_ROWS
    while True:
        through, limit = _end_of_page(table, stream_id, after, limit)
        if through is None:
            return
        rows = fetch_as(
            Row, sql, [value for part in values for value in (stream_id, after, through, *part)]
        )
        if rows:
            yield rows
        after = through


def pages_of_key(stream_id: int, key: str, history: bool) -> Iterator[list[Row]]:
    """The live version of a key, or all of its versions, each on a page of its own."""
    sql, values = _query(history, None)
    for version in versions_of_key(stream_id, key, history):
        here = (stream_id, version - 1, version)
        yield fetch_as(Row, sql, [value for part in values for value in (*here, *part)])


def versions_of_key(stream_id: int, key: str, history: bool) -> list[int]:
    """The numbers of these versions, the oldest first."""
    if not history:
        found = records.record(stream_id, key)
        return [found.version] if found else []
    newest = versions.newest_version(stream_id, key)
    return [] if newest is None else versions.chain(stream_id, newest, MAX_VERSIONS)[::-1]


def count_rows(stream_id: int, history: bool, since: str | None) -> int:
    """How many rows the pages must have, counted at once."""
    if since is None:
        return int(
            fetch_value(f"SELECT COUNT(*) FROM {_table(history, since)} WHERE stream_id = ?", [stream_id])
        )
    sql, values = _query(history, since)
    every = [value for part in values for value in (stream_id, 0, 2**62, *part)]
    return int(fetch_value(f"SELECT COUNT(*) FROM ({sql}) AS exported", every))


def _table(history: bool, since: str | None) -> str:
    return "record_changes" if history or since is not None else "records"


def _end_of_page(table: str, stream_id: int, after: int, limit: int) -> tuple[int | None, int]:
    """The last version of the next page, None if there is none, and the number of rows to try next time."""
    while True:
        ((through, size),) = fetch_all(
            f"""
            SELECT MAX(version), SUM(json_bytes)
            FROM (
                SELECT version, json_bytes
                FROM {table}
                WHERE stream_id = ? AND version > ?
                ORDER BY version
                LIMIT ?
            ) AS page
            """,
            (stream_id, after, limit),
        )
        if through is None or size <= PAGE_BYTES or limit == 1:
            return through, min(2 * limit, PAGE_ROWS)
        limit = max(1, min(limit // 2, limit * PAGE_BYTES // int(size)))


def _query(history: bool, since: str | None, bare: bool = False) -> tuple[str, list[list[str]]]:
    """A statement for one page, and further values for each of its parts."""
    arrived = [] if since is None else [since]
    if history:
        return f"{_BARE_HISTORY if bare else _HISTORY} {_ARRIVED if arrived else ''} ORDER BY c.version", [
            arrived
        ]
    if since is None:
        return f"{_LIVE} ORDER BY c.version", [[]]
    return f"{_LIVE} {_ARRIVED} UNION ALL {_TOMBSTONES} {_ARRIVED} ORDER BY version", [arrived, arrived]


_HISTORY = """
    SELECT
        c.version, c.key, c.data, c.emitted_at, r.table_version, r.record_time, c.pruned_at, c.pruned_digest
    FROM record_changes c
    LEFT JOIN records r ON r.stream_id = c.stream_id AND r.key = c.key AND r.version = c.version
    WHERE c.stream_id = ? AND c.version > ? AND c.version <= ?
    """
_BARE_HISTORY = """
    SELECT c.version, c.key, c.data, c.emitted_at, NULL, NULL, c.pruned_at, c.pruned_digest
    FROM record_changes c
    WHERE c.stream_id = ? AND c.version > ? AND c.version <= ?
    """
_LIVE = """
    SELECT c.version AS version, c.key, c.data, c.emitted_at, c.table_version, NULL, NULL, NULL
    FROM records c
    WHERE c.stream_id = ? AND c.version > ? AND c.version <= ?
    """
# Of a key that was deleted more than once, the last one; without its rollup, all of them.
_TOMBSTONES = """
    SELECT c.version, c.key, NULL, c.emitted_at, NULL, NULL, NULL, NULL
    FROM record_changes c
    WHERE c.stream_id = ? AND c.version > ? AND c.version <= ?
        AND c.data IS NULL
        AND NOT EXISTS (
            SELECT 1
            FROM records r
            WHERE r.stream_id = c.stream_id AND r.key = c.key
        )
        AND NOT EXISTS (
            SELECT 1
            FROM retained_size_record t
            WHERE t.stream_id = c.stream_id AND t.key = c.key AND t.version > c.version
        )
    """
_ARRIVED = "AND c.ingested_at >= ?"
