"""Marking rows dirty: they keep their measures, exact at their `computed_at`, until reconciled.

A mark is stored in the transaction of the write that makes it necessary, and propagates to the rows above:
the stream's connection and the global row.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import peewee

from ..database import (
    among,
    execute,
    execute_many,
    fetch_all,
    fetch_column,
    id_list,
    placeholders,
    update_many,
)
from ..models import RetainedSizeStream, locking
from ..models.locking import LockedGrainRow
from ..timestamps import utc_now
from . import gaps
from .apart import Apart
from .grains import CONNECTION, GLOBAL, STREAM, Grain


def add_streams(stream_ids: Collection[int]) -> None:
    """Add the rows of streams that have just been created: empty, and so exact."""
    execute(
        f"""
        INSERT INTO retained_size_stream
            (stream_id, connection_id, connection_name, stream_name, computed_at)
        SELECT s.id, s.connection_id, c.connector_instance_id, s.name, ?
        FROM streams s
        JOIN connections c ON c.id = s.connection_id
        WHERE s.id IN ({placeholders(stream_ids)})
        """,
        (utc_now(), *stream_ids),
    )


def add_connection(connection_id: int) -> None:
    """Add the row of a connection that has just been created: empty, and so exact."""
    _add(CONNECTION, connection_id, {"computed_at": utc_now()})


def _add(grain: Grain, key: int, more: dict[str, Any]) -> None:
    row, names = {grain.key: key, **more}, dict(grain.names)
    execute(
        f"""
        INSERT INTO {grain.table} ({", ".join((*row, *names))})
        VALUES ({placeholders(row)}, {", ".join(f"({sql})" for sql in names.values())})
        """,
        (*row.values(), *(key for _ in names)),
    )


def mark_stream(stream_id: int, connection_id: int) -> None:
    """Mark a stream and the rows above it dirty."""
    mark_streams([stream_id], connection_id)


def mark_streams(stream_ids: Iterable[int], connection_id: int) -> None:
    """Mark streams of one connection and the rows above them dirty.

    If a stream's row is lost, its rollups may have been wrong too: the new row says so.
    """
    for stream_id in sorted(stream_ids):
        _mark(STREAM, stream_id, {"connection_id": connection_id, "rollups_dirty": True})
        execute("DELETE FROM retained_size_recounts WHERE stream_id = ?", [stream_id])
    mark_connection(connection_id)


def mark_rollups(stream_id: int, connection_id: int, key: str) -> None:
    """Mark a stream because the rollup of one of its records is lost or wrong.

    For a writer, who has locked the stream, and the rows of the projection if it has called `record`.
    """
    mark_stream(stream_id, connection_id)
    execute("UPDATE retained_size_stream SET rollups_dirty = TRUE WHERE stream_id = ?", [stream_id])
    # If rollups are being derived already, and this one has been, begin again.
    execute(
        """
        DELETE FROM retained_size_record_recounts
        WHERE stream_id = ? AND after_key >= ?
        """,
        (stream_id, key),
    )


def mark_connection(connection_id: int) -> None:
    """Mark a connection and the global row dirty."""
    mark_connections([connection_id])
    mark_global()


def mark_connections(connection_ids: Iterable[int]) -> None:
    """Mark connections alone; the caller marks the global row."""
    for connection_id in sorted(connection_ids):
        _mark(CONNECTION, connection_id, {})


def mark_global() -> None:
    """Mark the global row dirty."""
    _mark(GLOBAL, 1, {})


def _mark(grain: Grain, key: int, more: dict[str, int]) -> None:
    """Mark a row, or add a dirty one, which has the columns of `more` too: an update alone would not find
    a row that does not exist.

    A row that is dirty already keeps its earliest time.  A row that was lost may have snapshots in any
    order, and its generation comes after theirs, so that nothing links it to them.
    """
    _record_future_marks(grain, f"{grain.key} = ?", key)
    row = {grain.key: key, "dirty": True, "stale_since": utc_now(), "days_disordered": True, **more}
    generation = f"SELECT COALESCE(MAX(generation), 0) + 1 FROM {grain.days} WHERE {grain.key} = ?"
    looked_up = {**dict(grain.names), "generation": generation}
    execute(
        f"""
        INSERT INTO {grain.table} ({", ".join((*row, *looked_up))})
        VALUES ({placeholders(row)}, {", ".join(f"({sql})" for sql in looked_up.values())})
        ON CONFLICT ({grain.key}) DO UPDATE
        SET dirty = TRUE,
            stale_since = CASE
                WHEN {grain.table}.stale_since < excluded.stale_since THEN {grain.table}.stale_since
                ELSE excluded.stale_since
            END
        """,
        (*row.values(), *(key for _ in looked_up)),
    )


def _record_future_marks(grain: Grain, where: str = "TRUE", *values: Any) -> None:
    """Before marks of a clock that was ahead are moved to now: measures are unknown on their days too."""
    keys = fetch_column(
        f"SELECT {grain.key} FROM {grain.table} WHERE dirty AND stale_since > ? AND {where}",
        (utc_now(), *values),
    )
    if keys:
        gaps.record_writes(grain, keys)


def record_writes(grain: Grain, rows: Mapping[int, LockedGrainRow]) -> None:
    """Note that rows are written to, those that are dirty.

    A mark in the future is corrected once its day is recorded: the row was dirty by now at the latest.
    """
    dirty = [key for key, row in rows.items() if row.dirty]
    if not dirty:
        return
    gaps.record_writes(grain, dirty)
    now = utc_now()
    execute_many(
        f"UPDATE {grain.table} SET stale_since = ? WHERE {grain.key} = ?",
        [(now, key) for key in dirty if (rows[key].stale_since or "") > now],
    )


def mark_all() -> None:
    """Mark all existing rows and rollups dirty, and correct their names; the passes that follow discover
    what has no row.

    Streams are locked first, and their rows marked one by one, in the order that writers lock them.  A
    stream that is created meanwhile is exact from its first record on.  A row that can't be changed is left
    as it is if it is dirty; otherwise this raises peewee.OperationalError.
    """
    now = utc_now()
    apart = Apart(math.inf)
    apart.each("stream", locking.lock_all_streams(), _mark_and_name)
    if fetch_all(
        f"SELECT 1 FROM retained_size_stream WHERE NOT dirty AND {among('stream_id')} LIMIT 1",
        [id_list(row.key for row in apart.failed)],
    ):
        raise peewee.OperationalError("a row that was to be marked was not")
    execute("DELETE FROM retained_size_recounts")
    execute("DELETE FROM retained_size_record_recounts")
    _record_future_marks(CONNECTION)
    execute(
        """
        UPDATE retained_size_connection
        SET dirty = TRUE,
            stale_since = CASE WHEN stale_since < ? THEN stale_since ELSE ? END,
            connection_name = (SELECT connector_instance_id FROM connections WHERE id = connection_id)
        """,
        (now, now),
    )
    mark_global()


def _mark_and_name(stream_ids: Sequence[int]) -> Sequence[int]:
    """Mark rows of streams and their rollups, and correct their names."""
    now = utc_now()
    _record_future_marks(STREAM, among("stream_id"), id_list(stream_ids))
    update_many(
        RetainedSizeStream,
        ("stream_id", "stale_since"),
        [(stream_id, now) for stream_id in stream_ids],
        ("stream_id",),
        """
        dirty = TRUE,
        rollups_dirty = TRUE,
        stale_since = CASE WHEN stale_since < :stale_since THEN stale_since ELSE :stale_since END""",
    )
    # Names are in every index, and rarely wrong.
    execute(
        f"""
        UPDATE retained_size_stream
        SET connection_name = c.connector_instance_id, stream_name = s.name
        FROM streams s
        JOIN connections c ON c.id = s.connection_id
        WHERE s.id = retained_size_stream.stream_id AND {among("s.id")}
            AND (connection_name <> c.connector_instance_id OR stream_name <> s.name)
        """,
        [id_list(stream_ids)],
    )
    return stream_ids
