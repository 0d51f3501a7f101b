"""Lines of JSON in, messages out: the PDPP Collection Profile and Singer, side by side.

A `Reader` reads one sequence of lines.  A record's data becomes canonical text (see `json_lines`),
its key one text of equal values (see `keys`).
"""

import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from ..timestamps import parse_milliseconds, parse_time
from .json_lines import (
    BYTE_ORDER_MARK,
    MAX_LINE_BYTES,
    MAX_VALUES,
    Rejected,
    Version,
    check_values,
    decode,
    decode_exactly,
    heading,
    mark_surrogates,
    not_json,
    to_json,
)
from .keys import (
    MAX_NAME_BYTES,
    KeyProperties,
    KeySchema,
    canonical_number,
    check_name,
    profile_key,
)

__all__ = [
    "MAX_LINE_BYTES",
    "MAX_NAME_BYTES",
    "MAX_VALUES",
    "ActivateVersion",
    "Change",
    "Ignored",
    "KeySchema",
    "Message",
    "Reader",
    "Rejected",
    "Schema",
    "State",
    "check_name",
]

DELETED_AT = "_sdc_deleted_at"  # Singer: the time at which the source deleted the row


class Change(msgspec.Struct, frozen=True):
    """One record to write.  `data` is canonical JSON text, or None for a delete.

    `record_time_field` is the field of the data that was declared to hold the time at which the
    thing happened, and `record_time` that time, if this record has one.
    `key_schema` is of Singer records alone (see `keys.KeySchema`).
    """

    stream: str
    key: str
    data: str | None
    emitted_at: str | None = None
    table_version: int | None = None
    record_time: str | None = None
    record_time_field: str | None = None
    key_schema: KeySchema | None = None


class State(msgspec.Struct, frozen=True):
    """To be printed, as received, once everything before it is durable."""

    line: str
    stream: str | None = None


class ActivateVersion(msgspec.Struct, frozen=True):
    """Singer: records of this stream with an older table version are gone at the source."""

    stream: str
    version: int


class Schema(msgspec.Struct, frozen=True):
    """A declaration that was accepted: Singer's SCHEMA, or a STREAM line."""

    stream: str


class Ignored(msgspec.Struct, frozen=True):
    """A message of a type that is ignored."""

    type: str


Message = Change | State | ActivateVersion | Schema | Ignored


class _Line(msgspec.Struct):
    """The fields of a RECORD line in both dialects; others are ignored."""

    type: str = "RECORD"
    stream: str | None = None
    key: str | list[str | None] | None = None
    data: dict[str, Any] | None = None
    record: dict[str, Any] | None = None
    emitted_at: Any = None
    time_extracted: Any = None
    op: str | None = None
    version: Version | None = None


class _Activation(msgspec.Struct):
    stream: str | None = None
    version: Version | None = None


class _Declaration(msgspec.Struct):
    """A STREAM line: of the Collection Profile, and of exports."""

    stream: str | None = None
    record_time_field: str | None = None


class _Schema(msgspec.Struct):
    """A SCHEMA line.  Only one property of its JSON Schema is read, so the rest stays bytes."""

    stream: str | None = None
    key_properties: list[str] | None = None
    bookmark_properties: Any = None
    schema: msgspec.Raw = msgspec.Raw(b"null")


class _Properties(msgspec.Struct):
    properties: dict[str, msgspec.Raw]


_line = msgspec.json.Decoder(_Line, float_hook=msgspec.Raw)
_activation = msgspec.json.Decoder(_Activation)
_declaration = msgspec.json.Decoder(_Declaration)
_schema = msgspec.json.Decoder(_Schema)
_properties = msgspec.json.Decoder(_Properties)
_stored = msgspec.json.Decoder(dict[str, msgspec.Raw])
_value = msgspec.json.Decoder(float_hook=msgspec.Raw)
# A large line takes many times its size when decoded, until its text is made.
_one_large_line = threading.Lock()


