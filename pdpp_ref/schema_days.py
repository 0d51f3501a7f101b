"""From schema 2 to 3: the days that were recorded are numbered, and linked where they prove each other.

Schema 2 recorded no day while a row was marked, so that a later day seemed to follow an earlier one.  Two
days are linked only if all that has arrived since the first did so on the second, and is what the second
has more.  After pruning or deleting that may not be so although nothing was wrong; then it is unknown.
"""

from collections import Counter
from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple

from .database import execute, execute_many, fetch_all
from .measures import MEASURE_NAMES
from .times import utc_now

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
        generation, numbered = 1, []
        for before, row in zip([None, *ahead, *past], [*ahead, *past], strict=False):
            gap = before is not None and not _follows(before, row, arrived.get(number))
            numbered.append((generation + gap, generation + gap + 1, number, row.day))
            generation += gap + 1
        execute_many(
            f"UPDATE retained_size_{table}_days SET previous_generation = ?, generation = ? "
            f"WHERE {key} = ? AND day = ?",
            numbered,
        )
        dirty, figures = now.get(number, (True, ()))
        stands = dirty or bool(past and past[-1].figures == figures)
        execute(
            f"UPDATE retained_size_{table} SET generation = ?, days_disordered = ? WHERE {key} = ?",
            (generation + (not stands), bool(ahead), number),
        )


def _follows(before: _Recorded, row: _Recorded, arrived: tuple[Arrived, Arrived] | None) -> bool:
    for place, on_days in zip(_PLACES, arrived or (Counter[str](), Counter[str]()), strict=True):
        more = row.figures[place] - before.figures[place]
        if not more == on_days[row.day] == _between(on_days.items(), before.day, row.day):
            return False
    return True


def _between(counts: Iterable[tuple[str, int]], after: str, through: str) -> int:
    return sum(count for day, count in counts if after < day <= through)


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
