"""The three grains as data: their tables and counters, and the statements that change one of their rows."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from ..database import execute, execute_one
from ..measures import BOUNDS, MEASURE_NAMES, Bound
from ..times import days_before, utc_now

DAYS_KEPT = 400  # a year of growth, and the month before it to compare with


@dataclass(frozen=True)
class Grain:
    """A grain's table, its counters, SQL for the bounds of its rows, and the table of its days.

    The statements are text, built once: they run for every stream of every write and every pass,
    and building them anew took most of the time.
    """

    table: str
    key: str
    counters: tuple[str, ...]
    bound: Callable[[Bound], str]
    days: str | None = None

    unknown: str | None = None

    @cached_property
    def bounds(self) -> str:
        """And whether record times are unknown.  A bound over part of the records is none."""
        bounds = [f"{bound.name} = ({self.bound(bound)})" for bound in BOUNDS]
        return ", ".join([*bounds, f"record_times_unknown = ({self.unknown})"] if self.unknown else bounds)

    @cached_property
    def add(self) -> str:
        """Values: the time, a change of each counter, the row's key."""
        sums = ", ".join(f"{name} = {name} + ?" for name in self.counters)
        return f"UPDATE {self.table} SET computed_at = ?, {sums}, {self.bounds} WHERE {self.key} = ?"

    @cached_property
    def publish(self) -> str:
        """Values: the time, each counter, the row's key.  The row is clean from then on."""
        figures = ", ".join(f"{name} = ?" for name in self.counters)
        clean = "computed_at = ?, dirty = FALSE, stale_since = NULL"
        return f"UPDATE {self.table} SET {clean}, {figures}, {self.bounds} WHERE {self.key} = ?"

    @cached_property
    def keep_day(self) -> str:
        """Values: the day, the row's key.  The day has the row's figures from then on."""
        names = ", ".join(MEASURE_NAMES)
        changed = ", ".join(f"{name} = excluded.{name}" for name in MEASURE_NAMES)
        return (
            f"INSERT INTO {self.days} ({self.key}, day, {names}) "
            f"SELECT {self.key}, ?, {names} FROM {self.table} WHERE {self.key} = ? "
            f"ON CONFLICT ({self.key}, day) DO UPDATE SET {changed}"
        )

    @cached_property
    def drop_days(self) -> str:
        """Values: the row's key, twice, and the first day that is kept.

        The last day before it stays: it stands until the next one that has figures.
        """
        last = f"SELECT MAX(day) FROM {self.days} WHERE {self.key} = ? AND day <= ?"
        return f"DELETE FROM {self.days} WHERE {self.key} = ? AND day < ({last})"


def _of_records(bound: Bound) -> str:
    """One look-up in an index.  Versions rise with the time of ingestion, so they find its bounds."""
    of_stream = "FROM records WHERE stream_id = retained_size_stream.stream_id"
    if bound.of == "ingested_at":
        return f"SELECT ingested_at {of_stream} ORDER BY version{' DESC' * bound.latest} LIMIT 1"
    found = f"SELECT {_pick(bound)}({bound.of}) {of_stream} AND {bound.of} > ''"
    return f"{_UNLESS} EXISTS ({_UNDATED_STREAM}) THEN ({found}) END"


def _of_streams(bound: Bound) -> str:
    of_connection = "WHERE connection_id = retained_size_connection.connection_id"
    found = f"SELECT {_pick(bound)}({bound.name}) FROM retained_size_stream {of_connection}"
    return found if bound.of == "ingested_at" else f"{_UNLESS} EXISTS ({_UNKNOWN_BELOW}) THEN ({found}) END"


def _of_connections(bound: Bound) -> str:
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


def _pick(bound: Bound) -> str:
    return "MAX" if bound.latest else "MIN"


STREAM = Grain(
    "retained_size_stream",
    "stream_id",
    MEASURE_NAMES,
    _of_records,
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
    """Run the grain's `add` or `publish`, and keep the outcome as the day's."""
    now = utc_now()
    execute_one(statement, (now, *figures, key))
    if grain.days:
        execute(grain.keep_day, (now[:10], key))
        execute(grain.drop_days, (key, key, days_before(DAYS_KEPT)))