class Reader:
    """Reads one sequence of lines; it remembers the declarations for later lines."""

    def __init__(self, stream: str | None = None, time_fields: Mapping[str | None, str] = {}) -> None:
        """`stream`: the stream of lines that name none (the HTTP route's).

        `time_fields`: by stream, the field that holds the time at which a thing happened; under
        None, that of all other streams.  They override declarations in the lines.  Raises
        Rejected for a field that can't be the name of one.
        """
        for field in time_fields.values():
            check_name("field", field)
        self._stream = stream
        self._schemas: dict[str, KeyProperties | str] = {}  # or why the SCHEMA was refused
        self._given = time_fields
        self._default_time_field = time_fields.get(None)
        self._time_fields = {name: field for name, field in time_fields.items() if name is not None}
        self._checked: str | None = None  # the last stream name that was checked

    def read(self, line: bytes) -> Message:
        """One line's message.  Raises Rejected with the reason."""
        try:
            if len(line) <= MAX_VALUES:  # it can't hold more
                return self._take(line, "", line)
            with _one_large_line:
                check_values(line)
                return self._take(line, "", line)
        except ValueError:
            return self._read_marked(line)
        except Rejected as reason:
            self._locate(reason, line)
            raise

    def _read_marked(self, line: bytes) -> Message:
        """A line that is not JSON, or that the decoder does not accept as it is."""
        with _one_large_line:
            whole, mark = mark_surrogates(line)
            try:
                if whole != line:
                    with suppress(ValueError):
                        return self._take(whole, mark, line)
                raise not_json(line.removeprefix(BYTE_ORDER_MARK))
            except Rejected as reason:
                self._locate(reason, whole, mark)
                raise

    def _locate(self, reason: Rejected, line: bytes, mark: str = "") -> None:
        """Add the stream and table version to a rejection, and remember a refused SCHEMA."""
        kind, named, version = heading(line, mark)
        reason.stream = _name_or_none(self._stream if named == "" else named)
        reason.table_version = version
        if kind == "SCHEMA" and reason.stream is not None:
            self._schemas[reason.stream] = str(reason)

    def _take(self, line: bytes, mark: str, received: bytes) -> Message:
        """A line's message; `line` and `mark` are those of `mark_surrogates`.

        Raises ValueError for what is not JSON, or has halves of surrogate pairs without a mark.
        """
        try:
            message = decode_exactly(line, _line)
            kind = message.type
        except Rejected:
            named = heading(line).type
            # A field of a RECORD may well have another shape in a message of another type.
            if named is None or named == "RECORD":
                raise
            kind = named
        if kind == "RECORD":
            return self._change(message, mark)
        if kind == "STATE":
            return State(_as_text(received), _name_or_none(heading(received).stream))
        if kind == "SCHEMA":
            return self._take_schema(line, mark)
        if kind == "STREAM":
            return self._take_declaration(line, mark)
        if kind == "ACTIVATE_VERSION":
            activation = decode(line, _activation)
            if activation.version is None:
                raise Rejected("ACTIVATE_VERSION has no version")
            return ActivateVersion(self._stream_of(kind, activation.stream, mark), activation.version)
        if kind == "BATCH":
            raise Rejected("BATCH points to files elsewhere; let the tap send RECORD lines")
        return Ignored(check_name("type", kind, mark))

    def _take_schema(self, line: bytes, mark: str) -> Schema:
        schema = decode(line, _schema)
        stream = self._stream_of("SCHEMA", schema.stream, mark)
        self._schemas[stream] = KeyProperties(schema.key_properties or [], mark)
        self._declare(stream, _time_field(schema, mark))
        return Schema(stream)

    def _take_declaration(self, line: bytes, mark: str) -> Schema:
        declaration = decode(line, _declaration)
        stream = self._stream_of("STREAM", declaration.stream, mark)
        field = declaration.record_time_field
        self._declare(stream, None if field is None else check_name("record_time_field", field, mark))
        return Schema(stream)

    def _declare(self, stream: str, time_field: str | None) -> None:
        if None in self._given or stream in self._given:
            return
        if time_field is None:
            self._time_fields.pop(stream, None)
        else:
            self._time_fields[stream] = time_field

    def _change(self, message: _Line, mark: str) -> Change:
        stream = message.stream
        if stream is None or stream != self._checked:
            stream = self._stream_of("RECORD", stream, mark)
        if message.record is not None:
            return self._singer_change(stream, message, message.record, mark)
        emitted_at = message.emitted_at
        if emitted_at is not None:
            emitted_at = _time("emitted_at", emitted_at)
        key = profile_key(message.key, mark)
        if message.op == "delete":
            return Change(stream, key, None, emitted_at)
        if message.op not in ("upsert", None):
            raise Rejected('op must be "upsert" or "delete"')
        if message.data is None:
            raise Rejected("RECORD has no data; it must be an object")
        text = to_json(message.data, mark)
        return Change(stream, key, text, emitted_at, None, *self._record_time(stream, message.data))

    def _singer_change(self, stream: str, message: _Line, record: dict[str, Any], mark: str) -> Change:
        properties = self._schemas.get(stream)
        if not isinstance(properties, KeyProperties):
            raise Rejected(_no_schema(properties))
        text = to_json(record, mark)
        key, schema = properties.key(record, text, mark)
        emitted_at = message.time_extracted
        if emitted_at is not None:
            emitted_at = _time("time_extracted", emitted_at)
        # Without key properties it is unknown which record was deleted: then it is one more record.
        if schema and record.get(DELETED_AT) is not None:
            return Change(stream, key, None, emitted_at, message.version, key_schema=schema)
        time, field = self._record_time(stream, record)
        return Change(stream, key, text, emitted_at, message.version, time, field, key_schema=schema)

    def _stream_of(self, kind: str, named: str | None, mark: str) -> str:
        stream = named if named is not None else self._stream
        if stream is None:
            raise Rejected(f"{kind} names no stream")
        if self._stream not in (None, stream):
            raise Rejected("names another stream than the address it was sent to")
        self._checked = check_name("stream", stream, mark)
        return stream

    def _record_time(self, stream: str, data: Mapping[str, Any]) -> tuple[str | None, str | None]:
        """When the thing happened, and the field that was declared to say so."""
        field = self._time_fields.get(stream, self._default_time_field)
        if field is None:
            return None, None
        value = data.get(field)
        return _record_time_of(value), field


