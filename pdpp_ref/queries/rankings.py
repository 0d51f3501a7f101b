"""The largest connections, streams, records and files, by a measure.

Each ranking begins with an index, so that its cost depends on how many rows are asked for, never on how
much is stored.  Two exceptions: if there are records of equal size in very many streams, these are tried in
the order of their names; and while the rows of a deleted stream are being removed, they are skipped one by
one, in an index alone.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from msgspec.structs import asdict

from ..database import fetch_all, fetch_column, placeholders
from ..models import MAY_RETAIN, STREAM_PREFIX
from ..models.measures import EVERY_MEASURE, TOTAL, TOTAL_SQL
from ..projection.ranked import RANKED
from ..projection.rows import (
    CONNECTION_COLUMNS,
    STREAM_COLUMNS,
    ConnectionRow,
    StreamRow,
    fetch_rows,
)
from . import items
from .items import ItemRow

MAX_ROWS = RANKED
FEW_STREAMS = 200  # as many are put in the order of their names; of more, only the first are looked for
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


def largest_total(scope: str) -> int:
    """The total of the first of a scope, 0 if it has none.  Raises KeyError for an unknown scope."""
    match scope:
        case "connection" | "stream":
            return _last_value(f"retained_size_{scope}", "TRUE", TOTAL_SQL, 1) or 0
        case "record":  # a record's only version counts twice: as the current one, and in its history
            of_one_version = 2 * _WITHOUT_ROLLUP.largest_value("json_bytes")
            return max(of_one_version, _WITH_ROLLUP.largest_value(TOTAL_SQL))
        case "blob":
            return _FILES.largest_value("byte_length")
    raise KeyError(scope)


# ---- connections and streams -------------------------------------------------------------------

# Each `ranked` is SQL: the name of a measure, or TOTAL_SQL.


def _connections(ranked: str, limit: int) -> Iterable[ItemRow]:
    rows = fetch_rows(
        ConnectionRow,
        f"""
        SELECT {CONNECTION_COLUMNS}
        FROM (
            SELECT *
            FROM retained_size_connection
            ORDER BY {ranked} DESC, connection_name
            LIMIT ?
        ) r
        JOIN connections c ON c.id = r.connection_id
        """,
        [limit],
    )
    return map(_item, rows)


def _streams(ranked: str, limit: int) -> Iterable[ItemRow]:
    rows = fetch_rows(
        StreamRow,
        f"""
        SELECT {STREAM_COLUMNS}
        FROM (
            SELECT *
            FROM retained_size_stream
            ORDER BY {ranked} DESC, connection_name, {STREAM_PREFIX}, stream_name
            LIMIT ?
        ) r
        JOIN connections c ON c.id = r.connection_id
        JOIN streams s ON s.id = r.stream_id
        """,
        [limit],
    )
    return map(_item, rows)


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


_OF_STREAM = "t.stream_id = r.stream_id LIMIT 1"
_HAS_RECORD = f"SELECT 1 FROM records t WHERE {_OF_STREAM}"
_HAS_ROLLUP = f"SELECT 1 FROM retained_size_record t WHERE {_OF_STREAM}"
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

    def largest_value(self, ranked: str) -> int:
        """0 if there are no rows."""
        return _last_value(self.table, self.where, ranked, 1) or 0

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
        for stream_id in self._streams_with(where, ranked, last, limit):
            if len(found) == limit:
                break
            found += fetch_all(equal, (last, stream_id, limit - len(found)))
        return found

    def _streams_with(self, where: str, ranked: str, value: int, limit: int) -> list[int]:
        """The first streams by name, at least `limit` of them, that have a row of that value."""
        found = self._few_streams_with(where, ranked, value)
        if len(found) <= FEW_STREAMS:
            return _in_order(found)
        has = f"SELECT 1 FROM {self.table} t WHERE {where} AND {ranked} = ? AND {_OF_STREAM}"
        return _first_streams(has, [value], limit)

    def _few_streams_with(self, where: str, ranked: str, value: int) -> list[int]:
        """All of them, but no more than FEW_STREAMS and one: one look-up in the index for each."""
        return fetch_column(
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
            LIMIT {FEW_STREAMS + 1}
            """,
            (value, value),
        )


_WITHOUT_ROLLUP = _Ranked("records", "ranked AND NOT has_rollup")
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
    for stream_id in _first_streams(f"COALESCE(({_HAS_RECORD}), ({_HAS_ROLLUP}))", [], limit):
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


def _in_order(stream_ids: list[int]) -> list[int]:
    """Those streams in the order of their names."""
    if len(stream_ids) < 2:
        return stream_ids
    return fetch_column(
        f"""
        SELECT s.id
        FROM streams s
        JOIN connections c ON c.id = s.connection_id
        WHERE s.id IN ({placeholders(stream_ids)})
        ORDER BY c.connector_instance_id, s.name
        """,
        stream_ids,
    )


def _first_streams(has: str, values: Sequence[int], limit: int) -> list[int]:
    """The first streams by name for which `has`, SQL for a value of the stream r.stream_id, is not NULL.

    Streams that retain nothing are not tried.
    """
    return fetch_column(
        f"""
        SELECT r.stream_id
        FROM retained_size_stream r
        WHERE {MAY_RETAIN} AND ({has}) IS NOT NULL
        ORDER BY connection_name, {STREAM_PREFIX}, stream_name
        LIMIT ?
        """,
        (*values, limit),
    )


def _files(_: str, limit: int) -> Iterable[ItemRow]:
    return [items.file(*identity) for identity in _FILES.largest("byte_length", limit)]
