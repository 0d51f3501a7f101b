"""From schema 2 to 3: the days that were recorded are numbered, and linked where they prove each other.

Schema 2 recorded no day while a row was marked, so that a later day seemed to follow an earlier one.  An
earlier day is believed until something arrived after it, if what the later one has more is what arrived
in between.  After pruning or deleting that may not be so although nothing was wrong; then the days in
between are unknown.
"""

from collections import Counter
from itertools import groupby
from typing import NamedTuple

from ..database import execute, fetch_all
from ..models.measures import MEASURE_NAMES
from ..timestamps import utc_now

Arrived = Counter[str]  # how many versions or files came on each day
Keyed = dict[int, tuple[Arrived, Arrived]]

_NAMES = ", ".join(MEASURE_NAMES)
_PLACES = [MEASURE_NAMES.index(name) for name in ("record_history_count", "blob_count")]
_ARRIVALS = (
    ("record_changes", "ingested_at"),
    ("blob_bindings", "bound_at"),
)


class _Recorded(NamedTuple):
    day: str
    figures: tuple[int, ...]


def number_days() -> None:
    """Each row that is not marked has its figures recorded as those of today, if no day has them."""
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


def _arrived() -> Keyed:
    """What has arrived in each connection on each day, as far as it is still there."""
    found: Keyed = {}
    for place, (table, time) in enumerate(_ARRIVALS):
        for connection, day, count in fetch_all(
            f"SELECT s.connection_id, SUBSTR(t.{time}, 1, 10), COUNT(*) FROM {table} t "
            "JOIN streams s ON s.id = t.stream_id GROUP BY 1, 2"
        ):
            found.setdefault(connection, (Counter(), Counter()))[place][day] = count
    return found


def _number(table: str, key: str, arrived: Keyed, today: str) -> None:
    now = {
        number: (bool(dirty), tuple(figures))
        for number, dirty, *figures in fetch_all(
            f"SELECT {key}, dirty, {_NAMES} FROM retained_size_{table}"
        )
    }
    days = fetch_all(f"SELECT {key}, day, {_NAMES} FROM retained_size_{table}_days ORDER BY {key}, day")
    for number, group in groupby(days, lambda row: int(row[0])):
        rows = [_Recorded(day, tuple(figures)) for _, day, *figures in group]
        # A day to come is of a clock that was ahead; nobody knows when that was.
        ahead, past = [row for row in rows if row.day > today], [row for row in rows if row.day <= today]
        generation = 1
        for before, row in zip([None, *ahead, *past], [*ahead, *past], strict=False):
            since = before and _changed_since(before, row, arrived.get(number))
            if since and before and before.day < since < row.day:
                execute(
                    _GAP.format(table=table, key=key), (number, since, generation, generation + 1, True)
                )
            generation += since != row.day and before is not None
            execute(_LINK.format(table=table, key=key), (generation, generation + 1, number, row.day))
            generation += 1
        dirty, figures = now.get(number, (True, ()))
        stands = dirty or bool(past and past[-1].figures == figures)
        execute(
            f"UPDATE retained_size_{table} SET generation = ?, days_disordered = ? WHERE {key} = ?",
            (generation + (not stands), bool(ahead), number),
        )


_GAP = (
    "INSERT INTO retained_size_{table}_days ({key}, day, previous_generation, generation, unknown) "
    "VALUES (?, ?, ?, ?, ?)"
)
_LINK = (
    "UPDATE retained_size_{table}_days SET previous_generation = ?, generation = ? "
    "WHERE {key} = ? AND day = ?"
)


def _changed_since(
    before: _Recorded, row: _Recorded, arrived: tuple[Arrived, Arrived] | None
) -> str | None:
    """The first day on which what a row has more than the one before it arrived; None: nobody knows."""
    first = row.day
    for place, on_days in zip(_PLACES, arrived or (Counter[str](), Counter[str]()), strict=True):
        between = {day: count for day, count in on_days.items() if before.day < day <= row.day}
        if row.figures[place] - before.figures[place] != sum(between.values()):
            return None
        first = min([first, *between])
    return first


def _record_today(table: str, key: str, today: str) -> None:
    changed = ", ".join(f"{name} = excluded.{name}" for name in MEASURE_NAMES)
    alone = (
        "NOT dirty AND computed_at IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "
        f"retained_size_{table}_days d WHERE d.{key} = retained_size_{table}.{key} "
        f"AND d.generation = retained_size_{table}.generation)"
    )
    execute(
        f"INSERT INTO retained_size_{table}_days ({key}, day, previous_generation, generation, {_NAMES}) "
        f"SELECT {key}, ?, generation, generation + 1, {_NAMES} FROM retained_size_{table} WHERE {alone} "
        f"ON CONFLICT ({key}, day) DO UPDATE SET previous_generation = excluded.previous_generation, "
        f"generation = excluded.generation, {changed}",
        [today],
    )
    newest = f"SELECT MAX(d.generation) FROM retained_size_{table}_days d"
    execute(
        f"UPDATE retained_size_{table} SET generation = generation + 1 WHERE "
        f"generation + 1 = ({newest} WHERE d.{key} = retained_size_{table}.{key})"
    )
