"""The order in which rows are locked, and the functions that lock them until the transaction ends.

There is one order, so that transactions cannot deadlock:

1. a connection (`connections`)
2. its streams, by id (`streams`)
3. unclaimed files (`unclaimed_files`), whose stream or connection is locked; a cleanup skips those
   that others have locked
4. the number of the last erasure (`pdpp_ref_schema`)
5. files, by digest (`blobs`)
6. the projection's rows of streams, by id (`retained_size_stream`)
7. the projection's rows of connections, by id (`retained_size_connection`)
8. the projection's global row (`retained_size_global`); its lock holds for the rows of connectors too
9. the times of a connection's contacts (`connection_contacts`), as the last statement of a write

A transaction that writes canonical rows locks 1 and 2 first, then whichever of the rest it needs.  A pass
that reconciles locks some of them in the same order, and skips most rows that others have locked.

To sum up rows, lock the row that gets the sum first, then read the values in a later statement, so that
its snapshot is newer than the lock.

On SQLite nothing is locked here: a writer locks the whole file.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from ..database import (
    among,
    fetch_all,
    fetch_as,
    fetch_column,
    for_key_share,
    for_no_key_update,
    for_update,
    id_list,
    placeholders,
)
from .measures import MEASURE_NAMES
from .rows import STORED_STREAM_COLUMNS, StoredStream

DIGESTS_PER_QUERY = 500


class LockedConnection(NamedTuple):
    id: int
    connector: str
    unattributed_rejections: int


class DeletedStream(NamedTuple):
    id: int
    incarnation: str


class LockedGrainRow(NamedTuple):
    """A row of the projection: whether it is dirty and since when, and its measures by name."""

    dirty: bool
    stale_since: str | None
    measures: dict[str, int]


# ---- connections -------------------------------------------------------------------------------


def lock_connection_shared(name: str) -> LockedConnection | None:
    """Prevent a connection from being deleted.  None: there is none of that name."""
    rows = fetch_as(
        LockedConnection,
        f"""
        SELECT id, connector_id, unattributed_rejections
        FROM connections
        WHERE connector_instance_id = ?
        {for_key_share()}
        """,
        [name],
    )
    return rows[0] if rows else None


def lock_connection_for_update(connection_id: int) -> None:
    """Prevent others from creating streams in a connection.

    Two writers that create the same streams would otherwise wait for each other.
    """
    fetch_all(
        f"""
        SELECT id
        FROM connections
        WHERE id = ?
        {for_no_key_update()}
        """,
        [connection_id],
    )


def lock_connection_for_delete(connection_id: int) -> bool:
    """Lock a connection that is about to be deleted, and its streams.  False if it does not exist."""
    rows = fetch_all(
        f"""
        SELECT id
        FROM connections
        WHERE id = ?
        {for_update()}
        """,
        [connection_id],
    )
    # The delete would lock the streams in an order of its own.
    fetch_all(
        f"""
        SELECT COUNT(*)
        FROM (
            SELECT id
            FROM streams
            WHERE connection_id = ?
            ORDER BY id
            {for_update()}
        ) AS locked
        """,
        [connection_id],
    )
    return bool(rows)


def _lock_connection_of_stream(stream_id: int) -> None:
    fetch_all(
        f"""
        SELECT id
        FROM connections
        WHERE id = (SELECT connection_id FROM streams WHERE id = ?)
        {for_key_share()}
        """,
        [stream_id],
    )


# ---- streams -----------------------------------------------------------------------------------


def lock_streams_for_update(connection_id: int, names: Collection[str]) -> list[StoredStream]:
    """Lock streams of a connection that is locked already; nobody else changes their records.

    Returns those that exist, by id.
    """
    if not names:
        return []
    return fetch_as(
        StoredStream,
        f"""
        SELECT {STORED_STREAM_COLUMNS}
        FROM streams
        WHERE connection_id = ? AND name IN ({placeholders(names)})
        ORDER BY id
        {for_no_key_update()}
        """,
        [connection_id, *names],
    )


def lock_stream_shared(connection_id: int, name: str) -> bool:
    """Prevent a stream from being deleted; its connection is locked already.  False if there is none."""
    rows = fetch_all(
        f"""
        SELECT 1
        FROM streams
        WHERE connection_id = ? AND name = ?
        {for_key_share()}
        """,
        (connection_id, name),
    )
    return bool(rows)


def lock_stream_for_update(stream_id: int) -> StoredStream | None:
    """Lock a stream, and its connection against deletion.  None if it does not exist or is deleted."""
    _lock_connection_of_stream(stream_id)
    rows = fetch_as(
        StoredStream,
        f"""
        SELECT {STORED_STREAM_COLUMNS}
        FROM streams
        WHERE id = ? AND connection_id IS NOT NULL
        {for_no_key_update()}
        """,
        [stream_id],
    )
    return rows[0] if rows else None


def lock_all_streams() -> list[int]:
    """Lock all streams, so that no writer is at work in any of them.  Returns their ids, in order."""
    return fetch_column(
        f"""
        SELECT id
        FROM streams
        WHERE connection_id IS NOT NULL
        ORDER BY id
        {for_no_key_update()}
        """
    )


def lock_streams_that_exist(stream_ids: Collection[int]) -> list[int]:
    """Lock those of the streams that exist and are not deleted; nobody else changes their records."""
    return fetch_column(
        f"""
        SELECT id
        FROM streams
        WHERE connection_id IS NOT NULL AND {among("id")}
        ORDER BY id
        {for_no_key_update()}
        """,
        [id_list(stream_ids)],
    )


def lock_stream_for_delete(stream_id: int) -> bool:
    """Lock a stream that is about to be deleted.  False if it does not exist or is deleted."""
    _lock_connection_of_stream(stream_id)
    rows = fetch_all(
        f"""
        SELECT id
        FROM streams
        WHERE id = ? AND connection_id IS NOT NULL
        {for_update()}
        """,
        [stream_id],
    )
    return bool(rows)


def lock_deleted_stream() -> DeletedStream | None:
    """Lock a deleted stream, whose rows are still to be removed.  None: there is no such stream."""
    rows = fetch_as(
        DeletedStream,
        f"""
        SELECT id, incarnation
        FROM streams
        WHERE connection_id IS NULL
        ORDER BY id
        LIMIT 1
        {for_update()}
        """,
    )
    return rows[0] if rows else None


# ---- files -------------------------------------------------------------------------------------


def lock_file_shared(sha256: str) -> bool:
    """Prevent a file from being deleted.  False if it does not exist."""
    rows = fetch_all(
        f"""
        SELECT 1
        FROM blobs
        WHERE sha256 = ?
        {for_key_share()}
        """,
        [sha256],
    )
    return bool(rows)


def lock_files_for_delete(digests: Collection[str]) -> None:
    """Lock files that may be deleted: whoever is binding one has done so, or waits."""
    ordered = sorted(digests)
    for start in range(0, len(ordered), DIGESTS_PER_QUERY):
        part = ordered[start : start + DIGESTS_PER_QUERY]
        fetch_all(
            f"""
            SELECT COUNT(*)
            FROM (
                SELECT sha256
                FROM blobs
                WHERE sha256 IN ({placeholders(part)})
                ORDER BY sha256
                {for_update()}
            ) AS locked
            """,
            part,
        )


# ---- the projection ----------------------------------------------------------------------------


def lock_grain_rows(table: str, key: str, ids: Sequence[int]) -> dict[int, LockedGrainRow]:
    """Lock rows of one table of the projection, whose primary key is `key`.  Returns those that exist."""
    ordered = sorted(ids)
    rows: list[tuple[Any, ...]] = fetch_all(
        f"""
        SELECT {key}, dirty, stale_since, {", ".join(MEASURE_NAMES)}
        FROM {table}
        WHERE {key} IN ({placeholders(ordered)})
        ORDER BY {key}
        {for_no_key_update()}
        """,
        ordered,
    )
    return {
        row_id: LockedGrainRow(bool(dirty), stale_since, dict(zip(MEASURE_NAMES, measures, strict=True)))
        for row_id, dirty, stale_since, *measures in rows
    }
