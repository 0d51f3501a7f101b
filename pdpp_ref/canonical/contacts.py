"""When a source was in contact, and how often it usually is.

Every accepted write is a contact, also if it changes nothing.  Contacts that follow each other closely are
one visit: a nightly run that takes an hour, or a day of a source that never pauses.  What is usual is the
median time from one visit's begin to the next one's.
"""

from collections.abc import Sequence
from datetime import timedelta
from statistics import median
from typing import NamedTuple

from ..database import execute, fetch_as, for_no_key_update
from ..timestamps import to_moment, to_text

PAUSE = timedelta(minutes=30)  # a contact after that begins a new visit
LONGEST_VISIT = timedelta(days=1)
REMEMBERED, FEWEST = 15, 3  # intervals between visits: of fewer than FEWEST nothing follows
LEAST_GRACE = timedelta(days=1)


class _Visits(NamedTuple):
    last_contact_at: str
    visit_began_at: str
    intervals: str


class Usual(NamedTuple):
    """The usual interval, and after how long without a new visit a source is silent."""

    interval: timedelta
    allowed: timedelta


def usual(intervals: Sequence[int]) -> Usual | None:
    """From seconds between visits; None if there are too few.

    The grace is as long again as the usual interval, and at least a day: nobody sends mail at night.
    """
    if len(intervals) < FEWEST:
        return None
    interval = timedelta(seconds=round(median(intervals)))
    return Usual(interval, interval + max(interval, LEAST_GRACE))


def note(connection_id: int, now: str) -> None:
    """A connection is in contact now.  The last statement of a write, because its lock is the last.

    It waits for nobody while a visit lasts: who has locked the row notes the same.
    """
    continued = execute(
        f"""
        UPDATE connection_contacts
        SET last_contact_at = ?
        WHERE connection_id = (
            SELECT connection_id
            FROM connection_contacts
            WHERE connection_id = ? AND last_contact_at > ? AND visit_began_at > ? AND visit_began_at <= ?
            {for_no_key_update(wait=False)}
        )
        """,
        (now, connection_id, *_limits(now), now),
    )
    if not continued:
        _begin_visit(connection_id, now)


def _limits(now: str) -> tuple[str, str]:
    """A visit lasts while its last contact is after the first of these, and its begin after the second."""
    moment = to_moment(now)
    return to_text(moment - PAUSE), to_text(moment - LONGEST_VISIT)


def _begin_visit(connection_id: int, now: str) -> None:
    known = fetch_as(
        _Visits,
        """
        SELECT last_contact_at, visit_began_at, intervals
        FROM connection_contacts
        WHERE connection_id = ?
        """,
        [connection_id],
    )
    if not known:
        execute(
            """
            INSERT INTO connection_contacts (connection_id, last_contact_at, visit_began_at)
            VALUES (?, ?, ?)
            ON CONFLICT (connection_id) DO NOTHING
            """,
            (connection_id, now, now),
        )
    elif not _lasts(known[0], now):
        _store_visit(connection_id, known[0], now)


def _lasts(visits: _Visits, now: str) -> bool:
    """Whether the visit is not over, but another transaction has locked its row."""
    contact, begin = _limits(now)
    return visits.last_contact_at > contact and begin < visits.visit_began_at <= now


def _store_visit(connection_id: int, before: _Visits, now: str) -> None:
    """Unless another transaction has begun one since."""
    seconds = round((to_moment(now) - to_moment(before.visit_began_at)).total_seconds())
    intervals = [int(each) for each in before.intervals.split()]
    if seconds > 0:  # otherwise the clock has stepped back
        intervals = [*intervals, seconds][-REMEMBERED:]
    expected = usual(intervals)
    execute(
        """
        UPDATE connection_contacts
        SET last_contact_at = ?,
            visit_began_at = ?,
            intervals = ?,
            usual_seconds = ?,
            silent_from = ?
        WHERE connection_id = ? AND visit_began_at = ?
        """,
        (
            now,
            now,
            " ".join(map(str, intervals)),
            expected and round(expected.interval.total_seconds()),
            expected and to_text(to_moment(now) + expected.allowed),
            connection_id,
            before.visit_began_at,
        ),
    )
