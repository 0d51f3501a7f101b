"""The bodies of the wire, field by field, each declared once: what is answered, and its schema.

Bytes are logical: the UTF-8 length of stored JSON text, and the lengths of files.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from .models.measures import (
    MEASURE_NAMES,
    MEASURES,
    TOTAL,
    Measure,
)

TIME_PATTERN = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"

Time = Annotated[
    str,
    Meta(
        description="UTC, with milliseconds.",
        pattern=TIME_PATTERN,
        extra_json_schema={"format": "date-time", "examples": ["2026-01-31T08:00:00.000Z"]},
    ),
]
Count = Annotated[int, Meta(ge=0, description="A number of things.")]
Bytes = Annotated[int, Meta(ge=0, description="A number of bytes.")]
Connector = Annotated[str, Meta(description="What kind of source a connection is of.")]
Connection = Annotated[str, Meta(description="The name of a connection: its `connector_instance_id`.")]
Stream = Annotated[str, Meta(description="The name of a stream, within its connection.")]
Key = Annotated[str, Meta(description="The key of a record, within its stream.")]
Sha256 = Annotated[str, Meta(description="A SHA-256 digest, in lower-case hex.", pattern="^[0-9a-f]{64}$")]

State = Literal["fresh", "refreshing", "stale", "rebuilding", "failed"]
RebuildStatus = Literal["idle", "running", "failed"]
Grain = Literal["global", "connection", "stream"]
Format = Literal["json", "csv"]
STATES: tuple[str, ...] = State.__args__  # type: ignore[attr-defined]
GRAINS: tuple[str, ...] = Grain.__args__  # type: ignore[attr-defined]


class Body(Struct, kw_only=True, forbid_unknown_fields=True):
    """What is answered: all of its fields and no other."""


# ---- how fresh the figures are -----------------------------------------------------------------


class Freshness(Body):
    """What may be believed of the figures, and as of when."""

    computed_at: Annotated[Time | None, Meta(description="When the figures were last exact.")]
    state: Annotated[State, Meta(description="`fresh` only where every figure is exact.")]
    stale_since: Annotated[Time | None, Meta(description="Since when they may lag; null where fresh.")]
    rebuild_status: RebuildStatus
    last_error: Annotated[str | None, Meta(description="Why a repair failed; it holds no data.")]


class RebuildProgress(Body):
    """How far a rebuild has come."""

    versions_counted: Count
    versions_in_all: Count


class AutoReconcileStatus(Body):
    """The attempts at repair of the process that answers, since it started."""

    attempts: Count
    failures: Count
    consecutive_failures: Count
    last_attempt_at: Time | None
    last_error: str | None
    retry_after_seconds: Annotated[float, Meta(ge=0, description="Of the cooldown; 0 where none holds.")]


class Metadata(Freshness):
    """The freshness, and what is done about it."""

    rebuild_progress: Annotated[RebuildProgress | None, Meta(description="Null where none is running.")]
    auto_reconcile: AutoReconcileStatus


class Projection(Body):
    """The state of the projection that rows were read from."""

    computed_at: Time | None
    dirty: Annotated[bool, Meta(description="True where any figure at any grain may lag.")]
    metadata: Metadata | None


# ---- the summary -------------------------------------------------------------------------------


class TopConnector(Body, tag_field="object", tag="dataset_connector_summary"):
    """One of the connectors with the most records, summed over its connections."""

    connector_id: Connector
    record_count: Count


class Summary(Body, tag_field="object", tag="dataset_summary"):
    """How much is kept, in all."""

    connector_count: Annotated[Count, Meta(description="Connections that retain anything.")]
    stream_count: Annotated[Count, Meta(description="Streams that retain anything.")]
    record_count: Annotated[Count, Meta(description="Live records.")]
    record_json_bytes: Annotated[Bytes, Meta(description="Bytes of the live records.")]
    record_changes_json_bytes: Annotated[Bytes, Meta(description="Bytes of every stored version.")]
    blob_bytes: Annotated[Bytes, Meta(description="Bytes of the files that records hold.")]
    total_retained_bytes: Annotated[Bytes, Meta(description="The sum of the three.")]
    earliest_record_time: Annotated[Time | None, Meta(description="When the first thing happened.")]
    latest_record_time: Annotated[Time | None, Meta(description="When the last thing happened.")]
    earliest_ingested_at: Time | None
    latest_ingested_at: Time | None
    top_connectors: Annotated[list[TopConnector], Meta(max_length=3)]
    projection: Freshness


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
    consent_time_field: Annotated[
        str | None, Meta(description="The field that says when a thing happened.")
    ]
    dirty_record_time_bounds: Annotated[bool, Meta(description="True where the two record times may lag.")]
    computed_at: Time | None


class StreamFilters(Body):
    """What the streams were filtered by."""

    connector_id: Connector | None


class StreamSummaries(Body, tag_field="object", tag="dataset_summary_streams"):
    """The streams of a summary, in the order of their names."""

    filters: StreamFilters
    projection: Freshness
    streams: list[StreamSummary]


# ---- rows of figures ---------------------------------------------------------------------------

_NAMES: dict[str, Any] = {
    "connector_id": Connector,
    "connector_instance_id": Connection,
    "stream": Stream,
}
_UNITS = {"bytes": "bytes", "count": "a number of things"}


def _field(measure: Measure) -> tuple[str, Any]:
    about = f"{measure.heading}, {_UNITS[measure.unit]}."
    return measure.name, Annotated[int, Meta(ge=0, description=about)]


_FIGURES: list[tuple[Any, ...]] = [
    *map(_field, MEASURES),
    (TOTAL, Annotated[int, Meta(ge=0, description="The sum of the bytes.")]),
    ("dirty", Annotated[bool, Meta(description="True where the row may lag since `computed_at`.")]),
    ("computed_at", Time | None),
]


def _row(name: str, about: str, fields: list[tuple[Any, ...]], **options: Any) -> type[Struct]:
    return msgspec.defstruct(
        name,
        [*fields, *_FIGURES],
        bases=(Body,),
        namespace={"__doc__": about},
        module=__name__,
        kw_only=True,
        forbid_unknown_fields=True,
        **options,
    )


def _size_row(grain: str, *names: str) -> type[Struct]:
    about = f"Every measure of one row at the {grain} grain."
    fields: list[tuple[Any, ...]] = [(name, _NAMES[name]) for name in names]
    return _row(f"{grain.capitalize()}Size", about, fields, tag_field="grain", tag=grain)


GlobalSize = _size_row("global")
ConnectionSize = _size_row("connection", "connector_id", "connector_instance_id")
StreamSize = _size_row("stream", *_NAMES)
SIZE_ROWS = {"global": GlobalSize, "connection": ConnectionSize, "stream": StreamSize}


if TYPE_CHECKING:
    SizeRow = Struct
    GlobalRow = Struct
else:
    SizeRow = GlobalSize | ConnectionSize | StreamSize
    GlobalRow = GlobalSize


class Sizes(Body, tag_field="object", tag="ref_dataset_size"):
    """Every measure at one grain, in the order of names."""

    grain: Grain
    rows: list[SizeRow]
    projection: Projection


# ---- the largest -------------------------------------------------------------------------------

Scope = Literal["connection", "stream", "record", "blob"]
SCOPES: tuple[str, ...] = Scope.__args__  # type: ignore[attr-defined]
RANKED = (*MEASURE_NAMES, TOTAL)

if TYPE_CHECKING:
    RankedBy = str
else:
    RankedBy = Literal[RANKED]

TopRow = _row(
    "TopRow",
    "One of the largest, by one measure; identifiers only, never what a record holds.",
    [
        ("scope", Scope),
        ("measure", RankedBy),
        ("rank", Annotated[int, Meta(ge=1)]),
        ("grain_key", Annotated[str, Meta(description="Names the row among those of its scope.")]),
        ("record_key", Key | None),
        ("blob_id", Sha256 | None),
        ("grain", Scope),
        *((name, kind | UnsetType, UNSET) for name, kind in _NAMES.items()),
    ],
)

if TYPE_CHECKING:
    TopRows = list[Struct]
else:
    TopRows = list[TopRow]


class Top(Body, tag_field="object", tag="ref_dataset_top"):
    """The largest of a scope: the measure down, then the identifiers up."""

    scope: Scope
    measure: RankedBy
    rows: TopRows
    projection: Projection


# ---- maintenance -------------------------------------------------------------------------------


class SummaryReconcile(Body, tag_field="object", tag="dataset_summary_reconcile"):
    """What one pass did: how many rows it recomputed, and how many it left."""

    reconciled: Count
    deferred: Count
    summary: Summary


class SizeReconcile(Body, tag_field="object", tag="ref_dataset_size_reconcile"):
    """What one pass did: how many rows it recomputed at each grain."""

    streams: Count
    connections: Count
    projection: GlobalRow


class SizeRebuild(Body, tag_field="object", tag="ref_dataset_size_rebuild"):
    """The figures of before, marked: the rebuild goes on after the answer."""

    projection: GlobalRow


# ---- what connectors send and take away --------------------------------------------------------


class LineError(Body):
    """A line that was not taken, and why."""

    line: Annotated[int, Meta(ge=1)]
    message: str


class Ingested(Body, omit_defaults=True):
    """What became of the lines.  At most 1,000 errors are listed; all are counted.

    `records_removed` is how many records ACTIVATE_VERSION lines deleted; it and `activations_skipped` are
    left out if there are none.
    """

    stream: Stream
    records_accepted: Count
    records_rejected: Count
    errors: list[LineError]
    records_removed: Count = 0
    activations_skipped: Annotated[
        list[LineError], Meta(description="ACTIVATE_VERSION lines that were not carried out, and why.")
    ] = []


class BlobStored(Body, tag_field="object", tag="blob"):
    """The file is stored and bound to the record.  `created`: it was not before."""

    blob_id: Sha256
    byte_length: Bytes
    created: bool


class StreamDeleted(Body, tag_field="object", tag="stream_deleted"):
    """The stream is gone, with its history."""

    stream: Stream


class RecordDeleted(Body, tag_field="object", tag="record_deleted"):
    """The record is no longer current; its history keeps it."""

    stream: Stream
    key: Key


class ConnectionDeleted(Body, tag_field="object", tag="connection_deleted"):
    """The connection is gone, with all it held."""

    connector_instance_id: Connection


# ---- all the rest ------------------------------------------------------------------------------


class Login(Struct):
    """The owner's password."""

    password: str


class Form(Struct):
    """What every form of a page sends."""

    csrf_token: Annotated[str, Meta(description="From the form.")]
    return_to: Annotated[str, Meta(description="A path of this server, to go on to.")] = ""


class LoginForm(Form, kw_only=True):
    """The password as the form sends it."""

    password: str


class Health(Body):
    """The process is up."""

    status: Literal["ok"]


class ErrorDetail(Body):
    """`code` is for programs, `message` for people, `request_id` for whoever looks into it."""

    type: str
    code: str
    message: str
    request_id: str | None


class Error(Body):
    """Every error has this one shape."""

    error: ErrorDetail
