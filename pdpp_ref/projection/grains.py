"""The three grains as data: their tables and columns, and the statements that change one of their rows."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import peewee

from ..database import execute, fetch_all, fetch_each, placeholders, update_many
from ..models import RetainedSizeConnection, RetainedSizeGlobal, RetainedSizeStream
from ..models.measures import MEASURE_NAMES
from ..timestamps import utc_now

SNAPSHOT_RETENTION_DAYS = 400  # rows: a year of growth, and the month before it to compare with
# Snapshots that contradict one of a wrong clock: more of them than this, for each such one, are believed.
BELIEVED = 2

KEYS_PER_QUERY = 500
_MEASURES = ", ".join(MEASURE_NAMES)
_TODAY = "SUBSTR(:computed_at, 1, 10)"


@dataclass(frozen=True)
class Grain:
    """A grain's model, its additive columns, its extents with SQL for each, and its daily snapshots.

    `names` are columns of names, each with SQL for it: its value is the row's key.  `marks` are marks of a
    row besides `dirty`, which are cleared when it is cleaned.

    Each change of a row's measures raises its generation by one, and is recorded in the snapshot of its
    day.  A snapshot has the generation of the day's last change and the one before its first, so two
    snapshots are known to be neighbours if no change in between belongs elsewhere.

    The statements are built once: they run for the streams of every write and every pass.
    """

    model: type[peewee.Model]
    key: str
    columns: tuple[str, ...]
    extents: Mapping[str, str] = field(hash=False)
    days: str
    names: tuple[tuple[str, str], ...] = ()
    marks: tuple[str, ...] = ()

    @property
    def table(self) -> str:
        return str(self.model._meta.table_name)

    @cached_property
    def add(self) -> str:
        """The SET clause that adds to rows; see `add_to_rows`."""
        sums = ", ".join(f"{name} = {name} + :{name}" for name in self.columns)
        return f"""
                generation = generation + 1,
                days_disordered = days_disordered OR {self._has_snapshot_after(_TODAY)},
                computed_at = :computed_at,
                {sums},
                {self.set_extents}"""

    @cached_property
    def clean(self) -> str:
        """The SET clause that cleans rows whose columns and extents are right."""
        cleared = ", ".join(f"{mark} = FALSE" for mark in ("dirty", *self.marks))
        return f"""
                generation = generation + 1,
                days_disordered = days_disordered OR {self._has_snapshot_after(_TODAY)},
                computed_at = :computed_at,
                {cleared},
                stale_since = NULL"""

    @cached_property
    def replace(self) -> str:
        """The SET clause that replaces the columns and extents of rows, and cleans them."""
        measures = ", ".join(f"{name} = :{name}" for name in self.columns)
        return f"""{self.clean},
                {measures},
                {self.set_extents}"""

    @property
    def set_extents(self) -> str:
        """The SET clause for the extents alone."""
        return ", ".join(f"{name} = {sql}" for name, sql in self.extents.items())

    @cached_property
    def skip_generation(self) -> str:
        """Record that a row's measures became unknown on a day.  Values: the day, the row's key."""
        return f"""
            UPDATE {self.table}
            SET generation = generation + 1,
                days_disordered = days_disordered OR {self._has_snapshot_after("?")}
            WHERE {self.key} = ?
            """

    def _has_snapshot_after(self, day: str) -> str:
        return f"""EXISTS (
                    SELECT 1
                    FROM {self.days} d
                    WHERE d.{self.key} = {self.table}.{self.key} AND d.day > {day}
                )"""

    def snapshot_day(self, keys: Sequence[int]) -> str:
        """Copy rows to the snapshots of a day.  Values: the day, whether it is unknown, the rows' keys.

        If the clock showed this day too early, and several other days since then, the snapshot is linked
        to the day before it.
        """
        measures = ", ".join(f"{name} = excluded.{name}" for name in MEASURE_NAMES)
        return f"""
            INSERT INTO {self.days} ({self.key}, day, unknown, previous_generation, generation, {_MEASURES})
            SELECT {self.key}, ?, ?, generation - 1, generation, {_MEASURES}
            FROM {self.table}
            WHERE {self.key} IN ({placeholders(keys)})
            ON CONFLICT ({self.key}, day) DO UPDATE
            SET unknown = excluded.unknown,
                {measures},
                previous_generation = CASE
                    WHEN {self.days}.generation <> excluded.previous_generation
                        AND {BELIEVED} < (
                            SELECT COUNT(*)
                            FROM {self.days} p
                            WHERE p.{self.key} = excluded.{self.key} AND p.day < excluded.day
                                AND p.generation > {self.days}.generation
                        )
                        AND excluded.previous_generation = (
                            SELECT p.generation
                            FROM {self.days} p
                            WHERE p.{self.key} = excluded.{self.key} AND p.day < excluded.day
                            ORDER BY p.day DESC
                            LIMIT 1
                        )
                    THEN excluded.previous_generation
                    ELSE {self.days}.previous_generation
                END,
                generation = excluded.generation
            RETURNING {self.key}, previous_generation, generation
            """

    @cached_property
    def expire_snapshots(self) -> str:
        """Delete old snapshots, by number, whatever the clock says.  Values: the row's key, twice."""
        return f"""
            DELETE FROM {self.days}
            WHERE {self.key} = ?
                AND generation <= (
                    SELECT generation
                    FROM {self.days}
                    WHERE {self.key} = ?
                    ORDER BY generation DESC
                    LIMIT 1 OFFSET {SNAPSHOT_RETENTION_DAYS}
                )
            """


