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
    `stored` is None where the row is missing; bounds are times, everything else is a number.
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
    """What is stored of each single record, against its own history."""
    for connection, stream, key, *figures in fetch_all(_RECORDS):
        stored, counted = figures[: len(MEASURE_NAMES)], figures[len(MEASURE_NAMES) :]
        for name, held, value in zip(MEASURE_NAMES, stored, counted, strict=True):
            if held != value:
                yield Difference(("record", connection, stream, key), name, held, int(value), dirty=False)


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
# Of a record: what is stored of it, which without a row of its own is one version; what it is.
_RECORD_FIGURES = {
    "record_count": ("1", "COALESCE(r.live, 0)"),
    "current_record_json_bytes": ("r.json_bytes", f"COALESCE({byte_length('r.data')}, 0)"),
    "record_history_count": ("1", "h.versions"),
    "record_history_json_bytes": ("r.json_bytes", "h.bytes"),
    "blob_count": ("0", "COALESCE(f.files, 0)"),
    "blob_bytes": ("0", "COALESCE(f.bytes, 0)"),
}
_OF_RECORD = {
    name: (f"CASE WHEN t.key IS NULL THEN {one} ELSE t.{name} END", counted)
    for name, (one, counted) in _RECORD_FIGURES.items()
}
_RECORDS = (
    "SELECT connector_instance_id, s.name, h.key, "
    + ", ".join(stored for stored, _ in _OF_RECORD.values())
    + ", "
    + ", ".join(counted for _, counted in _OF_RECORD.values())
    + f" FROM (SELECT stream_id, key, COUNT(*) AS versions, {_BYTES} AS bytes "
    "FROM record_changes GROUP BY stream_id, key) h "
    "JOIN streams s ON s.id = h.stream_id JOIN connections c ON c.id = s.connection_id "
    "LEFT JOIN (SELECT 1 AS live, records.* FROM records) r ON r.stream_id = h.stream_id AND r.key = h.key "
    "LEFT JOIN retained_size_record t ON t.stream_id = h.stream_id AND t.key = h.key "
    "LEFT JOIN (SELECT stream_id, key, COUNT(*) AS files, SUM(blobs.byte_length) AS bytes "
    "FROM blob_bindings JOIN blobs ON blobs.sha256 = blob_bindings.sha256 GROUP BY stream_id, key) f "
    "ON f.stream_id = h.stream_id AND f.key = h.key WHERE "
    + " OR ".join(f"{stored} IS DISTINCT FROM {counted}" for stored, counted in _OF_RECORD.values())
)
