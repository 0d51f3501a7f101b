"""Counting again from the canonical rows themselves, and telling every difference.  Writes nothing.

It shares neither the stored lengths nor the queries of the repair that it checks.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate, groupby, zip_longest
from typing import Any

from ..database import byte_length, dicts, fetch_all, fetch_dicts, read_snapshot
from ..measures import BOUNDS, MEASURE_NAMES, retains_anything
from ..models import Connection, Stream
from ..times import days_before
from . import growth
from .grains import CONNECTION, GLOBAL, STREAM, Grain

Figures = dict[str, Any]


@dataclass(frozen=True)
class Difference:
    """A figure that is not what a recount gives.  `dirty`: its row says itself that it may lag.

    `row` names it: `("record", connection, stream, key)`, `("stream", connection, stream)`,
    `("connection", connection)` or `("global",)`; `("day", day, "stream", connection, stream)` and so on
    are of that row's days.
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


def _count_streams() -> dict[int, Figures]:
    by_stream: dict[int, Figures] = {}
    for names, sql in _RECOUNT.items():
        for stream_id, *values in fetch_all(sql):
            figures = by_stream.setdefault(stream_id, _total([]))
            figures |= zip(names, values, strict=True)
    return by_stream


def _total(parts: list[Figures]) -> Figures:
    total: Figures = {name: sum(part[name] for part in parts) for name in MEASURE_NAMES}
    for bound in BOUNDS:
        times = (part[bound.name] for part in parts if part[bound.name])
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
        if growth.stood_at(grain, key, day).parts is not None:
            yield Difference(("day", day, *row), "versions", 0, count, dirty=False)


def _records() -> Iterator[Difference]:
    """What is stored of each single record, against its own history."""
    for connection, stream, key, *figures in fetch_all(_RECORDS):
        stored, counted = figures[: len(MEASURE_NAMES)], figures[len(MEASURE_NAMES) :]
        for name, held, value in zip(MEASURE_NAMES, stored, counted, strict=True):
            if held != value:
                yield Difference(("record", connection, stream, key), name, held, int(value), dirty=False)


_BYTES = f"SUM(COALESCE({byte_length('data')}, 0))"
_OF_TIMES = [bound for bound in BOUNDS if bound.of != "ingested_at"]
_RECOUNT = {
    ("record_count", "current_record_json_bytes", *(bound.name for bound in _OF_TIMES)): (
        f"SELECT stream_id, COUNT(*), {_BYTES}, "
        + ", ".join(f"{'MAX' if bound.latest else 'MIN'}({bound.of})" for bound in _OF_TIMES)
        + " FROM records GROUP BY stream_id"
    ),
    # Of the oldest and the newest version: clocks may step back.
    tuple(bound.name for bound in BOUNDS if bound not in _OF_TIMES): (
        "SELECT ends.stream_id, "
        + ", ".join(
            f"(SELECT ingested_at FROM records r WHERE r.stream_id = ends.stream_id "
            f"AND r.version = ends.{'newest' if bound.latest else 'oldest'})"
            for bound in BOUNDS
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
