"""The stored versions of one record, newest first, along their links."""

from typing import NamedTuple

from ..database import fetch_column, fetch_each, fetch_value
from .records import PAGE_BYTES, SMALL_DATA


class StoredVersion(NamedTuple):
    """A version of a record; a tombstone has no `data`.

    `earlier_pruned`: there were older versions, which have been pruned.
    """

    version: int
    previous_version: int | None
    data: str | None
    json_bytes: int
    emitted_at: str | None
    ingested_at: str
    earlier_pruned: bool


class VersionPage(NamedTuple):
    """`next_version` is that of the version after the last of these, or None if there are no more."""

    versions: list[StoredVersion]
    next_version: int | None


def newest_version(stream_id: int, key: str) -> int | None:
    """The number of a key's newest version, the tombstone of a deleted one; None if it was never there.

    For a deleted key it relies on the rollups of the stream.
    """
    for table in ("records", "retained_size_record"):
        version: int | None = fetch_value(
            f"SELECT version FROM {table} WHERE stream_id = ? AND key = ?", (stream_id, key)
        )
        if version is not None:
            return version
    return None


def chain(stream_id: int, newest: int, most: int, *, down_to: int = 0) -> list[int]:
    """The numbers of a key's versions from `newest` back, at most so many.

    It ends with the first one at or below `down_to`.
    """
    # A link is followed by a subquery, so that every planner looks it up in the index.
    found = fetch_column(
        """
        WITH RECURSIVE chain(version, place) AS (
            SELECT CAST(? AS BIGINT), 1
            UNION ALL
            SELECT
                (
                    SELECT c.previous_version
                    FROM record_changes c
                    WHERE c.stream_id = ? AND c.version = chain.version AND c.previous_version < c.version
                ),
                chain.place + 1
            FROM chain
            WHERE chain.version > ? AND chain.place < ?
        )
        SELECT version
        FROM chain
        WHERE version IS NOT NULL
        ORDER BY place
        """,
        (newest, stream_id, down_to, most),
    )
    return [int(version) for version in found]


def page(stream_id: int, key: str, version: int, limit: int) -> VersionPage:
    """Up to `limit` versions of a key, from one of its versions back."""
    numbers = chain(stream_id, version, limit + 1)
    found: list[StoredVersion] = []
    size = 0
    for row in _rows(stream_id, key, numbers):
        if len(found) == limit or (found and size + row.json_bytes > PAGE_BYTES):
            return VersionPage(found, row.version)
        size += row.json_bytes
        found.append(_loaded(stream_id, row))
    return VersionPage(found, None)


def _rows(stream_id: int, key: str, numbers: list[int]) -> list[StoredVersion]:
    """The versions of these numbers, newest first; the data of large ones is missing."""
    rows = fetch_each(
        f"""
        SELECT key, version, previous_version, {SMALL_DATA}, json_bytes, emitted_at, ingested_at,
            pruned_at IS NOT NULL
        FROM record_changes
        WHERE stream_id = ? AND version = :each
        """,
        (stream_id,),
        numbers,
    )
    found = [StoredVersion(*row) for of, *row in rows if of == key]
    return sorted(found, key=lambda row: -row.version)


def _loaded(stream_id: int, row: StoredVersion) -> StoredVersion:
    data = row.data
    if data is None and row.json_bytes:
        data = fetch_value(
            "SELECT data FROM record_changes WHERE stream_id = ? AND version = ?", (stream_id, row.version)
        )
    return row._replace(data=data, earlier_pruned=bool(row.earlier_pruned))
