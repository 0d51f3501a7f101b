"""Counting again from the canonical rows themselves, and telling every difference.  Writes nothing.

It shares neither the stored lengths nor the queries of the repair that it checks.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate, groupby, zip_longest
from typing import Any

from ..database import (
    byte_length,
    dicts,
    fetch_all,
    fetch_dicts,
    read_snapshot,
)
from ..models import Connection, Stream
from ..models.measures import EXTENTS, MEASURE_NAMES, retains_anything
from ..projection.grains import (
    CONNECTION,
    GLOBAL,
    STREAM,
    Grain,
)
from ..queries import growth
from ..timestamps import days_before

Figures = dict[str, Any]


@dataclass(frozen=True)
class Difference:
    """A figure that is not what a recount gives.  `dirty`: its row says itself that it may lag.

    `row` names it: `("record", connection, stream, key)`, `("stream", connection, stream)`,
    `("connection", connection)` or `("global",)`; `("day", day, "stream", connection, stream)` and so on
    are of that row's days.
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
        by_stream, came = _count_streams(), _count_days()
        connections = {row["id"]: row["connector_instance_id"] for row in dicts(Connection.select())}
        of_connection: dict[int, list[Figures]] = {key: [] for key in connections}
        for stream in dicts(Stream.select().order_by(Stream.id)):
            counted = by_stream.get(stream["id"]) or _total([])
            of_connection[stream["connection"]].append(counted)
            name = ("stream", connections[stream["connection"]], stream["name"])
            days = came[STREAM.table].get(stream["id"], Counter())
            yield from _compare(STREAM, stream["id"], name, counted, days)
        totals = []
        for key, streams in of_connection.items():
            counted = _total(streams) | {"stream_count": _retaining(streams)}
            totals.append(counted)
            days = came[CONNECTION.table].get(key, Counter())
            yield from _compare(CONNECTION, key, ("connection", connections[key]), counted, days)
        streams_in_all = sum(total["stream_count"] for total in totals)
        counted = _total(totals) | {
            "stream_count": streams_in_all,
            "connection_count": _retaining(totals),
        }
        yield from _compare(GLOBAL, 1, ("global",), counted, came[GLOBAL.table].get(1, Counter()))
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
    for bound in EXTENTS:
        times = [part[bound.name] for part in parts if part[bound.name]]
        if bound.of == "record_time" and total["record_times_unknown"]:
            times = []
        total[bound.name] = max(times, default=None) if bound.latest else min(times, default=None)
    return total


def _retaining(parts: list[Figures]) -> int:
    return sum(retains_anything(part) for part in parts)


def _count_days() -> dict[str, dict[int, Counter[str]]]:
    """How many versions came on each day, in each row of each grain.

    Not those of a clock that was wrong: of a stream's days each has newer versions than those before.
    """
    came: dict[str, dict[int, Counter[str]]] = {STREAM.table: {}, CONNECTION.table: {}, GLOBAL.table: {}}
    for _, group in groupby(fetch_all(_CAME), lambda row: int(row[0])):
        days = list(group)
        newest_before = [0, *accumulate((day[-1] for day in days), max)]
        oldest_after = [*accumulate((day[-2] for day in reversed(days)), min)][::-1][1:]
        for (stream, connection, day, count, oldest, newest), before, after in zip_longest(
            days, newest_before[:-1], oldest_after
        ):
            if before < oldest and (after is None or newest < after):
                for grain, key in ((STREAM, stream), (CONNECTION, connection), (GLOBAL, 1)):
                    came[grain.table].setdefault(key, Counter())[day] += count
    return came


def _compare(
    grain: Grain, key: int, row: tuple[str, ...], counted: Figures, came: Counter[str]
) -> Iterator[Difference]:
    found = fetch_dicts(f"SELECT * FROM {grain.table} WHERE {grain.key} = ?", [key])
    stored = found[0] if found else None
    for figure, value in counted.items():
        if grain is GLOBAL and figure == "record_times_unknown":
            continue  # that row has no such mark of its own
        held = stored[figure] if stored else None
        if held != value or not stored:
            yield Difference(row, figure, held, value, not stored or bool(stored["dirty"]))
    if stored:
        days = fetch_dicts(f"SELECT * FROM {grain.days} WHERE {grain.key} = ? ORDER BY generation", [key])
        yield from _newest_day(row, stored, counted, days)
        if not stored["days_disordered"]:
            yield from _unmarked_gaps(grain, key, row, {day["day"] for day in days}, came)


def _newest_day(
    row: tuple[str, ...], stored: Figures, counted: Figures, days: list[Figures]
) -> Iterator[Difference]:
    """The day of the last change has the figures that a clean row must have, and no day is newer."""
    if stored["dirty"] or not (days or stored["generation"]):
        return
    newest: Figures = days[-1] if days else {}
    expected = {"generation": stored["generation"], **{name: counted[name] for name in MEASURE_NAMES}}
    for figure, value in expected.items():
        if newest.get(figure) != value:
            name = ("day", newest.get("day", "none"), *row)
            yield Difference(name, figure, newest.get(figure), value, dirty=False)


def _unmarked_gaps(
    grain: Grain, key: int, row: tuple[str, ...], recorded: set[str], came: Counter[str]
) -> Iterator[Difference]:
    """Days on which versions came, while what is shown says that nothing changed."""
    for day, count in sorted(came.items()):
        # What came just before midnight may have been counted after it.
        after = (date.fromisoformat(day) + timedelta(days=1)).isoformat()
        if recorded & {day, after} or day >= days_before(0):
            continue
        if growth.day_of(grain, key, day).parts is not None:
            yield Difference(("day", day, *row), "versions", 0, count, dirty=False)


