"""The largest connections, streams, records and files, by a measure.

Each ranking begins with an index, so that its cost depends on how many rows are asked for and, if many
are equally large, on how many streams these are in; never on how much is stored.  The one exception: while
the rows of a deleted stream are being removed, they are skipped one by one, in an index alone.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from msgspec.structs import asdict

from ..database import fetch_all
from ..models.measures import EVERY_MEASURE, TOTAL, TOTAL_SQL
from ..projection.rows import (
    CONNECTION_COLUMNS,
    STREAM_COLUMNS,
    ConnectionRow,
    StreamRow,
    fetch_rows,
)
from . import items
from .items import ItemRow

MAX_ROWS = 25
# A record is one record, and a file one file: ranking by what is always 1 makes no sense.
MEASURES_OF = {
    "connection": EVERY_MEASURE,
    "stream": EVERY_MEASURE,
    "record": tuple(name for name in EVERY_MEASURE if name != "record_count"),
    "blob": ("blob_bytes", TOTAL),
}


def rows(scope: str, measure: str, limit: int) -> list[ItemRow]:
    """The top rows of a scope, at most `limit`: by the measure down, then by their names up.

    Names rank by connection, stream, then record key or file.  Deleted records with history are
    records too.  Raises KeyError for an unknown scope.
    """
    rank = {"connection": _connections, "stream": _streams, "record": _records, "blob": _files}[scope]
    found = rank(TOTAL_SQL if measure == TOTAL else measure, limit)
    return sorted(found, key=lambda row: (-getattr(row, measure), row.names))[:limit]


# ---- connections and streams -------------------------------------------------------------------

# Each `ranked` is SQL: the name of a measure, or TOTAL_SQL.


def _connections(ranked: str, limit: int) -> Iterable[ItemRow]:
    selected = f"""
        SELECT {CONNECTION_COLUMNS}
        FROM retained_size_connection r
        JOIN connections c ON c.id = r.connection_id
    """
    order = "c.connector_instance_id"
    return map(_item, _largest(ConnectionRow, "retained_size_connection", selected, order, ranked, limit))


def _streams(ranked: str, limit: int) -> Iterable[ItemRow]:
    selected = f"""
        SELECT {STREAM_COLUMNS}
        FROM retained_size_stream r
        JOIN connections c ON c.id = r.connection_id
        JOIN streams s ON s.id = r.stream_id
    """
    order = "c.connector_instance_id, s.name"
    return map(_item, _largest(StreamRow, "retained_size_stream", selected, order, ranked, limit))


def _largest(
    kind: type[ConnectionRow], table: str, selected: str, order: str, ranked: str, limit: int
) -> list[ConnectionRow]:
    """All rows that are larger than the last of the ranking, and as many of its equals as fit."""
    last = _last_value(table, "TRUE", ranked, limit)
    if last is None:
        return fetch_rows(kind, selected)
    larger = fetch_rows(kind, f"{selected} WHERE {ranked} > ?", [last])
    equal = f"{selected} WHERE {ranked} = ? ORDER BY {order} LIMIT ?"
    return larger + fetch_rows(kind, equal, (last, limit - len(larger)))


def _last_value(table: str, where: str, ranked: str, limit: int) -> int | None:
    """The value in the ranking's last place; None if there are fewer rows."""
    found = fetch_all(
        f"""
        SELECT {ranked}
        FROM {table}
        WHERE {where}
        ORDER BY {ranked} DESC
        LIMIT 1 OFFSET ?
        """,
        [limit - 1],
    )
    return found[0][0] if found else None


def _item(row: ConnectionRow) -> ItemRow:
    fields = asdict(row)
    return ItemRow(**{name: fields[name] for name in ItemRow.__struct_fields__ if name in fields})


# ---- records and files -------------------------------------------------------------------------


_DELETED_STREAMS = "SELECT id FROM streams WHERE connection_id IS NULL"