def time_in(data: str, field: str) -> str | None:
    """The time that a field of a record's stored data holds."""
    try:
        value = _stored.decode(data).get(field)
        return None if value is None else _record_time_of(_value.decode(value))
    except ValueError:  # a number that is out of all range, say
        return None


def _record_time_of(value: Any) -> str | None:
    """Digits alone are rarely a date or a time, so they count only as milliseconds."""
    if type(value) is str and value[4:5] != "-" and value.isdigit():
        return parse_milliseconds(value)
    return _as_time(value)


def _as_text(line: bytes) -> str:
    """The line as received; the decoder has not checked the fields that it skipped."""
    return line.removeprefix(BYTE_ORDER_MARK).strip().decode()


def _name_or_none(name: str | None) -> str | None:
    try:
        return name if name is None else check_name("stream", name)
    except Rejected:
        return None


def _no_schema(refused: str | None) -> str:
    if refused is None:
        return "no SCHEMA of its stream comes before this RECORD"
    return f"the SCHEMA of its stream was refused: {refused}"


def _time(name: str, value: Any) -> str:
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


def _time_field(schema: _Schema, mark: str) -> str | None:
    """The field of a stream's record times: its first bookmark, if the SCHEMA says it is a time."""
    bookmarks = schema.bookmark_properties
    field = bookmarks[0] if isinstance(bookmarks, list) and bookmarks else bookmarks
    if not isinstance(field, str):
        return None
    try:
        declared = _properties.decode(schema.schema).properties.get(field)
        is_time = declared is not None and _is_time(msgspec.json.decode(declared))
        return check_name("field", field, mark) if is_time else None
    except (msgspec.ValidationError, RecursionError, Rejected):
        return None


def _is_time(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return False
    choices = [schema.get(name) for name in ("anyOf", "oneOf")]
    return schema.get("format") in ("date", "date-time") or any(
        _is_time(choice) for each in choices if isinstance(each, list) for choice in each
    )