# Whether a stream's record times are unknown if it has records.
_MAY_BE_UNDATED = """EXISTS (
                        SELECT 1
                        FROM streams
                        WHERE id = retained_size_stream.stream_id
                            AND (record_time_field IS NULL OR undated_records > 0)
                    )"""

# Versions rise with the time of arrival, so the oldest and the newest version have the extents, each found
# by one look-up in an index.  The extents of record times are NULL if a record may have none.
_STREAM_EXTENTS = {
    "earliest_ingested_at": """(
            SELECT ingested_at
            FROM records
            WHERE stream_id = retained_size_stream.stream_id
            ORDER BY version
            LIMIT 1
        )""",
    "latest_ingested_at": """(
            SELECT ingested_at
            FROM records
            WHERE stream_id = retained_size_stream.stream_id
            ORDER BY version DESC
            LIMIT 1
        )""",
    "earliest_record_time": f"""CASE
            WHEN NOT {_MAY_BE_UNDATED}
            THEN (
                SELECT MIN(record_time)
                FROM records
                WHERE stream_id = retained_size_stream.stream_id AND record_time > ''
            )
        END""",
    "latest_record_time": f"""CASE
            WHEN NOT {_MAY_BE_UNDATED}
            THEN (
                SELECT MAX(record_time)
                FROM records
                WHERE stream_id = retained_size_stream.stream_id AND record_time > ''
            )
        END""",
    "record_times_unknown": f"""(
            {_MAY_BE_UNDATED}
            AND EXISTS (
                SELECT 1
                FROM records
                WHERE stream_id = retained_size_stream.stream_id
            )
        )""",
}

# One stream with unknown record times makes those of its connection unknown.
_STREAM_UNKNOWN = """EXISTS (
                        SELECT 1
                        FROM retained_size_stream
                        WHERE record_times_unknown
                            AND connection_id = retained_size_connection.connection_id
                    )"""

_CONNECTION_EXTENTS = {
    "earliest_ingested_at": """(
            SELECT MIN(earliest_ingested_at)
            FROM retained_size_stream
            WHERE connection_id = retained_size_connection.connection_id
        )""",
    "latest_ingested_at": """(
            SELECT MAX(latest_ingested_at)
            FROM retained_size_stream
            WHERE connection_id = retained_size_connection.connection_id
        )""",
    "earliest_record_time": f"""CASE
            WHEN NOT {_STREAM_UNKNOWN}
            THEN (
                SELECT MIN(earliest_record_time)
                FROM retained_size_stream
                WHERE connection_id = retained_size_connection.connection_id
            )
        END""",
    "latest_record_time": f"""CASE
            WHEN NOT {_STREAM_UNKNOWN}
            THEN (
                SELECT MAX(latest_record_time)
                FROM retained_size_stream
                WHERE connection_id = retained_size_connection.connection_id
            )
        END""",
    "record_times_unknown": _STREAM_UNKNOWN,
}

_GLOBAL_EXTENTS = {
    "earliest_ingested_at": "(SELECT MIN(earliest_ingested_at) FROM retained_size_connection)",
    "latest_ingested_at": "(SELECT MAX(latest_ingested_at) FROM retained_size_connection)",
    "earliest_record_time": """CASE
            WHEN NOT EXISTS (SELECT 1 FROM retained_size_connection WHERE record_times_unknown)
            THEN (SELECT MIN(earliest_record_time) FROM retained_size_connection)
        END""",
    "latest_record_time": """CASE
            WHEN NOT EXISTS (SELECT 1 FROM retained_size_connection WHERE record_times_unknown)
            THEN (SELECT MAX(latest_record_time) FROM retained_size_connection)
        END""",
}

