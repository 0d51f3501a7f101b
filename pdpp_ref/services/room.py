"""How much room the database takes on its disk, how much is left, and for how long that will do."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import peewee

from ..database import Busy, condition, db, impatient, read_snapshot

SECONDS = 1.0  # that a page waits for the size of a busy database
REMEMBERED_SECONDS = 60.0


class Room(NamedTuple):
    """`free_bytes` is what the program's user can still fill of the database's disk.

    None: unknown.  The disk of a database server is.
    """

    database_bytes: int | None
    free_bytes: int | None


def free_bytes(folder: Path) -> int | None:
    with suppress(OSError):
        status = os.statvfs(folder)
        return status.f_bavail * status.f_frsize
    return None


def measure() -> Room:
    """Measured now, without waiting for a database that is busy."""
    size = None
    with suppress(Busy, peewee.DatabaseError, OSError), impatient(SECONDS), read_snapshot():
        size = condition.size_bytes()
    return Room(size, free_bytes(Path(db.database).parent) if db.is_in_process else None)


class RecentRoom:
    """What was measured in the last minute, so that pages cost the database nothing."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._measured: tuple[float, Room] | None = None

    def read(self) -> Room:
        now = self._clock()
        if self._measured is None or now - self._measured[0] >= REMEMBERED_SECONDS:
            self._measured = (now, measure())
        return self._measured[1]


# ---- until when --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Forecast:
    """Between which days the disk will be full.  None: later than FARTHEST."""

    earliest: str | None
    latest: str | None


WHOLE_DAYS, HALF_DAYS = 30, 15
FARTHEST = timedelta(days=3650)


def forecast(room: Room, totals: Sequence[int | None], today: str) -> Forecast | None:
    """From everything's bytes WHOLE_DAYS ago, HALF_DAYS ago and now, each None if unknown.

    The rates of the month and of its halves are a range.  The files grow as the contents do, in the same
    ratio as now.  None if that can't be known, or the contents have not grown in this month.
    """
    begin, middle, now = totals
    if begin is None or middle is None or now is None or begin <= 0 or now <= begin:
        return None
    size, free = room
    if size is None or free is None:
        return None
    ratio = max(1.0, size / now)
    rates = [
        ratio * change / days
        for change, days in (
            (now - begin, WHOLE_DAYS),
            (middle - begin, HALF_DAYS),
            (now - middle, HALF_DAYS),
        )
    ]
    return Forecast(*(_full_on(free, rate, today) for rate in (max(rates), min(rates))))


def _full_on(free: int, rate: float, today: str) -> str | None:
    """The day on which so many bytes are used up at a daily rate; None if it is too far away."""
    if rate <= 0 or free / rate > FARTHEST.days:
        return None
    return (date.fromisoformat(today) + timedelta(days=int(free / rate))).isoformat()
