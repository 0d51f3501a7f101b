"""What the owner is told about the figures: a view model of enumerated states, numbers and times.

No text of an error can reach the owner's page, because none is in here.
"""

import hashlib
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta

from ..models import BYTE_MEASURES, retains_anything
from ..times import to_moment
from .summary import Summary

# Past this age "a few minutes" would be a lie.
DELAYED_AFTER = timedelta(minutes=10)
# One failure may be a passing one; a second in a row is a delay.
DELAYED_AFTER_FAILURES = 2


@dataclass(frozen=True)
class Hero:
    """`kind`: fresh, empty, updating, delayed, recounting or first_count.

    `parts` are the headings and bytes that add up to `total_bytes`.  `counted` and `to_count` are
    versions, and None but for a recount under way.
    """

    kind: str
    total_bytes: int
    parts: tuple[tuple[str, int], ...]
    record_count: int
    stream_count: int
    connection_count: int
    as_of: str | None
    counted: int | None = None
    to_count: int | None = None

    @property
    def revision(self) -> str:
        """Equal for equal heroes; begins with the kind, so that a change of kind can be told."""
        digest = hashlib.sha256(repr(astuple(self)).encode()).hexdigest()[:12]
        return f"{self.kind}-{digest}"


def hero(found: Summary, now: datetime) -> Hero:
    row = found.figures
    counted, to_count = found.progress or (None, None)
    return Hero(
        kind=_kind(found, now),
        total_bytes=row["total_retained_bytes"],
        parts=tuple((measure.heading, row[measure.name]) for measure in BYTE_MEASURES),
        record_count=row["record_count"],
        stream_count=row["stream_count"],
        connection_count=row["connection_count"],
        as_of=row["computed_at"],
        counted=counted,
        to_count=to_count,
    )


def _kind(found: Summary, now: datetime) -> str:
    row = found.figures
    if found.state == "fresh":
        return "fresh" if retains_anything(row) else "empty"
    if found.state == "rebuilding":
        return "recounting" if row["computed_at"] else "first_count"
    if _is_delayed(found, now):
        return "delayed"
    return "updating" if row["computed_at"] else "first_count"


def _is_delayed(found: Summary, now: datetime) -> bool:
    if found.state == "failed" or found.failures >= DELAYED_AFTER_FAILURES:
        return True
    since = found.figures["stale_since"]
    return since is not None and now - to_moment(since) > DELAYED_AFTER
