"""The rows of figures at one grain, and the state of the projection that they were read from."""

from typing import Any

from msgspec.structs import asdict

from .. import schemas
from ..database import fetch_dicts
from ..models.measures import EXTENTS, Bound
from ..projection.rows import ROWS, global_row, shown, without_invalid_times
from ..services.auto_reconcile import AutoReconcile
from ..services.summary import Summary, freshness


def rows(grain: str, connection: str | None = None, stream: str | None = None) -> list[schemas.SizeRow]:
    """The size rows of a grain (global, connection or stream), in the order of their names.

    `connection` and `stream` leave those rows of the grain that bear the name; a name says nothing
    of a coarser grain.  An unknown one gives no rows.  Raises KeyError for an unknown grain.
    """
    if grain == "global":
        return [global_size()]
    sql, columns = ROWS[grain]
    wanted = {
        column: name
        for column, name in zip(columns, (connection, stream), strict=False)
        if name is not None
    }
    where = " AND ".join(f"{column} = ?" for column in wanted) or "TRUE"
    found = fetch_dicts(f"{sql} WHERE {where} ORDER BY {', '.join(columns)}", list(wanted.values()))
    return [_size(grain, row) for row in found]


def global_size() -> schemas.SizeRow:
    return _size("global", global_row())


def _size(grain: str, row: dict[str, Any]) -> schemas.SizeRow:
    row = shown(row) | {"dirty": bool(row["dirty"])}
    kind = schemas.SIZE_ROWS[grain]
    return kind(**{name: row[name] for name in kind.__struct_fields__})


def streams(connector: str | None = None) -> list[schemas.StreamSummary]:
    """The rows of `GET /_ref/dataset/summary/streams`: streams of one name are one row for each
    connector, summed over its connections, in the order of their names.
    """
    where, values = ("", []) if connector is None else ("WHERE c.connector_id = ?", [connector])
    found = fetch_dicts(_STREAMS.format(where=where), values)
    return [
        schemas.StreamSummary(
            connector_id=row["connector_id"],
            stream=row["stream"],
            record_count=int(row["record_count"]),
            record_json_bytes=int(row["current_record_json_bytes"]),
            earliest_ingested_at=row["earliest_ingested_at"],
            latest_ingested_at=row["latest_ingested_at"],
            earliest_record_time=row["earliest_record_time"],
            latest_record_time=row["latest_record_time"],
            consent_time_field=row["consent_time_field"],
            dirty_record_time_bounds=bool(row["undated_records"]),
            computed_at=row["computed_at"],
        )
        for row in map(without_invalid_times, found)
    ]


def _bound(bound: Bound) -> str:
    found = f"{'MAX' if bound.latest else 'MIN'}(r.{bound.name})"
    known = "MAX(CASE WHEN r.record_times_unknown THEN 1 ELSE 0 END) = 0"
    return found if bound.of == "ingested_at" else f"CASE WHEN {known} THEN {found} END"


# A row that sums several is as old as the oldest of them, and has no bound that one of them lacks.
_BOUNDS = ", ".join(f"{_bound(bound)} AS {bound.name}" for bound in EXTENTS)
_STREAMS = (
    "SELECT c.connector_id, s.name AS stream, SUM(r.record_count) AS record_count, "
    "SUM(r.current_record_json_bytes) AS current_record_json_bytes, "
    f"{_BOUNDS}, MIN(r.computed_at) AS computed_at, MAX(s.record_time_field) AS consent_time_field, "
    "MAX(s.undated_records) AS undated_records "
    "FROM retained_size_stream r JOIN connections c ON c.id = r.connection_id "
    "JOIN streams s ON s.id = r.stream_id {where} "
    "GROUP BY c.connector_id, s.name ORDER BY c.connector_id, s.name"
)


def projection(found: Summary, auto: AutoReconcile) -> schemas.Projection:
    attempts = schemas.AutoReconcileStatus(
        attempts=auto.attempts,
        failures=auto.failures,
        consecutive_failures=auto.consecutive_failures,
        last_attempt_at=auto.last_attempt_at,
        last_error=auto.last_error,
        retry_after_seconds=auto.retry_after_seconds,
    )
    return schemas.Projection(
        computed_at=found.figures["computed_at"],
        dirty=bool(found.figures["dirty"]),
        metadata=schemas.Metadata(
            **asdict(freshness(found)), rebuild_progress=_progress(found), auto_reconcile=attempts
        ),
    )


def _progress(found: Summary) -> schemas.RebuildProgress | None:
    if found.progress is None:
        return None
    counted, total = found.progress
    return schemas.RebuildProgress(versions_counted=counted, versions_in_all=total)
