"""Reading the projection's rows, each as a value of its grain's type."""

from collections.abc import Sequence
from typing import Any, TypeVar

from msgspec.structs import asdict, replace

from ..database import fetch_dicts, is_replica, replicated_until
from ..models.measures import MEASURE_NAMES, NOTHING, Measures
from ..timestamps import is_time


class ProjectionRow(Measures, kw_only=True, frozen=True):
    """A row of any grain.  Its measures were exact at `computed_at`, a time as text or None for never.

    A dirty row may lag since `stale_since`.  The defaults are those of a row that was never counted.
    """

    dirty: bool = True
    stale_since: str | None = None
    computed_at: str | None = None
    earliest_ingested_at: str | None = None
    latest_ingested_at: str | None = None
    earliest_record_time: str | None = None
    latest_record_time: str | None = None


class GlobalRow(ProjectionRow, kw_only=True, frozen=True):
    """The global row.  `rebuild_total`: the versions to count when the rebuild began."""

    stream_count: int = 0
    connection_count: int = 0
    rebuild_status: str = "idle"
    rebuild_total: int | None = None


class ConnectionRow(ProjectionRow, frozen=True):
    connector_id: str
    connector_instance_id: str


class StreamRow(ConnectionRow, frozen=True):
    stream: str


Row = TypeVar("Row", bound=ProjectionRow)

_ZEROS = asdict(NOTHING)
NEVER_COUNTED = GlobalRow(**_ZEROS)
_TIMES = tuple(name for name in ProjectionRow.__struct_fields__ if name not in (*MEASURE_NAMES, "dirty"))
# Of a table named r; what a statement joins to it must have none of these columns.
ROW_COLUMNS = ", ".join(f"r.{name}" for name in ProjectionRow.__struct_fields__)
CONNECTION_COLUMNS = f"c.connector_id, c.connector_instance_id, {ROW_COLUMNS}"
STREAM_COLUMNS = f"s.name AS stream, {CONNECTION_COLUMNS}"


def fetch_rows(kind: type[Row], sql: str, values: Sequence[Any] = ()) -> list[Row]:
    """The rows of a SELECT of the type's fields.  If a LEFT JOIN found no row: one never counted."""
    return [_row(kind, stored) for stored in fetch_dicts(sql, values)]


def _row(kind: type[Row], stored: dict[str, Any]) -> Row:
    if stored["dirty"] is None:
        stored = _ZEROS | {name: value for name, value in stored.items() if value is not None}
    else:
        for name in _TIMES:
            if stored[name] is not None:
                stored[name] = valid_time(stored[name])
    stored["dirty"] = bool(stored.get("dirty", True))
    return kind(**stored)


def valid_time(text: str | None) -> str | None:
    """The time, unless another program has stored a text that is not a time."""
    return text if text and is_time(text) else None


def global_row() -> GlobalRow:
    """The global row.  On a replica it is exact as of the last commit that has arrived."""
    found = fetch_rows(GlobalRow, _GLOBAL_ROW)
    row = found[0] if found else NEVER_COUNTED
    return row if row.dirty or not is_replica() else _as_of_the_replica(row)


_GLOBAL_ROW = f"""
    SELECT {", ".join(GlobalRow.__struct_fields__)}
    FROM retained_size_global
"""


def _as_of_the_replica(row: GlobalRow) -> GlobalRow:
    """Exact as of the last commit that has arrived; later commits to the primary are not included."""
    until = replicated_until()
    since = max(until, row.computed_at) if until and row.computed_at else row.computed_at
    return replace(row, computed_at=since, stale_since=since)
