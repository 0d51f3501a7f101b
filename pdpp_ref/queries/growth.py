"""Growth, from the figures of days: what was kept at the end of each day, if that is known.

A day without a row stands at the day before, if the next row is linked to that day's: no change in
between has another place.  Otherwise nobody knows, and no number is said.  Days after today are those of
a clock that was ahead, and are ignored.

Every read is bounded: two look-ups by index for each row of a list, or at most as many rows as days
are kept.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from ..database import fetch_all, fetch_dicts
from ..models.measures import BYTE_MEASURES
from ..projection.grains import (
    CONNECTION,
    GLOBAL,
    STREAM,
    Grain,
    day_marked,
)
from ..timestamps import days_before

COMPARED_DAYS = 30
RANGES = (30, 90, 365)
# Rows that contradict one of a wrong clock: more of them than this, for each such row, are believed.
BELIEVED = 2


class Day(NamedTuple):
    """What stood from a day's end on; `parts` are the bytes of BYTE_MEASURES, in their order.

    None: from this day on, nobody knows.
    """

    day: str
    parts: tuple[int, ...] | None

    @property
    def total(self) -> int | None:
        return None if self.parts is None else sum(self.parts)


class _Row(NamedTuple):
    """One of a day, as it is stored."""

    day: str
    previous: int
    generation: int
    unknown: bool
    parts: tuple[int, ...]


NOTHING = (0,) * len(BYTE_MEASURES)
_PARTS = ", ".join(measure.name for measure in BYTE_MEASURES)
# Where a grain's own row says when what it stands for was created.
_CREATED = {
    STREAM.table: "SELECT created_at FROM streams WHERE id = r.stream_id",
    CONNECTION.table: "SELECT created_at FROM connections WHERE id = r.connection_id",
    GLOBAL.table: "''",
}


def days(shown: int, connection_id: int | None = None, *, stream_id: int | None = None) -> list[Day]:
    """The last `shown` days, oldest first, of one stream or connection or of all.

    The first is what stood on the first of them, and each other one on which that has changed, or was
    known no longer, or again.
    """
    since = days_before(shown)
    if stream_id is not None:
        found = _history(STREAM, stream_id, since)
    elif connection_id is not None:
        found = _history(CONNECTION, connection_id, since)
    else:
        found = _history(GLOBAL, 1, since)
    return _from(found, since)


def before(ids: Sequence[int] | None = None) -> dict[int, int | None]:
    """The total of each connection, or of these, by its id, at the end of the day COMPARED_DAYS ago.

    None: unknown.
    """
    wanted = "TRUE" if ids is None else f"c.id IN ({', '.join('?' * len(ids))})"
    return _before(CONNECTION, "connections", wanted, *(ids or ()))


def before_of_streams(connection_id: int) -> dict[int, int | None]:
    """The same of each stream of a connection."""
    return _before(STREAM, "streams", "c.connection_id = ?", connection_id)


def before_of(connection_id: int) -> int | None:
    """The same of one connection."""
    return _total_at(CONNECTION, connection_id)


def before_in_all() -> int | None:
    """The same of all."""
    return _total_at(GLOBAL, 1)


def stood_at(grain: Grain, key: int, day: str) -> Day:
    """What stood at the end of a day, of one row of a grain."""
    return _from(_history(grain, key, day), day)[0]


def _total_at(grain: Grain, key: int) -> int | None:
    return stood_at(grain, key, days_before(COMPARED_DAYS)).total


def _before(grain: Grain, table: str, where: str, *values: Any) -> dict[int, int | None]:
    """One statement, but for rows whose clock has stepped back."""
    day, today = days_before(COMPARED_DAYS), days_before(0)
    of_row = f"FROM {grain.days} d WHERE d.{grain.key} = c.id AND d.day"
    rows = fetch_dicts(
        f"SELECT c.id, c.created_at, r.dirty, r.stale_since, r.computed_at, r.generation, "
        f"r.days_disordered, a.generation AS reached, a.unknown, {_total_of('a')} AS total, "
        f"b.day AS next_day, b.previous_generation FROM {table} c "
        f"LEFT JOIN {grain.table} r ON r.{grain.key} = c.id "
        f"LEFT JOIN {grain.days} a ON a.{grain.key} = c.id AND a.day = (SELECT MAX(d.day) {of_row} <= ?) "
        f"LEFT JOIN {grain.days} b ON b.{grain.key} = c.id "
        f"AND b.day = (SELECT MIN(d.day) {of_row} > ? AND d.day <= ?) WHERE {where}",
        (day, day, today, *values),
    )
    return {
        row["id"]: _total_at(grain, row["id"]) if _is_disordered(row, today) else _stood(row, day)
        for row in rows
    }


def _total_of(table: str) -> str:
    return "(" + " + ".join(f"{table}.{measure.name}" for measure in BYTE_MEASURES) + ")"


def _is_disordered(row: dict[str, Any], today: str) -> bool:
    """Whether the clock has stepped back between changes, or since the mark."""
    return bool(row["days_disordered"] or (row["dirty"] and (day_marked(row) or "") > today))


def _stood(row: dict[str, Any], day: str) -> int | None:
    """The total at a day's end, from the rows on either side of it."""
    if row["dirty"] is None or (row["dirty"] and day >= (day_marked(row) or "")):
        return None
    last = row["next_day"] is None
    then = row["generation"] if last else row["previous_generation"]
    if row["reached"] is not None:
        return int(row["total"]) if not row["unknown"] and row["reached"] == then else None
    if then == 0 or (not last and day < row["created_at"][:10] <= row["next_day"]):
        return 0
    return None


