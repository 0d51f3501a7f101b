"""Counting again from the canonical rows themselves, and telling every difference.  Writes nothing.

It shares neither the stored lengths nor the queries of the repair that it checks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..database import byte_length, dicts, fetch_all, first, read_snapshot
from ..measures import BOUNDS, MEASURE_NAMES, retains_anything
from ..models import (
    Connection,
    GrainRow,
    RetainedSizeConnection,
    RetainedSizeGlobal,
    RetainedSizeStream,
    Stream,
)

Figures = dict[str, Any]


@dataclass(frozen=True)
class Difference:
    """A figure that is not what a recount gives.  `dirty`: its row says itself that it may lag.

    `row` names it: `("record", connection, stream, key)`, `("stream", connection, stream)`,
    `("connection", connection)` or `("global",)`.
    `stored` is None where the row is missing, `counted` where there is nothing that it could be of;
    bounds are times, everything else is a number.
    """

    row: tuple[str, ...]
    figure: str
    stored: int | str | None
    counted: int | str | None
    dirty: bool


def differences() -> Iterator[Difference]:
    """Every figure that differs from a recount, all of one moment."""
    with read_snapshot():
        by_stream = _count_streams()
        connections = {row["id"]: row["connector_instance_id"] for row in dicts(Connection.select())}
        of_connection: dict[int, list[Figures]] = {key: [] for key in connections}
        for stream in dicts(Stream.select().order_by(Stream.id)):
            counted = by_stream.get(stream["id"]) or _total([])
            of_connection[stream["connection"]].append(counted)
            name = ("stream", connections[stream["connection"]], stream["name"])
            yield from _compare(RetainedSizeStream, stream["id"], name, counted)
        totals = []
        for key, streams in of_connection.items():
            counted = _total(streams) | {"stream_count": _retaining(streams)}
            totals.append(counted)
            yield from _compare(RetainedSizeConnection, key, ("connection", connections[key]), counted)
        streams_in_all = sum(total["stream_count"] for total in totals)
        counted = _total(totals) | {
            "stream_count": streams_in_all,
            "connection_count": _retaining(totals),
        }
        yield from _compare(RetainedSizeGlobal, 1, ("global",), counted)
        yield from _records()
        yield from _links()


def _count_streams() -> dict[int, Figures]:
    by_stream: dict[int, Figures] = {}
    for names, sql in _RECOUNT.items():
        for stream_id, *values in fetch_all(sql):
            figures = by_stream.setdefault(stream_id, _total([]))
            figures |= zip(names, values, strict=True)
    return by_stream


def _total(parts: list[Figures]) -> Figures:
    total: Figures = {name: sum(part[name] for part in parts) for name in MEASURE_NAMES}
    total["record_times_unknown"] = any(part["record_times_unknown"] for part in parts)
    for bound in BOUNDS:
        times = [part[bound.name] for part in parts if part[bound.name]]
        if bound.of == "record_time" and total["record_times_unknown"]:
            times = []
        total[bound.name] = max(times, default=None) if bound.latest else min(times, default=None)
    return total


def _retaining(parts: list[Figures]) -> int:
    return sum(retains_anything(part) for part in parts)


def _compare(
    grain: type[GrainRow], key: int, row: tuple[str, ...], counted: Figures
) -> Iterator[Difference]:
    stored = first(grain.select().where(grain._meta.primary_key == key))
    for figure, value in counted.items():
        if figure not in grain._meta.fields:
            continue  # the global row has no mark of its own that record times are unknown
        held = stored[figure] if stored else None
        if held != value or not stored:
            yield Difference(row, figure, held, value, not stored or bool(stored["dirty"]))


def _records() -> Iterator[Difference]:
    """What is stored of each single record, against its own versions and files."""
    width = len(_OF_RECORD)
    for connection, stream, key, dirty, has_row, is_right, *values in fetch_all(_RECORDS):
        row = ("record", connection, stream, key)
        stored, counted = values[:width], values[width : 2 * width]
        touched, changed_at, newest_at = values[2 * width :]
        for name, held, value in zip(_OF_RECORD, stored, counted, strict=True):
            if not is_right and (held != value or not has_row):
                yield Difference(row, name, held, value, bool(dirty))
        if has_row and changed_at != newest_at:
            yield Difference(row, "changed_at", changed_at, newest_at, bool(dirty))
        if touched not in (None, has_row):
            yield Difference(row, "touched", int(touched), int(has_row), bool(dirty))


def _links() -> Iterator[Difference]:
    """What each version names as the key's version before it."""
    for connection, stream, key, dirty, version, stored, counted in fetch_all(_LINKS):
        row = ("record", connection, stream, key)
        yield Difference(row, f"version before {version}", stored, counted, bool(dirty))


