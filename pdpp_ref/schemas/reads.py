"""What data clients read: streams, records, versions and changes."""

import json
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Raw, UnsetType, field

from ..queries.changes import Change
from ..queries.records import StoredRecord
from ..queries.streams import ReadStream
from ..queries.versions import StoredVersion
from .record_text import selected, with_fetch_urls
from .types import Body, Bytes, Connection, Connector, Count, Key, Stream, Time

Data = Annotated[
    Raw,
    Meta(
        description="The record exactly as it is stored; a `fetch_url` is added to each `blob_ref`.",
        extra_json_schema={"type": "object"},
    ),
]

# ---- streams -----------------------------------------------------------------------------------


class StreamFreshness(Body):
    """`captured_at` is when the newest change arrived, `last_attempted_at` when the source last sent
    anything.  `status` is `stale` while `record_count` may lag, `unknown` before it was first counted.
    """

    status: Literal["current", "stale", "unknown"]
    captured_at: Time | None
    last_attempted_at: Time | None


class Source(Body):
    """Where a stream comes from."""

    id: Connector
    kind: Literal["connector"]


class StreamBody(Body, tag_field="object", tag="stream"):
    """A stream of a connection.  `record_count` is how many live records there are."""

    name: Stream
    record_count: Count
    last_updated: Time | None
    connection_id: Connection
    connector_instance_id: Connection
    connector_id: Connector
    source: Source
    freshness: StreamFreshness


class StreamList(Body, tag_field="object", tag="list"):
    """All streams that the caller may read, by connection and name."""

    data: list[StreamBody]


class DeclaredQuery(Body):
    """Which filters other than equality are declared, by field."""

    range_filters: dict[str, list[str]]


class StreamMetadata(Body, tag_field="object", tag="stream_metadata"):
    """A stream.  `primary_key` and `consent_time_field` are as its source has declared them, if it did."""

    name: Stream
    record_count: Count
    last_updated: Time | None
    connection_id: Connection
    connector_instance_id: Connection
    connector_id: Connector
    schema: None
    primary_key: list[str] | None
    cursor_field: None
    consent_time_field: str | None
    query: DeclaredQuery
    views: list[str]
    relationships: list[str]
    freshness: StreamFreshness


def stream_body(stream: ReadStream) -> StreamBody:
    return StreamBody(**_of_stream(stream), source=Source(id=stream.connector, kind="connector"))


def stream_metadata(stream: ReadStream) -> StreamMetadata:
    properties = json.loads(stream.key_schema or "null")
    return StreamMetadata(
        **_of_stream(stream),
        schema=None,
        primary_key=[name for name, _ in properties] if properties else None,
        cursor_field=None,
        consent_time_field=stream.record_time_field,
        query=DeclaredQuery(range_filters={}),
        views=[],
        relationships=[],
    )


def _of_stream(stream: ReadStream) -> dict[str, Any]:
    freshness = StreamFreshness(
        status="unknown" if stream.record_count is None else "stale" if stream.dirty else "current",
        captured_at=stream.last_ingested_at,
        last_attempted_at=stream.last_contact_at,
    )
    return {
        "name": stream.name,
        "record_count": stream.record_count or 0,
        "last_updated": stream.last_ingested_at,
        "connection_id": stream.connection,
        "connector_instance_id": stream.connection,
        "connector_id": stream.connector,
        "freshness": freshness,
    }


# ---- lists -------------------------------------------------------------------------------------


class ReadWarning(Body):
    """What the server did otherwise than asked; `param` is the parameter concerned."""

    code: str
    message: str
    param: str
    detail: dict[str, int] | UnsetType = UNSET


class CountResult(Body, kw_only=True):
    """How many records there are in all.  With a filter, an estimate counts all records."""

    kind: Literal["none", "exact", "estimated"]
    value: Count | UnsetType = UNSET


NO_COUNT = CountResult(kind="none")


class ListMeta(Body):
    count: CountResult
    warnings: list[ReadWarning]


class Links(Body, kw_only=True):
    """Paths on this server.  `next` is null at the end."""

    self_: str = field(name="self")
    next: str | None


