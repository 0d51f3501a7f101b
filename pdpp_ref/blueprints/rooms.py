"""The room on the database's disk, as pages and the API show it."""

from ..projection.grains import GLOBAL
from ..queries import growth
from ..services import room
from ..services.room import Forecast, Room
from ..timestamps import days_before
from .extensions import recent_room


def recent() -> Room:
    """Call it outside of a snapshot: it reads in one of its own."""
    return recent_room().read()


def forecast(measured: Room) -> Forecast | None:
    """Until when there is room, from the totals of three days."""
    ago = (room.WHOLE_DAYS, room.HALF_DAYS, 0)
    totals = [growth.day_of(GLOBAL, 1, days_before(days)).total for days in ago]
    return room.forecast(measured, totals, days_before(0))
