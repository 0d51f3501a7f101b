"""Reading the projection's rows."""

from typing import Any

from ..database import fetch_dicts, is_replica, replicated_until
from ..models.measures import EXTENTS, MEASURE_NAMES, total_retained_bytes
from ..timestamps import is_time
from .grains import CONNECTION, STREAM

_TIMES = (*(bound.name for bound in EXTENTS), "stale_since", "computed_at")

NEVER_COUNTED: dict[str, Any] = dict.fromkeys(MEASURE_NAMES, 0) | {
    "stream_count": 0,
    "connection_count": 0,
    **dict.fromkeys((bound.name for bound in EXTENTS), None),
    "dirty": True,
    "stale_since": None,
    "computed_at": None,
    "rebuild_status": "idle",
    "rebuild_total": None,
    "total_retained_bytes": 0,
}


def global_row() -> dict[str, Any]:
    """The figures in all, for everybody who shows them; on a replica exact as of what has arrived there."""
    found = fetch_dicts("SELECT * FROM retained_size_global")
    row = shown(found[0]) if found else dict(NEVER_COUNTED)
    return row | _as_of_the_replica(row) if is_replica() and not row["dirty"] else row


def _as_of_the_replica(row: dict[str, Any]) -> dict[str, Any]:
    """Exact as of the last commit that has arrived; what came to the other database since, is not in."""
    until = replicated_until()
    since = max(until, row["computed_at"]) if until and row["computed_at"] else row["computed_at"]
    return {"computed_at": since, "stale_since": since}


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """A stored row of figures with its total, fit to be passed on."""
    return without_invalid_times(row) | {"total_retained_bytes": total_retained_bytes(row)}


def without_invalid_times(row: dict[str, Any]) -> dict[str, Any]:
    """A text that is no time, whoever put it there, is not passed on."""
    times = {name: row[name] for name in _TIMES if name in row}
    return row | {name: text if text and is_time(text) else None for name, text in times.items()}


_CONNECTIONS = (
    "SELECT r.*, c.connector_id, c.connector_instance_id{more} FROM {table} r "
    "JOIN connections c ON c.id = r.connection_id"
)
ROWS = {
    "connection": (_CONNECTIONS.format(more="", table=CONNECTION.table), ("c.connector_instance_id",)),
    "stream": (
        _CONNECTIONS.format(more=", s.name AS stream", table=STREAM.table)
        + " JOIN streams s ON s.id = r.stream_id",
        ("c.connector_instance_id", "s.name"),
    ),
}
