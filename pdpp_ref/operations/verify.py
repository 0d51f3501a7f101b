"""Verifying: recomputing everything from the canonical rows and reporting every difference.

It writes nothing, and shares neither the stored lengths nor the queries of reconciling.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import accumulate, groupby, zip_longest
from typing import Any, NamedTuple

from ..database import (
    byte_length,
    fetch_all,
    fetch_as,
    fetch_dicts,
    fetch_value,
    read_snapshot,
    sorting_on_disk,
)
from ..models.measures import EXTENTS, MEASURE_NAMES, retains_anything
from ..projection.grains import (
    CONNECTION,
    GLOBAL,
    STREAM,
    Grain,
)
from ..queries import growth
from ..timestamps import days_before
from . import verify_records
from .differences import Difference

__all__ = ["Difference", "differences"]

Progress = Callable[[int, int], None]
# The part of the time in which rows are counted; the rest is for single records.
COUNTING_SHARE = 0.2

# The days on which versions arrived, and how many, by grain and row.
Arrivals = dict[Grain, dict[int, Counter[str]]]


class _Stream(NamedTuple):
    id: int
    name: str
    connection_id: int
    connection: str


@dataclass
class _Counted:
    """A recomputed row: its measures, its extents, and whether its record times are unknown."""

    measures: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MEASURE_NAMES, 0))
    extents: dict[str, str | None] = field(
        default_factory=lambda: dict.fromkeys((extent.name for extent in EXTENTS), None)
    )
    record_times_unknown: bool = False

    @classmethod
    def total(cls, parts: Sequence["_Counted"]) -> "_Counted":
        """A recomputed row, from the rows below it."""
        total = cls(record_times_unknown=any(part.record_times_unknown for part in parts))
        for name in MEASURE_NAMES:
            total.measures[name] = sum(part.measures[name] for part in parts)
        for extent in EXTENTS:
            times = [time for part in parts if (time := part.extents[extent.name])]
            if extent.of == "record_time" and total.record_times_unknown:
                times = []
            total.extents[extent.name] = (max if extent.latest else min)(times, default=None)
        return total

    def retains_anything(self) -> bool:
        return retains_anything(self.measures)

    def columns(self, grain: Grain) -> dict[str, Any]:
        """By column of the grain's table.  The global row does not say whether times are unknown."""
        flags = {} if grain is GLOBAL else {"record_times_unknown": self.record_times_unknown}
        return {**self.measures, **flags, **self.extents}


