"""Growth, from the daily snapshots: the bytes at the end of each day, if they are known.

A day without a row equals the day before, if the next row is linked to that day's: then no change was
made in between.  Otherwise nobody knows, and no number is shown.  Days after today are those
of a clock that was ahead, and are ignored.

Every read is bounded: two look-ups by index for each row of a list, or at most as many rows as days
are stored.
"""

from bisect import bisect_left
from collections.abc import Sequence
from datetime import date, timedelta
from itertools import pairwise
from typing import Literal, NamedTuple, get_args

from ..database import fetch_all, placeholders
from ..models.measures import BYTE_MEASURES
from ..projection.gaps import day_marked
from ..projection.grains import (
    BELIEVED,
    CONNECTION,
    GLOBAL,
    STREAM,
    Grain,
)
from ..timestamps import days_before

COMPARED_DAYS = 30
Range = Literal[30, 90, 365]  # days
RANGES: tuple[Range, ...] = get_args(Range)


class Day(NamedTuple):
    """The bytes from a day's end on; `parts` are those of BYTE_MEASURES, in their order.

    None: unknown from this day on.
    """

    day: str
    parts: tuple[int, ...] | None

    @property
    def total(self) -> int | None:
        return None if self.parts is None else sum(self.parts)


class _Snapshot(NamedTuple):
    """A day's row, as it is stored."""

    day: str
    previous: int
    generation: int
    unknown: bool
    parts: tuple[int, ...]


class _Current(NamedTuple):
    """A grain's own row.  `created_at` is when its connection or stream was; of all rows it is ''."""

    dirty: bool
    stale_since: str | None
    computed_at: str | None
    generation: int
    days_disordered: bool
    created_at: str
    parts: tuple[int, ...]


class _Neighbours(NamedTuple):
    """A stream's or connection's row with the snapshots before and after the end of a day, None if none.

    `until` is the generation and the total, if that is known, of the last one until then; `after` the
    previous generation and the day of the first one after it.  `dirty` is None if the row was lost.
    """

    id: int
    created_at: str
    dirty: bool | None
    stale_since: str | None
    computed_at: str | None
    generation: int
    days_disordered: bool
    until: str | None
    after: str | None


NOTHING = (0,) * len(BYTE_MEASURES)
_PARTS = ", ".join(measure.name for measure in BYTE_MEASURES)
_TOTAL = " + ".join(f"a.{measure.name}" for measure in BYTE_MEASURES)
_CANONICAL = {STREAM.table: "streams", CONNECTION.table: "connections"}
# Each grain's table with the times of creation, and SQL for that.
_CREATED = {
    STREAM.table: "(SELECT created_at FROM streams WHERE id = r.stream_id)",
    CONNECTION.table: "(SELECT created_at FROM connections WHERE id = r.connection_id)",
    GLOBAL.table: "''",
}


def days(shown: int, connection_id: int | None = None, *, stream_id: int | None = None) -> list[Day]:
    """The last `shown` days, oldest first, of one stream or connection or of all.

    The first is the state on the first of them, and each other one a day on which that has changed, or
    has become unknown or known again.
    """
    since = days_before(shown)
    if stream_id is not None:
        history = _history(STREAM, stream_id, since)
    elif connection_id is not None:
        history = _history(CONNECTION, connection_id, since)
    else:
        history = _history(GLOBAL, 1, since)
    return _from(history, since)


def baselines(
    ids: Sequence[int] | None = None, grain: Grain = CONNECTION, within: int | None = None
) -> dict[int, int | None]:
    """The total of each row of a grain, or of these, by its id, at the end of the day COMPARED_DAYS ago.

    `within`: only the streams of this connection.  None: unknown.
    """
    conditions = ["TRUE"] if ids is None else [f"c.id IN ({placeholders(ids)})"]
    if within is not None:
        conditions.append("c.connection_id = ?")
    values = [*(ids or ()), *(() if within is None else (within,))]
    return totals_at(grain, days_before(COMPARED_DAYS), " AND ".join(conditions), values)