class _Ranked(NamedTuple):
    """Rows of streams that an index ranks: those of `table` for which `condition` holds."""

    table: str
    condition: str
    identity: tuple[str, ...] = ("key",)

    @property
    def where(self) -> str:
        """The condition, without the rows of deleted streams."""
        if not fetch_all(f"{_DELETED_STREAMS} LIMIT 1"):
            return self.condition
        return f"{self.condition} AND stream_id NOT IN ({_DELETED_STREAMS})"

    def largest(self, ranked: str, limit: int) -> list[tuple[Any, ...]]:
        """The (stream id, identity ...) of the largest, and of their equals those first by name."""
        columns, where = ", ".join(("stream_id", *self.identity)), self.where
        selected = f"SELECT {columns} FROM {self.table} WHERE {where}"
        last = _last_value(self.table, where, ranked, limit)
        if last is None:
            return fetch_all(selected)
        found = fetch_all(f"{selected} AND {ranked} > ?", [last])
        order = ", ".join(self.identity)
        equal = f"{selected} AND {ranked} = ? AND stream_id = ? ORDER BY {order} LIMIT ?"
        for stream_id in _in_order(self._streams_with(where, ranked, last)):
            if len(found) == limit:
                break
            found += fetch_all(equal, (last, stream_id, limit - len(found)))
        return found

    def _streams_with(self, where: str, ranked: str, value: int) -> list[int]:
        """The streams that have a row of that value: one look-up in the index for each."""
        found = fetch_all(
            f"""
            WITH RECURSIVE found AS (
                SELECT MIN(stream_id) AS id
                FROM {self.table}
                WHERE {where} AND {ranked} = ?
                UNION ALL
                SELECT (
                    SELECT MIN(stream_id)
                    FROM {self.table}
                    WHERE {where} AND {ranked} = ? AND stream_id > found.id
                )
                FROM found
                WHERE found.id IS NOT NULL
            )
            SELECT id FROM found WHERE id IS NOT NULL
            """,
            (value, value),
        )
        return [stream_id for (stream_id,) in found]


_WITHOUT_ROLLUP = _Ranked("records", "NOT has_rollup")
_WITH_ROLLUP = _Ranked("retained_size_record", "TRUE")
_WITH_FILES = _Ranked("retained_size_record", "blob_count <> 0")
_FILES = _Ranked("blob_bindings", "TRUE", ("key", "sha256"))


def _records(ranked: str, limit: int) -> Iterable[ItemRow]:
    """Records with `has_rollup` are ranked by their own row, the others by their one version."""
    if ranked.startswith("blob"):
        found = _WITH_FILES.largest(ranked, limit)
    else:
        found = _WITH_ROLLUP.largest(ranked, limit)
    if ranked.endswith("json_bytes") or ranked == TOTAL_SQL:
        found += _WITHOUT_ROLLUP.largest("json_bytes", limit)
    else:
        found += _first_by_name(limit)  # all others are equal in this measure
    return [items.record(*identity) for identity in dict.fromkeys(found)]


def _first_by_name(limit: int) -> list[tuple[Any, ...]]:
    """The first records by name, live or deleted."""
    found: list[tuple[Any, ...]] = []
    for stream_id in _in_order(None):
        keys = [
            row
            for table in ("records", "retained_size_record")
            for row in fetch_all(
                f"SELECT stream_id, key FROM {table} WHERE stream_id = ? ORDER BY key LIMIT ?",
                (stream_id, limit),
            )
        ]
        found += sorted(set(keys))
        if len(found) >= limit:
            break
    return found


def _in_order(stream_ids: list[int] | None) -> list[int]:
    """Those streams, or all, in the order of their names."""
    if stream_ids is not None and len(stream_ids) < 2:
        return stream_ids
    every = fetch_all(
        """
        SELECT s.id
        FROM streams s
        JOIN connections c ON c.id = s.connection_id
        ORDER BY c.connector_instance_id, s.name
        """
    )
    wanted = None if stream_ids is None else set(stream_ids)
    return [stream_id for (stream_id,) in every if wanted is None or stream_id in wanted]


def _files(_: str, limit: int) -> Iterable[ItemRow]:
    return [items.file(*identity) for identity in _FILES.largest("byte_length", limit)]
