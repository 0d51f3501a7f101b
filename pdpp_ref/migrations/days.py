"""From schema 2 to 3: number the daily snapshots, and link those that prove each other.

Schema 2 recorded no snapshot while a row was dirty, so a later day seemed to follow an earlier one.  An
earlier snapshot holds until something arrived after it, if what arrived in between makes up the difference
to the later one.  After pruning or deleting that may not be so although nothing was wrong; then the days in
between are unknown.
"""

from collections import Counter
from itertools import groupby
from typing import NamedTuple

from ..database import execute, fetch_all
from ..models.measures import MEASURE_NAMES
from ..timestamps import utc_now

Arrived = Counter[str]  # the number of versions or files that arrived on each day
ByKey = dict[int, tuple[Arrived, Arrived]]  # versions and files, by the key of a row

_NAMES = ", ".join(MEASURE_NAMES)
_PLACES = [MEASURE_NAMES.index(name) for name in ("record_history_count", "blob_count")]
_ARRIVALS = (
    ("record_changes", "ingested_at"),
    ("blob_bindings", "bound_at"),
)


class _Snapshot(NamedTuple):
    day: str
    measures: tuple[int, ...]


def number_days() -> None:
    """Number and link all snapshots; a clean row without a snapshot of its measures gets one of today."""
    today = utc_now()[:10]
    for table in ("stream", "connection", "global"):
        execute(f"UPDATE retained_size_{table} SET generation = 1")
    arrived = _arrived() if fetch_all("SELECT 1 FROM retained_size_global_days LIMIT 1") else {}
    in_all: tuple[Arrived, Arrived] = (Counter(), Counter())
    for of_connection in arrived.values():
        for total, part in zip(in_all, of_connection, strict=True):
            total.update(part)
    _number("connection", "connection_id", arrived, today)
    _number("global", "id", {1: in_all}, today)
    for table, key in (("stream", "stream_id"), ("connection", "connection_id"), ("global", "id")):
        _record_today(table, key, today)


def _arrived() -> ByKey:
    """The number of stored versions and files that arrived in each connection on each day."""
    arrived: ByKey = {}
    for place, (table, time) in enumerate(_ARRIVALS):
        rows = fetch_all(
            f"""
            SELECT s.connection_id, SUBSTR(t.{time}, 1, 10), COUNT(*)
            FROM {table} t
            JOIN streams s ON s.id = t.stream_id
            GROUP BY 1, 2
            """
        )
        for connection, day, count in rows:
            arrived.setdefault(connection, (Counter(), Counter()))[place][day] = count
    return arrived


def _number(table: str, key: str, arrived: ByKey, today: str) -> None:
    rows = {
        number: (bool(dirty), tuple(measures))
        for number, dirty, *measures in fetch_all(
            f"SELECT {key}, dirty, {_NAMES} FROM retained_size_{table}"
        )
    }
    days = fetch_all(
        f"""
        SELECT {key}, day, {_NAMES}
        FROM retained_size_{table}_days
        ORDER BY {key}, day
        """
    )
    for number, group in groupby(days, lambda row: int(row[0])):
        snapshots = [_Snapshot(day, tuple(measures)) for _, day, *measures in group]
        # A snapshot of the future is of a clock that was ahead, at an unknown time.
        ahead = [one for one in snapshots if one.day > today]
        past = [one for one in snapshots if one.day <= today]
        generation = _link(table, key, number, [*ahead, *past], arrived.get(number))
        dirty, measures = rows.get(number, (True, ()))
        holds = dirty or bool(past and past[-1].measures == measures)
        execute(
            f"""
            UPDATE retained_size_{table}
            SET generation = ?, days_disordered = ?
            WHERE {key} = ?
            """,
            (generation + (not holds), bool(ahead), number),
        )


def _link(
    table: str,
    key: str,
    number: int,
    snapshots: list[_Snapshot],
    arrived: tuple[Arrived, Arrived] | None,
) -> int:
    """Give the snapshots of a row their generations, in order.  Returns the last one."""
    generation = 1
    for before, snapshot in zip([None, *snapshots], snapshots, strict=False):
        since = _changed_since(before, snapshot, arrived) if before else None
        if since and before and before.day < since < snapshot.day:
            execute(
                f"""
                INSERT INTO retained_size_{table}_days
                    ({key}, day, previous_generation, generation, unknown)
                VALUES (?, ?, ?, ?, TRUE)
                """,
                (number, since, generation, generation + 1),
            )
        generation += since != snapshot.day and before is not None
        execute(
            f"""
            UPDATE retained_size_{table}_days
            SET previous_generation = ?, generation = ?
            WHERE {key} = ? AND day = ?
            """,
            (generation, generation + 1, number, snapshot.day),
        )
        generation += 1
    return generation


def _changed_since(
    before: _Snapshot, after: _Snapshot, arrived: tuple[Arrived, Arrived] | None
) -> str | None:
    """The first day on which anything arrived that the later snapshot has more; None: it is unknown."""
    first = after.day
    for place, on_days in zip(_PLACES, arrived or (Counter[str](), Counter[str]()), strict=True):
        between = {day: count for day, count in on_days.items() if before.day < day <= after.day}
        if after.measures[place] - before.measures[place] != sum(between.values()):
            return None
        first = min([first, *between])
    return first


def _record_today(table: str, key: str, today: str) -> None:
    execute(
        f"""
        INSERT INTO retained_size_{table}_days ({key}, day, previous_generation, generation, {_NAMES})
        SELECT {key}, ?, generation, generation + 1, {_NAMES}
        FROM retained_size_{table}
        WHERE NOT dirty
            AND computed_at IS NOT NULL
            AND NOT EXISTS (
                SELECT 1
                FROM retained_size_{table}_days d
                WHERE d.{key} = retained_size_{table}.{key}
                    AND d.generation = retained_size_{table}.generation
            )
        ON CONFLICT ({key}, day) DO UPDATE
        SET previous_generation = excluded.previous_generation,
            generation = excluded.generation,
            {", ".join(f"{name} = excluded.{name}" for name in MEASURE_NAMES)}
        """,
        [today],
    )
    execute(
        f"""
        UPDATE retained_size_{table}
        SET generation = generation + 1
        WHERE generation + 1 = (
            SELECT MAX(d.generation)
            FROM retained_size_{table}_days d
            WHERE d.{key} = retained_size_{table}.{key}
        )
        """
    )
