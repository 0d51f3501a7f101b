"""Lines of JSON in, changes out: the PDPP Collection Profile and Singer, side by side.

A line is decoded once.  Its record is kept as canonical text: minified, keys in the order received
(of two equal keys the later value stands, as in every common parser), non-ASCII unescaped, and
each number spelt as it came.
"""

import hashlib
import json
import re
import threading
from typing import Annotated, Any, NamedTuple

import msgspec

from ..times import to_moment, to_text

MAX_NAME_BYTES = 2048  # what PostgreSQL's B-tree takes in one index entry, with room to spare
MAX_LINE_BYTES = 16 * 1024 * 1024
# Decoded, a value takes up to 240 bytes, however few it took in the line.
MAX_VALUES = 500_000
TIME_FIELD = "source_created_at"  # where PDPP connectors put the time at which a thing happened


class Rejected(Exception):
    """A line that can't be taken.  The message is the reason, for a person; it quotes no data."""


class Change(msgspec.Struct, frozen=True):
    """One record to write.  `data` is canonical JSON text, or None for a delete.

    `record_time_field` is the field of the data that the sender keeps the time in at which the
    thing happened, and `record_time` that time, if it is one.
    """

    stream: str
    key: str
    data: str | None
    emitted_at: str | None = None
    source_version: int | None = None
    record_time: str | None = None
    record_time_field: str | None = None
    key_schema: tuple[tuple[str, str | None], ...] | None = None


class State(msgspec.Struct, frozen=True):
    """To be handed back, as received, once everything before it is durable."""

    line: str


class ActivateVersion(msgspec.Struct, frozen=True):
    """Singer: records of this stream with an older table version are gone at the source."""

    stream: str
    version: int


class Ignored(msgspec.Struct, frozen=True):
    """A message of a type that means nothing here."""

    type: str


class _Line(msgspec.Struct):
    """Every field of both dialects that is read; what else a line holds is not looked at."""

    type: str = "RECORD"
    stream: str | None = None
    key: str | list[str] | None = None
    data: dict[str, Any] | None = None
    record: dict[str, Any] | None = None
    emitted_at: str | None = None
    time_extracted: str | None = None
    op: str | None = None
    version: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    key_properties: list[str] | None = None
    bookmark_properties: list[str] | str | None = None


class _Schema(NamedTuple):
    """What a SCHEMA message says of its stream; `time_field` is its replication key."""

    key_properties: list[str]
    time_field: str | None


class _Type(msgspec.Struct):
    type: str = "RECORD"


_READ_TYPES = ("RECORD", "SCHEMA", "ACTIVATE_VERSION")

# A float is kept as the text it was; an integer has only one spelling, but for -0 and those too
# long to decode, which `_decode_exactly` sees to.
_decoder = msgspec.json.Decoder(_Line, float_hook=msgspec.Raw)
_encoder = msgspec.json.Encoder()
_NEGATIVE_ZERO = re.compile(rb"-0[,}\] \t\r]")
_TOO_LONG = "Integer value out of range"
# What a large line is decoded to is many times its size, and gone once its text is made.
_one_large_line = threading.Lock()