# ---- a whole history ---------------------------------------------------------------------------


def _history(grain: Grain, key: int, since: str) -> list[Day]:
    """What stood from when on, oldest first, until today; of `since` and later days."""
    today = days_before(0)
    found = fetch_dicts(
        f"SELECT r.*, ({_CREATED[grain.table]}) AS created_at FROM {grain.table} r WHERE r.{grain.key} = ?",
        [key],
    )
    rows = _rows(grain, key, since, today, bool(found and found[0]["days_disordered"]))
    if not found:
        return _joined(rows, None, [Day("", None)])
    row = found[0]
    chosen, doubts = _in_order(rows)
    history = _joined(chosen, row["generation"], _beginning(chosen, row))
    for start, end in doubts:
        history = _without(history, start, end)
    if not row["dirty"]:
        known = tuple(row[measure.name] for measure in BYTE_MEASURES)
        return history if history[-1].parts else [*_until(history, today), Day(today, known)]
    marked = day_marked(row)
    if marked is None or marked > today:
        marked = max((each.day for each in rows), default="")
    return _without(history, marked, None)


def _rows(grain: Grain, key: int, since: str, today: str, disordered: bool) -> list[_Row]:
    """The rows of days until today that tell of `since` and later days."""
    first = "" if disordered else f"(SELECT MAX(day) FROM {grain.days} WHERE {grain.key} = ? AND day <= ?)"
    bound = f"AND day >= COALESCE({first}, '')" if first else ""
    rows = fetch_all(
        f"SELECT day, previous_generation, generation, unknown, {_PARTS} FROM {grain.days} "
        f"WHERE {grain.key} = ? AND day <= ? {bound} ORDER BY day",
        (key, today, *((key, since) if first else ())),
    )
    return [
        _Row(day, previous, generation, bool(unknown), tuple(parts))
        for day, previous, generation, unknown, *parts in rows
    ]


def _in_order(rows: Sequence[_Row]) -> tuple[list[_Row], list[tuple[str, str | None]]]:
    """Those rows whose days and generations rise together, as many as can be, and which days are in
    doubt.

    The others are of a clock that was wrong.  If too few rows speak against one of them to tell which
    of them are, all the days over which they differ are in doubt.
    """
    if all(a.generation < b.generation for a, b in pairwise(rows)):
        return list(rows), []
    chosen = _longest_rise(rows)
    others = [row for row in rows if row not in chosen]
    doubts: list[tuple[str, str | None]] = []
    for other in others:
        agree = [row for row in chosen if (row.generation < other.generation) == (row.day < other.day)]
        if len(chosen) - len(agree) <= BELIEVED * len(others):
            start = max((row.day for row in agree if row.day < other.day), default="")
            end = min((row.day for row in agree if row.day > other.day), default=None)
            doubts.append((start, end))
    return chosen, doubts


def _longest_rise(rows: Sequence[_Row]) -> list[_Row]:
    """The longest sequence of rows, which are in the order of days, whose generations rise too."""
    ends: list[int] = []  # of the best sequence of each length, the generation of its last row
    last: list[int] = []  # that row's place
    before: list[int | None] = []
    for place, row in enumerate(rows):
        length = bisect_left(ends, row.generation)
        before.append(last[length - 1] if length else None)
        ends[length : length + 1], last[length : length + 1] = [row.generation], [place]
    chosen: list[_Row] = []
    at: int | None = last[-1]
    while at is not None:
        chosen.append(rows[at])
        at = before[at]
    return chosen[::-1]


def _beginning(rows: Sequence[_Row], row: dict[str, Any]) -> list[Day]:
    """What was before the first row: nothing, if that is the first there ever was."""
    if (rows[0].previous if rows else row["generation"]) == 0:
        return [Day("", NOTHING)]
    created = row["created_at"][:10]
    if rows and created and created <= rows[0].day:
        return [Day("", NOTHING), Day(created, None)]
    return [Day("", None)]


def _joined(rows: Sequence[_Row], generation: int | None, begin: list[Day]) -> list[Day]:
    """Each row's figures, if the next row, or the grain row's `generation`, is linked to it."""
    following = [*(row.previous for row in rows[1:]), generation]
    joined = [
        Day(row.day, row.parts if not row.unknown and row.generation == then else None)
        for row, then in zip(rows, following, strict=False)
    ]
    return [*(_until(begin, joined[0].day) if joined else begin), *joined]


def _without(history: Sequence[Day], start: str, end: str | None) -> list[Day]:
    """The history with its days from `start` to before `end` unknown."""
    after = [] if end is None else _from(history, end)
    return [*_until(history, start), Day(start, None), *after]


def _until(history: Sequence[Day], end: str) -> list[Day]:
    return [day for day in history if day.day < end]


def _from(history: Sequence[Day], since: str) -> list[Day]:
    """The history from a day on, which begins with what stood then."""
    earlier = [day for day in history if day.day <= since]
    later = [day for day in history if day.day > since]
    first = Day(since, earlier[-1].parts if earlier else None)
    return [first, *(day for before, day in pairwise([first, *later]) if day.parts or before.parts)]
