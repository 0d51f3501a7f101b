"""Connectors' uploads of files over HTTP, before or after the record that they belong to."""

from typing import Annotated

from flask import Blueprint, Response, request
from msgspec import Meta

from ..canonical import blobs
from ..credentials import WRITE
from ..schemas.connectors import BlobStored
from ..schemas.types import Key, Stream, blob_id
from . import limits
from .auth import requires
from .bodies import blocks, check_unencoded
from .connections import ConnectionQuery, RunId, checked_name, existing, target_of
from .errors import ApiError
from .openapi.decorator import operation
from .responses import reply

blueprint = Blueprint("files", __name__, url_prefix="/v1")

ANY_TYPE = "application/octet-stream"

_WORD = r"[A-Za-z0-9!#$&^_.+-]+"
Digest = Annotated[
    str,
    Meta(
        description="The file's SHA-256 digest in hex, to be checked against the body.",
        pattern="^[0-9a-fA-F]{64}$",
        extra={"wanted": "64 hexadecimal digits"},
    ),
]
MimeType = Annotated[
    str,
    Meta(
        description="The file's media type.",
        pattern=rf"^{_WORD}/{_WORD}( ?; ?{_WORD}=({_WORD}|\"[ !#-\[\]-~]*\"))*$",
        max_length=255,
        extra={"wanted": "a media type"},
    ),
]
JsonPath = Annotated[
    str,
    Meta(
        description="Where the record refers to the file: `@record`, or a JSON pointer.",
        pattern=r"^(@record|(/([^~/\x00]|~[01])*)+)$",
        max_length=2048,
        extra={"wanted": "@record or a JSON pointer"},
    ),
]


class BlobQuery(ConnectionQuery, kw_only=True):
    stream: Stream
    record_key: Annotated[
        Key | None, Meta(description="The key of the record, which may be sent later.")
    ] = None
    key: Annotated[Key | None, Meta(description="The key of a record that exists.")] = None
    mime_type: MimeType | None = None
    json_path: JsonPath | None = None
    sha256: Digest | None = None
    run_id: RunId = None


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
        "connector_mismatch",
        "ambiguous_connection",
        "body_too_large",
        "unsupported_encoding",
    ),
    body={"application/octet-stream": "The file, unencoded."},
)
def store_blob(query: BlobQuery) -> Response:
    check_unencoded()
    request.max_content_length = limits.MAX_BLOB_BYTES
    if (query.key is None) == (query.record_key is None):
        raise ApiError("invalid_request", "Either record_key or key must be given.", param="record_key")
    stream, reference = (
        checked_name("stream", query.stream),
        blobs.Reference(query.mime_type, query.json_path),
    )
    if query.record_key is not None:
        key = checked_name("record_key", query.record_key)
        stored = blobs.store_early(target_of(query), stream, key, blocks(), query.sha256, reference)
        return reply(_body(stored, query.mime_type))
    key, connection = checked_name("key", query.key or ""), existing(query)
    if connection is None:
        raise ApiError("stream_not_found")
    stored = blobs.store(connection, stream, key, blocks(), query.sha256, reference)
    body = _body(stored, query.mime_type)
    body.byte_length, body.created = stored.byte_length, stored.created
    return reply(body, 201 if stored.created else 200)


def _body(stored: blobs.Stored, mime_type: str | None) -> BlobStored:
    return BlobStored(
        blob_id=blob_id(stored.sha256),
        sha256=stored.sha256,
        size_bytes=stored.byte_length,
        mime_type=mime_type or ANY_TYPE,
    )
