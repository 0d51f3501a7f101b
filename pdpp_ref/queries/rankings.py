"""The largest connections, streams, records and files, by a measure.

Each ranking begins with an index, so that its cost follows from how many rows are asked for and,
where many are equally large, from how many streams these are in; never from how much is stored.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ..database import fetch_all, fetch_dicts
from ..models.measures import (
    BYTE_MEASURES,
    MEASURE_NAMES,
    TOTAL,
    TOTAL_SQL,
)
from ..projection.grains import CONNECTION, STREAM
from ..projection.rows import ROWS, shown, without_invalid_times

MOST_ROWS = 25
EVERY_MEASURE = (*MEASURE_NAMES, TOTAL)
# A record is one record, and a file one file: ranking by what is always 1 makes no sense.
MEASURES_OF = {
    "connection": EVERY_MEASURE,
    "stream": EVERY_MEASURE,
    "record": tuple(name for name in EVERY_MEASURE if name != "record_count"),
    "blob": ("blob_bytes", TOTAL),
}

Row = dict[str, Any]


def rows(scope: str, measure: str, limit: int) -> list[Row]:
    """The top rows of a scope, at most `limit`: by the measure down, then by their names up.

    Names rank by connection, stream, then record key or file.  Deleted records of which history is
    kept are records too.  Raises KeyError for an unknown scope.
    """
    ranked = {"connection": _grain_rows, "stream": _grain_rows, "record": _records, "blob": _files}
    found = sorted(ranked[scope](scope, measure, limit), key=lambda row: (-row[measure], row["names"]))
    return [
        {
            "scope": scope,
            "measure": measure,
            "rank": rank,
            "grain_key": json.dumps(row.pop("names"), ensure_ascii=False, separators=(",", ":")),
            "record_key": row.pop("key", None),
            "blob_id": row.pop("sha256", None),
            "grain": scope,
            **row,
        }
        for rank, row in enumerate(found[:limit], 1)
    ]


# ---- connections and streams -------------------------------------------------------------------


def _grain_rows(scope: str, measure: str, limit: int) -> Iterable[Row]:
    table = {"connection": CONNECTION, "stream": STREAM}[scope].table
    sql, names = ROWS[scope]
    ranked = TOTAL_SQL if measure == TOTAL else measure
    last = fetch_all(f"SELECT {ranked} FROM {table} ORDER BY {ranked} DESC LIMIT 1 OFFSET ?", [limit - 1])
    if not last:
        found = fetch_dicts(sql)
    else:
        order = f"ORDER BY {', '.join(names)} LIMIT ?"
        found = fetch_dicts(f"{sql} WHERE {ranked} > ?", last[0])
        found += fetch_dicts(f"{sql} WHERE {ranked} = ? {order}", (*last[0], limit - len(found)))
    for row in map(shown, found):
        kept = ("connector_id", *_NAMES[: len(names)], *EVERY_MEASURE, "computed_at")
        names_of = [row[name] for name in _NAMES[: len(names)]]
        yield {name: row[name] for name in kept} | {"dirty": bool(row["dirty"]), "names": names_of}


_NAMES = ("connector_instance_id", "stream")


# ---- records and files -------------------------------------------------------------------------


class _Source(NamedTuple):
    """Rows of streams that an index ranks: those of `table` for which `where` holds."""

    table: str
    where: str
    identity: tuple[str, ...] = ("key",)

    def largest(self, ranked: str, limit: int) -> list[tuple[Any, ...]]:
        """The (stream id, identity ...) of the largest, and of their equals those first by name."""
        table, where, columns = self.table, self.where, ", ".join(("stream_id", *self.identity))
        last = fetch_all(
            f"SELECT {ranked} FROM {table} WHERE {where} ORDER BY {ranked} DESC LIMIT 1 OFFSET ?",
            [limit - 1],
        )
        if not last:
            return fetch_all(f"SELECT {columns} FROM {table} WHERE {where}")
        found = fetch_all(f"SELECT {columns} FROM {table} WHERE {where} AND {ranked} > ?", last[0])
        for stream_id in _in_order(self._streams_with(ranked, last[0][0])):
            if len(found) == limit:
                break
            found += fetch_all(
                f"SELECT {columns} FROM {table} WHERE {where} AND {ranked} = ? AND stream_id = ? "
                f"ORDER BY {', '.join(self.identity)} LIMIT ?",
                (*last[0], stream_id, limit - len(found)),
            )
        return found

    def _streams_with(self, ranked: str, value: int) -> list[int]:
        """The streams that have a row of that value: one look-up in the index for each."""
        least = f"SELECT MIN(stream_id) AS id FROM {self.table} WHERE {self.where} AND {ranked} = ?"
        sql = (
            f"WITH RECURSIVE found AS ({least} UNION ALL "
            f"SELECT ({least} AND stream_id > found.id) FROM found WHERE found.id IS NOT NULL) "
            "SELECT id FROM found WHERE id IS NOT NULL"
        )
        return [stream_id for (stream_id,) in fetch_all(sql, (value, value))]


_WITHOUT_ROLLUP = _Source("records", "NOT has_rollup")
_WITH_ROLLUP = _Source("retained_size_record", "TRUE")
_WITH_FILES = _Source("retained_size_record", "blob_count <> 0")
_FILES = _Source("blob_bindings", "TRUE", ("key", "sha256"))


def _records(scope: str, measure: str, limit: int) -> Iterable[Row]:
    """Records with `has_rollup` are ranked by their own row, the others by their one version."""
    ranked = TOTAL_SQL if measure == TOTAL else measure
    if measure.startswith("blob"):
        found = _WITH_FILES.largest(ranked, limit)
    else:
        found = _WITH_ROLLUP.largest(ranked, limit)
    if measure.endswith("json_bytes") or measure == TOTAL:
        found += _WITHOUT_ROLLUP.largest("json_bytes", limit)
    else:
        found += _first_by_name(limit)  # all others are equal in this
    return map(_record, dict.fromkeys(found))


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
        "SELECT s.id FROM streams s JOIN connections c ON c.id = s.connection_id "
        "ORDER BY c.connector_instance_id, s.name"
    )
    wanted = None if stream_ids is None else set(stream_ids)
    return [stream_id for (stream_id,) in every if wanted is None or stream_id in wanted]


def _files(scope: str, measure: str, limit: int) -> Iterable[Row]:
    return map(_file, _FILES.largest("byte_length", limit))


# ---- of one stream -----------------------------------------------------------------------------

# A stream of more versions is looked through from its newest on, so that a page costs what it may.
LOOKED_THROUGH = 1_000_000


def looks_through(stream_id: int) -> bool:
    """Whether all of a stream is looked through for its largest."""
    return _first_looked_at(stream_id) <= 1


def records_of(stream_id: int, limit: int) -> list[Row]:
    """A stream's records of which most is kept, deleted ones too, the largest first.

    A record with `has_rollup` keeps at least twice its current length, and any other exactly that,
    so the largest of each kind hold the largest of all.  Both are found by sorting one stream's
    index entries: an index by size within the stream would be paid for by every import.
    """
    first = _first_looked_at(stream_id)
    current = fetch_all(
        "SELECT version FROM records WHERE stream_id = ? AND version >= ? "
        "ORDER BY json_bytes DESC, version LIMIT ?",
        (stream_id, first, limit),
    )
    found = [
        row
        for (version,) in current
        for row in fetch_all(
            "SELECT stream_id, key FROM records WHERE stream_id = ? AND version = ?", (stream_id, version)
        )
    ]
    found += fetch_all(
        "SELECT stream_id, key FROM retained_size_record WHERE stream_id = ? AND version >= ? "
        f"ORDER BY {TOTAL_SQL} DESC, key LIMIT ?",
        (stream_id, first, limit),
    )
    rows = sorted(map(_record, dict.fromkeys(found)), key=lambda row: (-row[TOTAL], row["key"]))
    return rows[:limit]


def files_of(stream_id: int, limit: int) -> list[Row]:
    """The largest files that a stream's records hold, the largest first."""
    found = fetch_all(
        "SELECT stream_id, key, sha256 FROM blob_bindings WHERE stream_id = ? AND version >= ? "
        "ORDER BY byte_length DESC, key, sha256 LIMIT ?",
        (stream_id, _first_looked_at(stream_id), limit),
    )
    return list(map(_file, found))


