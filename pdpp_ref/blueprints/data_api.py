"""Reading over HTTP: streams, records, versions, changes and files, exactly as they are stored."""

from contextlib import ExitStack
from typing import Annotated

from flask import Blueprint, Response
from msgspec import Meta

from ..credentials import READ
from ..database import read_snapshot
from ..queries import files, records, versions
from ..queries.streams import ReadStream
from ..schemas.reads import (
    RecordList,
    SingleRecord,
    StreamList,
    StreamMetadata,
    VersionList,
    single_record,
    stream_body,
    stream_metadata,
)
from ..schemas.record_text import BLOB_ID
from ..schemas.types import Key, Stream
from ..services import summary as summaries
from .auth import requires
from .connections import ambiguous
from .errors import ApiError
from .extensions import auto_reconcile
from .openapi.decorator import Media, operation
from .reading import feed
from .reading.files import send
from .reading.lists import records_of_one, records_of_several, versions_of
from .reading.parameters import ExpandQuery, ListQuery, PageQuery, address, field_names
from .reading.rollups import check_deletes_known, read_with_deletes
from .reading.selection import (
    MOST_AVAILABLE,
    Selection,
    SourceQuery,
    find_all,
    find_named,
    only,
    selection,
)
from .responses import JSON, json_listing, reply, whole_or_streamed

blueprint = Blueprint("data", __name__, url_prefix="/v1")

NOT_FOUND = ("not_found", "connector_instance_not_found", "ambiguous_address")
ONE = (*NOT_FOUND, "ambiguous_connection")
LIST_ERRORS = ("invalid_cursor", "invalid_expand", "cursor_expired", *ONE)


@blueprint.get("/streams")
@requires(READ)
@operation("All streams", StreamList, query=SourceQuery, errors=("connector_instance_not_found",))
def list_streams(query: SourceQuery) -> Response:
    with ExitStack() as resources:
        resources.enter_context(summaries.reading(auto_reconcile()))
        found = ([stream_body(each) for each in batch] for batch in find_all(selection(query)))
        return whole_or_streamed(json_listing(StreamList(data=[]), "data", found), JSON, resources)


@blueprint.get("/streams/<anything:stream>")
@requires(READ)
@operation("A stream", StreamMetadata, query=SourceQuery, errors=ONE)
def one_stream(stream: str, query: SourceQuery) -> Response:
    with summaries.reading(auto_reconcile()):
        found = only(find_named(selection(query), stream))
    return reply(stream_metadata(found))


@blueprint.get("/streams/<anything:stream>/records")
@requires(READ)
@operation(
    "A stream's records by key, or what has changed", RecordList, query=ListQuery, errors=LIST_ERRORS
)
def list_records(stream: str, query: ListQuery) -> Response:
    return reply(_records(stream, query))


def _records(stream: str, query: ListQuery) -> RecordList:
    chosen = selection(query)

    def read() -> RecordList:
        warnings = list(chosen.warnings)
        if feed.is_asked_for(query):
            return feed.changes_of(query, chosen, stream, warnings)
        found = find_named(chosen, stream)
        if len(found) > 1:
            return records_of_several(query, found, warnings)
        return records_of_one(query, found[0], warnings)

    return read_with_deletes(read, counted=query.count != "none")


@blueprint.get("/streams/<anything:stream>/records/<anything:key>")
@requires(READ)
@operation("A record", SingleRecord, query=ExpandQuery, errors=("invalid_expand", *ONE))
def one_record(stream: str, key: str, query: ExpandQuery) -> Response:
    return reply(_record(stream, key, query))


def _record(stream: str, key: str, query: ExpandQuery) -> SingleRecord:
    chosen, fields = selection(query), field_names(query)
    with read_snapshot():
        streams = find_named(chosen, stream)
        found = [(each, record) for each in streams if (record := records.record(each.id, key))]
    if not found:
        raise ApiError("not_found", "There is no such record.")
    only([each for each, _ in found])
    ((of, record),) = found
    return single_record(of, record, fields, address(), chosen.warnings)


@blueprint.get("/streams/<anything:stream>/records/<anything:key>/versions")
@requires(READ)
@operation(
    "A record's versions, newest first",
    VersionList,
    query=PageQuery,
    errors=("invalid_cursor", "invalid_expand", *ONE),
)
def list_versions(stream: str, key: str, query: PageQuery) -> Response:
    chosen = selection(query)

    def read() -> VersionList:
        of, newest = _holder(chosen, stream, key)
        return versions_of(query, of, key, newest, list(chosen.warnings))

    return reply(read_with_deletes(read))


def _holder(chosen: Selection, stream: str, key: str) -> tuple[ReadStream, int]:
    """The one stream that has, or had, the key, and the key's newest version.  Raises ApiError."""
    streams = find_named(chosen, stream)
    found = [(each, newest) for each in streams if (newest := versions.newest_version(each.id, key))]
    if not found:
        check_deletes_known(streams)
        raise ApiError("not_found", "There is no such record.")
    only([each for each, _ in found])
    return found[0]


class NameQuery(ListQuery, kw_only=True):
    stream: Stream
    key: Annotated[Key | None, Meta(description="Without it, the stream's records.")] = None


@blueprint.get("/records")
@requires(READ)
@operation(
    "A record or a stream's records by their names, whatever characters these have",
    (RecordList, SingleRecord),
    query=NameQuery,
    errors=LIST_ERRORS,
)
def by_name(query: NameQuery) -> Response:
    """The same as the two above, for clients and proxies that change paths."""
    if query.key is None:
        return reply(_records(query.stream, query))
    for name in ("limit", "cursor", "order", "filter", "changes_since"):
        if getattr(query, name):
            raise ApiError("invalid_request", f"{name} is for lists; there is one record.", param=name)
    return reply(_record(query.stream, query.key, query))


class FileQuery(SourceQuery, kw_only=True):
    stream: Annotated[Stream | None, Meta(description="Only as a record of this stream has it.")] = None
    record_key: Annotated[Key | None, Meta(description="Only as this record has it.")] = None


@blueprint.get("/blobs/<blob_id>")
@requires(READ)
@operation(
    "A file of a live record",
    {
        200: Media("*/*", "The file, with the media type that its sender gave."),
        206: Media("*/*", "One range of it."),
        304: "The client has it already.",
    },
    query=FileQuery,
    errors=(
        "blob_not_found",
        "connector_instance_not_found",
        "ambiguous_connection",
        "range_not_satisfiable",
    ),
)
def read_blob(blob_id: str, query: FileQuery) -> Response:
    named, chosen = BLOB_ID.fullmatch(blob_id), selection(query)
    if not named:
        raise ApiError("blob_not_found")
    sha256 = named[1]
    with read_snapshot():
        holders = files.connections_with(
            sha256, chosen.connector, chosen.connection, query.stream, query.record_key
        )
        found = holders and files.reference(sha256, holders[0], query.stream, query.record_key)
    if not found:
        raise ApiError("blob_not_found")
    if len(holders) > 1:
        raise ambiguous(holders[:MOST_AVAILABLE])
    return send(sha256, found)
