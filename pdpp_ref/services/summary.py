"""What a read of the retained-size summary does, for the API, the command and the pages alike."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .. import schemas
from ..database import (
    fetch_dicts,
    is_replica,
    read_snapshot,
)
from ..projection.rows import global_row
from .auto_reconcile import AutoReconcile
from .reconcile import versions_left

TOP_CONNECTORS = 3


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
    state: schemas.State
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


def state_of(row: dict[str, Any], repairing: bool) -> schemas.State:
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


def freshness(found: Summary) -> schemas.Freshness:
    row = found.figures
    return schemas.Freshness(
        computed_at=row["computed_at"],
        state=found.state,
        stale_since=row["stale_since"],
        rebuild_status=row["rebuild_status"],
        last_error=found.last_error,
    )


def body(found: Summary) -> schemas.Summary:
    row = found.figures
    return schemas.Summary(
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
        top_connectors=[schemas.TopConnector(**top) for top in found.top_connectors],
        projection=freshness(found),
    )