def _records() -> Iterator[Difference]:
    """What is stored of each single record, against its own versions and files."""
    width = len(_OF_RECORD)
    for connection, stream, key, dirty, has_row, is_right, *values in fetch_all(_RECORDS):
        row = ("record", connection, stream, key)
        stored, counted = values[:width], values[width : 2 * width]
        has_rollup, changed_at, newest_at = values[2 * width :]
        for name, held, value in zip(_OF_RECORD, stored, counted, strict=True):
            if not is_right and (held != value or not has_row):
                yield Difference(row, name, held, value, bool(dirty))
        if has_row and changed_at != newest_at:
            yield Difference(row, "changed_at", changed_at, newest_at, bool(dirty))
        if has_rollup not in (None, has_row):
            yield Difference(row, "has_rollup", int(has_rollup), int(has_row), bool(dirty))


def _links() -> Iterator[Difference]:
    """What each version names as the key's version before it."""
    for connection, stream, key, dirty, version, stored, counted in fetch_all(_LINKS):
        row = ("record", connection, stream, key)
        yield Difference(row, f"version before {version}", stored, counted, bool(dirty))


_BYTES = f"SUM(COALESCE({byte_length('data')}, 0))"
_OF_TIMES = [bound for bound in EXTENTS if bound.of != "ingested_at"]
_RECOUNT = {
    ("record_count", "current_record_json_bytes"): (
        f"SELECT stream_id, COUNT(*), {_BYTES} FROM records GROUP BY stream_id"
    ),
    ("record_times_unknown", "earliest_record_time", "latest_record_time"): (
        "SELECT stream_id, unknown, CASE WHEN NOT unknown THEN earliest END, "
        "CASE WHEN NOT unknown THEN latest END FROM "
        "(SELECT stream_id, SUM(CASE WHEN record_time_field IS NULL OR (record_time IS NULL "
        "AND version <= record_time_field_since) THEN 1 ELSE 0 END) > 0 AS unknown, "
        "MIN(NULLIF(record_time, '')) AS earliest, MAX(NULLIF(record_time, '')) AS latest "
        "FROM records JOIN streams ON id = stream_id GROUP BY stream_id) times"
    ),
    # Of the oldest and the newest version: clocks may step back.
    tuple(bound.name for bound in EXTENTS if bound not in _OF_TIMES): (
        "SELECT ends.stream_id, "
        + ", ".join(
            f"(SELECT ingested_at FROM records r WHERE r.stream_id = ends.stream_id "
            f"AND r.version = ends.{'newest' if bound.latest else 'oldest'})"
            for bound in EXTENTS
            if bound not in _OF_TIMES
        )
        + " FROM (SELECT stream_id, MIN(version) AS oldest, MAX(version) AS newest FROM records "
        "GROUP BY stream_id) AS ends"
    ),
    ("record_history_count", "record_history_json_bytes"): (
        f"SELECT stream_id, COUNT(*), {_BYTES} FROM record_changes GROUP BY stream_id"
    ),
    ("blob_count", "blob_bytes"): (
        "SELECT binding.stream_id, COUNT(*), SUM(blob.byte_length) FROM blob_bindings binding "
        "JOIN blobs blob ON blob.sha256 = binding.sha256 GROUP BY binding.stream_id"
    ),
}
_CAME = (
    "SELECT c.stream_id, s.connection_id, SUBSTR(c.ingested_at, 1, 10), COUNT(*), MIN(c.version), "
    "MAX(c.version) FROM record_changes c JOIN streams s ON s.id = c.stream_id "
    "GROUP BY 1, 2, 3 ORDER BY 1, 3"
)
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
    + f", r.has_rollup AS has_rollup, t.changed_at AS changed_at, {_NEWEST_AT} AS newest_at "
    f"FROM ({_KEYS}) k {_NAMED} LEFT JOIN (SELECT stream_id, key, COUNT(*) AS versions, {_BYTES} AS bytes, "
    f"MAX(version) AS version FROM record_changes GROUP BY stream_id, key) h ON {_OF_KEY.format('h')} "
    f"LEFT JOIN (SELECT 1 AS live, records.* FROM records) r ON {_OF_KEY.format('r')} "
    f"LEFT JOIN retained_size_record t ON {_OF_KEY.format('t')} "
    "LEFT JOIN record_changes n ON n.stream_id = h.stream_id AND n.version = h.version "
    "LEFT JOIN (SELECT stream_id, key, COUNT(*) AS files, SUM(blobs.byte_length) AS bytes "
    "FROM blob_bindings JOIN blobs ON blobs.sha256 = blob_bindings.sha256 GROUP BY stream_id, key) f "
    f"ON {_OF_KEY.format('f')}) found WHERE NOT is_right IS TRUE OR has_rollup <> has_row "
    "OR (has_row AND changed_at IS DISTINCT FROM newest_at)"
)
_LINKS = (
    f"SELECT connector_instance_id, s.name, k.key, {_IS_DIRTY}, k.version, k.previous_version, before FROM "
    "(SELECT stream_id, key, version, previous_version, "
    "LAG(version) OVER (PARTITION BY stream_id, key ORDER BY version) AS before FROM record_changes) k "
    f"{_NAMED} WHERE k.previous_version IS DISTINCT FROM before"
)