# All that a stream holds, by name.  A batch begins behind the last key of the one before it, so that
# none costs more than its rows, and no cursor is held.


def count_of_records(stream_id: int) -> int:
    """How many records `every_record` gives."""
    live = "SELECT COUNT(*) FROM records WHERE stream_id = ?"
    deleted = f"SELECT COUNT(*) FROM retained_size_record t WHERE t.stream_id = ? AND NOT {_IS_LIVE}"
    return sum(count for (count,) in fetch_all(f"{live} UNION ALL {deleted}", (stream_id, stream_id)))


def every_record(stream_id: int, rows: int) -> Iterator[list[Row]]:
    """All records of a stream, deleted ones of which something is kept too, in the order of their keys.

    A batch reads as many live ones as rollups, and goes as far as both of them reach.
    """
    names, after = _names_of(stream_id), None
    while True:
        values = (stream_id, rows) if after is None else (stream_id, after, rows)
        live = fetch_dicts(_live(after), values)
        rollups = fetch_dicts(_with_rollup(after), values)
        after = min((found[-1]["key"] for found in (live, rollups) if len(found) == rows), default=None)
        found = live + [row for row in rollups if not row["is_live"]]
        reached = [row for row in found if after is None or row["key"] <= after]
        reached.sort(key=lambda row: row["key"])
        yield [_row(names, row, row["computed_at"], key=row["key"]) for row in reached]
        if after is None:
            return


