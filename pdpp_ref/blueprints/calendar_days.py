"""The days that requests name."""

from datetime import date

from .errors import ApiError


def checked_day(text: str) -> str:
    """A day of the calendar that has a day before it and one after it.  Raises ApiError."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ApiError("invalid_request", "day must be a day of the calendar.") from None
    if day in (date.min, date.max):
        raise ApiError("invalid_request", "day must be another one.")
    return text
