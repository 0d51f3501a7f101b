"""Gaps: the days on which a row was dirty, so that nobody knows what its measures were.

A gap begins on the day of the mark, unless the row is replaced on that day.  Each later day on which the
dirty row is written to is recorded as well, so that a clock that steps back meanwhile is noticed.
"""

from collections.abc import Iterable, Sequence

from ..database import execute_one, fetch_each
from ..timestamps import is_time, utc_now
from .grains import Grain, StoredRow, record_day, stored_rows


def day_marked(stale_since: str | None, computed_at: str | None) -> str | None:
    """The day from which on a dirty row's measures are unknown; None if that is not known."""
    return next((text[:10] for text in (stale_since, computed_at) if text and is_time(text)), None)


def record_gaps(grain: Grain, rows: Iterable[StoredRow]) -> None:
    """Before dirty rows are replaced: from the day of the mark until today, their measures are unknown.

    Snapshots of earlier days hold: a row was exact until it was marked.
    """
    today = utc_now()[:10]
    dirty = {row.key: day_marked(row.stale_since, row.computed_at) for row in rows if row.dirty}
    marked = {key: day for key, day in dirty.items() if day != today}
    recorded = _last_unknown_days(grain, list(marked))
    for key, day in marked.items():
        if key not in recorded:
            _record_unknown(grain, key, day)


def record_writes(grain: Grain, keys: Sequence[int]) -> None:
    """After a write to dirty rows: their measures are unknown today, whatever the clock says later.

    So they are on the day of the mark, which may be later than today.
    """
    today = utc_now()[:10]
    recorded = _last_unknown_days(grain, keys)
    for row in stored_rows(grain, keys):
        last, marked = recorded.get(row.key), day_marked(row.stale_since, row.computed_at)
        if today == (last or marked):
            continue
        for day in [today] if last else sorted({marked or "", today}):
            _record_unknown(grain, row.key, day or None)


def _last_unknown_days(grain: Grain, keys: Sequence[int]) -> dict[int, str]:
    """The last day for which a row's gap is recorded, by key; rows without such a day are left out."""
    rows = fetch_each(
        f"""
        SELECT d.{grain.key}, MAX(d.day)
        FROM {grain.days} d
        JOIN {grain.table} r ON r.{grain.key} = d.{grain.key} AND r.generation = d.generation
        WHERE d.unknown AND d.{grain.key} = :each
        GROUP BY d.{grain.key}
        """,
        [],
        keys,
    )
    return dict(rows)


def _record_unknown(grain: Grain, key: int, day: str | None) -> None:
    """From this day on, the measures are unknown; None: nobody knows since when."""
    execute_one(grain.skip_generation, (day or "", key))
    if day:
        record_day(grain, [key], day, unknown=True)
