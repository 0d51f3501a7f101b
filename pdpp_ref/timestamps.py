"""Times as this project stores and shows them: UTC text with milliseconds and a `Z`.

The text sorts as the times do, for the years 0001 to 9999, and is the format of the API.
"""

import re
from datetime import UTC, date, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Forms that `datetime.fromisoformat` does not read: small letters, a space before the zone, 24:00 and
# second 60.  Dates may have dashes or none, or name a week, as in ISO 8601.
_TIME = re.compile(
    r"(?P<date>[\dW-]{7,10})"
    r"(?:[Tt ](?P<hour>\d\d)(?::?(?P<minute>\d\d)(?::?(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?)?)?"
    r"(?: ?(?:[Zz]|(?P<sign>[+-])(?P<hours>[01]\d|2[0-3])(?::?(?P<minutes>[0-5]\d))?))?)?",
    re.ASCII,
)
# From 1973 to 2286: fewer digits may as well be seconds, or a date, and more may be microseconds.
_MILLISECONDS = re.compile(r"([1-9]\d{11,12})(?:\.\d+)?", re.ASCII)


def utc_now(after: timedelta = timedelta()) -> str:
    """The time now, or so long after now."""
    return to_text(datetime.now(UTC) + after)


def days_before(days: int) -> str:
    """The date, in UTC, so many days ago: `2026-11-23`."""
    return (datetime.now(UTC) - timedelta(days=days)).date().isoformat()


def to_text(moment: datetime) -> str:
    """A time as `2026-11-23T08:30:00.000Z`; without a zone it is UTC."""
    if moment.tzinfo is not None and moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds")[:23] + "Z"


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


def parse_time(text: str) -> str | None:
    """A time in any common format, in the format of `to_text`; None for text that is not a time.

    This is RFC 3339 with common deviations: `z` and `t`, a space for the T, any number of
    digits of a second (cut after three), 24:00 (of the next day), second 60 (the next one), a date
    alone, no zone (UTC), the other forms of ISO 8601, or milliseconds since 1970.
    """
    try:
        if text[4:5] != "-" or text[10:11] not in "T ":
            return parse_milliseconds(text) or to_text(_read(text))
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return to_text(_read(text))
        # This is the format of `to_text`, read in a third of the time: an import reads a time in each line.
        if moment.tzinfo in (UTC, None) and text[7] == "-" and text[13:17:3] == "::" and text[11:13] < "24":
            if len(text) == 24 and text[10::9] == "T." and text[23] == "Z":
                return text
            return f"{text[:10]}T{text[11:19]}.{moment.microsecond // 1000:03}Z"
        return to_text(moment)
    except (ValueError, OverflowError):
        return None


def parse_milliseconds(digits: str) -> str | None:
    """A number of milliseconds since 1970, in plain decimals, as `to_text` writes its time.

    None unless it has 12 or 13 digits before the decimal point.
    """
    match = _MILLISECONDS.fullmatch(digits)
    return to_text(_EPOCH + timedelta(milliseconds=int(match[1]))) if match else None


def _read(text: str) -> datetime:
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError("not a time")
    hour, minute, second = (int(match[name] or 0) for name in ("hour", "minute", "second"))
    fraction = (match["fraction"] or "").rstrip("0")
    if minute > 59 or second > 60 or hour > 24 or (hour == 24 and (minute or second or fraction)):
        raise ValueError("not a time")
    day = date.fromisoformat(match["date"])
    since_midnight = timedelta(
        hours=hour, minutes=minute, seconds=second, milliseconds=int(fraction[:3].ljust(3, "0"))
    )
    # In one sum, because either part alone may exceed the range of dates.
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + (since_midnight - _offset(match))


def _offset(match: re.Match[str]) -> timedelta:
    if match["sign"] is None:
        return timedelta(0)
    offset = timedelta(hours=int(match["hours"]), minutes=int(match["minutes"] or 0))
    return -offset if match["sign"] == "-" else offset
