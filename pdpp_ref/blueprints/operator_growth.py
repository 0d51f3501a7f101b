"""The operator's JSON of how the data grows: by day, from which sources, and for how long there is room."""

from contextlib import ExitStack
from typing import Annotated

from flask import Blueprint, Response
from msgspec import Meta, Struct

from ..credentials import FIGURES
from ..database import read_snapshot
from ..projection.rows import global_row
from ..queries import day_changes, growth, listings, silence
from ..queries.growth import Range
from ..schemas import growth as bodies
from ..schemas.dataset import Format
from ..schemas.types import Connection, Stream
from ..timestamps import utc_now
from . import csv_export, rooms
from .auth import requires
from .calendar_days import checked_day
from .errors import NO_CONNECTION, ApiError
from .openapi.decorator import CSV, operation
from .owner.requests import Day
from .responses import reply, whole_or_streamed

blueprint = Blueprint("growth", __name__, url_prefix="/_ref")


class GrowthQuery(Struct):
    connector_instance_id: Connection | None = None
    stream: Annotated[Stream | None, Meta(description="A stream of that connection.")] = None
    days: Annotated[Range, Meta(description="How far back.")] = 90
    format: Format = "json"


class GrowthDayQuery(Struct):
    day: Day
    connector_instance_id: Connection | None = None


class ContactsQuery(Struct):
    connector_instance_id: Annotated[
        Connection | None, Meta(description="Return only this connection.")
    ] = None
    format: Format = "json"


NOT_FOUND = ("connection_not_found", "stream_not_found", "invalid_request")


@blueprint.get("/dataset/growth")
@requires(FIGURES)
@operation("Growth by day", (bodies.Growth, CSV), query=GrowthQuery, errors=NOT_FOUND)
def dataset_growth(query: GrowthQuery) -> Response:
    name, stream = query.connector_instance_id, query.stream
    if name is None and stream is not None:
        raise ApiError("invalid_request", "connector_instance_id is required with stream.")
    with read_snapshot():
        history = _days(name, stream, query.days)
    rows = bodies.growth_days(history)
    if query.format == "csv":
        return _csv("growth", bodies.GrowthDay, rows)
    return reply(bodies.Growth(connector_instance_id=name, stream=stream, days=rows))


def _days(name: str | None, stream: str | None, shown: int) -> list[growth.Day]:
    """Raises ApiError if there is no such connection or stream."""
    if name is None:
        return growth.days(shown)
    if stream is None:
        return growth.days(shown, _connection_id(name))
    stream_id = listings.stream_id(name, stream)
    if stream_id is None:
        raise ApiError("stream_not_found")
    return growth.days(shown, stream_id=stream_id)


def _connection_id(name: str) -> int:
    found = listings.connection_id(name)
    if found is None:
        raise ApiError("connection_not_found", NO_CONNECTION)
    return found


@blueprint.get("/dataset/growth/day")
@requires(FIGURES)
@operation(
    "What a day's growth comes from",
    bodies.GrowthOfDay,
    query=GrowthDayQuery,
    errors=("connection_not_found", "invalid_request"),
)
def dataset_growth_day(query: GrowthDayQuery) -> Response:
    day, name = checked_day(query.day), query.connector_instance_id
    with read_snapshot():
        found = day_changes.of_day(day, None if name is None else _connection_id(name))
    return reply(bodies.growth_of_day(found, name))


@blueprint.get("/dataset/contacts")
@requires(FIGURES)
@operation(
    "When each source was last heard of",
    (bodies.Contacts, CSV),
    query=ContactsQuery,
    errors=("invalid_request",),
)
def dataset_contacts(query: ContactsQuery) -> Response:
    with read_snapshot():
        rows = [bodies.contact(row) for row in silence.contacts(query.connector_instance_id)]
    if query.format == "csv":
        return _csv("contacts", bodies.ContactRow, rows)
    return reply(bodies.Contacts(contacts=rows))


@blueprint.get("/dataset/room")
@requires(FIGURES)
@operation("The room on the disk", bodies.DatasetRoom)
def dataset_room() -> Response:
    measured = rooms.recent()
    with read_snapshot():
        totals = global_row()
        expected = rooms.forecast(measured)
    total = None if totals.computed_at is None else totals.total_retained_bytes
    return reply(bodies.dataset_room(measured, total, expected))


def _csv(
    title: str, kind: type[Struct], rows: list[bodies.GrowthDay] | list[bodies.ContactRow]
) -> Response:
    parts = (line.encode() for line in csv_export.csv_lines(kind, rows))
    response = whole_or_streamed(parts, "text/csv; charset=utf-8", ExitStack())
    name = csv_export.file_name(title, utc_now(), "csv")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
