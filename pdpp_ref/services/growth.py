"""Growth, from the figures of days.  A day without a row stands at the day before.

Every read is bounded: one look-up by index for each connection, or at most as many rows as days are kept.
"""

from collections.abc import Sequence
from typing import NamedTuple

from ..database import fetch_all
from ..measures import BYTE_MEASURES, TOTAL_SQL
from ..times import days_before
from .grains import CONNECTION, GLOBAL

COMPARED_DAYS = 30
RANGES = (30, 90, 365)


class Day(NamedTuple):
    """What stood at a day's end; `parts` are the bytes of BYTE_MEASURES, in their order."""

    day: str
    parts: tuple[int, ...]

    @property
    def total(self) -> int:
        return sum(self.parts)


def days(shown: int, connection_id: int | None = None) -> list[Day]:
    """The days of the last `shown` on which figures changed, oldest first, of one connection or of all.

    Where it is known what stood on the first of them, that is the first.  What was before the first
    that is returned is not known, and is not zero.
    """
    grain, key = (GLOBAL, 1) if connection_id is None else (CONNECTION, connection_id)
    since = days_before(shown)
    parts = ", ".join(measure.name for measure in BYTE_MEASURES)
    rows = fetch_all(
        f"SELECT day, {parts} FROM {grain.days} WHERE {grain.key} = ? AND day >= COALESCE("
        f"(SELECT MAX(day) FROM {grain.days} WHERE {grain.key} = ? AND day <= ?), '') ORDER BY day",
        (key, key, since),
    )
    return [Day(max(day, since), tuple(figures)) for day, *figures in rows]


def before(ids: Sequence[int] | None = None) -> dict[int, int | None]:
    """The total of each connection, or of these, by its id, as of COMPARED_DAYS ago.

    One that was created since had nothing then.  None where its days were not kept yet.
    """
    day = days_before(COMPARED_DAYS)
    wanted = "" if ids is None else f" WHERE c.id IN ({', '.join('?' * len(ids))})"
    rows = fetch_all(
        f"SELECT c.id, c.created_at, (SELECT {TOTAL_SQL} FROM {CONNECTION.days} d "
        "WHERE d.connection_id = c.id AND d.day <= ? ORDER BY d.day DESC LIMIT 1) "
        f"FROM connections c{wanted}",
        (day, *(ids or ())),
    )
    return {
        connection_id: 0 if total is None and created_at[:10] > day else total
        for connection_id, created_at, total in rows
    }


def before_in_all() -> int | None:
    """The total of all as of COMPARED_DAYS ago; None where it is not known."""
    day = days_before(COMPARED_DAYS)
    rows = fetch_all(
        f"SELECT {TOTAL_SQL} FROM {GLOBAL.days} WHERE id = 1 AND day <= ? ORDER BY day DESC LIMIT 1", [day]
    )
    if rows:
        return int(rows[0][0])
    ((first,),) = fetch_all("SELECT MIN(created_at) FROM connections")
    return 0 if first is not None and first[:10] > day else None
