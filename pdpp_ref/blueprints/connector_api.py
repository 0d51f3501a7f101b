"""Connectors' writes over HTTP: records as JSON lines, and deletes.  Bearer token only."""

from collections.abc import Iterator
from typing import Annotated

from flask import Blueprint, Response, request
from msgspec import Meta, Struct

from .. import schemas
from ..canonical import blobs, deletion, records
from ..canonical.errors import Refused
from ..canonical.importer import Importer, RejectedLine, Report, StorageUnavailable
from ..parsing import unpacking
from ..parsing.lines import READ_BYTES, split_lines
from ..parsing.messages import Rejected, check_name
from .auth import operator_only
from .errors import ApiError
from .middleware import error
from .openapi.decorator import operation, reply

blueprint = Blueprint("ingest", __name__, url_prefix="/v1")

MAX_BODY_BYTES = 1024**3
MAX_UNPACKED_BYTES = 8 * 1024**3
MAX_ERRORS = 1_000  # told one by one; all are counted


Digest = Annotated[
    str,
    Meta(
        description="The file's SHA-256 digest in hex, to be checked against what comes.",
        pattern="^[0-9a-fA-F]{64}$",
        extra={"wanted": "64 hexadecimal digits"},
    ),
]


class Source(Struct):
    connector_id: schemas.Connector
    connector_instance_id: Annotated[
        str | None, Meta(description="The connection; where it is left out, the connector's own.")
    ] = None
    consent_time_field: Annotated[
        str | None,
        Meta(description="The field of the records that says when a thing happened; it is stored."),
    ] = None


class Held(Struct):
    connector_instance_id: schemas.Connection


@blueprint.post("/ingest/<anything:stream>")
@operator_only
@operation(
    "Send records to a stream",
    schemas.Ingested,
    query=Source,
    errors=(
        "invalid_request",
        "invalid_gzip",
        "connector_mismatch",
        "body_too_large",
        "unsupported_encoding",
    ),
    body={"application/x-ndjson": "RECORD messages, one JSON object a line."},
    headers={"Content-Encoding": ("identity", "gzip")},
)
def ingest_lines(stream: str, query: Source) -> Response:
    request.max_content_length = MAX_BODY_BYTES
    connector = _name("connector_id", query.connector_id)
    connection = query.connector_instance_id
    connection = connector if connection is None else _name("connector_instance_id", connection)
    field = query.consent_time_field
    errors: list[schemas.LineError] = []
    skipped: list[schemas.LineError] = []

    def reject(line: RejectedLine) -> None:
        if len(errors) < MAX_ERRORS:
            errors.append(schemas.LineError(line=line.number, message=line.reason))

    def skip(line: int, reason: str) -> None:
        if len(skipped) < MAX_ERRORS:
            skipped.append(schemas.LineError(line=line, message=reason))

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
        schemas.Ingested(
            stream=stream,
            records_accepted=report.counts.accepted,
            records_rejected=report.rejected,
            records_removed=report.counts.removed,
            errors=errors,
            activations_skipped=skipped,
        )
    )


def _broken(report: Report, code: str, reason: str) -> ApiError:
    """What became of the lines before the place where the body can't be unpacked any further."""
    stored = (
        f"of the {report.lines - 1:,} lines before that, {report.counts.accepted:,} were accepted "
        f"and {report.rejected - 1:,} rejected"
    )
    if code == "too_large":
        return ApiError("body_too_large", f"{_capital(reason)}; {stored}. Send the rest in parts.")
    return ApiError("invalid_gzip", f"{_capital(reason)}; {stored}. Send all of it again.")


class Holder(Held):
    stream: schemas.Stream
    key: schemas.Key
    sha256: Digest | None = None


