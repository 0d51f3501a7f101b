"""Times as this project stores and shows them: UTC text with milliseconds and a `Z`.

The text sorts as the times do, for the years 0001 to 9999, and is what the wire carries.
"""

from datetime import UTC, datetime, timedelta


def utc_now() -> str:
    return to_text(datetime.now(UTC))


def days_before(days: int) -> str:
    """The date, in UTC, so many days ago: `2026-11-23`."""
    return (datetime.now(UTC) - timedelta(days=days)).date().isoformat()


def to_text(moment: datetime) -> str:
    """A moment as `2026-11-23T08:30:00.000Z`; one without a zone is taken as UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def is_time(text: str) -> bool:
    """Whether a text is a time as `to_text` writes it."""
    try:
        return to_text(to_moment(text)) == text
    except (ValueError, OverflowError):
        return False


def to_moment(text: str) -> datetime:
    """The reverse of `to_text`.  Raises ValueError for text that is not an ISO 8601 time."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
