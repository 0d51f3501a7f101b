"""Finding dirty rows, and adding those that are missing.

A projection that was never built, or was lost, is created this way: a stream or connection without a row
gets a dirty one.
`models/locking.py` has the order of the locks.
"""

import random
from collections.abc import Collection, Sequence

from ..database import (
    among,
    execute,
    fetch_all,
    fetch_column,
    fetch_each,
    fetch_value,
    for_key_share,
    for_no_key_update,
    id_list,
)
from ..timestamps import utc_now

# The condition of the indexes of dirty rows.  Without statistics PostgreSQL expects half of all rows to be
# dirty, and would read all; but it expects few in a range, even in one that leaves none out.
DIRTY = f"dirty AND connection_id BETWEEN 0 AND {2**63 - 1}"
# Rows are looked up one by one: without statistics PostgreSQL joins the streams with all rows there are.
HAS_NO_ROW = "(SELECT r.stream_id FROM retained_size_stream r WHERE r.stream_id = s.id) IS NULL"
DISCOVER_ROWS = 1_000
CHECKED_STREAMS = 200

# Its own state: that of the module belongs to the whole program.
_chance = random.Random()


def discover_connections() -> tuple[int, bool]:
    """Add missing rows of connections.  Returns how many, and whether there are no more."""
    missing = len(
        fetch_all(
            """
            SELECT c.id
            FROM connections c
            LEFT JOIN retained_size_connection r ON r.connection_id = c.id
            WHERE r.connection_id IS NULL
            LIMIT ?
            """,
            [DISCOVER_ROWS],
        )
    )
    if not missing:
        return 0, True
    added = execute(
        f"""
        INSERT INTO retained_size_connection
            (connection_id, connection_name, dirty, days_disordered, generation, stale_since)
        SELECT
            c.id, c.connector_instance_id, TRUE, TRUE,
            (
                SELECT COALESCE(MAX(d.generation), 0) + 1
                FROM retained_size_connection_days d
                WHERE d.connection_id = c.id
            ),
            ?
        FROM connections c
        LEFT JOIN retained_size_connection r ON r.connection_id = c.id
        WHERE r.connection_id IS NULL
        LIMIT ?
        {for_no_key_update("c", wait=False)}
        """,
        [utc_now(), DISCOVER_ROWS],
    )
    return added, added == missing < DISCOVER_ROWS


def discover_streams(limit: int) -> list[int]:
    """Add missing rows of streams, and return the connection of each.

    A lost row would make the sum of its connection wrong, so all streams of up to `limit` connections that
    are about to be summed are checked.  Elsewhere a lost row makes no total wrong: there some streams are
    checked, others each time, so that no pass walks the list of all.
    """
    missing = {*_missing_of_connections(limit), *_missing_somewhere()}
    if not missing:
        return []
    return fetch_column(
        f"""
        INSERT INTO retained_size_stream
            (stream_id, connection_id, connection_name, stream_name, dirty, rollups_dirty,
            days_disordered, generation, stale_since)
        SELECT
            s.id, s.connection_id, c.connector_instance_id, s.name, TRUE, TRUE, TRUE,
            (
                SELECT COALESCE(MAX(d.generation), 0) + 1
                FROM retained_size_stream_days d
                WHERE d.stream_id = s.id
            ),
            ?
        FROM streams s
        JOIN connections c ON c.id = s.connection_id
        LEFT JOIN retained_size_stream r ON r.stream_id = s.id
        WHERE r.stream_id IS NULL AND {among("s.id")}
        {for_no_key_update("s", wait=False)}
        {for_key_share("c", wait=False)}
        RETURNING connection_id
        """,
        [utc_now(), id_list(missing)],
    )


def _missing_of_connections(limit: int) -> list[int]:
    """Streams without a row, of the next connections to be summed."""
    return fetch_column(
        f"""
        SELECT s.id
        FROM (
            SELECT d.connection_id
            FROM retained_size_connection d
            WHERE d.dirty
                AND NOT EXISTS (
                    SELECT 1
                    FROM retained_size_stream t
                    WHERE t.dirty AND t.connection_id = d.connection_id
                )
            ORDER BY d.connection_id
            LIMIT ?
        ) AS c
        JOIN streams s ON s.connection_id = c.connection_id
        WHERE {HAS_NO_ROW}
        LIMIT ?
        """,
        (limit, DISCOVER_ROWS),
    )


def _missing_somewhere() -> list[int]:
    """Streams without a row, from a random place in the list on."""
    newest = fetch_value("SELECT MAX(id) FROM streams") or 0
    return fetch_column(
        f"""
        SELECT s.id
        FROM (
            SELECT id, connection_id
            FROM streams
            WHERE id > ?
            ORDER BY id
            LIMIT ?
        ) AS s
        WHERE s.connection_id IS NOT NULL AND {HAS_NO_ROW}
        """,
        (_chance.randint(0, max(0, newest - CHECKED_STREAMS)), CHECKED_STREAMS),
    )


def with_lost_row(connection_ids: Sequence[int]) -> set[int]:
    """The connections with a stream whose row another program has deleted."""
    rows = fetch_each(
        """
        SELECT DISTINCT s.connection_id
        FROM streams s
        LEFT JOIN retained_size_stream r ON r.stream_id = s.id
        WHERE r.stream_id IS NULL AND s.connection_id = :each
        """,
        [],
        connection_ids,
    )
    return {connection_id for (connection_id,) in rows}


