"""The kinds of messages that a Reader makes of lines."""

import msgspec

from .keys import KeySchema


class FileReference(msgspec.Struct, frozen=True):
    """A file of a record: its digest, media type and place in the record.

    `history_version` is the version that the file was bound to, if that is another than the line's.
    """

    sha256: str
    mime_type: str | None = None
    json_path: str | None = None
    history_version: int | None = None


class Exported(msgspec.Struct, frozen=True):
    """What only the lines of an export say about a record.

    `version` is the version's number, None in an export without history.  `record_time` is the stored
    one, see the model.  `pruned_at` and `pruned_digest` are the mark of the key's latest pruned version.
    """

    version: int | None = None
    record_time: str | None = None
    pruned_at: str | None = None
    pruned_digest: str | None = None
    files: tuple[FileReference, ...] = ()


class Change(msgspec.Struct, frozen=True, gc=False):
    """One record to write.  `data` is canonical JSON text, or None for a delete.

    `record_time_field` is the field of the data that was declared to hold the time at which the
    thing happened, and `record_time` that time, if this record has one.
    `key_schema` is of Singer records alone (see `keys.KeySchema`), `exported` of exports.
    """

    stream: str
    key: str
    data: str | None
    emitted_at: str | None = None
    table_version: int | None = None
    record_time: str | None = None
    record_time_field: str | None = None
    key_schema: KeySchema | None = None
    exported: Exported | None = None


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


# ---- exports -----------------------------------------------------------------------------------


class ExportBegin(msgspec.Struct, frozen=True):
    """The first line of an export; `connections`: how many it has streams of."""

    history: bool
    connections: int


class ExportStream(msgspec.Struct, frozen=True):
    """The beginning of a stream in an export: what its row of `streams` says, see the model.

    `key_schema_unknown`: its records are from before key schemas were stored.  `last_version` is 0 in an
    export without history.
    """

    connector: str
    connection: str
    stream: str
    record_time_field: str | None = None
    record_time_field_since: int = 0
    key_schema: KeySchema | None = None
    key_schema_unknown: bool = False
    last_version: int = 0
    rejected_table_version: int | None = None
    rejected_unversioned: bool = False


class ExportSpelling(msgspec.Struct, frozen=True):
    """The spelling of a key of the export's current stream, see the model KeySpelling."""

    key: str
    spelling: str


class ExportCount(msgspec.Struct, frozen=True):
    """How many RECORD lines an export has of a stream."""

    connection: str
    stream: str
    records: int


class ExportCounts(msgspec.Struct, frozen=True):
    """Counts of streams that are complete; the export's last line is one of these, with `is_end`."""

    counts: tuple[ExportCount, ...]
    is_end: bool


ExportMessage = ExportBegin | ExportStream | ExportSpelling | ExportCounts
Message = Change | State | ActivateVersion | Schema | Ignored | ExportMessage
