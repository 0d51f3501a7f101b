"""One line of JSON, decoded so that its text can be stored exactly, or a reason why it can't be.

The text made of a decoded value is canonical: minified, keys in the order received (of two equal
keys the later value stands, as in every common parser), non-ASCII unescaped, each number spelt as it
came, and half of a surrogate pair as its lower-case escape.
"""

import json
import re
import secrets
import sys
from itertools import islice
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec

MAX_LINE_BYTES = 16 * 1024 * 1024
# Decoded, a value takes up to 240 bytes, however few it took in the line.
MAX_VALUES = 500_000
MAX_DEPTH = 900
FEW_LEVELS = 20
# Python counts the calls around a decoder as well, so its own limit would depend on who calls.
sys.setrecursionlimit(max(sys.getrecursionlimit(), 3_000))
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # some editors write it before UTF-8
HALF_A_PAIR = "holds half of a surrogate pair, which is not text"

T = TypeVar("T")


class Rejected(Exception):
    """A line that can't be stored.  The message is the reason, for a person; it quotes no data.

    `code` is the reason for a program.  `stream` and `table_version` are those of the line, if it could be
    read that far.
    """

    code = "invalid_record"

    def __init__(self, reason: str, stream: str | None = None, table_version: int | None = None) -> None:
        super().__init__(reason)
        self.stream = stream
        self.table_version = table_version


class NotJson(Rejected):
    code = "malformed_ndjson"


class NotUtf8(Rejected):
    code = "invalid_utf8"


class TooLarge(Rejected):
    code = "record_too_large"


class InvalidKey(Rejected):
    code = "invalid_record_identity"


# What each field must be, for people; the decoder's own messages are for programmers.
_WANTED = {
    "": "the line must be a JSON object",
    "type": "type must be a string",
    "stream": "stream must be a string",
    "key": "key must be a string or an array of strings",
    "data": "data must be an object",
    "record": "record must be an object",
    "op": 'op must be "upsert" or "delete"',
    "version": "version must be a whole number of at most 64 bits",
    "key_properties": "key_properties must be an array of strings",
    "record_time_field": "record_time_field must be a string",
}

# Reasons for people, by the beginning of the parser's message.
_NOT_JSON = {
    "Expecting value": "a value is missing",
    "Expecting property name": "a name in double quotes is missing",
    "Expecting ':'": "a colon is missing",
    "Expecting ','": "a comma or a closing bracket is missing",
    "Unterminated string": "a string is not closed; it starts",
    "Invalid control character": "a string has an unescaped control character",
    "Invalid \\": "a string has an unknown escape",
    "Extra data": "there is more after the end",
    "Unexpected UTF-8 BOM": "a second byte order mark",
}

_NEGATIVE_ZERO = re.compile(rb"-0[,}\] \t\r]")
_TOO_LONG = "Integer value out of range"

# One match for each comma or bracket outside strings that a value follows, and some without a group for
# what has none.  All of it is optional, so nothing is tried twice.  In an empty object or array no value
# follows the bracket.  The outer repetition is not possessive: before 3.11.5, Python then matches too much.
_BEFORE_A_VALUE = re.compile(
    rb'[^",\[{]*+'
    rb'(?:(?:"[^"\\]*+(?:\\.?[^"\\]*+)*+"?|[\[{][ \t\r\n]*+[\]}])[^",\[{]*+){0,50}'
    rb"([,\[{])?",
    re.DOTALL,
)

_NO_BRACKETS = bytes({*range(256)} - {*b'[]{}"'})
_STRING_OR_BRACKET = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)

# Escapes of halves of surrogate pairs, in a line in which no backslash is escaped by another.
_HIGH, _LOW = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_HALF = re.compile(_HIGH + b"(?!" + _LOW + b")|(?<!" + _HIGH + b")" + _LOW)
_MAYBE_HALF = re.compile(rb"\\u[dD][89a-fA-F]")


def check_values(line: bytes) -> None:
    """Reject a line of more values than are decoded, before any of them is."""
    if sum(line.count(mark) for mark in (b",", b"{", b"[")) < MAX_VALUES:
        return  # it can't hold more, even if none of these is inside a string
    found = (1 for match in _BEFORE_A_VALUE.finditer(line) if match.lastindex)
    # The first value follows no comma or bracket, hence one less than the limit is allowed.
    if next(islice(found, MAX_VALUES - 1, None), None):
        raise Rejected(f"more than {MAX_VALUES:,} values")


def check_depth(line: bytes) -> None:
    """Reject a line whose objects and arrays are nested too deeply."""
    if line.count(b"[") + line.count(b"{") > MAX_DEPTH and not _is_shallow(line):
        _count_depth(line)


def _is_shallow(line: bytes) -> bool:
    """Whether nothing is left once the innermost brackets were removed a few times.

    It finds most lines to be shallow, in a tenth of the time that counting takes.
    """
    left = line
    if b"\\" in line:
        left = left.replace(b"\\\\", b"").replace(b'\\"', b"")
    left = left.translate(None, _NO_BRACKETS).replace(b'""', b"")  # strings without brackets
    for _ in range(FEW_LEVELS):
        left = left.replace(b"[]", b"").replace(b"{}", b"")
    return not left


def _count_depth(line: bytes) -> None:
    depth = 0
    for part in _STRING_OR_BRACKET.finditer(line):
        if part[0] in (b"[", b"{"):
            depth += 1
            if depth > MAX_DEPTH:
                raise Rejected("nested too deeply")
        elif part[0] in (b"]", b"}"):
            depth -= 1


def decode(line: bytes, decoder: "msgspec.json.Decoder[T]") -> T:
    """The line as the decoder's type.

    Raises Rejected for a field of another type, ValueError for what is not JSON.
    """
    try:
        return decoder.decode(line)
    except msgspec.ValidationError as error:
        raise _refused(str(error)) from None
    except RecursionError:
        raise Rejected("nested too deeply") from None