class Reader:
    """Reads one sequence of lines; Singer's SCHEMA messages tell it which properties are the key."""

    def __init__(self, stream: str | None = None) -> None:
        """`stream`: the stream of lines that name none (the HTTP route's)."""
        self._stream = stream
        self._schemas: dict[str, _Schema] = {}

    def read(self, line: bytes) -> Change | State | ActivateVersion | Ignored | None:
        """One line's message, or None for one that only informs this reader (SCHEMA).

        Raises Rejected with the reason.
        """
        if len(line) <= MAX_VALUES:  # it can't hold more
            return self._read(line)
        _check_values(line)
        with _one_large_line:
            return self._read(line)

    def _read(self, line: bytes) -> Change | State | ActivateVersion | Ignored | None:
        message = _decode(line)
        if message.type == "RECORD":
            return self._change(message)
        if message.type == "STATE":
            return State(_as_text(line))
        if message.type == "SCHEMA":
            self._schemas[self._stream_of(message)] = _schema(message)
            return None
        if message.type == "ACTIVATE_VERSION":
            if message.version is None:
                raise Rejected("ACTIVATE_VERSION has no version")
            return ActivateVersion(self._stream_of(message), message.version)
        if message.type == "BATCH":
            raise Rejected("BATCH points to files elsewhere; let the tap send RECORD lines")
        return Ignored(message.type)

    def _change(self, message: _Line) -> Change:
        stream = self._stream_of(message)
        if message.record is not None:
            return self._singer_change(stream, message, message.record)
        emitted_at = _time("emitted_at", message.emitted_at)
        key = _canonical_key(message.key)
        if message.op == "delete":
            return Change(stream, key, None, emitted_at)
        if message.op not in ("upsert", None):
            raise Rejected('op is neither "upsert" nor "delete"')
        if message.data is None:
            raise Rejected("RECORD has no data: an object is wanted")
        return Change(
            stream, key, _text(message.data), emitted_at, None, *_record_time(message.data, TIME_FIELD)
        )

    def _singer_change(self, stream: str, message: _Line, record: dict[str, Any]) -> Change:
        schema = self._schemas.get(stream)
        if schema is None:
            raise Rejected("RECORD comes before the SCHEMA of its stream")
        text = _text(record)
        return Change(
            stream,
            _singer_key(schema.key_properties, record, text),
            text,
            _time("time_extracted", message.time_extracted),
            message.version,
            *_record_time(record, schema.time_field or TIME_FIELD),
        )

    def _stream_of(self, message: _Line) -> str:
        stream = message.stream if message.stream is not None else self._stream
        if stream is None:
            raise Rejected(f"{message.type} names no stream")
        if self._stream not in (None, stream):
            raise Rejected("names another stream than the address it was sent to")
        return check_name("stream", stream)


def check_name(what: str, name: str) -> str:
    """The name, if it can be stored and indexed on every database; else Rejected."""
    if not name:
        raise Rejected(f"{what} is empty")
    if "\0" in name:
        raise Rejected(f"{what} holds a NUL character")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise Rejected(f"{what} holds half of a surrogate pair, which is not text") from None
    if size > MAX_NAME_BYTES:
        raise Rejected(f"{what} is longer than {MAX_NAME_BYTES:,} bytes")
    return name


def _check_values(line: bytes) -> None:
    """Reject a line of more values than are decoded, before any of them is.

    Commas and brackets tell: there is one for each value but the first.  Those inside strings are
    looked away from, where there are enough of them to matter.
    """
    if _marks(line) <= MAX_VALUES:
        return
    plain = line.replace(rb"\\", b"").replace(rb"\"", b"")  # no quote is left but a string's own
    too_many = plain.count(b'"') > 2 * MAX_VALUES or _marks(b"".join(plain.split(b'"')[::2])) > MAX_VALUES
    if too_many:
        raise Rejected(f"more than {MAX_VALUES:,} values")


def _marks(text: bytes) -> int:
    return sum(text.count(mark) for mark in (b",", b"{", b"["))


def _decode(line: bytes) -> _Line:
    try:
        try:
            if _NEGATIVE_ZERO.search(line):
                return _decode_exactly(line)
            return _decoder.decode(line)
        except msgspec.ValidationError as error:
            if str(error).startswith(_TOO_LONG):
                return _decode_exactly(line)
            # A field of a type we don't read may well have another shape than ours.
            kind = msgspec.json.decode(line, type=_Type).type
            if kind in _READ_TYPES:
                raise
            return _Line(type=kind)
    except msgspec.ValidationError as error:
        raise Rejected(_plain(str(error))) from None
    except RecursionError:
        raise Rejected("nested too deeply") from None
    except ValueError:  # msgspec.DecodeError and UnicodeDecodeError are such
        raise Rejected(_why_not_json(line)) from None