class _Checked:
    """Reports how many versions are checked; those that are only counted are a part of it."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._total, self._progress = total, progress
        self._done = 0.0

    def counted(self) -> None:
        self._show(COUNTING_SHARE * self._total)

    def versions(self, number: int) -> None:
        self._show((1 - COUNTING_SHARE) * number)

    def _show(self, more: float) -> None:
        self._done += more
        self._progress(round(self._done), self._total)


def differences(progress: Progress = lambda *_: None) -> Iterator[Difference]:
    """Every value that differs from the recomputed one, all read in one snapshot, in constant memory.

    `progress` gets about how many versions are checked, and how many there are.
    """
    with sorting_on_disk(), read_snapshot():
        parts = verify_records.parts()
        checked = _Checked(sum(part.versions for part in parts), progress)
        counted, arrivals = _count_streams(), _count_arrivals()
        checked.counted()
        connections = dict(fetch_all("SELECT id, connector_instance_id FROM connections"))
        connectors = dict(fetch_all("SELECT id, connector_id FROM connections"))
        of_connection: dict[int, list[_Counted]] = {connection_id: [] for connection_id in connections}
        for stream in _streams():
            of_connection[stream.connection_id].append(counted[stream.id])
            name = ("stream", stream.connection, stream.name)
            names = {"connection_name": stream.connection, "stream_name": stream.name}
            yield from _compare(STREAM, stream.id, name, counted[stream.id], names, arrivals)
        totals, stream_count = [], 0
        of_connector: Counter[str] = Counter()
        for connection_id, streams in of_connection.items():
            total, retaining = _Counted.total(streams), sum(each.retains_anything() for each in streams)
            totals.append(total)
            stream_count += retaining
            of_connector[connectors[connection_id]] += total.measures["record_count"]
            more = {"stream_count": retaining, "connection_name": connections[connection_id]}
            row = ("connection", connections[connection_id])
            yield from _compare(CONNECTION, connection_id, row, total, more, arrivals)
        connection_count = sum(each.retains_anything() for each in totals)
        counts = {"stream_count": stream_count, "connection_count": connection_count}
        yield from _compare(GLOBAL, 1, ("global",), _Counted.total(totals), counts, arrivals)
        yield from _connectors(+of_connector)
        yield from verify_records.differences(parts, checked.versions)


def _streams() -> list[_Stream]:
    return fetch_as(
        _Stream,
        """
        SELECT s.id, s.name, c.id, c.connector_instance_id
        FROM streams s
        JOIN connections c ON c.id = s.connection_id
        ORDER BY s.id
        """,
    )


# ---- counting ----------------------------------------------------------------------------------


def _count_streams() -> dict[int, _Counted]:
    """Every stream recomputed, from the data itself."""
    counted: dict[int, _Counted] = defaultdict(_Counted)
    for stream_id, count, size in fetch_all(
        f"""
        SELECT stream_id, COUNT(*), SUM({byte_length("data")})
        FROM records
        GROUP BY stream_id
        """
    ):
        counted[stream_id].measures |= {"record_count": count, "current_record_json_bytes": size}
    for stream_id, count, size in fetch_all(
        f"""
        SELECT stream_id, COUNT(*), SUM(COALESCE({byte_length("data")}, 0))
        FROM record_changes
        GROUP BY stream_id
        """
    ):
        counted[stream_id].measures |= {"record_history_count": count, "record_history_json_bytes": size}
    for stream_id, count, size in fetch_all(
        """
        SELECT binding.stream_id, COUNT(*), SUM(blob.byte_length)
        FROM blob_bindings binding
        JOIN blobs blob ON blob.sha256 = binding.sha256
        GROUP BY binding.stream_id
        """
    ):
        counted[stream_id].measures |= {"blob_count": count, "blob_bytes": size}
    _find_arrival_times(counted)
    _find_record_times(counted)
    return counted


def _find_arrival_times(counted: dict[int, _Counted]) -> None:
    """Those of the oldest and newest live version, not the smallest and largest: clocks may step back."""
    for stream_id, earliest, latest in fetch_all(
        """
        SELECT ends.stream_id, oldest.ingested_at, newest.ingested_at
        FROM (
            SELECT stream_id, MIN(version) AS oldest, MAX(version) AS newest
            FROM records
            GROUP BY stream_id
        ) AS ends
        JOIN records oldest ON oldest.stream_id = ends.stream_id AND oldest.version = ends.oldest
        JOIN records newest ON newest.stream_id = ends.stream_id AND newest.version = ends.newest
        """
    ):
        counted[stream_id].extents |= {"earliest_ingested_at": earliest, "latest_ingested_at": latest}


def _find_record_times(counted: dict[int, _Counted]) -> None:
    """Unknown if a record was not sent since its stream's time field was declared, or there is none."""
    for stream_id, undated, earliest, latest in fetch_all(
        """
        SELECT
            stream_id,
            SUM(
                CASE
                    WHEN record_time_field IS NULL
                        OR (record_time IS NULL AND version <= record_time_field_since)
                    THEN 1
                    ELSE 0
                END
            ),
            MIN(NULLIF(record_time, '')),
            MAX(NULLIF(record_time, ''))
        FROM records
        JOIN streams ON id = stream_id
        GROUP BY stream_id
        """
    ):
        counted[stream_id].record_times_unknown = undated > 0
        if not undated:
            counted[stream_id].extents |= {"earliest_record_time": earliest, "latest_record_time": latest}


