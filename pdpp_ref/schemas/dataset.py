"""The operator's view of the projection: the summary, sizes, rankings, and maintenance."""

import json
from collections.abc import Sequence
from operator import attrgetter
from typing import Annotated, Literal, get_args

from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import asdict

from ..models.measures import EVERY_MEASURE, MeasuresOf
from ..projection.rows import ConnectionRow, GlobalRow, ProjectionRow, StreamRow
from ..queries.items import ItemRow
from ..queries.sizes import ConnectorStream
from ..services import summary as summaries
from ..services.auto_reconcile import AutoReconcile
from ..services.reconcile import Pass
from ..services.summary import RebuildStatus, State
from .types import (
    BlobId,
    Body,
    Bytes,
    Connection,
    Connector,
    Count,
    Key,
    Stream,
    Time,
    blob_id,
    one_of,
)

Grain = Literal["global", "connection", "stream"]
Scope = Literal["connection", "stream", "record", "blob"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
Format = Literal["json", "csv"]

# ---- how fresh the totals are ------------------------------------------------------------------

MOST_SET_ASIDE = 20


class RowSetAside(Body):
    """A stream or connection that the process that responds could not recompute.  It tries again later."""

    connector_instance_id: Connection
    stream: Annotated[Stream | None, Meta(description="Null for the connection itself.")]
    last_error: Annotated[str, Meta(description="Why it failed, without any stored data.")]
    failures: Annotated[Count, Meta(description="How often it failed in a row.")]
    retry_after_seconds: Annotated[float, Meta(ge=0, description="What remains of its cooldown, or 0.")]


class SetAside(Body):
    """The rows whose figures can't be trusted to be exact, although their turn has come."""

    count: Count
    others_fresh: Annotated[bool, Meta(description="True if all other rows are exact, but for the total.")]
    rows: Annotated[list[RowSetAside], Meta(max_length=MOST_SET_ASIDE, description="The first by name.")]


class Freshness(Body):
    """How exact the totals are, and since when."""

    computed_at: Annotated[Time | None, Meta(description="When the totals were last exact.")]
    state: Annotated[State, Meta(description="`fresh` only if every number is exact.")]
    stale_since: Annotated[Time | None, Meta(description="Since when they may lag; null if fresh.")]
    rebuild_status: RebuildStatus
    last_error: Annotated[str | None, Meta(description="Why a pass failed, without any stored data.")]
    set_aside: Annotated[
        SetAside | UnsetType, Meta(description="What could not be recomputed; absent if there is none.")
    ] = UNSET


class RebuildProgress(Body):
    """How far a rebuild has come."""

    versions_counted: Count
    versions_in_all: Count


class AutoReconcileStatus(Body):
    """The passes of the process that responds, since it started."""

    attempts: Count
    failures: Count
    consecutive_failures: Count
    last_attempt_at: Time | None
    last_error: str | None
    retry_after_seconds: Annotated[float, Meta(ge=0, description="What remains of a cooldown, or 0.")]


class Metadata(Freshness, kw_only=True):
    """The freshness, the progress of a rebuild, and this process's passes."""

    rebuild_progress: Annotated[RebuildProgress | None, Meta(description="Null if no rebuild is running.")]
    auto_reconcile: AutoReconcileStatus


class Projection(Body):
    """The state of the projection that rows were read from."""

    computed_at: Time | None
    dirty: Annotated[bool, Meta(description="True if any number at any grain may lag.")]
    metadata: Metadata | None


def freshness(summary: summaries.Summary) -> Freshness:
    totals = summary.totals
    return Freshness(
        computed_at=totals.computed_at,
        state=summary.state,
        stale_since=totals.stale_since,
        rebuild_status=totals.rebuild_status,  # type: ignore[arg-type]  # the table has a CHECK
        last_error=summary.last_error,
        set_aside=_set_aside(summary) if summary.set_aside else UNSET,
    )


def _set_aside(summary: summaries.Summary) -> SetAside:
    rows = summary.set_aside[:MOST_SET_ASIDE]
    return SetAside(
        count=len(summary.set_aside),
        others_fresh=summary.all_but_these,
        rows=[
            RowSetAside(
                connector_instance_id=row.connector_instance_id,
                stream=row.stream,
                last_error=row.why,
                failures=row.failures,
                retry_after_seconds=row.retry_after_seconds,
            )
            for row in rows
        ],
    )


def projection(summary: summaries.Summary, auto: AutoReconcile) -> Projection:
    status = AutoReconcileStatus(
        attempts=auto.attempts,
        failures=auto.failures,
        consecutive_failures=auto.consecutive_failures,
        last_attempt_at=auto.last_attempt_at,
        last_error=auto.last_error,
        retry_after_seconds=auto.retry_after_seconds,
    )
    progress = summary.progress
    return Projection(
        computed_at=summary.totals.computed_at,
        dirty=summary.totals.dirty,
        metadata=Metadata(
            **asdict(freshness(summary)),
            rebuild_progress=progress
            and RebuildProgress(versions_counted=progress.counted, versions_in_all=progress.total),
            auto_reconcile=status,
        ),
    )


# ---- the summary -------------------------------------------------------------------------------


class TopConnector(Body, tag_field="object", tag="dataset_connector_summary"):
    """One of the connectors with the most records, summed over its connections."""

    connector_id: Connector
    record_count: Count


class Summary(Body, tag_field="object", tag="dataset_summary"):
    """How much is stored, in all."""

    connector_count: Annotated[Count, Meta(description="Connections that retain anything.")]
    stream_count: Annotated[Count, Meta(description="Streams that retain anything.")]
    record_count: Annotated[Count, Meta(description="Live records.")]
    record_json_bytes: Annotated[Bytes, Meta(description="Bytes of the live records.")]
    record_changes_json_bytes: Annotated[Bytes, Meta(description="Bytes of every stored version.")]
    blob_bytes: Annotated[Bytes, Meta(description="Bytes of the files of records.")]
    total_retained_bytes: Annotated[Bytes, Meta(description="The sum of the three.")]
    earliest_record_time: Annotated[Time | None, Meta(description="The earliest record time.")]
    latest_record_time: Annotated[Time | None, Meta(description="The latest record time.")]
    earliest_ingested_at: Time | None
    latest_ingested_at: Time | None
    top_connectors: Annotated[list[TopConnector], Meta(max_length=summaries.TOP_CONNECTORS)]
    projection: Freshness


def summary_body(summary: summaries.Summary) -> Summary:
    totals = summary.totals
    return Summary(
        connector_count=totals.connection_count,
        stream_count=totals.stream_count,
        record_count=totals.record_count,
        record_json_bytes=totals.current_record_json_bytes,
        record_changes_json_bytes=totals.record_history_json_bytes,
        blob_bytes=totals.blob_bytes,
        total_retained_bytes=totals.total_retained_bytes,
        earliest_record_time=totals.earliest_record_time,
        latest_record_time=totals.latest_record_time,
        earliest_ingested_at=totals.earliest_ingested_at,
        latest_ingested_at=totals.latest_ingested_at,
        top_connectors=[TopConnector(**top._asdict()) for top in summary.top_connectors],
        projection=freshness(summary),
    )


class StreamSummary(Body):
    """The live records of a connector's streams of one name, summed over its connections."""

    connector_id: Connector
    stream: Stream
    record_count: Count
    record_json_bytes: Bytes
    earliest_ingested_at: Time | None
    latest_ingested_at: Time | None
    earliest_record_time: Time | None
    latest_record_time: Time | None
    consent_time_field: Annotated[str | None, Meta(description="The field with a record's time.")]
    dirty_record_time_bounds: Annotated[bool, Meta(description="True if the two record times may lag.")]
    computed_at: Time | None


class StreamFilters(Body):
    """The filters of the request."""

    connector_id: Connector | None


class StreamSummaries(Body, tag_field="object", tag="dataset_summary_streams"):
    """The streams of a summary, in the order of their names."""

    filters: StreamFilters
    projection: Freshness
    streams: list[StreamSummary]


def stream_summary(stream: ConnectorStream) -> StreamSummary:
    return StreamSummary(
        connector_id=stream.connector_id,
        stream=stream.stream,
        record_count=stream.record_count,
        record_json_bytes=stream.current_record_json_bytes,
        earliest_ingested_at=stream.earliest_ingested_at,
        latest_ingested_at=stream.latest_ingested_at,
        earliest_record_time=stream.earliest_record_time,
        latest_record_time=stream.latest_record_time,
        consent_time_field=stream.record_time_field,
        dirty_record_time_bounds=stream.undated_records,
        computed_at=stream.computed_at,
    )


# ---- rows with every measure -------------------------------------------------------------------


class _Row(MeasuresOf[Annotated[int, Meta(ge=0)]], kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Fields with keywords come last, so that each row begins with its names."""

    total_retained_bytes: Annotated[Bytes, Meta(description="The sum of the bytes.")]
    dirty: Annotated[bool, Meta(description="True if the row may lag since `computed_at`.")]
    computed_at: Time | None


class GlobalSize(_Row, frozen=True, tag_field="grain", tag="global"):
    """Every measure of everything."""


class ConnectionSize(GlobalSize, frozen=True, tag="connection"):
    """Every measure of a connection."""

    connector_id: Connector
    connector_instance_id: Connection


class StreamSize(ConnectionSize, frozen=True, tag="stream"):
    """Every measure of a stream."""

    stream: Stream


SIZE_ROWS: dict[str, type[GlobalSize]] = {
    "global": GlobalSize,
    "connection": ConnectionSize,
    "stream": StreamSize,
}


class Sizes(Body, tag_field="object", tag="ref_dataset_size"):
    """Every measure at one grain, in the order of names."""

    grain: Grain
    rows: list[GlobalSize | ConnectionSize | StreamSize]
    projection: Projection


_SIZE_OF: dict[type[ProjectionRow], type[GlobalSize]] = {
    GlobalRow: GlobalSize,
    ConnectionRow: ConnectionSize,
    StreamRow: StreamSize,
}


def size(row: ProjectionRow) -> GlobalSize:
    """The row as one of SIZE_ROWS."""
    kind = _SIZE_OF[type(row)]
    return kind(**dict(zip(kind.__struct_fields__, _values_of[kind](row), strict=True)))


_values_of = {kind: attrgetter(*kind.__struct_fields__) for kind in SIZE_ROWS.values()}


RankedBy = Annotated[str, one_of(EVERY_MEASURE)]

# ---- the largest -------------------------------------------------------------------------------


class TopRow(_Row, frozen=True):
    """One of the largest, by one measure; only identifiers, never the content of a record."""

    scope: Scope
    measure: RankedBy
    rank: Annotated[int, Meta(ge=1)]
    grain_key: Annotated[str, Meta(description="Identifies the row among those of its scope.")]
    record_key: Key | None
    blob_id: BlobId | None
    grain: Scope
    connector_id: Connector
    connector_instance_id: Connection
    stream: Stream | UnsetType = UNSET


class Top(Body, tag_field="object", tag="ref_dataset_top"):
    """The largest of a scope: the measure down, then the identifiers up."""

    scope: Scope
    measure: RankedBy
    rows: list[TopRow]
    projection: Projection


def _grain_key(row: ItemRow) -> str:
    names = row.names if row.sha256 is None else [*row.names[:-1], blob_id(row.sha256)]
    return json.dumps(names, ensure_ascii=False, separators=(",", ":"))


def top_rows(scope: Scope, measure: str, rows: Sequence[ItemRow]) -> list[TopRow]:
    return [
        TopRow(
            scope=scope,
            measure=measure,
            rank=rank,
            grain_key=_grain_key(row),
            record_key=row.key,
            blob_id=None if row.sha256 is None else blob_id(row.sha256),
            grain=scope,
            connector_id=row.connector_id,
            connector_instance_id=row.connector_instance_id,
            stream=UNSET if row.stream is None else row.stream,
            dirty=row.dirty,
            computed_at=row.computed_at,
            **{name: getattr(row, name) for name in EVERY_MEASURE},
        )
        for rank, row in enumerate(rows, 1)
    ]


# ---- maintenance -------------------------------------------------------------------------------


class SummaryReconcile(Body, tag_field="object", tag="dataset_summary_reconcile"):
    """One pass: how many rows it reconciled, and how many it left."""

    reconciled: Count
    deferred: Count
    summary: Summary


class SizeReconcile(Body, tag_field="object", tag="ref_dataset_size_reconcile"):
    """One pass: how many rows it reconciled at each grain."""

    streams: Count
    connections: Count
    projection: GlobalSize


class SizeRebuild(Body, tag_field="object", tag="ref_dataset_size_rebuild"):
    """The last known totals, marked: the rebuild continues after the response."""

    projection: GlobalSize


def summary_reconcile(done: Pass, summary: summaries.Summary) -> SummaryReconcile:
    body = summary_body(summary)
    return SummaryReconcile(reconciled=done.reconciled, deferred=done.deferred, summary=body)


def size_reconcile(done: Pass, totals: GlobalRow) -> SizeReconcile:
    return SizeReconcile(streams=done.streams, connections=done.connections, projection=size(totals))
