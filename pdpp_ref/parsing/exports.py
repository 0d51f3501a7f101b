"""The lines of one export, from its EXPORT line to its EXPORT_END.

Here a line may be longer than elsewhere: limits apply to the record, not to what the export adds to it.
A line that was accepted once is therefore accepted again.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec

from .json_lines import (
    MAX_LINE_BYTES,
    MAX_VALUES,
    Rejected,
    TooLarge,
    Version,
    check_depth,
    check_values,
    decode_exactly,
    mark_surrogates,
    to_json,
)
from .keys import KeySchema, check_name
from .kinds import (
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
)
from .times import record_time_of, time_of

FORMAT = 1
FILES_PER_LINE = 100
ENVELOPE_BYTES = 4 * 1024 * 1024
MAX_EXPORT_LINE_BYTES = MAX_LINE_BYTES + ENVELOPE_BYTES
# A stream is counted in steps of versions, so a gap that no server can have made would take forever.
MAX_VERSION = 10_000_000_000

_DIGEST = re.compile("[0-9a-f]{64}")
_KEY_TYPES = ("string", "number", "boolean", None)
T = TypeVar("T")
_RECORD = b'{"type":"RECORD",'
_Number = Annotated[int, msgspec.Meta(ge=0, le=MAX_VERSION)]


class _Begin(msgspec.Struct):
    format: int
    history: bool
    connections: _Number


class _Stream(msgspec.Struct):
    connector_id: str
    connector_instance_id: str
    stream: str
    record_time_field: str | None = None
    record_time_field_since: _Number = 0
    key_schema: list[tuple[str, str | None]] | None = None
    key_schema_unknown: bool = False
    last_version: _Number = 0
    rejected_table_version: Version | None = None
    rejected_unversioned: bool = False


class _Spelling(msgspec.Struct):
    key: str
    spelling: str


class _Pruned(msgspec.Struct):
    at: str
    digest: str


class _File(msgspec.Struct):
    sha256: str
    mime_type: str | None = None
    json_path: str | None = None
    history_version: _Number | None = None


class _Record(msgspec.Struct):
    connector_instance_id: str
    stream: str
    key: str
    op: str = "upsert"
    emitted_at: str | None = None
    history_version: _Number | None = None
    table_version: Version | None = None
    record_time: str | None = None
    pruned: _Pruned | None = None
    files: list[_File] = []
    data: msgspec.Raw = msgspec.Raw(b"null")


class _Count(msgspec.Struct):
    connector_instance_id: str
    stream: str
    records: int


class _Counts(msgspec.Struct):
    streams: list[_Count]


class _Kind(msgspec.Struct):
    type: str = "RECORD"


_kind = msgspec.json.Decoder(_Kind)
_begin = msgspec.json.Decoder(_Begin)
_stream = msgspec.json.Decoder(_Stream)
_spelling = msgspec.json.Decoder(_Spelling)
_record = msgspec.json.Decoder(_Record)
_counts = msgspec.json.Decoder(_Counts)
_data = msgspec.json.Decoder(dict[str, Any], float_hook=msgspec.Raw)


class Unsupported(Exception):
    """An export that this version can't read; the message says why."""


def begin(line: bytes) -> ExportBegin:
    """The message of an EXPORT line.  Raises Unsupported."""
    try:
        message = _begin.decode(line)
    except msgspec.ValidationError:
        raise Unsupported("its first line is not one that this version can read") from None
    if message.format != FORMAT:
        raise Unsupported(f"it has format {message.format}; this version reads format {FORMAT}")
    return ExportBegin(message.history, message.connections)


def _decode(line: bytes, decoder: "msgspec.json.Decoder[T]") -> T:
    """Raises Rejected, which names the field, or ValueError for what is not JSON."""
    try:
        return decoder.decode(line)
    except msgspec.ValidationError as error:
        field = re.search(r"(?:field `|at `\$\.)(\w+)", str(error))
        what = f"{field[1]} is missing or has another form" if field else "not an object"
        raise Rejected(f"not as an export has it: {what}") from None
    except RecursionError:
        raise Rejected("nested too deeply") from None