def _count_arrivals() -> Arrivals:
    """The number of versions that arrived on each day, in each row of each grain.

    Only days on which the clock was right: all versions of such a day are newer than those of days
    before.
    """
    arrivals: Arrivals = {STREAM: {}, CONNECTION: {}, GLOBAL: {}}
    rows = fetch_all(
        """
        SELECT
            c.stream_id, s.connection_id, SUBSTR(c.ingested_at, 1, 10), COUNT(*), MIN(c.version),
            MAX(c.version)
        FROM record_changes c
        JOIN streams s ON s.id = c.stream_id
        WHERE s.connection_id IS NOT NULL
        GROUP BY 1, 2, 3
        ORDER BY 1, 3
        """
    )
    for _, group in groupby(rows, lambda row: int(row[0])):
        days = list(group)
        newest_before = [0, *accumulate((day[-1] for day in days), max)]
        oldest_after = [*accumulate((day[-2] for day in reversed(days)), min)][::-1][1:]
        for (stream, connection, day, count, oldest, newest), before, after in zip_longest(
            days, newest_before[:-1], oldest_after
        ):
            if before < oldest and (after is None or newest < after):
                for grain, key in ((STREAM, stream), (CONNECTION, connection), (GLOBAL, 1)):
                    arrivals[grain].setdefault(key, Counter())[day] += count
    return arrivals


# ---- comparing ---------------------------------------------------------------------------------


def _compare(
    grain: Grain,
    key: int,
    row: tuple[str, ...],
    counted: _Counted,
    more: dict[str, Any],
    arrivals: Arrivals,
) -> Iterator[Difference]:
    """One row and its daily snapshots; `more` are its names, and the rows below it that retain anything."""
    expected = {**counted.columns(grain), **more}
    # By name: in a damaged file, names of columns may be damaged too.
    columns = ", ".join((*expected, "dirty", "generation", "days_disordered"))
    rows = fetch_dicts(f"SELECT {columns} FROM {grain.table} WHERE {grain.key} = ?", [key])
    stored = rows[0] if rows else None
    for name, value in expected.items():
        if not stored or stored[name] != value:
            is_dirty = not stored or bool(stored["dirty"])
            yield Difference(row, name, stored[name] if stored else None, value, is_dirty)
    if stored:
        days = fetch_dicts(
            f"""
            SELECT day, generation, {", ".join(counted.measures)}
            FROM {grain.days}
            WHERE {grain.key} = ?
            ORDER BY generation
            """,
            [key],
        )
        yield from _newest_day(row, stored, counted.measures, days)
        if not stored["days_disordered"]:
            arrived = arrivals[grain].get(key, Counter())
            yield from _unmarked_gaps(grain, key, row, {day["day"] for day in days}, arrived)


def _connectors(counted: Counter[str]) -> Iterator[Difference]:
    """The records of each connector that has any; these rows are dirty when the global row is."""
    stored = dict(fetch_all("SELECT connector_id, record_count FROM retained_size_connector"))
    is_dirty = bool(fetch_value("SELECT dirty FROM retained_size_global"))
    for connector in sorted(stored.keys() | counted.keys()):
        found, expected = stored.get(connector), counted.get(connector)
        if found != expected:
            yield Difference(("connector", connector), "record_count", found, expected, is_dirty)


def _newest_day(
    row: tuple[str, ...], stored: dict[str, Any], measures: dict[str, int], days: list[dict[str, Any]]
) -> Iterator[Difference]:
    """The snapshot of the last change has the measures that a clean row must have, and none is newer."""
    if stored["dirty"] or not (days or stored["generation"]):
        return
    newest: dict[str, Any] = days[-1] if days else {}
    for name, value in {"generation": stored["generation"], **measures}.items():
        if newest.get(name) != value:
            day = ("day", newest.get("day", "none"), *row)
            yield Difference(day, name, newest.get(name), value, dirty=False)


def _unmarked_gaps(
    grain: Grain, key: int, row: tuple[str, ...], recorded: set[str], arrived: Counter[str]
) -> Iterator[Difference]:
    """Days on which versions arrived, although the snapshots show no change."""
    for day, count in sorted(arrived.items()):
        # A version that arrived just before midnight may have been counted after it.
        after = (date.fromisoformat(day) + timedelta(days=1)).isoformat()
        if recorded & {day, after} or day >= days_before(0):
            continue
        if growth.day_of(grain, key, day).parts is not None:
            yield Difference(("day", day, *row), "versions", 0, count, dirty=False)