_BYTES = f"SUM(COALESCE({byte_length('data')}, 0))"
_RECOUNT = {
    ("record_count", "current_record_json_bytes", "earliest_ingested_at", "latest_ingested_at"): (
        f"SELECT stream_id, COUNT(*), {_BYTES}, MIN(ingested_at), MAX(ingested_at) "
        "FROM records GROUP BY stream_id"
    ),
    ("record_times_unknown", "earliest_record_time", "latest_record_time"): (
        "SELECT stream_id, unknown, CASE WHEN NOT unknown THEN earliest END, "
        "CASE WHEN NOT unknown THEN latest END FROM "
        "(SELECT stream_id, SUM(CASE WHEN record_time_field IS NULL OR (record_time IS NULL "
        "AND version <= record_time_field_since) THEN 1 ELSE 0 END) > 0 AS unknown, "
        "MIN(NULLIF(record_time, '')) AS earliest, MAX(NULLIF(record_time, '')) AS latest "
        "FROM records JOIN streams ON id = stream_id GROUP BY stream_id) times"
    ),
    ("record_history_count", "record_history_json_bytes"): (
        f"SELECT stream_id, COUNT(*), {_BYTES} FROM record_changes GROUP BY stream_id"
    ),
    ("blob_count", "blob_bytes"): (
        "SELECT binding.stream_id, COUNT(*), SUM(blob.byte_length) FROM blob_bindings binding "
        "JOIN blobs blob ON blob.sha256 = binding.sha256 GROUP BY binding.stream_id"
    ),
}
# Of a record: what its row is to hold.  One of a single version and no file may do without a row.
_OF_RECORD = {
    "version": "h.version",
    "record_count": "COALESCE(r.live, 0)",
    "current_record_json_bytes": f"COALESCE({byte_length('r.data')}, 0)",
    "record_history_count": "COALESCE(h.versions, 0)",
    "record_history_json_bytes": "COALESCE(h.bytes, 0)",
    "blob_count": "COALESCE(f.files, 0)",
    "blob_bytes": "COALESCE(f.bytes, 0)",
}
_NEEDS_NO_ROW = "t.key IS NULL AND r.live = 1 AND h.versions = 1 AND f.files IS NULL"
_IS_RIGHT = " AND ".join(f"t.{name} IS NOT DISTINCT FROM {counted}" for name, counted in _OF_RECORD.items())
# When a row was changed: with the newest version, or with one of the files.
_NEWEST_AT = (
    "CASE WHEN EXISTS (SELECT 1 FROM blob_bindings b WHERE b.stream_id = t.stream_id AND b.key = t.key "
    "AND b.bound_at = t.changed_at) THEN t.changed_at ELSE n.ingested_at END"
)
_KEYS = " UNION ".join(
    f"SELECT stream_id, key FROM {table}"
    for table in ("record_changes", "records", "retained_size_record", "blob_bindings")
)
_NAMED = (
    "JOIN streams s ON s.id = k.stream_id JOIN connections c ON c.id = s.connection_id "
    "LEFT JOIN retained_size_stream g ON g.stream_id = s.id"
)
_OF_KEY = "{0}.stream_id = k.stream_id AND {0}.key = k.key"
_IS_DIRTY = "COALESCE(g.rollups_dirty, TRUE)"
_RECORDS = (
    "SELECT * FROM (SELECT connector_instance_id, s.name, k.key AS of_key, "
    f"{_IS_DIRTY} AS is_dirty, t.key IS NOT NULL AS has_row, "
    f"({_NEEDS_NO_ROW}) OR (t.key IS NOT NULL AND {_IS_RIGHT}) AS is_right, "
    + ", ".join(f"t.{name} AS stored_{name}" for name in _OF_RECORD)
    + ", "
    + ", ".join(f"{counted} AS counted_{name}" for name, counted in _OF_RECORD.items())
    + f", r.touched AS touched, t.changed_at AS changed_at, {_NEWEST_AT} AS newest_at "
    f"FROM ({_KEYS}) k {_NAMED} LEFT JOIN (SELECT stream_id, key, COUNT(*) AS versions, {_BYTES} AS bytes, "
    f"MAX(version) AS version FROM record_changes GROUP BY stream_id, key) h ON {_OF_KEY.format('h')} "
    f"LEFT JOIN (SELECT 1 AS live, records.* FROM records) r ON {_OF_KEY.format('r')} "
    f"LEFT JOIN retained_size_record t ON {_OF_KEY.format('t')} "
    "LEFT JOIN record_changes n ON n.stream_id = h.stream_id AND n.version = h.version "
    "LEFT JOIN (SELECT stream_id, key, COUNT(*) AS files, SUM(blobs.byte_length) AS bytes "
    "FROM blob_bindings JOIN blobs ON blobs.sha256 = blob_bindings.sha256 GROUP BY stream_id, key) f "
    f"ON {_OF_KEY.format('f')}) found WHERE NOT is_right IS TRUE OR touched <> has_row "
    "OR (has_row AND changed_at IS DISTINCT FROM newest_at)"
)
_LINKS = (
    f"SELECT connector_instance_id, s.name, k.key, {_IS_DIRTY}, k.version, k.previous_version, before FROM "
    "(SELECT stream_id, key, version, previous_version, "
    "LAG(version) OVER (PARTITION BY stream_id, key ORDER BY version) AS before FROM record_changes) k "
    f"{_NAMED} WHERE k.previous_version IS DISTINCT FROM before"
)
