"""Names and keys: what can be stored, and the one text that each key has.

A Collection Profile key is a string, or an array whose minified JSON is its text.  A Singer key is
made of the values of the stream's key properties: equal values give equal text, however they are
spelt.  So that different values never give the same key, the type of each comes with it.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any

import msgspec

from .json_lines import HALF_A_PAIR, InvalidKey, Rejected, to_json

MAX_NAME_BYTES = 2048  # fits one entry of PostgreSQL's B-tree, with room to spare

# The name of each key property and the JSON type of its value: "string", "number", "boolean", or
# None for null.  () is the key of a stream without key properties.
KeySchema = tuple[tuple[str, str | None], ...]

_TYPES: Mapping[type, str | None] = {
    str: "string",
    int: "number",
    msgspec.Raw: "number",
    bool: "boolean",
    NoneType: None,
}
# More parts than fit one name, however short they are.
MAX_KEY_PROPERTIES = MAX_NAME_BYTES // 3
_REMEMBERED = 128  # types in all combinations that are cached; a usual stream has one combination
_NUMBER = re.compile(r"(-?)(0|[1-9]\d*)(?:\.(\d+))?(?:[eE]([+-]?)0*(\d+))?", re.ASCII)


def check_name(what: str, name: str, mark: str = "") -> str:
    """The name, if it can be stored and indexed on every database; else Rejected.

    `mark` stands for halves of surrogate pairs (see `json_lines.mark_surrogates`).
    """
    if name.isascii() and 0 < len(name) <= MAX_NAME_BYTES and "\0" not in name and not mark:
        return name  # as nearly all are
    refused = InvalidKey if what == "key" else Rejected
    if not name:
        raise refused(f"{what} is empty")
    if "\0" in name:
        raise refused(f"{what} holds a NUL character")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise refused(f"{what} {HALF_A_PAIR}") from None
    if mark and mark in name:
        raise refused(f"{what} {HALF_A_PAIR}")
    if size > MAX_NAME_BYTES:
        raise refused(f"{what} is longer than {MAX_NAME_BYTES:,} bytes")
    return name


def canonical_number(text: str) -> str:
    """A JSON number in plain decimals, equal for equal values: `1` for 1.0 and 1e0, `0` for -0.

    It is exact.  If it would be longer than a name may be, it is Rejected before it is built.
    Raises ValueError for text that is not a JSON number.
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise ValueError("not a JSON number")
    sign, whole, fraction, direction, exponent = match.groups(default="")
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return "0"
    shift = int(exponent or 0) if len(exponent) < 9 else 10**9
    significant = digits.rstrip("0")
    # The value is `significant` followed by so many zeros or, below 0, with so many decimals.
    zeros = (-shift if direction == "-" else shift) - len(fraction) + len(digits) - len(significant)
    length = len(significant) + zeros if zeros >= 0 else 1 + max(len(significant), 1 - zeros)
    if len(sign) + length > MAX_NAME_BYTES:
        raise InvalidKey(f"a number in the key has more than {MAX_NAME_BYTES:,} digits")
    if zeros >= 0:
        return sign + significant + "0" * zeros
    padded = significant.rjust(1 - zeros, "0")
    return f"{sign}{padded[:zeros]}.{padded[zeros:]}"


def profile_key(key: str | list[str | None] | None, mark: str = "") -> str:
    """A Collection Profile record's key."""
    if isinstance(key, str):
        return check_name("key", key, mark)
    if key is None:
        raise InvalidKey("RECORD has no key; it must be a string or an array of strings")
    if not key:
        raise InvalidKey("key is empty")
    return check_name("key", to_json(key), mark)


class KeyProperties:
    """The key properties of a Singer stream."""

    def __init__(self, names: Sequence[str], mark: str = "") -> None:
        """Raises Rejected for names that can't be those of properties."""
        if len(names) > MAX_KEY_PROPERTIES:
            raise Rejected(f"key_properties has more than {MAX_KEY_PROPERTIES:,} names")
        for name in names:
            check_name("a name in key_properties", name, mark)
        if len(set(names)) < len(names):
            raise Rejected("key_properties has a name twice")
        self.names = tuple(names)
        self._schemas: dict[tuple[type, ...], KeySchema] = {}
        self._single = {kind: ((names[0], of),) for kind, of in _TYPES.items()} if len(names) == 1 else {}

    def key(self, record: Mapping[str, Any], text: str, mark: str) -> tuple[str, KeySchema]:
        """The key of a record, of which `text` is the canonical text."""
        if not self.names:  # equal content is the same record
            return "sha256:" + hashlib.sha256(text.encode()).hexdigest(), ()
        if self._single:
            return self._key_of_one(self.names[0], record, mark)
        values = [record.get(name) for name in self.names]  # an absent property is null
        if all(value is None for value in values):  # it would be the key of all records like this
            raise InvalidKey("no key property has a value")
        schema = self._schema(values)
        parts = [None if value is None else _part(value) for value in values]
        return check_name("key", to_json(parts), mark), schema

    def _key_of_one(self, name: str, record: Mapping[str, Any], mark: str) -> tuple[str, KeySchema]:
        value = record.get(name)
        if value is None or value == "":
            raise InvalidKey(f"key property {_shown(name)} is missing or empty")
        schema = self._single.get(type(value))
        if schema is None:
            raise InvalidKey(_not_single(name))
        return check_name("key", _part(value), mark), schema

    def _schema(self, values: Sequence[Any]) -> KeySchema:
        kinds = tuple(map(type, values))
        if (known := self._schemas.get(kinds)) is not None:
            return known
        for name, kind in zip(self.names, kinds, strict=True):
            if kind not in _TYPES:
                raise InvalidKey(_not_single(name))
        schema = tuple((name, _TYPES[kind]) for name, kind in zip(self.names, kinds, strict=True))
        if len(self._schemas) * len(self.names) < _REMEMBERED:
            self._schemas[kinds] = schema
        return schema


def _not_single(name: str) -> str:
    return f"key property {_shown(name)} must be a string, a number or a boolean"


def _shown(name: str) -> str:
    return repr(name if len(name) <= 100 else name[:100] + "...")


def _part(value: Any) -> str:
    if type(value) is str:
        return value
    if type(value) is bool:
        return "true" if value else "false"
    return str(value) if type(value) is int else canonical_number(bytes(value).decode())
