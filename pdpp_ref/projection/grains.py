"""The three grains as data: their tables and counters, and the statements that change one of their rows."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import peewee

from ..database import (
    execute,
    execute_one,
    fetch_all,
    fetch_dicts,
)
from ..models.measures import EXTENTS, MEASURE_NAMES, TimeExtent
from ..timestamps import is_time, utc_now

SNAPSHOT_RETENTION_DAYS = 400  # rows: a year of growth, and the month before it to compare with


@dataclass(frozen=True)
class Grain:
    """A grain's table, its counters, SQL for the bounds of its rows, and the table of its days.

    Each change of a row's figures raises its generation by one, and is recorded as the figures of its
    day.  A day's row holds the generation of its last change and the one before its first, so that two
    rows are known to be neighbours if no change in between has another place.

    The statements are text, built once: they run for every stream of every write and every pass,
    and building them anew took most of the time.
    """

    table: str
    key: str
    counters: tuple[str, ...]
    bound: Callable[[TimeExtent], str]
    days: str

    unknown: str | None = None

    @cached_property
    def bounds(self) -> str:
        """And whether record times are unknown.  A bound over part of the records is none."""
        bounds = [f"{bound.name} = ({self.bound(bound)})" for bound in EXTENTS]
        return ", ".join([*bounds, f"record_times_unknown = ({self.unknown})"] if self.unknown else bounds)

    @cached_property
    def add(self) -> str:
        """Values: the day, the time, a change of each counter, the row's key."""
        sums = ", ".join(f"{name} = {name} + ?" for name in self.counters)
        return f"UPDATE {self.table} SET {_CHANGED}, {sums}, {self.bounds} WHERE {self.key} = ?"

    @cached_property
    def publish(self) -> str:
        """Values: the day, the time, each counter, the row's key.  The row is clean from then on."""
        figures = ", ".join(f"{name} = ?" for name in self.counters)
        clean = f"{_CHANGED}, dirty = FALSE, stale_since = NULL"
        return f"UPDATE {self.table} SET {clean}, {figures}, {self.bounds} WHERE {self.key} = ?"

    @cached_property
    def lose_track(self) -> str:
        """Values: the day, the row's key.  What its figures are on that day is unknown."""
        return f"UPDATE {self.table} SET {_GENERATION} WHERE {self.key} = ?"

    @cached_property
    def snapshot_day(self) -> str:
        """Values: the day, whether its figures are unknown, the row's key.

        If the clock has been elsewhere since the day's row was written, the row is linked to the day
        before it if that is where the clock comes from.
        """
        names = ", ".join(MEASURE_NAMES)
        figures = ", ".join(f"{name} = excluded.{name}" for name in MEASURE_NAMES)
        before = (
            f"SELECT p.generation FROM {self.days} p WHERE p.{self.key} = excluded.{self.key} "
            "AND p.day < excluded.day ORDER BY p.day DESC LIMIT 1"
        )
        link = (
            f"CASE WHEN {self.days}.generation <> excluded.previous_generation AND "
            f"excluded.previous_generation = ({before}) "
            f"THEN excluded.previous_generation ELSE {self.days}.previous_generation END"
        )
        return (
            f"INSERT INTO {self.days} ({self.key}, day, unknown, previous_generation, generation, {names}) "
            f"SELECT {self.key}, ?, ?, generation - 1, generation, {names} FROM {self.table} "
            f"WHERE {self.key} = ? ON CONFLICT ({self.key}, day) DO UPDATE SET unknown = excluded.unknown, "
            f"{figures}, previous_generation = {link}, generation = excluded.generation "
            "RETURNING previous_generation, generation"
        )

    @cached_property
    def expire_snapshots(self) -> str:
        """Values: the row's key, twice.  How many stay does not depend on the clock."""
        of_row = f"FROM {self.days} WHERE {self.key} = ?"
        last = (
            f"SELECT generation {of_row} ORDER BY generation DESC LIMIT 1 OFFSET {SNAPSHOT_RETENTION_DAYS}"
        )
        return f"DELETE {of_row} AND generation <= ({last})"

    def after_its_days(self, key: str) -> str:
        """SQL for the generation of a row that was lost: after those of its days, and linked to none."""
        return f"(SELECT COALESCE(MAX(d.generation), 0) + 1 FROM {self.days} d WHERE d.{self.key} = {key})"


# The clock has stepped back if the last change was on a later day.
_GENERATION = (
    "generation = generation + 1, "
    "days_disordered = days_disordered OR SUBSTR(COALESCE(computed_at, ''), 1, 10) > ?"
)
_CHANGED = f"{_GENERATION}, computed_at = ?"


