"""The owner's view of the totals: enumerated states, numbers and times.

No text of an error can reach the owner's page, because this view model has no field for one.
"""

import hashlib
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from typing import Literal

from ..timestamps import to_moment
from .summary import Summary

# Beyond this age "a few minutes" would be wrong.
DELAYED_AFTER = timedelta(minutes=10)
# One failure may pass by itself; a second in a row is a delay.
DELAYED_AFTER_FAILURES = 2
# More records are expected for so long after the last one.
ARRIVING = timedelta(seconds=15)

Kind = Literal["fresh", "empty", "updating", "partly", "delayed", "recounting", "first_count", "replica"]


@dataclass(frozen=True)
class Hero:
    """`parts` are the names and bytes of the measures that add up to `total_bytes`.

    `arrived_at` is when the last record arrived, if that is recent and the totals are fresh.  `counted`
    and `to_count` are versions, and None unless a rebuild is running.  `connections_behind`: all others are
    up to date.
    """

    kind: Kind
    total_bytes: int
    parts: tuple[tuple[str, int], ...]
    record_count: int
    stream_count: int
    connection_count: int
    as_of: str | None
    arrived_at: str | None = None
    counted: int | None = None
    to_count: int | None = None
    connections_behind: int | None = None

    @property
    def revision(self) -> str:
        """Equal for equal heroes; begins with the kind, so that a client can detect its change."""
        digest = hashlib.sha256(repr(astuple(self)).encode()).hexdigest()[:12]
        return f"{self.kind}-{digest}"

    @property
    def figures(self) -> str:
        """Equal for equal totals of the same time, whatever the state: lists of these belong to them."""
        shown = (self.total_bytes, self.parts, self.record_count, self.stream_count, self.connection_count)
        return hashlib.sha256(repr((shown, self.as_of)).encode()).hexdigest()[:12]

    @property
    def about_to_change(self) -> bool:
        """Whether to poll sooner: the totals may change within seconds."""
        changing = ("empty", "updating", "recounting", "first_count", "replica")
        return self.kind in changing or bool(self.arrived_at)


def hero(summary: Summary, now: datetime) -> Hero:
    totals = summary.totals
    counted, to_count = summary.progress or (None, None)
    kind = _kind(summary, now)
    is_arriving = kind == "fresh" and has_just_arrived(totals.latest_ingested_at, now)
    return Hero(
        kind=kind,
        total_bytes=totals.total_retained_bytes,
        parts=tuple(totals.byte_parts.items()),
        record_count=totals.record_count,
        stream_count=totals.stream_count,
        connection_count=totals.connection_count,
        as_of=totals.computed_at,
        arrived_at=totals.latest_ingested_at if is_arriving else None,
        counted=counted,
        to_count=to_count,
        connections_behind=_connections_behind(summary) if kind == "partly" else None,
    )


def _connections_behind(summary: Summary) -> int:
    return len({row.connector_instance_id for row in summary.set_aside})


def has_just_arrived(arrived_at: str | None, now: datetime) -> bool:
    return arrived_at is not None and timedelta(0) <= now - to_moment(arrived_at) < ARRIVING


def _kind(summary: Summary, now: datetime) -> Kind:
    totals = summary.totals
    if summary.state == "fresh":
        return "fresh" if totals.retains_anything else "empty"
    if summary.all_but_these:
        return "partly"
    if summary.state == "rebuilding" and summary.failures < DELAYED_AFTER_FAILURES:
        return "recounting" if totals.computed_at else "first_count"
    if summary.replica and not totals.dirty:
        return "replica"
    if _is_delayed(summary, now):
        return "delayed"
    return "updating" if totals.computed_at else "first_count"


def _is_delayed(summary: Summary, now: datetime) -> bool:
    if summary.state == "failed" or summary.failures >= DELAYED_AFTER_FAILURES:
        return True
    # If the time of the mark was lost, the totals may lag since they were last exact.
    since = summary.totals.stale_since or summary.totals.computed_at
    return since is not None and now - to_moment(since) > DELAYED_AFTER