def totals_at(grain: Grain, day: str, where: str, values: Sequence[int | str]) -> dict[int, int | None]:
    """The total of each stream or connection `c` for which `where` holds, by its id, at the end of a day.

    None: unknown.
    """
    today = days_before(0)
    # One statement, except for rows whose clock has stepped back.  A snapshot's values come as one text, so
    # that each is one look-up in an index: for a join PostgreSQL may read all snapshots.
    found = fetch_all(
        f"""
        SELECT c.id, c.created_at,
            r.dirty, r.stale_since, r.computed_at, r.generation, r.days_disordered,
            (
                SELECT a.generation || ' ' || CASE WHEN a.unknown THEN '' ELSE CAST({_TOTAL} AS TEXT) END
                FROM {grain.days} a
                WHERE a.{grain.key} = c.id AND a.day <= ?
                ORDER BY a.day DESC
                LIMIT 1
            ),
            (
                SELECT b.previous_generation || ' ' || b.day
                FROM {grain.days} b
                WHERE b.{grain.key} = c.id AND b.day > ? AND b.day <= ?
                ORDER BY b.day
                LIMIT 1
            )
        FROM {_CANONICAL[grain.table]} c
        LEFT JOIN {grain.table} r ON r.{grain.key} = c.id
        WHERE {where}
        """,
        (day, day, today, *values),
    )
    return {
        row.id: (
            day_of(grain, row.id, day).total if _is_disordered(row, today) else _total_between(row, day)
        )
        for row in (_Neighbours(*each) for each in found)
    }


def global_baseline() -> int | None:
    """The total of everything, at the end of that day; None: unknown."""
    return _total_at(GLOBAL, 1)


def changes(history: Sequence[Day]) -> list[int | None]:
    """How many bytes each day of `days` has added; None if that or the day before is unknown.

    The first day is a state that others are compared with, so what it has added is unknown too.
    """
    return [None, *(difference(before.total, day.total) for before, day in pairwise(history))]


def difference(before: int | None, after: int | None) -> int | None:
    """None: unknown, as one of them is."""
    return None if before is None or after is None else after - before


def change_on(grain: Grain, key: int, day: str) -> int | None:
    """How many bytes a row grew by on a day; None: unknown."""
    return difference(day_of(grain, key, day_before(day)).total, day_of(grain, key, day).total)


def day_before(day: str) -> str:
    return (date.fromisoformat(day) - timedelta(days=1)).isoformat()


def day_of(grain: Grain, key: int, day: str) -> Day:
    """One row of a grain at the end of a day."""
    return _from(_history(grain, key, day), day)[0]


def _total_at(grain: Grain, key: int) -> int | None:
    return day_of(grain, key, days_before(COMPARED_DAYS)).total


def _is_disordered(row: _Neighbours, today: str) -> bool:
    """Whether the clock has stepped back between changes, or since the mark."""
    return bool(
        row.days_disordered or (row.dirty and (day_marked(row.stale_since, row.computed_at) or "") > today)
    )


def _total_between(row: _Neighbours, day: str) -> int | None:
    """The total at a day's end, from the snapshots on either side of it."""
    if row.dirty is None or (row.dirty and day >= (day_marked(row.stale_since, row.computed_at) or "")):
        return None
    linked_to, next_day = row.generation, ""
    if row.after is not None:
        previous, next_day = row.after.split(" ")
        linked_to = int(previous)
    if row.until is not None:
        generation, total = row.until.split(" ")
        return int(total) if total and int(generation) == linked_to else None
    was_created_later = day < row.created_at[:10] <= next_day
    return 0 if linked_to == 0 or was_created_later else None


# ---- a whole history ---------------------------------------------------------------------------


def _history(grain: Grain, key: int, since: str) -> list[Day]:
    """The days until today, oldest first, that say what the bytes were on `since` and later days."""
    today = days_before(0)
    row = _current(grain, key)
    snapshots = _snapshots(grain, key, since, today, row is not None and row.days_disordered)
    if row is None:
        return _joined(snapshots, None, [Day("", None)])
    chosen, doubts = _in_order(snapshots)
    history = _joined(chosen, row.generation, _beginning(chosen, row))
    for start, end in doubts:
        history = _without(history, start, end)
    if not row.dirty:
        return history if history[-1].parts else [*_until(history, today), Day(today, row.parts)]
    marked = day_marked(row.stale_since, row.computed_at)
    if marked is None or marked > today:
        marked = max((each.day for each in snapshots), default="")
    return _without(history, marked, None)


