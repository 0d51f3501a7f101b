"""What a read of the retained-size summary does, for the API, the command and the pages alike."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..database import fetch_dicts, is_replica, read_snapshot, replicated_until
from ..measures import BOUNDS, MEASURE_NAMES, total_retained_bytes
from ..times import is_time
from . import wire
from .auto_reconcile import AutoReconcile
from .reconcile import versions_left

TOP_CONNECTORS = 3

_TIMES = (*(bound.name for bound in BOUNDS), "stale_since", "computed_at")

NEVER_COUNTED: dict[str, Any] = dict.fromkeys(MEASURE_NAMES, 0) | {
    "stream_count": 0,
    "connection_count": 0,
    **dict.fromkeys((bound.name for bound in BOUNDS), None),
    "dirty": True,
    "stale_since": None,
    "computed_at": None,
    "rebuild_status": "idle",
    "rebuild_total": None,
    "total_retained_bytes": 0,
}


@dataclass(frozen=True)
class Summary:
    """The global row and what belongs to it, all read at one moment.

    `progress` is (versions counted,
    versions in all) of a rebuild.  `failures`: how often in a row this process failed to repair.
    `replica`: the figures are those of another database, exact as of `computed_at`.  `more` is what
    else was asked for.
    """

    figures: dict[str, Any]
    top_connectors: list[dict[str, Any]]
    state: wire.State
    last_error: str | None
    failures: int
    progress: tuple[int, int] | None
    replica: bool = False
    more: Any = None


def read(auto: AutoReconcile, more: Callable[[], Any] = lambda: None) -> Summary:
    """The summary; where it is not fresh, after an attempt at one bounded pass.

    A fresh summary costs four statements and touches no row of a record or a stream.  What `more`
    returns was read at the same moment.
    """
    found = load(auto, more)
    if found.state != "fresh" and not found.replica and auto.attempt(lambda: global_row()["dirty"]):
        found = load(auto, more)
    if found.state == "fresh":
        auto.found_fresh()
    return found


def global_row() -> dict[str, Any]:
    """The figures in all, for everybody who shows them; on a replica exact as of what has arrived there."""
    found = fetch_dicts("SELECT * FROM retained_size_global")
    row = shown(found[0]) if found else dict(NEVER_COUNTED)
    return row | _as_of_the_replica(row) if is_replica() and not row["dirty"] else row


def state_of(row: dict[str, Any], repairing: bool) -> wire.State:
    """The one place where a projection's state gets its name; in the snapshot that the row is of."""
    if not row["dirty"]:
        return "stale" if is_replica() else "fresh"
    if row["rebuild_status"] != "idle":
        return "rebuilding" if row["rebuild_status"] == "running" else "failed"
    return "refreshing" if repairing else "stale"


def load(auto: AutoReconcile, more: Callable[[], Any] = lambda: None) -> Summary:
    """The summary as it is stored, without an attempt at repair."""
    with read_snapshot():
        row = global_row()
        state = state_of(row, auto.running)
        return Summary(
            figures=row,
            top_connectors=_top_connectors(),
            state=state,
            last_error=auto.last_error if row["dirty"] else None,
            failures=auto.consecutive_failures,
            progress=_progress(row) if state == "rebuilding" else None,
            replica=is_replica(),
            more=more(),
        )


def _as_of_the_replica(row: dict[str, Any]) -> dict[str, Any]:
    """Exact as of the last commit that has arrived; what came to the other database since, is not in."""
    until = replicated_until()
    since = max(until, row["computed_at"]) if until and row["computed_at"] else row["computed_at"]
    return {"computed_at": since, "stale_since": since}


def _top_connectors() -> list[dict[str, Any]]:
    rows = fetch_dicts(
        "SELECT c.connector_id, SUM(r.record_count) AS record_count FROM retained_size_connection r "
        "JOIN connections c ON c.id = r.connection_id GROUP BY c.connector_id "
        "HAVING SUM(r.record_count) > 0 ORDER BY 2 DESC, 1 LIMIT ?",
        [TOP_CONNECTORS],
    )
    return [row | {"record_count": int(row["record_count"])} for row in rows]


def _progress(row: dict[str, Any]) -> tuple[int, int]:
    total = row["rebuild_total"] or 0
    return max(0, total - versions_left()), total


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """A stored row of figures with its total, fit to be passed on."""
    return with_checked_times(row) | {"total_retained_bytes": total_retained_bytes(row)}


def with_checked_times(row: dict[str, Any]) -> dict[str, Any]:
    """A text that is no time, whoever put it there, is not passed on."""
    times = {name: row[name] for name in _TIMES if name in row}
    return row | {name: text if text and is_time(text) else None for name, text in times.items()}


def freshness(found: Summary) -> wire.Freshness:
    row = found.figures
    return wire.Freshness(
        computed_at=row["computed_at"],
        state=found.state,
        stale_since=row["stale_since"],
        rebuild_status=row["rebuild_status"],
        last_error=found.last_error,
    )


def body(found: Summary) -> wire.Summary:
    row = found.figures
    return wire.Summary(
        connector_count=row["connection_count"],
        stream_count=row["stream_count"],
        record_count=row["record_count"],
        record_json_bytes=row["current_record_json_bytes"],
        record_changes_json_bytes=row["record_history_json_bytes"],
        blob_bytes=row["blob_bytes"],
        total_retained_bytes=row["total_retained_bytes"],
        earliest_record_time=row["earliest_record_time"],
        latest_record_time=row["latest_record_time"],
        earliest_ingested_at=row["earliest_ingested_at"],
        latest_ingested_at=row["latest_ingested_at"],
        top_connectors=[wire.TopConnector(**top) for top in found.top_connectors],
        projection=freshness(found),
    )