def _of_records(bound: TimeExtent) -> str:
    """One look-up in an index.  Versions rise with the time of ingestion, so they find its bounds."""
    of_stream = "FROM records WHERE stream_id = retained_size_stream.stream_id"
    if bound.of == "ingested_at":
        return f"SELECT ingested_at {of_stream} ORDER BY version{' DESC' * bound.latest} LIMIT 1"
    found = f"SELECT {_pick(bound)}({bound.of}) {of_stream} AND {bound.of} > ''"
    return f"{_UNLESS} EXISTS ({_UNDATED_STREAM}) THEN ({found}) END"


def _of_streams(bound: TimeExtent) -> str:
    of_connection = "WHERE connection_id = retained_size_connection.connection_id"
    found = f"SELECT {_pick(bound)}({bound.name}) FROM retained_size_stream {of_connection}"
    return found if bound.of == "ingested_at" else f"{_UNLESS} EXISTS ({_UNKNOWN_BELOW}) THEN ({found}) END"


def _of_connections(bound: TimeExtent) -> str:
    found = f"SELECT {_pick(bound)}({bound.name}) FROM retained_size_connection"
    unknown = "SELECT 1 FROM retained_size_connection WHERE record_times_unknown"
    return found if bound.of == "ingested_at" else f"{_UNLESS} EXISTS ({unknown}) THEN ({found}) END"


_UNLESS = "SELECT CASE WHEN NOT"
_UNDATED_STREAM = (
    "SELECT 1 FROM streams WHERE id = retained_size_stream.stream_id "
    "AND (record_time_field IS NULL OR undated_records > 0)"
)
_UNKNOWN_BELOW = (
    "SELECT 1 FROM retained_size_stream WHERE record_times_unknown "
    "AND connection_id = retained_size_connection.connection_id"
)


def _pick(bound: TimeExtent) -> str:
    return "MAX" if bound.latest else "MIN"


STREAM = Grain(
    "retained_size_stream",
    "stream_id",
    MEASURE_NAMES,
    _of_records,
    "retained_size_stream_days",
    unknown=f"EXISTS ({_UNDATED_STREAM}) AND EXISTS "
    "(SELECT 1 FROM records WHERE stream_id = retained_size_stream.stream_id)",
)
CONNECTION = Grain(
    "retained_size_connection",
    "connection_id",
    (*MEASURE_NAMES, "stream_count"),
    _of_streams,
    "retained_size_connection_days",
    f"EXISTS ({_UNKNOWN_BELOW})",
)
GLOBAL = Grain(
    "retained_size_global",
    "id",
    (*MEASURE_NAMES, "stream_count", "connection_count"),
    _of_connections,
    "retained_size_global_days",
)


def change_row(grain: Grain, statement: str, figures: Iterable[int], key: int) -> None:
    """Run the grain's `add` or `publish`, and record the outcome as the day's."""
    now = utc_now()
    execute_one(statement, (now[:10], now, *figures, key))
    _record_day(grain, key, now[:10])


def record_gap(grain: Grain, key: int) -> None:
    """Before a marked row is published: from the day of the mark until today, figures are unknown.

    Those of days before stand: the row was exact until it was marked.
    """
    found = fetch_dicts(f"SELECT * FROM {grain.table} WHERE {grain.key} = ?", [key])
    if not found:
        raise peewee.OperationalError("a row that was to be published is not there")
    row = found[0]
    since = day_marked(row)
    if row["dirty"] and since != utc_now()[:10]:
        execute_one(grain.lose_track, (since or "", key))
        if since:
            _record_day(grain, key, since, unknown=True)


def day_marked(row: Mapping[str, Any]) -> str | None:
    """From which day on the figures of a marked row are unknown; None: nobody knows."""
    times = (row["stale_since"], row["computed_at"])
    return next((text[:10] for text in times if text and is_time(text)), None)


def _record_day(grain: Grain, key: int, day: str, unknown: bool = False) -> None:
    """The day has the row's figures, and its generation, from now on."""
    recorded = fetch_all(grain.snapshot_day, (day, unknown, key))
    if not recorded:
        raise peewee.OperationalError("a day that was to be recorded was not")
    ((previous, generation),) = recorded
    # Only the first change of a day adds a row, and there are no more of them than changes.
    if generation == previous + 1 > SNAPSHOT_RETENTION_DAYS:
        execute(grain.expire_snapshots, (key, key))