@blueprint.post("/blobs")
@operator_only
@operation(
    "Store a file that a record holds",
    {201: schemas.BlobStored, 200: schemas.BlobStored},
    query=Holder,
    errors=(
        "invalid_request",
        "digest_mismatch",
        "stream_not_found",
        "record_not_found",
        "body_too_large",
        "unsupported_encoding",
    ),
    body={"application/octet-stream": "The file, as it is."},
)
def store_blob(query: Holder) -> Response:
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise ApiError("unsupported_encoding", "Send the file as it is, without Content-Encoding.")
    request.max_content_length = blobs.MAX_BYTES
    connection, stream, key = (_name(what, getattr(query, what)) for what in _HOLDER)
    stored = blobs.store(connection, stream, key, _blocks(), query.sha256)
    body = schemas.BlobStored(blob_id=stored.sha256, byte_length=stored.byte_length, created=stored.created)
    return reply(body, 201 if stored.created else 200)


_HOLDER = ("connector_instance_id", "stream", "key")


@blueprint.delete("/streams/<anything:stream>/records")
@operator_only
@operation(
    "Take a stream away, with its history",
    schemas.StreamDeleted,
    query=Held,
    errors=("invalid_request", "not_found", "stream_not_found", "ambiguous_address"),
)
def delete_stream(stream: str, query: Held) -> Response:
    deletion.delete_stream(_connection(query), stream)
    return reply(schemas.StreamDeleted(stream=stream))


@blueprint.delete("/streams/<anything:stream>/records/<anything:key>")
@operator_only
@operation(
    "Delete a record; its history keeps it",
    schemas.RecordDeleted,
    query=Held,
    errors=("invalid_request", "stream_not_found", "record_not_found", "not_found", "ambiguous_address"),
)
def delete_record(stream: str, key: str, query: Held) -> Response:
    deletion.delete_record(_connection(query), stream, key)
    return reply(schemas.RecordDeleted(stream=stream, key=key))


class Named(Held):
    stream: schemas.Stream
    key: Annotated[schemas.Key | None, Meta(description="Left out, the stream is meant.")] = None


@blueprint.delete("/records")
@operator_only
@operation(
    "Delete a record or a stream by its name, whatever characters that has",
    {200: (schemas.RecordDeleted, schemas.StreamDeleted)},
    query=Named,
    errors=("invalid_request", "stream_not_found", "record_not_found"),
)
def delete_named(query: Named) -> Response:
    """The same as the two above, for clients and proxies that change paths."""
    stream, connection = _name("stream", query.stream), _connection(query)
    if query.key is None:
        deletion.delete_stream(connection, stream)
        return reply(schemas.StreamDeleted(stream=stream))
    key = _name("key", query.key)
    deletion.delete_record(connection, stream, key)
    return reply(schemas.RecordDeleted(stream=stream, key=key))


@blueprint.delete("/connections/<anything:connection>")
@operator_only
@operation(
    "Take a connection away with all it holds", schemas.ConnectionDeleted, errors=("connection_not_found",)
)
def delete_connection(connection: str) -> Response:
    deletion.delete_connection(connection)
    return reply(schemas.ConnectionDeleted(connector_instance_id=connection))


@blueprint.errorhandler(Refused)
def _refused(raised: Refused) -> Response:
    return error(raised.code)


def _connection(query: Held) -> str:
    return _name("connector_instance_id", query.connector_instance_id)


def _name(what: str, name: str) -> str:
    try:
        return check_name(what, name)
    except Rejected as reason:
        raise ApiError("invalid_request", f"{_capital(reason)}.") from None


def _capital(reason: Exception | str) -> str:
    text = str(reason)
    return text[:1].upper() + text[1:]


def _body() -> Iterator[bytes | None]:
    """The body in blocks, unpacked.  Memory stays flat, however much a small body unpacks to."""
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding == "identity":
        return _blocks()
    if encoding != "gzip":
        raise ApiError("unsupported_encoding", "Content-Encoding must be gzip or left out.")
    return unpacking.unpacked(_blocks(), unpacking.GZIP, MAX_UNPACKED_BYTES)


def _blocks() -> Iterator[bytes]:
    return iter(lambda: request.stream.read(READ_BYTES), b"")
