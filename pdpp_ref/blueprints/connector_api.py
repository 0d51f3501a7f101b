"""Connectors' writes over HTTP: records as JSON lines, and deletes."""

from collections.abc import Iterator
from typing import Annotated

from flask import Blueprint, Response, request
from msgspec import Meta, Struct

from ..canonical import blobs, deletion, records
from ..canonical.errors import Refused
from ..canonical.importer import Importer, RejectedLine, Report, StorageUnavailable
from ..credentials import ERASE, WRITE
from ..parsing import unpacking
from ..parsing.lines import READ_BYTES, split_lines
from ..parsing.messages import Rejected, check_name
from ..schemas.connectors import (
    BlobStored,
    ConnectionDeleted,
    Ingested,
    LineError,
    RecordDeleted,
    StreamDeleted,
)
from ..schemas.types import Connection, Connector, Key, Stream
from . import limits
from .auth import check_connection, requires
from .errors import ApiError, error_response
from .openapi.decorator import operation
from .responses import reply

blueprint = Blueprint("ingest", __name__, url_prefix="/v1")

MAX_ERRORS = 1_000  # listed; all are counted

Digest = Annotated[
    str,
    Meta(
        description="The file's SHA-256 digest in hex, to be checked against the body.",
        pattern="^[0-9a-fA-F]{64}$",
        extra={"wanted": "64 hexadecimal digits"},
    ),
]


class IngestQuery(Struct):
    connector_id: Connector
    connector_instance_id: Annotated[
        str | None, Meta(description="The connection; by default the connector's own.")
    ] = None
    consent_time_field: Annotated[
        str | None,
        Meta(description="The field with a record's time; it is stored."),
    ] = None


class ConnectionQuery(Struct):
    connector_instance_id: Connection


@blueprint.post("/ingest/<anything:stream>")
@requires(WRITE)
@operation(
    "Send records to a stream",
    Ingested,
    query=IngestQuery,
    errors=(
        "invalid_request",
        "invalid_gzip",
        "connector_mismatch",
        "body_too_large",
        "unsupported_encoding",
    ),
    body={"application/x-ndjson": "RECORD messages, one JSON object per line."},
    headers={"Content-Encoding": ("identity", "gzip")},
)
def ingest_lines(stream: str, query: IngestQuery) -> Response:
    request.max_content_length = limits.MAX_INGEST_BYTES
    connector = _name("connector_id", query.connector_id)
    connection = query.connector_instance_id
    connection = connector if connection is None else _name("connector_instance_id", connection)
    check_connection(connection)
    field = query.consent_time_field
    errors: list[LineError] = []
    skipped: list[LineError] = []

    def reject(line: RejectedLine) -> None:
        if len(errors) < MAX_ERRORS:
            errors.append(LineError(line=line.number, message=line.reason))

    def skip(line: int, reason: str) -> None:
        if len(skipped) < MAX_ERRORS:
            skipped.append(LineError(line=line, message=reason))

    target = records.Target(connection, connector)
    work = Importer(
        target,
        lambda _: None,
        reject,
        stream=_name("stream", stream),
        on_skipped=skip,
        time_fields={} if field is None else {None: _name("consent_time_field", field)},
    )
    try:
        report = work.run(split_lines(_body()))
    except StorageUnavailable as reason:
        raise ApiError("storage_unavailable", f"{_capital(reason)}. Send it again.") from None
    if report.broken:
        raise _broken(report, report.broken.code, report.broken.reason)
    return reply(
        Ingested(
            stream=stream,
            records_accepted=report.counts.accepted,
            records_rejected=report.rejected,
            records_removed=report.counts.removed,
            errors=errors,
            activations_skipped=skipped,
        )
    )


def _broken(report: Report, code: str, reason: str) -> ApiError:
    """The response to a body that can't be unpacked to its end: the counts of the lines before."""
    stored = (
        f"of the {report.lines - 1:,} lines before that, {report.counts.accepted:,} were accepted "
        f"and {report.rejected - 1:,} rejected"
    )
    if code == "too_large":
        return ApiError("body_too_large", f"{_capital(reason)}; {stored}. Send the rest in parts.")
    return ApiError("invalid_gzip", f"{_capital(reason)}; {stored}. Send all of it again.")


class BlobQuery(ConnectionQuery):
    stream: Stream
    key: Key
    sha256: Digest | None = None


