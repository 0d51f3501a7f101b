"""The owner's lists as files: rows, a total at the end, and the JSON object that contains them.

A number that is not known is null.
"""

from operator import attrgetter
from typing import Annotated

from msgspec import Meta, field

from ..models.measures import EVERY_MEASURE, Measures, MeasuresOf
from ..queries.growth import COMPARED_DAYS
from ..queries.items import ItemRow
from ..queries.listings import ListedRow
from .types import (
    Body,
    Connection,
    Connector,
    Count,
    Key,
    LastArrival,
    LastContact,
    Sha256,
    Silent,
    Stream,
    Time,
    UsualInterval,
)

_UNKNOWN = "Null if it is not known."
Number = int | None
Growth = Annotated[
    int | None, Meta(description=f"The change of the total in {COMPARED_DAYS} days, in bytes.  {_UNKNOWN}")
]


class _Measures(
    MeasuresOf[Number], kw_only=True, frozen=True, forbid_unknown_fields=True, tag_field="kept"
):
    """Fields with keywords come last, so that each row begins with its names."""

    total_retained_bytes: Annotated[int | None, Meta(description=f"The sum of the bytes.  {_UNKNOWN}")]


class _Row(_Measures, kw_only=True, frozen=True):
    may_lag: bool
    as_of: Time | None


class _GrowingRow(_Measures, kw_only=True, frozen=True):
    growth: Growth = field(name=f"growth_{COMPARED_DAYS}_days")
    may_lag: bool
    as_of: Time | None


class ListedConnection(_GrowingRow, kw_only=True, frozen=True, tag="connection"):
    """A connection's line."""

    connector: Connector
    connection: Connection
    last_contact_at: LastContact
    last_arrival_at: LastArrival
    usual_interval_seconds: UsualInterval
    silent: Silent


class ListedStream(_GrowingRow, frozen=True, tag="stream"):
    """A stream's line."""

    connection: Connection
    stream: Stream


class ListedRecord(_Row, frozen=True, tag="record"):
    """A record's line, without its content."""

    connection: Connection
    stream: Stream
    record_key: Key


class ListedFile(ListedRecord, frozen=True, tag="file"):
    """A file's line."""

    sha256: Sha256


class ListedTotal(_GrowingRow, frozen=True, tag="total"):
    """The sum of all rows.  A number that is not known for each row is null; `as_of` is the earliest."""


Row = ListedConnection | ListedStream | ListedRecord | ListedFile
KINDS: dict[str, type[Row]] = {
    "connection": ListedConnection,
    "stream": ListedStream,
    "record": ListedRecord,
    "file": ListedFile,
}


class OwnerList(Body, tag_field="object", tag="owner_list"):
    """A list of the owner's, complete: the rows that a search found, and their total."""

    as_of: Annotated[Time | None, Meta(description="When the totals were last exact.")]
    may_lag: Annotated[bool, Meta(description="True if any number may lag.")]
    row_count: Annotated[Count, Meta(description="How many rows follow.")]
    rows: list[ListedConnection | ListedStream | ListedRecord | ListedFile]
    total: ListedTotal


def listed_connection(row: ListedRow) -> ListedConnection:
    return ListedConnection(
        connector=row.connector_id,
        connection=row.name,
        last_contact_at=row.last_contact_at,
        last_arrival_at=row.latest_ingested_at,
        usual_interval_seconds=row.usual_seconds,
        silent=row.is_silent,
        growth=row.growth,
        may_lag=row.dirty,
        as_of=row.computed_at,
        **_numbers(row, row.computed_at),
    )


def listed_stream(row: ListedRow, connection: str) -> ListedStream:
    return ListedStream(
        connection=connection,
        stream=row.name,
        growth=row.growth,
        may_lag=row.dirty,
        as_of=row.computed_at,
        **_numbers(row, row.computed_at),
    )


def listed_record(row: ItemRow) -> ListedRecord:
    return ListedRecord(
        connection=row.connector_instance_id,
        stream=row.stream or "",
        record_key=row.key or "",
        may_lag=row.dirty,
        as_of=row.computed_at,
        **_numbers(row, row.computed_at),
    )


def listed_file(row: ItemRow) -> ListedFile:
    return ListedFile(
        connection=row.connector_instance_id,
        stream=row.stream or "",
        record_key=row.key or "",
        sha256=row.sha256 or "",
        may_lag=row.dirty,
        as_of=row.computed_at,
        **_numbers(row, row.computed_at),
    )


# Faster than a getattr for each: a download has millions of these rows.
_every_measure_of = attrgetter(*EVERY_MEASURE)
_UNKNOWN_NUMBERS: dict[str, Number] = dict.fromkeys(EVERY_MEASURE)


def _numbers(row: Measures, computed_at: str | None) -> dict[str, Number]:
    """Those of a row that was never counted are not known."""
    return (
        dict(zip(EVERY_MEASURE, _every_measure_of(row), strict=True)) if computed_at else _UNKNOWN_NUMBERS
    )
