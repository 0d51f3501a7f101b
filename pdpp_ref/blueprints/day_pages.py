"""The owner's page of one day: the connections and streams that its growth comes from."""

from datetime import date, timedelta

from flask import Blueprint

from ..database import read_snapshot
from ..queries import day_changes, growth, listings
from ..timestamps import days_before
from .auth import owner_only
from .calendar_days import checked_day
from .errors import NO_CONNECTION, ApiError
from .openapi.decorator import PAGE, operation
from .owner.pages import DayPage
from .owner.requests import DayQuery
from .responses import render

blueprint = Blueprint("days", __name__)


@blueprint.get("/dashboard/days")
@owner_only
@operation(
    "What a day's growth comes from",
    PAGE,
    query=DayQuery,
    errors=("connection_not_found", "invalid_request"),
)
def day(query: DayQuery) -> str:
    of = checked_day(query.day)
    with read_snapshot():
        connection = listings.connection_id(query.connection) if query.connection else None
        if query.connection and connection is None:
            raise ApiError("connection_not_found", NO_CONNECTION)
        found = day_changes.of_day(of, connection)
    later = (date.fromisoformat(of) + timedelta(days=1)).isoformat() if of < days_before(0) else None
    return render(DayPage(found, query.connection, growth.day_before(of), later))