STREAM = Grain(
    model=RetainedSizeStream,
    key="stream_id",
    columns=MEASURE_NAMES,
    extents=_STREAM_EXTENTS,
    days="retained_size_stream_days",
    names=(
        (
            "connection_name",
            "SELECT c.connector_instance_id FROM streams s JOIN connections c ON c.id = s.connection_id "
            "WHERE s.id = ?",
        ),
        ("stream_name", "SELECT name FROM streams WHERE id = ?"),
    ),
    marks=("rollups_dirty",),
)
CONNECTION = Grain(
    model=RetainedSizeConnection,
    key="connection_id",
    columns=(*MEASURE_NAMES, "stream_count"),
    extents=_CONNECTION_EXTENTS,
    days="retained_size_connection_days",
    names=(("connection_name", "SELECT connector_instance_id FROM connections WHERE id = ?"),),
)
GLOBAL = Grain(
    model=RetainedSizeGlobal,
    key="id",
    columns=(*MEASURE_NAMES, "stream_count", "connection_count"),
    extents=_GLOBAL_EXTENTS,
    days="retained_size_global_days",
)


class StoredRow(NamedTuple):
    """A row of a grain; `values` are those of the grain's columns."""

    key: int
    dirty: bool
    stale_since: str | None
    computed_at: str | None
    values: tuple[int, ...]


def stored_rows(grain: Grain, keys: Sequence[int]) -> list[StoredRow]:
    """The rows, in no order.  Raises peewee.OperationalError if one is missing."""
    rows = fetch_each(
        f"""
        SELECT {grain.key}, dirty, stale_since, computed_at, {", ".join(grain.columns)}
        FROM {grain.table}
        WHERE {grain.key} = :each
        """,
        [],
        keys,
    )
    if len(rows) != len(keys):
        raise peewee.OperationalError("a row that was to be changed does not exist")
    return [
        StoredRow(key, bool(dirty), stale_since, computed_at, tuple(values))
        for key, dirty, stale_since, computed_at, *values in rows
    ]


def with_right_extents(grain: Grain, keys: Sequence[int]) -> set[int]:
    """The rows whose extents are right."""
    extents = " AND ".join(f"{name} IS NOT DISTINCT FROM {sql}" for name, sql in grain.extents.items())
    rows = fetch_each(
        f"SELECT {grain.key} FROM {grain.table} WHERE {extents} AND {grain.key} = :each", [], keys
    )
    return {key for (key,) in rows}


def add_to_rows(grain: Grain, changes: Mapping[int, Sequence[int]]) -> None:
    """Add to rows, and record the day's snapshots.

    `changes` has a value for each of the grain's columns, by the row's key.
    """
    now = utc_now()
    _change(grain, grain.add, [(key, now, *values) for key, values in changes.items()], grain.columns)
    record_day(grain, list(changes), now[:10])


def replace_rows(
    grain: Grain,
    stored: Iterable[StoredRow],
    values: Mapping[int, Sequence[int]],
    right_extents: Collection[int] = (),
) -> None:
    """Replace the columns and extents of stored rows, clean them, and record the day's snapshots.

    Most rows that were dirty turn out to be right.  If its key is in `right_extents` too, none of a row's
    places in indexes is written again.
    """
    now = utc_now()
    right = {row.key for row in stored if row.key in right_extents and row.values == tuple(values[row.key])}
    _change(grain, grain.clean, [(key, now) for key in right])
    wrong = [(key, now, *of_row) for key, of_row in values.items() if key not in right]
    _change(grain, grain.replace, wrong, grain.columns)
    record_day(grain, list(values), now[:10])


def _change(grain: Grain, sets: str, rows: Sequence[Sequence[Any]], columns: tuple[str, ...] = ()) -> None:
    """`rows` have the key, the time, and the values of the columns."""
    given = (grain.key, "computed_at", *columns)
    if update_many(grain.model, given, rows, (grain.key,), sets) != len(rows):
        raise peewee.OperationalError("a row that was to be changed was not")


def record_day(grain: Grain, keys: Sequence[int], day: str, unknown: bool = False) -> None:
    """Give the day's snapshots the measures and generations of the rows.

    `unknown`: the measures are not those that the rows had on this day.
    """
    for start in range(0, len(keys), KEYS_PER_QUERY):
        part = keys[start : start + KEYS_PER_QUERY]
        recorded = fetch_all(grain.snapshot_day(part), (day, unknown, *part))
        if len(recorded) != len(part):
            raise peewee.OperationalError("a day that was to be recorded was not")
        for key, previous, generation in recorded:
            # Only the first change of a day adds a row, and there are no more rows than changes.
            if generation == previous + 1 > SNAPSHOT_RETENTION_DAYS:
                execute(grain.expire_snapshots, (key, key))