def _decode_exactly(line: bytes) -> _Line:
    """The slow way, which keeps the spelling of every number."""
    loaded = json.loads(line.decode(), parse_int=_integer, parse_float=msgspec.Raw, parse_constant=_refuse)
    return msgspec.convert(loaded, _Line)


def _integer(text: str) -> int | msgspec.Raw:
    return msgspec.Raw(text) if text == "-0" or len(text) > 18 else int(text)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _as_text(line: bytes) -> str:
    """The line as it came; the decoder has not looked into fields that it skipped."""
    try:
        return line.strip().decode()
    except UnicodeDecodeError:
        raise Rejected(_why_not_json(line)) from None


def _why_not_json(line: bytes) -> str:
    """A reason a person can act on, without quoting the line, which may be private."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        return f"not UTF-8 text at byte {error.start + 1}"
    try:
        json.loads(text, parse_int=len, parse_float=len, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        return f"not JSON: {error.msg} at character {error.pos + 1}"
    except RecursionError:
        return "nested too deeply"
    except ValueError as error:
        return f"not JSON: {error}"
    if re.search(r"\\u[dD][89a-fA-F]", text):
        return "a string holds half of a surrogate pair, which is not text"
    return "not JSON"


def _plain(reason: str) -> str:
    """msgspec's reason in the project's words: `Expected ..., got ... - at $.key`."""
    reason, _, place = reason.partition(" - at `$")
    where = place.rstrip("`").lstrip(".").split("[")[0] or "the line"
    reason = reason.replace("`", "").replace(" | null", "")
    return f"{where}: {reason[:1].lower()}{reason[1:]}"


def _text(value: Any) -> str:
    try:
        return _encoder.encode(value).decode()
    except RecursionError:
        raise Rejected("nested too deeply") from None
    except UnicodeEncodeError:
        raise Rejected("a string holds half of a surrogate pair, which is not text") from None


def _time(name: str, value: str | None) -> str | None:
    if value is None:
        return None
    try:
        return to_text(to_moment(value))
    except (ValueError, OverflowError):
        raise Rejected(f"{name} is not an ISO 8601 time such as 2026-01-31T08:00:00Z") from None


def _schema(message: _Line) -> _Schema:
    bookmarks = message.bookmark_properties or []
    names = [bookmarks] if isinstance(bookmarks, str) else bookmarks
    return _Schema(message.key_properties or [], names[0] if names else None)


def _record_time(record: dict[str, Any], field: str) -> tuple[str | None, str | None]:
    """When the thing happened, and the field that says so; a replication key may be no time at all."""
    value = record.get(field)
    # The dashes tell a date from a number that happens to read as one.
    if not isinstance(value, str) or (value[4:5], value[7:8]) != ("-", "-"):
        return None, None
    try:
        return to_text(to_moment(value)), check_name("field", field)
    except (ValueError, OverflowError, Rejected):
        return None, None


def _canonical_key(key: str | list[str] | None) -> str:
    if key is None:
        raise Rejected("RECORD has no key: a string or an array of strings is wanted")
    if isinstance(key, list) and not key:
        raise Rejected("key is empty")
    return check_name("key", key if isinstance(key, str) else _text(key))


def _singer_key(properties: list[str], record: dict[str, Any], text: str) -> str:
    """The key properties' values; a stream that has none is keyed by its records' content."""
    if not properties:
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    parts = [_key_part(name, record.get(name)) for name in properties]
    return check_name("key", parts[0] if len(parts) == 1 else _text(parts))


def _key_part(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, dict | list):
        raise Rejected(f"key property {name!r} is missing or is not a single value")
    return _text(value)  # a number or a boolean, as it is spelt


def canonical_number(text: str) -> str:
    from decimal import Decimal

    return format(Decimal(text).normalize(), "f") if Decimal(text) else "0"


def time_in(data: str, field: str) -> str | None:
    return _record_time(msgspec.json.decode(data), field)[0]
