"""Times in lines and in stored data."""

from typing import Any

import msgspec

from ..timestamps import parse_milliseconds, parse_time
from .json_lines import Rejected
from .keys import canonical_number

_stored = msgspec.json.Decoder(dict[str, msgspec.Raw])
_value = msgspec.json.Decoder(float_hook=msgspec.Raw)


def time_in(data: str, field: str) -> str | None:
    """The time that a field of a record's stored data holds."""
    try:
        value = _stored.decode(data).get(field)
        return None if value is None else record_time_of(_value.decode(value))
    except ValueError:  # a number that is out of all range, say
        return None


def record_time_of(value: Any) -> str | None:
    """The time that a value stands for, or None.

    Digits alone are rarely a date or a time, so they count only as milliseconds.
    """
    if type(value) is str and value[4:5] != "-" and value.isdigit():
        return parse_milliseconds(value)
    return _as_time(value)


def time_of(name: str, value: Any) -> str:
    """The time in the field `name` of a line.  Raises Rejected."""
    time = parse_time(value) if type(value) is str else _as_time(value)
    if time is None:
        raise Rejected(
            f"{name} is not an ISO 8601 time such as 2026-01-31T08:00:00Z, nor milliseconds since 1970"
        )
    return time


def _as_time(value: Any) -> str | None:
    if type(value) is str:
        return parse_time(value)
    if type(value) is int:
        return parse_milliseconds(str(value))
    if type(value) is msgspec.Raw:
        try:
            return parse_milliseconds(canonical_number(bytes(value).decode()))
        except Rejected:
            return None
    return None
