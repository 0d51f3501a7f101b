"""Gaps: the days on which a row was dirty, so that nobody knows what its measures were.

A gap begins on the day of the mark, unless the row is replaced on that day.  Each later day on which the
dirty row is written to is recorded as well, so that a clock that steps back meanwhile is noticed.
"""

from collections.abc import Sequence

import peewee

from ..database import execute_one, fetch_all, fetch_each, fetch_value
from ..timestamps import is_time, utc_now
from .grains import Grain, record_day


def day_marked(stale_since: str | None, computed_at: str | None) -> str | None:
    """The day from which on a dirty row's measures are unknown; None if that is not known."""
    return next((text[:10] for text in (stale_since, computed_at) if text and is_time(text)), None)


def record_gaps(grain: Grain, keys: Sequence[int]) -> None:
    """Before dirty rows are replaced: from the day of the mark until today, their measures are unknown.

    Snapshots of earlier days hold: a row was exact until it was marked.
    """
    rows = fetch_each(
        f"""
        SELECT {grain.key}, dirty, stale_since, computed_at
        FROM {grain.table}
        WHERE {grain.key} = :each
        """,
        [],
        keys,
    )
    if len(rows) != len(keys):
        raise peewee.OperationalError("a row that was to be replaced does not exist")
    today = utc_now()[:10]
    for key, dirty, stale_since, computed_at in rows:
        marked = day_marked(stale_since, computed_at)
        if dirty and marked != today and not _last_unknown_day(grain, key):
            _record_unknown(grain, key, marked)


def record_write(grain: Grain, key: int) -> None:
    """After a write to a dirty row: its measures are unknown today, whatever the clock says later."""
    today = utc_now()[:10]
    ((stale_since, computed_at),) = fetch_all(
        f"SELECT stale_since, computed_at FROM {grain.table} WHERE {grain.key} = ?", [key]
    )
    last, marked = _last_unknown_day(grain, key), day_marked(stale_since, computed_at)
    if today == (last or marked):
        return
    if not last:
        _record_unknown(grain, key, marked)
    _record_unknown(grain, key, today)


def _last_unknown_day(grain: Grain, key: int) -> str | None:
    """The last day for which a row's gap is recorded; None: none is, for this one."""
    day: str | None = fetch_value(
        f"""
        SELECT MAX(d.day)
        FROM {grain.days} d
        JOIN {grain.table} r ON r.{grain.key} = d.{grain.key} AND r.generation = d.generation
        WHERE d.{grain.key} = ? AND d.unknown
        """,
        [key],
    )
    return day


def _record_unknown(grain: Grain, key: int, day: str | None) -> None:
    """From this day on, the measures are unknown; None: nobody knows since when."""
    execute_one(grain.skip_generation, (day or "", key))
    if day:
        record_day(grain, [key], day, unknown=True)