def decode_exactly(line: bytes, decoder: "msgspec.json.Decoder[T]") -> T:
    """The same for a decoder with Raw as its `float_hook`: each number keeps its spelling."""
    try:
        if b"-0" in line and _NEGATIVE_ZERO.search(line):
            return _decode_slowly(line, decoder.type)
        return decoder.decode(line)
    except msgspec.ValidationError as error:
        if str(error).startswith(_TOO_LONG):
            return _decode_slowly(line, decoder.type)
        raise _refused(str(error)) from None
    except RecursionError:
        raise Rejected("nested too deeply") from None


def _decode_slowly(line: bytes, kind: type[T]) -> T:
    """With the spelling of -0 and of integers that the decoder finds too long, too."""
    try:
        loaded = json.loads(
            line.decode(), parse_int=_integer, parse_float=msgspec.Raw, parse_constant=_refuse
        )
        return msgspec.convert(loaded, kind)
    except msgspec.ValidationError as error:
        raise _refused(str(error)) from None
    except RecursionError:
        raise Rejected("nested too deeply") from None


def _integer(text: str) -> int | msgspec.Raw:
    return msgspec.Raw(text) if text == "-0" or len(text) > 1_000 else int(text)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _refused(reason: str) -> Rejected:
    """In people's words; the decoder's reason is `Expected ..., got ... - at $.field[...]`."""
    place = reason.partition(" - at `$")[2]
    field = re.split(r"[\[.`]", place.removeprefix("."), maxsplit=1)[0]
    kind = InvalidKey if field == "key" else Rejected
    return kind(_WANTED.get(field, f"{field} has a value that can't be read"))


_encoder = msgspec.json.Encoder()


def to_json(value: Any, mark: str = "") -> str:
    """A decoded value's text; `mark` is that of `mark_surrogates`."""
    try:
        text = _encoder.encode(value).decode()
    except RecursionError:
        raise Rejected("nested too deeply") from None
    return text.replace(mark, "\\u") if mark else text


def mark_surrogates(line: bytes) -> tuple[bytes, str]:
    """A line that could not be decoded, without things that JSON allows and the decoder does not.

    These are a byte order mark, and escapes of halves of surrogate pairs: mail and chats that were cut by
    counting UTF-16 are full of them.  The `\\u` of each is replaced by a mark, a random text that the
    line can't contain, which is returned too ("": there were none).  `to_json` turns marks back into
    escapes.
    """
    line = line.removeprefix(BYTE_ORDER_MARK)
    if not _MAYBE_HALF.search(line):
        return line, ""
    mark = secrets.token_urlsafe(6)  # eight characters: a line may be full of halves
    # Without escaped backslashes, each `\u` is an escape.
    plain = line.replace(rb"\\", rb"\u005c")
    marked, end = bytearray(), 0
    for half in _HALF.finditer(plain):  # not sub, which takes a list of all the parts
        marked += plain[end : half.start()]
        marked += mark.encode() + half[0][2:].lower()
        end = half.end()
    if not end:
        return line, ""
    marked += plain[end:]
    return bytes(marked), mark


_record = msgspec.json.Decoder(dict[str, Any], float_hook=msgspec.Raw)


def stored_record(data: str) -> tuple[dict[str, Any], str]:
    """A record's canonical text, decoded as its line was, and the mark of `mark_surrogates`."""
    line = data.encode()
    try:
        return decode_exactly(line, _record), ""
    except ValueError:  # half of a surrogate pair
        whole, mark = mark_surrogates(line)
        return decode_exactly(whole, _record), mark


class Heading(NamedTuple):
    """The type, stream and version of a line; `stream` is "" if it names none, None if it can't be read."""

    type: str | None = None
    stream: str | None = None
    version: int | None = None


Version = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class _Heading(msgspec.Struct):
    type: msgspec.Raw = msgspec.Raw(b'"RECORD"')
    stream: msgspec.Raw = msgspec.Raw(b"null")
    version: msgspec.Raw = msgspec.Raw(b"null")


# A type that two threads first decode at once would crash the process; this prepares it.
_heading = msgspec.json.Decoder(_Heading)


def heading(line: bytes, mark: str = "") -> Heading:
    """The heading of a rejected line, whatever is wrong with the rest of it; uses no memory.

    `mark` is that of `mark_surrogates`, if it was called.
    """
    try:
        try:
            return _read_heading(line, mark)
        except msgspec.ValidationError:
            return Heading()
        except ValueError:
            return _read_heading(*mark_surrogates(line))
    except (ValueError, RecursionError):
        return Heading()


def _read_heading(line: bytes, mark: str) -> Heading:
    fields = _heading.decode(line)
    stream = "" if bytes(fields.stream) == b"null" else _one(fields.stream, str)
    if stream and mark and mark in stream:
        stream = None
    return Heading(_one(fields.type, str), stream, _one(fields.version, Version))


def _one(value: msgspec.Raw, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(value, type=kind)
    except ValueError:
        return None


def not_json(line: bytes) -> Rejected:
    """A reason a person can act on, without quoting the line, which may be private."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        return NotUtf8(f"not UTF-8 text at byte {error.start + 1}")
    try:
        json.loads(text, parse_int=len, parse_float=len, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        words = (words for start, words in _NOT_JSON.items() if error.msg.startswith(start))
        return NotJson(f"not JSON: {next(words, 'there is a fault')} at character {error.pos + 1}")
    except RecursionError:
        return Rejected("nested too deeply")
    except ValueError as error:
        return NotJson(f"not JSON: {error}")
    return NotJson("not JSON")
