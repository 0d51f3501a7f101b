"""The operator's JSON of growth, contacts and room."""

from typing import Annotated

from msgspec import Meta, Struct

from ..models.measures import BYTE_MEASURES
from ..queries import growth
from ..queries.day_changes import DayChanges, Origin
from ..queries.growth import Day
from ..queries.silence import Contact, is_silent
from ..services.room import Forecast, Room
from .types import (
    Body,
    Bytes,
    Connection,
    Connector,
    Count,
    LastArrival,
    LastContact,
    Silent,
    Stream,
    UsualInterval,
)

Date = Annotated[
    str,
    Meta(
        description="A day in UTC, from midnight to midnight.",
        pattern=r"^\d{4}-\d\d-\d\d$",
        extra_json_schema={"format": "date", "examples": ["2026-01-31"]},
    ),
]
UnknownBytes = Annotated[
    Annotated[int, Meta(ge=0)] | None, Meta(description="A number of bytes; null if it is not known.")
]
Change = Annotated[int | None, Meta(description="The difference in bytes; null if it is not known.")]


class GrowthDay(Struct, kw_only=True):
    """The bytes at the end of a day on which they changed; the last day is not over yet.

    The first day is the state before the others, whether it changed on that day or not.
    """

    day: Date
    change: Annotated[Change, Meta(description="Since the row before.")]
    current_record_json_bytes: UnknownBytes
    record_history_json_bytes: UnknownBytes
    blob_bytes: UnknownBytes
    total_retained_bytes: UnknownBytes


class Growth(Body, tag_field="object", tag="dataset_growth"):
    """Growth by day, oldest first, of everything, of a connection or of a stream."""

    connector_instance_id: Connection | None
    stream: Stream | None
    days: list[GrowthDay]


class DayOrigin(Body):
    """A connection, or one of its streams, that changed."""

    connector_id: Connector
    connector_instance_id: Connection
    stream: Stream | None
    change: Change


class DayOrigins(Body):
    """The rows that changed most, and the sum of the others."""

    rows: list[DayOrigin]
    others: Count
    others_change: Annotated[int, Meta(description="The sum of those others that are known.")]


class GrowthOfDay(Body, tag_field="object", tag="dataset_growth_day"):
    """What a day's change comes from."""

    day: Date
    connector_instance_id: Connection | None
    change: Change
    elsewhere: Annotated[Change, Meta(description="The part of what was deleted since.")]
    connections: Annotated[DayOrigins, Meta(description="Empty if a connection is named.")]
    streams: DayOrigins


class ContactRow(Struct, kw_only=True):
    """When a connection's source was last heard of."""

    connector_id: Connector
    connector_instance_id: Connection
    last_contact_at: LastContact
    last_arrival_at: LastArrival
    usual_interval_seconds: UsualInterval
    silent: Silent


class Contacts(Body, tag_field="object", tag="dataset_contacts"):
    """All connections, by name."""

    contacts: list[ContactRow]


class ForecastRange(Body):
    """Between which days the disk will be full at the rates of the last 30 days and of their halves."""

    earliest: Annotated[Date | None, Meta(description="Null if it is over ten years away.")]
    latest: Annotated[Date | None, Meta(description="Null if it is over ten years away.")]


class DatasetRoom(Body, tag_field="object", tag="dataset_room"):
    """The room on the database's disk, measured at most a minute ago; unknown while that is busy."""

    database_bytes: Annotated[UnknownBytes, Meta(description="The database, with its log on SQLite.")]
    free_bytes: Annotated[UnknownBytes, Meta(description="Null if the disk is another machine's.")]
    total_retained_bytes: Annotated[Bytes | None, Meta(description="The contents, as in the summary.")]
    full: Annotated[ForecastRange | None, Meta(description="Null if it can't be known, or nothing grows.")]


def growth_days(history: list[Day]) -> list[GrowthDay]:
    return [
        GrowthDay(day=day.day, change=change, total_retained_bytes=day.total, **_parts(day))
        for day, change in zip(history, growth.changes(history), strict=True)
    ]


def _parts(day: Day) -> dict[str, int | None]:
    parts = day.parts or (None,) * len(BYTE_MEASURES)
    return {measure.name: part for measure, part in zip(BYTE_MEASURES, parts, strict=True)}


def growth_of_day(found: DayChanges, connection: str | None) -> GrowthOfDay:
    connections, streams = (
        DayOrigins(
            rows=[_origin(row) for row in each.rows], others=each.others, others_change=each.left_out
        )
        for each in (found.connections, found.streams)
    )
    return GrowthOfDay(
        day=found.day,
        connector_instance_id=connection,
        change=found.change,
        elsewhere=found.elsewhere,
        connections=connections,
        streams=streams,
    )


def _origin(row: Origin) -> DayOrigin:
    return DayOrigin(
        connector_id=row.connector,
        connector_instance_id=row.connection,
        stream=row.stream,
        change=row.change,
    )


def contact(row: Contact) -> ContactRow:
    return ContactRow(
        connector_id=row.connector_id,
        connector_instance_id=row.connector_instance_id,
        last_contact_at=row.last_contact_at,
        last_arrival_at=row.last_arrival_at,
        usual_interval_seconds=row.usual_seconds,
        silent=is_silent(row.silent_from),
    )


def dataset_room(room: Room, total: int | None, expected: Forecast | None) -> DatasetRoom:
    return DatasetRoom(
        database_bytes=room.database_bytes,
        free_bytes=room.free_bytes,
        total_retained_bytes=total,
        full=(
            ForecastRange(earliest=expected.earliest, latest=expected.latest)
            if expected is not None
            else None
        ),
    )