def with_dirty_stream(connection_ids: Sequence[int]) -> set[int]:
    """The connections that have a dirty stream."""
    rows = fetch_each(
        """
        SELECT DISTINCT connection_id
        FROM retained_size_stream
        WHERE dirty AND connection_id = :each
        """,
        [],
        connection_ids,
    )
    return {connection_id for (connection_id,) in rows}


def lock_dirty_streams(limit: int, without: Collection[int]) -> list[tuple[int, int]]:
    """(stream, connection) of dirty streams that no writer has locked, locked and safe from deletion.

    `without` are the ids of streams that are not wanted.  Streams whose rollups are dirty come later: a
    clean stream vouches for its rollups too.
    """
    streams: list[tuple[int, int]] = fetch_all(
        f"""
        SELECT r.stream_id, r.connection_id
        FROM retained_size_stream r
        JOIN streams s ON s.id = r.stream_id
        WHERE r.dirty AND NOT r.rollups_dirty AND NOT ({among("r.stream_id")})
        ORDER BY r.connection_id, r.stream_id
        LIMIT ?
        {for_no_key_update("r", wait=False)}
        {for_key_share("s", wait=False)}
        """,
        [id_list(without), limit],
    )
    return streams


def small_dirty_streams(limit: int, most: int, without: Collection[int]) -> dict[int, int]:
    """Dirty streams of at most so many versions, in the order in which passes take them, each with its last
    version.  They are not locked.  `without` are the ids of streams that are not wanted.
    """
    return dict(
        fetch_all(
            f"""
            SELECT s.id, s.last_version
            FROM retained_size_stream r
            JOIN streams s ON s.id = r.stream_id
            WHERE r.dirty AND s.last_version <= ? AND NOT ({among("r.stream_id")})
            ORDER BY r.connection_id, r.stream_id
            LIMIT ?
            """,
            [most, id_list(without), limit],
        )
    )


def lock_dirty_connections(limit: int, without: Collection[int]) -> list[int]:
    """Dirty connections without a dirty stream that no writer has locked; locked.

    `without` are the ids of connections that are not wanted.
    """
    return fetch_column(
        f"""
        SELECT r.connection_id
        FROM retained_size_connection r
        JOIN connections c ON c.id = r.connection_id
        WHERE r.dirty AND NOT ({among("r.connection_id")})
            AND NOT EXISTS (
                SELECT 1
                FROM retained_size_stream s
                WHERE s.dirty AND s.connection_id = r.connection_id
            )
        ORDER BY r.connection_id
        LIMIT ?
        {for_no_key_update("r", wait=False)}
        {for_key_share("c", wait=False)}
        """,
        [id_list(without), max(limit, 0)],
    )


def has_dirty_row(without_streams: Collection[int], without_connections: Collection[int]) -> bool:
    """Whether a pass has something to do, apart from rows with these ids.

    Call it if the global row is dirty: that is to be done if no other row is.
    """
    ((below, streams, connections),) = fetch_all(
        f"""
        SELECT
            EXISTS (SELECT 1 FROM retained_size_stream WHERE {DIRTY})
                OR EXISTS (SELECT 1 FROM retained_size_connection WHERE {DIRTY}),
            EXISTS (SELECT 1 FROM retained_size_stream WHERE {DIRTY} AND NOT ({among("stream_id")})),
            EXISTS (
                SELECT 1
                FROM retained_size_connection r
                WHERE {DIRTY} AND NOT ({among("r.connection_id")})
                    AND NOT EXISTS (
                        SELECT 1
                        FROM retained_size_stream s
                        WHERE s.dirty AND s.connection_id = r.connection_id
                    )
            )
        """,
        [id_list(without_streams), id_list(without_connections)],
    )
    return bool(streams or connections or not below)


def clean_connections(connection_ids: Collection[int]) -> list[int]:
    """Those of the connections whose row exists and is not dirty."""
    if not connection_ids:
        return []
    return fetch_column(
        f"""
        SELECT connection_id
        FROM retained_size_connection
        WHERE NOT dirty AND {among("connection_id")}
        """,
        [id_list(connection_ids)],
    )


def count_dirty_rows() -> dict[str, int]:
    """The number of dirty rows at each grain below the global one."""
    ((streams, connections),) = fetch_all(
        f"""
        SELECT
            (SELECT COUNT(*) FROM retained_size_stream WHERE {DIRTY}),
            (SELECT COUNT(*) FROM retained_size_connection WHERE {DIRTY})
        """
    )
    return {"stream": streams, "connection": connections}


def is_rebuilding() -> bool:
    """Whether a rebuild has begun and is not done."""
    return bool(fetch_all("SELECT 1 FROM retained_size_global WHERE rebuild_status <> 'idle'"))


def versions_left() -> int:
    """The number of versions that must still be counted in dirty streams; for showing progress.

    A rebuild counts each version twice: for the rollups of records, then for its stream.
    """
    ((streams, rollups),) = fetch_all(
        """
        SELECT
            SUM(s.last_version - COALESCE(c.through_version, 0)),
            SUM(CASE WHEN r.rollups_dirty THEN s.last_version - COALESCE(d.through_version, 0) ELSE 0 END)
        FROM retained_size_stream r
        JOIN streams s ON s.id = r.stream_id
        LEFT JOIN retained_size_recounts c ON c.stream_id = r.stream_id
        LEFT JOIN retained_size_record_recounts d ON d.stream_id = r.stream_id
        WHERE r.dirty
        """
    )
    left = int(streams or 0) + int(rollups or 0)
    return (left + 1) // 2 if is_rebuilding() else left
