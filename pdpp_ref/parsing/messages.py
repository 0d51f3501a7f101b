"""Lines of JSON in, messages out: the PDPP Collection Profile and Singer, side by side.

A `Reader` reads one sequence of lines.  A record's data becomes canonical text (see `json_lines`),
its key one text of equal values (see `keys`).
"""

import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from . import exports
from .declarations import Declarations
from .json_lines import (
    BYTE_ORDER_MARK,
    MAX_DEPTH,
    MAX_LINE_BYTES,
    MAX_VALUES,
    Rejected,
    TooLarge,
    Version,
    check_depth,
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
    check_name,
    profile_key,
)
from .kinds import (
    ActivateVersion,
    Change,
    ExportBegin,
    ExportCount,
    ExportCounts,
    Exported,
    ExportMessage,
    ExportSpelling,
    ExportStream,
    FileReference,
    Ignored,
    Message,
    Schema,
    State,
)
from .times import record_time_of, time_in, time_of

__all__ = [
    "MAX_LINE_BYTES",
    "MAX_NAME_BYTES",
    "MAX_VALUES",
    "ActivateVersion",
    "Change",
    "ExportBegin",
    "ExportCount",
    "ExportCounts",
    "ExportMessage",
    "ExportSpelling",
    "ExportStream",
    "Exported",
    "FileReference",
    "Ignored",
    "KeySchema",
    "Message",
    "Reader",
    "Rejected",
    "Schema",
    "State",
    "check_name",
    "time_in",
]

DELETED_AT = "_sdc_deleted_at"  # Singer: the time at which the source deleted the row


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
    """A STREAM line outside of an export."""

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
        self._given = time_fields
        self._declared = Declarations(time_fields)
        self._checked: str | None = None  # the last stream name that was checked
        self._export: exports.ExportReader | None = None

    def read(self, line: bytes) -> Message:
        """One line's message.  Raises Rejected with the reason, or exports.Unsupported."""
        try:
            if len(line) <= MAX_DEPTH:  # neither too long nor too deep, as most are
                return self._take(line, "", line)
            if len(line) > MAX_LINE_BYTES and self._export is None:
                raise TooLarge(f"longer than {MAX_LINE_BYTES:,} bytes")
            if self._export is None:
                check_depth(line)
            if len(line) <= MAX_VALUES:  # it can't hold more
                return self._take(line, "", line)
            with _one_large_line:
                if self._export is None:
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
        if kind == "SCHEMA" and reason.stream is not None and self._stream in (None, reason.stream):
            self._declared.refuse_schema(reason.stream, str(reason))

    def _take(self, line: bytes, mark: str, received: bytes) -> Message:
        """A line's message; `line` and `mark` are those of `mark_surrogates`.

        Raises ValueError for what is not JSON, or has halves of surrogate pairs without a mark.
        """
        if self._export is not None:
            return self._take_exported(self._export, line, mark)
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
        return self._take_other(kind, line, mark)

    def _take_other(self, kind: str, line: bytes, mark: str) -> Message:
        if kind == "SCHEMA":
            return self._take_schema(line, mark)
        if kind == "STREAM":
            return self._take_declaration(line, mark)
        if kind == "EXPORT":
            if self._stream is not None:
                raise Rejected("an export is imported with the command pdpp-ref import")
            self._export = exports.ExportReader(self._given)
            return exports.begin(line)
        if kind == "ACTIVATE_VERSION":
            activation = decode(line, _activation)
            if activation.version is None:
                raise Rejected("ACTIVATE_VERSION has no version")
            return ActivateVersion(self._stream_of(kind, activation.stream, mark), activation.version)
        if kind == "BATCH":
            raise Rejected("BATCH points to files elsewhere; let the tap send RECORD lines")
        return Ignored(check_name("type", kind, mark))

    def _take_exported(self, export: exports.ExportReader, line: bytes, mark: str) -> Message:
        message = export.take(line, mark)
        if isinstance(message, ExportBegin):
            self._export = exports.ExportReader(self._given)
        elif isinstance(message, ExportCounts) and message.is_end:
            self._export = None
        return message

    def _take_schema(self, line: bytes, mark: str) -> Schema:
        schema = decode(line, _schema)
        stream = self._stream_of("SCHEMA", schema.stream, mark)
        keys = KeyProperties(schema.key_properties or [], mark)
        self._declared.add_schema(stream, keys, _time_field(schema, mark))
        return Schema(stream)

    def _take_declaration(self, line: bytes, mark: str) -> Schema:
        declaration = decode(line, _declaration)
        stream = self._stream_of("STREAM", declaration.stream, mark)
        field = declaration.record_time_field
        if field is not None:
            check_name("record_time_field", field, mark)
        self._declared.add_time_field(stream, field)
        return Schema(stream)

    def _change(self, message: _Line, mark: str) -> Change:
        stream = message.stream
        if stream is None or stream != self._checked:
            stream = self._stream_of("RECORD", stream, mark)
        if message.record is not None:
            return self._singer_change(stream, message, message.record, mark)
        emitted_at, key, data = message.emitted_at, message.key, message.data
        if emitted_at is not None:
            emitted_at = time_of("emitted_at", emitted_at)
        key = profile_key(key, mark)
        if message.op == "delete":
            return Change(stream, key, None, emitted_at)
        if message.op not in ("upsert", None):
            raise Rejected('op must be "upsert" or "delete"')
        if data is None:
            raise Rejected("RECORD has no data; it must be an object")
        text = to_json(data, mark)
        if not self._declared.has_time_fields:
            return Change(stream, key, text, emitted_at)
        return Change(stream, key, text, emitted_at, None, *self._record_time(stream, data))

    def _singer_change(self, stream: str, message: _Line, record: dict[str, Any], mark: str) -> Change:
        properties = self._declared.keys(stream)
        if not isinstance(properties, KeyProperties):
            raise Rejected(_no_schema(properties))
        text = to_json(record, mark)
        key, schema = properties.key(record, text, mark)
        emitted_at = message.time_extracted
        if emitted_at is not None:
            emitted_at = time_of("time_extracted", emitted_at)
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
        field = self._declared.time_field(stream)
        if field is None:
            return None, None
        value = data.get(field)
        return record_time_of(value), field


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
