"""What the owner is told about the figures: a view model of enumerated states, numbers and times.

No text of an error can reach the owner's page, because none is in here.
"""

import hashlib
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta

from ..models.measures import BYTE_MEASURES, retains_anything
from ..timestamps import to_moment
from .summary import Summary

# Past this age "a few minutes" would be a lie.
DELAYED_AFTER = timedelta(minutes=10)
# One failure may be a passing one; a second in a row is a delay.
DELAYED_AFTER_FAILURES = 2
# So long after the last record that came, more are thought to be on their way.
ARRIVING = timedelta(seconds=15)


@dataclass(frozen=True)
class Hero:
    """`kind`: fresh, empty, updating, delayed, recounting, first_count or copy.

    `parts` are the names and bytes of the measures that add up to `total_bytes`.  `arrived_at` is when
    the last record came, where that is only just and the figures keep up.  `counted` and `to_count` are
    versions, and None but for a recount under way.
    """

    kind: str
    total_bytes: int
    parts: tuple[tuple[str, int], ...]
    record_count: int
    stream_count: int
    connection_count: int
    as_of: str | None
    arrived_at: str | None = None
    counted: int | None = None
    to_count: int | None = None

    @property
    def revision(self) -> str:
        """Equal for equal heroes; begins with the kind, so that a change of kind can be told."""
        digest = hashlib.sha256(repr(astuple(self)).encode()).hexdigest()[:12]
        return f"{self.kind}-{digest}"

    @property
    def about_to_change(self) -> bool:
        """Whether it is worth to look again soon: for an empty server somebody may fill one just now."""
        return self.kind in ("empty", "updating", "recounting", "first_count", "copy") or bool(
            self.arrived_at
        )


def hero(found: Summary, now: datetime) -> Hero:
    row = found.figures
    counted, to_count = found.progress or (None, None)
    kind = _kind(found, now)
    return Hero(
        kind=kind,
        total_bytes=row["total_retained_bytes"],
        parts=tuple((measure.name, row[measure.name]) for measure in BYTE_MEASURES),
        record_count=row["record_count"],
        stream_count=row["stream_count"],
        connection_count=row["connection_count"],
        as_of=row["computed_at"],
        arrived_at=_arrived(row["latest_ingested_at"], now) if kind == "fresh" else None,
        counted=counted,
        to_count=to_count,
    )


def _arrived(last: str | None, now: datetime) -> str | None:
    return last if last and timedelta(0) <= now - to_moment(last) < ARRIVING else None


def _kind(found: Summary, now: datetime) -> str:
    row = found.figures
    if found.state == "fresh":
        return "fresh" if retains_anything(row) else "empty"
    if found.state == "rebuilding" and found.failures < DELAYED_AFTER_FAILURES:
        return "recounting" if row["computed_at"] else "first_count"
    if found.replica and not row["dirty"]:
        return "copy"
    if _is_delayed(found, now):
        return "delayed"
    return "updating" if row["computed_at"] else "first_count"


def _is_delayed(found: Summary, now: datetime) -> bool:
    if found.state == "failed" or found.failures >= DELAYED_AFTER_FAILURES:
        return True
    # Where it was lost since when they lag, they may lag since they were last exact.
    since = found.figures["stale_since"] or found.figures["computed_at"]
    return since is not None and now - to_moment(since) > DELAYED_AFTER