class RecordBody(Body, tag_field="object", tag="record", kw_only=True):
    """A record, or in the change feed a tombstone: `deleted`, and no `data`."""

    id: Key
    stream: Stream
    data: Data | UnsetType = UNSET
    deleted: Literal[True] | UnsetType = UNSET
    deleted_at: Time | UnsetType | None = UNSET
    emitted_at: Time | None
    connection_id: Connection
    connector_instance_id: Connection


class VersionBody(Body, tag_field="object", tag="record_version", kw_only=True):
    """A version of a record; one that deletes it is `deleted`, and has no `data`.

    Versions are numbered per stream.  `earlier_pruned`: there were older ones, which were pruned.
    """

    id: Key
    stream: Stream
    version: Annotated[int, Meta(ge=1)]
    previous_version: Annotated[int, Meta(ge=1)] | None
    earlier_pruned: bool
    data: Data | UnsetType = UNSET
    deleted: Literal[True] | UnsetType = UNSET
    record_json_bytes: Bytes
    emitted_at: Time | None
    ingested_at: Time
    connection_id: Connection
    connector_instance_id: Connection


class RecordList(Body, tag_field="object", tag="list", kw_only=True):
    """A page of records.  Following `links.next` to its end reads them all.

    The last page of a walk of the change feed has `next_changes_since`, where the next walk starts.
    """

    url: str
    data: list[RecordBody]
    has_more: bool
    next_cursor: str | UnsetType = UNSET
    next_changes_since: str | UnsetType = UNSET
    links: Links
    meta: ListMeta


class VersionList(Body, tag_field="object", tag="list", kw_only=True):
    """A page of a record's versions, newest first."""

    url: str
    data: list[VersionBody]
    has_more: bool
    next_cursor: str | UnsetType = UNSET
    links: Links
    meta: ListMeta


class SelfLink(Body, kw_only=True):
    self_: str = field(name="self")


class RecordMeta(Body):
    warnings: list[ReadWarning]


class SingleRecord(RecordBody, tag_field="object", tag="record", kw_only=True):
    """One record.  `record_json_bytes` is the length of its stored text."""

    connector_key: Connector
    record_json_bytes: Bytes
    links: SelfLink
    meta: RecordMeta


def record_body(stream: ReadStream, record: StoredRecord, fields: list[str] | None) -> RecordBody:
    return RecordBody(
        id=record.key,
        stream=stream.name,
        data=_data(record.data, fields),
        emitted_at=record.emitted_at,
        connection_id=stream.connection,
        connector_instance_id=stream.connection,
    )


def single_record(
    stream: ReadStream,
    record: StoredRecord,
    fields: list[str] | None,
    address: str,
    warnings: list[ReadWarning],
) -> SingleRecord:
    return SingleRecord(
        id=record.key,
        stream=stream.name,
        data=_data(record.data, fields),
        emitted_at=record.emitted_at,
        connection_id=stream.connection,
        connector_instance_id=stream.connection,
        connector_key=stream.connector,
        record_json_bytes=record.json_bytes,
        links=SelfLink(self_=address),
        meta=RecordMeta(warnings=warnings),
    )


def change_body(stream: ReadStream, change: Change, fields: list[str] | None) -> RecordBody:
    is_deleted = change.data is None
    return RecordBody(
        id=change.key,
        stream=stream.name,
        data=UNSET if change.data is None else _data(change.data, fields),
        deleted=True if is_deleted else UNSET,
        deleted_at=change.at if is_deleted else UNSET,
        emitted_at=change.emitted_at,
        connection_id=stream.connection,
        connector_instance_id=stream.connection,
    )


def version_body(
    stream: ReadStream, key: str, version: StoredVersion, fields: list[str] | None
) -> VersionBody:
    return VersionBody(
        id=key,
        stream=stream.name,
        version=version.version,
        previous_version=version.previous_version,
        earlier_pruned=version.earlier_pruned,
        data=UNSET if version.data is None else _data(version.data, fields),
        deleted=True if version.data is None else UNSET,
        record_json_bytes=version.json_bytes,
        emitted_at=version.emitted_at,
        ingested_at=version.ingested_at,
        connection_id=stream.connection,
        connector_instance_id=stream.connection,
    )


def _data(text: str, fields: list[str] | None) -> Raw:
    return Raw(with_fetch_urls(text if fields is None else selected(text, fields)))
