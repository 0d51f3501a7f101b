"""The columns of a table of records, found in all of them."""

import re
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum, IntFlag
from typing import Any, NamedTuple

import msgspec

from ..parsing.json_lines import to_json

MAX_COLUMNS = 10_000
_EXACT_IN_DOUBLE = 2**53
_FEW_DIGITS = re.compile(rb"-?\d{1,7}\.\d{1,7}")


class Kind(Enum):
    """What a column holds; JSON is text: objects, arrays, values of several types, inexact numbers."""

    TEXT = "text"
    WHOLE = "whole numbers of 64 bits"
    NUMBER = "numbers that a double holds exactly"
    BOOLEAN = "booleans"
    JSON = "JSON"


class Column(NamedTuple):
    name: str
    kind: Kind


class _Seen(IntFlag):
    """The types of a column's values."""

    TEXT = 1
    BOOLEAN = 2
    SHORT = 4  # a whole number that a double holds exactly
    LONG = 8  # one of 64 bits that it does not
    DOUBLE = 16
    OTHER = 32


class TooManyColumns(Exception):
    """The records have more different fields than a table can have columns."""


class Columns:
    """Learns the columns from all records, in the order in which they first appear."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def learn(self, record: Mapping[str, Any], mark: str) -> None:
        """Add a record, decoded by `stored_record`.  Raises TooManyColumns."""
        for name, value in record.items():
            column = unmarked(name, mark)
            self._seen[column] = self._seen.get(column, 0) | _seen(value)
        if len(self._seen) > MAX_COLUMNS:
            raise TooManyColumns

    def kinds(self) -> dict[str, Kind]:
        """The kind of each column, by name."""
        return {name: _kind(seen) for name, seen in self._seen.items()}

    def free_name(self, name: str) -> str:
        """The name for a column that is no field of the records."""
        while name in self._seen:
            name = f"_{name}"
        return name


def unmarked(text: str, mark: str) -> str:
    """A text with halves of surrogate pairs as their escapes; `mark` is that of `stored_record`."""
    return text.replace(mark, "\\u") if mark else text


def cell(value: Any, kind: Kind, mark: str) -> Any:
    """A value as a column of that kind holds it: None, str, bool, or int or msgspec.Raw for a number."""
    if value is None:
        return None
    if kind is Kind.JSON:
        return to_json(value, mark)
    return unmarked(value, mark) if type(value) is str else value


def _seen(value: Any) -> int:
    if value is None:
        return 0
    if type(value) is str:
        return _Seen.TEXT
    if type(value) is bool:
        return _Seen.BOOLEAN
    if type(value) is int:
        if abs(value) <= _EXACT_IN_DOUBLE:
            return _Seen.SHORT
        return _Seen.LONG if -(2**63) <= value < 2**63 else _Seen.OTHER
    if type(value) is msgspec.Raw and _is_double(bytes(value)):
        return _Seen.DOUBLE
    return _Seen.OTHER


def _is_double(number: bytes) -> bool:
    """Whether the number is what its double is written as, so that nothing is lost."""
    if _FEW_DIGITS.fullmatch(number):
        return True
    if len(number) > 40:
        return False
    text = number.decode()
    value = float(text)
    return abs(value) < float("inf") and Decimal(repr(value)) == Decimal(text)


def _kind(seen: int) -> Kind:
    if seen & ~_Seen.TEXT == 0:
        return Kind.TEXT
    if seen == _Seen.BOOLEAN:
        return Kind.BOOLEAN
    if seen & ~(_Seen.SHORT | _Seen.LONG) == 0:
        return Kind.WHOLE
    if seen & ~(_Seen.SHORT | _Seen.DOUBLE) == 0:
        return Kind.NUMBER
    return Kind.JSON