@blueprint.post("/blobs")
@requires(WRITE)
@operation(
    "Store a file of a record",
    {201: BlobStored, 200: BlobStored},
    query=BlobQuery,
    errors=(
        "invalid_request",
        "digest_mismatch",
        "stream_not_found",
        "record_not_found",
        "body_too_large",
        "unsupported_encoding",
    ),
    body={"application/octet-stream": "The file, unencoded."},
)
def store_blob(query: BlobQuery) -> Response:
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise ApiError("unsupported_encoding", "Send the file unencoded, without Content-Encoding.")
    request.max_content_length = limits.MAX_BLOB_BYTES
    connection, stream, key = (_name(what, getattr(query, what)) for what in _BLOB_NAMES)
    check_connection(connection)
    stored = blobs.store(connection, stream, key, _blocks(), query.sha256)
    body = BlobStored(blob_id=stored.sha256, byte_length=stored.byte_length, created=stored.created)
    return reply(body, 201 if stored.created else 200)


_BLOB_NAMES = ("connector_instance_id", "stream", "key")


@blueprint.delete("/streams/<anything:stream>/records")
@requires(WRITE)
@operation(
    "Delete a stream with its history",
    StreamDeleted,
    query=ConnectionQuery,
    errors=("invalid_request", "not_found", "stream_not_found", "ambiguous_address"),
)
def delete_stream(stream: str, query: ConnectionQuery) -> Response:
    deletion.delete_stream(_connection(query), stream)
    return reply(StreamDeleted(stream=stream))


@blueprint.delete("/streams/<anything:stream>/records/<anything:key>")
@requires(WRITE)
@operation(
    "Delete a record; its history stays",
    RecordDeleted,
    query=ConnectionQuery,
    errors=("invalid_request", "stream_not_found", "record_not_found", "not_found", "ambiguous_address"),
)
def delete_record(stream: str, key: str, query: ConnectionQuery) -> Response:
    deletion.delete_record(_connection(query), stream, key)
    return reply(RecordDeleted(stream=stream, key=key))


class RecordQuery(ConnectionQuery):
    stream: Stream
    key: Annotated[Key | None, Meta(description="Without it the stream is deleted.")] = None


@blueprint.delete("/records")
@requires(WRITE)
@operation(
    "Delete a record or a stream by its name, whatever characters it has",
    {200: (RecordDeleted, StreamDeleted)},
    query=RecordQuery,
    errors=("invalid_request", "stream_not_found", "record_not_found"),
)
def delete_by_name(query: RecordQuery) -> Response:
    """The same as the two above, for clients and proxies that change paths."""
    stream, connection = _name("stream", query.stream), _connection(query)
    if query.key is None:
        deletion.delete_stream(connection, stream)
        return reply(StreamDeleted(stream=stream))
    key = _name("key", query.key)
    deletion.delete_record(connection, stream, key)
    return reply(RecordDeleted(stream=stream, key=key))


@blueprint.delete("/connections/<anything:connection>")
@requires(ERASE)
@operation("Delete a connection with everything in it", ConnectionDeleted, errors=("connection_not_found",))
def delete_connection(connection: str) -> Response:
    check_connection(connection)
    deletion.delete_connection(connection)
    return reply(ConnectionDeleted(connector_instance_id=connection))


@blueprint.errorhandler(Refused)
def _refused(raised: Refused) -> Response:
    return error_response(raised.code)


def _connection(query: ConnectionQuery) -> str:
    connection = _name("connector_instance_id", query.connector_instance_id)
    check_connection(connection)
    return connection


def _name(what: str, name: str) -> str:
    try:
        return check_name(what, name)
    except Rejected as reason:
        raise ApiError("invalid_request", f"{_capital(reason)}.") from None


def _capital(reason: Exception | str) -> str:
    text = str(reason)
    return text[:1].upper() + text[1:]


def _body() -> Iterator[bytes | None]:
    """The body in blocks, unpacked.  Memory use is constant, however large the unpacked body is."""
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding == "identity":
        return _blocks()
    if encoding != "gzip":
        raise ApiError("unsupported_encoding", "Content-Encoding must be gzip or left out.")
    return unpacking.unpacked(_blocks(), unpacking.GZIP, limits.MAX_UNPACKED_BYTES)


def _blocks() -> Iterator[bytes]:
    return iter(lambda: request.stream.read(READ_BYTES), b"")