class ExportReader:
    """Reads the lines of one export after its first; `given` are the `time_fields` of the Reader."""

    def __init__(self, given: Mapping[str | None, str]) -> None:
        self._given = given
        self._current: ExportStream | None = None
        self._key_schema: KeySchema | None = None
        self._has_table_versions = False
        self._time_field: str | None = None

    def take(self, line: bytes, mark: str) -> Change | ExportMessage | Ignored:
        """A line's message; `mark` is that of `mark_surrogates`.

        Raises Rejected, or ValueError for what is not JSON.
        """
        kind = _decode(line, _kind).type
        if kind == "RECORD":
            return self._change(line, mark)
        if kind == "EXPORT":
            return begin(line)
        if kind == "STREAM":
            return self._begin_stream(line, mark)
        if kind == "KEY_SPELLING":
            return _take_spelling(line, mark)
        if kind in ("EXPORT_COUNTS", "EXPORT_END"):
            counts = _decode(line, _counts).streams
            return ExportCounts(
                tuple(ExportCount(one.connector_instance_id, one.stream, one.records) for one in counts),
                kind == "EXPORT_END",
            )
        if kind in ("STATE", "SCHEMA", "ACTIVATE_VERSION"):
            raise Rejected(f"{kind} has no place inside an export")
        return Ignored(check_name("type", kind, mark))

    def _begin_stream(self, line: bytes, mark: str) -> ExportStream:
        self._current = None
        sent = _decode(line, _stream)
        for name, value in (
            ("connector_id", sent.connector_id),
            ("connector_instance_id", sent.connector_instance_id),
            ("stream", sent.stream),
        ):
            check_name(name, value, mark)
        field = sent.record_time_field
        field = None if field is None else check_name("record_time_field", field, mark)
        self._key_schema = _key_schema(sent.key_schema, mark)
        self._has_table_versions = self._key_schema is not None or sent.key_schema_unknown
        self._time_field = self._given.get(sent.stream, self._given.get(None, field))
        self._current = ExportStream(
            sent.connector_id,
            sent.connector_instance_id,
            sent.stream,
            field,
            sent.record_time_field_since,
            self._key_schema,
            sent.key_schema_unknown,
            sent.last_version,
            sent.rejected_table_version,
            sent.rejected_unversioned,
        )
        return self._current

    def _change(self, line: bytes, mark: str) -> Change:
        sent = _decode(line, _record)
        current = self._current
        if current is None or (sent.connector_instance_id, sent.stream) != (
            current.connection,
            current.stream,
        ):
            raise Rejected("the STREAM line before this RECORD is missing, or of another stream")
        if len(line) - len(sent.data) > ENVELOPE_BYTES or len(sent.files) > FILES_PER_LINE:
            raise Rejected("an export adds less than this to a record")
        exported = Exported(
            sent.history_version,
            _stored_time(sent.record_time),
            *_pruned(sent.pruned),
            tuple(_file(each) for each in sent.files),
        )
        key = check_name("key", sent.key, mark)
        emitted_at = None if sent.emitted_at is None else time_of("emitted_at", sent.emitted_at)
        if sent.op not in ("upsert", "delete"):
            raise Rejected('op must be "upsert" or "delete"')
        text, time = None, None
        if sent.op == "upsert":
            text, time = self._read_data(bytes(sent.data), mark)
        return Change(
            current.stream,
            key,
            text,
            emitted_at,
            sent.table_version if self._has_table_versions else None,
            time,
            self._time_field if text is not None else None,
            self._key_schema,
            exported,
        )

    def _read_data(self, data: bytes, mark: str) -> tuple[str, str | None]:
        """A record's canonical text, and its time."""
        if len(data) > MAX_LINE_BYTES:
            raise TooLarge(f"longer than {MAX_LINE_BYTES:,} bytes")
        if len(data) > MAX_VALUES:
            check_values(data)
        check_depth(data)
        try:
            record = decode_exactly(data, _data)
        except ValueError:  # half of a surrogate pair
            data, mark = mark_surrogates(data)
            record = decode_exactly(data, _data)
        time = None if self._time_field is None else record_time_of(record.get(self._time_field))
        return to_json(record, mark), time


def _key_schema(sent: list[tuple[str, str | None]] | None, mark: str) -> KeySchema | None:
    if sent is None:
        return None
    for name, kind in sent:
        check_name("a name in key_schema", name, mark)
        if kind not in _KEY_TYPES:
            raise Rejected("a type in key_schema must be string, number, boolean or null")
    return tuple(sent)


def _take_spelling(line: bytes, mark: str) -> ExportSpelling:
    sent = _decode(line, _spelling)
    return ExportSpelling(check_name("key", sent.key, mark), check_name("spelling", sent.spelling, mark))


def _stored_time(time: str | None) -> str | None:
    """A record's time; empty if it was sent again without one."""
    return time_of("record_time", time) if time else time


def _pruned(sent: _Pruned | None) -> tuple[str | None, str | None]:
    if sent is None:
        return None, None
    if sent.digest and not _DIGEST.fullmatch(sent.digest):
        raise Rejected("the digest of pruned is not a SHA-256")
    return time_of("at of pruned", sent.at), sent.digest


def _file(sent: _File) -> FileReference:
    if not _DIGEST.fullmatch(sent.sha256):
        raise Rejected("sha256 of a file is not a SHA-256")
    for name, value in (("mime_type", sent.mime_type), ("json_path", sent.json_path)):
        if value is not None and "\0" in value:
            raise Rejected(f"{name} of a file holds a NUL character")
    return FileReference(sent.sha256, sent.mime_type, sent.json_path, sent.history_version)
