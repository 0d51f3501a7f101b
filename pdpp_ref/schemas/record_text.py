"""A stored record's JSON text: its top-level members, filters, and additions to it.

The text stays as it is: no number is respelt and no member moves.  It is minified, so what is sought in it
has one spelling.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote

import msgspec

BLOB_ID = re.compile(r"(?:blob_sha256_)?([0-9a-f]{64})")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[{}\[\],:]|[^"{}\[\],:]+')
# Within a string a quote follows a backslash, so this is a member and nothing else.
_BLOB_REF = re.compile(r'(?<=[{,])"blob_ref":(?=\{)')
_NUMBER = re.compile(r"(-?)(0|[1-9]\d*)(?:\.(\d+))?(?:[eE]([+-]?\d+))?", re.ASCII)
_LONGEST_EXPONENT = 4_000  # digits; Python refuses longer integers
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def members(text: str) -> dict[str, str]:
    """The top-level members of an object, in order; values as JSON text."""
    try:
        return {name: bytes(value).decode() for name, value in _members.decode(text).items()}
    except (ValueError, RecursionError):  # half of a surrogate pair, or nested too deeply
        return dict(_split(text))


def _split(text: str) -> Iterator[tuple[str, str]]:
    """The same for text that the decoder refuses."""
    depth, name, start = 0, "", 1
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if mark in "]}":
            depth -= 1
        if (mark == "," and depth == 1) or (mark == "}" and depth == 0 and token.start() > 1):
            yield name, text[start : token.start()]
            start = token.end()
        elif mark == ":" and depth == 1:
            name, start = json.loads(text[start : token.start()]), token.end()
        if mark in "[{":
            depth += 1


def selected(text: str, fields: Sequence[str]) -> str:
    """The object with only these of its members, in its own order."""
    parts = (f"{_spelt(name)}:{value}" for name, value in members(text).items() if name in fields)
    return "{" + ",".join(parts) + "}"


def _spelt(name: str) -> str:
    """The name as stored text spells it."""
    try:
        return msgspec.json.encode(name).decode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return json.dumps(name)


# ---- files ---------------------------------------------------------------------------------------


def with_fetch_urls(text: str) -> str:
    """The text with a `fetch_url` at the end of each `blob_ref` that names a file and has none."""
    if '"blob_ref"' not in text:
        return text
    added = {}
    for found in _BLOB_REF.finditer(text):
        end = _end_of_object(text, found.end())
        address = _fetch_url(text[found.end() : end])
        if address is not None:
            added[end - 1] = f',"fetch_url":"{address}"'
    places = sorted(added)
    starts = [0, *places]
    ends = [*places, len(text)]
    return "".join(added.get(start, "") + text[start:end] for start, end in zip(starts, ends, strict=True))


def _end_of_object(text: str, start: int) -> int:
    depth = 0
    for token in _TOKEN.finditer(text, start):
        depth += (token[0] in "[{") - (token[0] in "]}")
        if not depth:
            return token.end()
    return len(text)


def _fetch_url(blob_ref: str) -> str | None:
    found = members(blob_ref)
    named = BLOB_ID.fullmatch(found.get("blob_id", "").strip('"'))
    return f"/v1/blobs/{quote(named[0])}" if named and "fetch_url" not in found else None


# ---- filters -------------------------------------------------------------------------------------


class Number(NamedTuple):
    """A number by value: 0.digits times 10 to the exponent.  5, 5.0 and 0.5e1 are one."""

    sign: str
    digits: str
    exponent: int | str


def number(text: str) -> Number | None:
    """The value of a JSON number of any size; None if the text is none."""
    found = _NUMBER.fullmatch(text)
    if not found:
        return None
    sign, whole, fraction, exponent = found[1], found[2], found[3] or "", found[4] or "0"
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return Number("", "", 0)
    if len(exponent) > _LONGEST_EXPONENT:
        return Number(sign, text, exponent)  # equal only to itself
    point = len(digits) - len(fraction)
    return Number(sign, digits.rstrip("0"), point + int(exponent))


class Filter:
    """Conditions on top-level members, by name: a record must meet all of them.

    A wanted value is a string, or the number, boolean or null that it spells; in double quotes it is
    that string alone.  An array, an object and a missing member equal nothing.
    """

    def __init__(self, wanted: Mapping[str, str]) -> None:
        self._wanted = {name: _Wanted.parse(value) for name, value in wanted.items()}
        self.digest = hashlib.sha256(json.dumps(sorted(wanted.items())).encode()).hexdigest()[:16]

    def accepts(self, text: str) -> bool:
        found = members(text)
        return all(name in found and one.equals(found[name]) for name, one in self._wanted.items())


class _Wanted(NamedTuple):
    """`literal` is true, false or null."""

    string: str | None
    number: Number | None = None
    literal: str | None = None

    @classmethod
    def parse(cls, value: str) -> "_Wanted":
        if value.startswith('"'):
            try:
                return cls(msgspec.json.decode(value, type=str))
            except ValueError:
                return cls(value)
        return cls(value, number(value), value if value in ("true", "false", "null") else None)

    def equals(self, text: str) -> bool:
        """Whether the JSON text of a member has the wanted value."""
        if text.startswith('"'):
            return bool(json.loads(text) == self.string)
        return text == self.literal or (self.number is not None and number(text) == self.number)