def _current(grain: Grain, key: int) -> _Current | None:
    found = fetch_all(
        f"""
        SELECT r.dirty, r.stale_since, r.computed_at, r.generation, r.days_disordered,
            {_CREATED[grain.table]},
            {_PARTS}
        FROM {grain.table} r
        WHERE r.{grain.key} = ?
        """,
        [key],
    )
    for dirty, stale_since, computed_at, generation, disordered, created_at, *parts in found:
        return _Current(
            bool(dirty), stale_since, computed_at, generation, bool(disordered), created_at, tuple(parts)
        )
    return None


def _snapshots(grain: Grain, key: int, since: str, today: str, disordered: bool) -> list[_Snapshot]:
    """The snapshots until today that say what the bytes were on `since` and later days.

    If the clock has stepped back, all of them are needed to decide which to believe.
    """
    rows = fetch_all(
        f"""
        SELECT day, previous_generation, generation, unknown, {_PARTS}
        FROM {grain.days}
        WHERE {grain.key} = ? AND day <= ? AND day >= COALESCE(
            (SELECT MAX(day) FROM {grain.days} WHERE {grain.key} = ? AND day <= ?), '')
        ORDER BY day
        """,
        (key, today, key, "" if disordered else since),
    )
    return [
        _Snapshot(day, previous, generation, bool(unknown), tuple(parts))
        for day, previous, generation, unknown, *parts in rows
    ]


def _in_order(rows: Sequence[_Snapshot]) -> tuple[list[_Snapshot], list[tuple[str, str | None]]]:
    """Those rows whose days and generations rise together, as many as can be, and which days are in
    doubt.

    The others were written while the clock was wrong.  If too few rows contradict one of them to decide
    which are wrong, all the days over which they differ are in doubt.
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


def _longest_rise(rows: Sequence[_Snapshot]) -> list[_Snapshot]:
    """The longest sequence of rows, which are in the order of days, whose generations rise too."""
    ends: list[int] = []  # of the best sequence of each length, the generation of its last row
    last: list[int] = []  # that row's place
    before: list[int | None] = []
    for place, row in enumerate(rows):
        length = bisect_left(ends, row.generation)
        before.append(last[length - 1] if length else None)
        ends[length : length + 1], last[length : length + 1] = [row.generation], [place]
    chosen: list[_Snapshot] = []
    at: int | None = last[-1]
    while at is not None:
        chosen.append(rows[at])
        at = before[at]
    return chosen[::-1]


def _beginning(rows: Sequence[_Snapshot], row: _Current) -> list[Day]:
    """The state before the first row: nothing, if it is the first one ever written."""
    if (rows[0].previous if rows else row.generation) == 0:
        return [Day("", NOTHING)]
    created = row.created_at[:10]
    if rows and created and created <= rows[0].day:
        return [Day("", NOTHING), Day(created, None)]
    return [Day("", None)]


def _joined(rows: Sequence[_Snapshot], generation: int | None, begin: list[Day]) -> list[Day]:
    """The bytes of each row, if the next row, or the grain row's `generation`, is linked to it."""
    links = [*(row.previous for row in rows[1:]), generation]
    joined = [
        Day(row.day, row.parts if not row.unknown and row.generation == link else None)
        for row, link in zip(rows, links, strict=False)
    ]
    return [*(_until(begin, joined[0].day) if joined else begin), *joined]


def _without(history: Sequence[Day], start: str, end: str | None) -> list[Day]:
    """The history with its days from `start` to before `end` unknown."""
    after = [] if end is None else _from(history, end)
    return [*_until(history, start), Day(start, None), *after]


def _until(history: Sequence[Day], end: str) -> list[Day]:
    return [day for day in history if day.day < end]


def _from(history: Sequence[Day], since: str) -> list[Day]:
    """The history from a day on, which begins with the state on that day."""
    earlier = [day for day in history if day.day <= since]
    later = [day for day in history if day.day > since]
    first = Day(since, earlier[-1].parts if earlier else None)
    return [first, *(day for before, day in pairwise([first, *later]) if day.parts or before.parts)]