_ONE_VERSION = dict(zip(MEASURE_NAMES, ("1", "r.json_bytes", "1", "r.json_bytes", "0", "0"), strict=True))
_TOUCHED_OR_NOT = ", ".join(f"COALESCE(t.{name}, {one}) AS {name}" for name, one in _ONE_VERSION.items())
_OF_TOUCHED = ", ".join(f"t.{name}" for name in MEASURE_NAMES)
_IS_LIVE = "EXISTS (SELECT 1 FROM records r WHERE r.stream_id = t.stream_id AND r.key = t.key)"


def _live(after: str | None) -> str:
    """A record with `has_rollup` that has lost its row is one whose figures are not known."""
    behind = "" if after is None else "AND r.key > ?"
    return (
        f"SELECT r.key AS key, {_TOUCHED_OR_NOT}, CASE WHEN t.key IS NOT NULL "
        "THEN t.changed_at WHEN NOT r.has_rollup THEN r.ingested_at END AS computed_at FROM records r "
        "LEFT JOIN retained_size_record t ON t.stream_id = r.stream_id AND t.key = r.key "
        f"WHERE r.stream_id = ? {behind} ORDER BY r.key LIMIT ?"
    )


def _with_rollup(after: str | None) -> str:
    behind = "" if after is None else "AND t.key > ?"
    return (
        f"SELECT t.key AS key, {_OF_TOUCHED}, t.changed_at AS computed_at, {_IS_LIVE} AS is_live "
        f"FROM retained_size_record t WHERE t.stream_id = ? {behind} ORDER BY t.key LIMIT ?"
    )


def count_of_files(stream_id: int) -> int:
    ((count,),) = fetch_all("SELECT COUNT(*) FROM blob_bindings WHERE stream_id = ?", [stream_id])
    return int(count)


def every_file(stream_id: int, rows: int) -> Iterator[list[Row]]:
    """All files that a stream's records hold, in the order of keys and digests."""
    names, after = _names_of(stream_id), None
    while True:
        behind = "" if after is None else "AND (key, sha256) > (?, ?)"
        found = fetch_all(
            f"SELECT key, sha256, byte_length, bound_at FROM blob_bindings WHERE stream_id = ? {behind} "
            "ORDER BY key, sha256 LIMIT ?",
            (stream_id, *(after or ()), rows),
        )
        if not found:
            return
        yield [_file_row(names, *row) for row in found]
        after = found[-1][:2]


def _first_looked_at(stream_id: int) -> int:
    ((last,),) = fetch_all("SELECT last_version FROM streams WHERE id = ?", [stream_id])
    return int(last) - LOOKED_THROUGH + 1


# ---- rows --------------------------------------------------------------------------------------


def _record(identity: tuple[int, str]) -> Row:
    names = _names_of(identity[0])
    of_record = "WHERE stream_id = ? AND key = ?"
    rollups = fetch_dicts(f"SELECT * FROM retained_size_record {of_record}", identity)
    if rollups:
        figures, computed_at = rollups[0], rollups[0]["changed_at"]
    else:
        ((size, computed_at),) = fetch_all(
            f"SELECT json_bytes, ingested_at FROM records {of_record}", identity
        )
        figures = dict(zip(MEASURE_NAMES, (1, size, 1, size, 0, 0), strict=True))
    return _row(names, figures, computed_at, key=identity[1])


def _file(identity: tuple[int, str, str]) -> Row:
    sql = "SELECT byte_length, bound_at FROM blob_bindings WHERE stream_id = ? AND key = ? AND sha256 = ?"
    ((size, bound_at),) = fetch_all(sql, identity)
    stream_id, key, sha256 = identity
    return _file_row(_names_of(stream_id), key, sha256, size, bound_at)


def _file_row(names: Row, key: str, sha256: str, size: int, bound_at: str) -> Row:
    figures = dict(zip(MEASURE_NAMES, (0, 0, 0, 0, 1, size), strict=True))
    return _row(names, figures, bound_at, key=key, sha256=sha256)


def _names_of(stream_id: int) -> Row:
    sql = (
        "SELECT c.connector_id, c.connector_instance_id, s.name AS stream, "
        "COALESCE(r.rollups_dirty, TRUE) AS dirty FROM streams s JOIN connections c "
        "ON c.id = s.connection_id LEFT JOIN retained_size_stream r ON r.stream_id = s.id WHERE s.id = ?"
    )
    return fetch_dicts(sql, [stream_id])[0]


def _row(names: Row, figures: Row, computed_at: str | None, **identity: str) -> Row:
    row = {name: figures[name] for name in MEASURE_NAMES}
    return {
        **names,
        **row,
        TOTAL: sum(row[measure.name] for measure in BYTE_MEASURES),
        **without_invalid_times({"computed_at": computed_at}),
        # Else it was written with the record itself.
        "dirty": bool(names["dirty"]) or computed_at is None,
        "names": [names[name] for name in _NAMES] + list(identity.values()),
        **identity,
    }
