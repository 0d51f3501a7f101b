"""Connectors' deletes over HTTP.

A delete of what does not exist succeeds: a connector may repeat one whose answer it did not get.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Literal

from flask import Blueprint, Response, current_app
from msgspec import Meta

from ..canonical import deletion, erasure
from ..canonical.erased import Names
from ..canonical.errors import NotFound, StreamNotFound
from ..credentials import ERASE, WRITE
from ..schemas.connectors import ConnectionDeleted, Erased, erased
from ..schemas.types import BlobName, Key, Stream
from ..services import cleaning
from .auth import check_connection, requires, requires_write_or_erase
from .connections import ConnectionQuery, checked_name, existing
from .errors import ApiError
from .extensions import add_to_erasure_file
from .openapi.decorator import Responses, operation
from .responses import reply

blueprint = Blueprint("deletes", __name__, url_prefix="/v1")

GONE = {204: "It does not exist, or not any more."}
GONE_OR_ERASED: dict[int, Responses] = {**GONE, 200: Erased}
# How long an erasure may take to overwrite bytes before housekeeping does the rest.
CLEANING_SECONDS = 2.0
ERRORS = ("invalid_request", "ambiguous_connection", "connector_mismatch")


class EraseQuery(ConnectionQuery, kw_only=True):
    erase: Annotated[
        Literal["true", "false"],
        Meta(description="`true` removes the record for good, with its history and files; scope `erase`."),
    ] = "false"
    file: Annotated[BlobName | None, Meta(description="With `erase`: only this file of the record.")] = None


class RecordQuery(EraseQuery, kw_only=True):
    stream: Stream
    key: Annotated[Key | None, Meta(description="Without it the stream is deleted.")] = None


@blueprint.delete("/streams/<anything:stream>/records")
@requires(WRITE)
@operation(
    "Delete a stream with its history",
    GONE,
    query=ConnectionQuery,
    errors=(*ERRORS, "not_found", "ambiguous_address"),
)
def delete_stream(stream: str, query: ConnectionQuery) -> Response:
    return _delete_stream(query, stream)


@blueprint.delete("/streams/<anything:stream>/records/<anything:key>")
@requires_write_or_erase
@operation(
    "Delete a record; its history stays, unless it is erased",
    GONE_OR_ERASED,
    query=EraseQuery,
    errors=(*ERRORS, "not_found", "stream_not_found", "ambiguous_address"),
)
def delete_record(stream: str, key: str, query: EraseQuery) -> Response:
    return _delete_record(query, stream, key)


@blueprint.delete("/records")
@requires_write_or_erase
@operation(
    "Delete a record or a stream by its name, whatever characters it has",
    GONE_OR_ERASED,
    query=RecordQuery,
    errors=(*ERRORS, "stream_not_found"),
)
def delete_by_name(query: RecordQuery) -> Response:
    """The same as the two above, for clients and proxies that change paths."""
    stream = checked_name("stream", query.stream)
    if query.key is None:
        if query.erase == "true" or query.file is not None:
            raise ApiError(
                "invalid_request", "Only a record can be erased: key must be given.", param="key"
            )
        return _delete_stream(query, stream)
    return _delete_record(query, stream, checked_name("key", query.key))


@blueprint.delete("/connections/<anything:connection>")
@requires(ERASE)
@operation("Delete a connection with everything in it", ConnectionDeleted, errors=("connection_not_found",))
def delete_connection(connection: str) -> Response:
    check_connection(connection)
    deletion.delete_connection(connection)
    _remove_rows()
    return reply(ConnectionDeleted(connector_instance_id=connection))


def _delete_stream(query: ConnectionQuery, stream: str) -> Response:
    return _gone(query, lambda connection: deletion.delete_stream(connection, stream))


def _delete_record(query: EraseQuery, stream: str, key: str) -> Response:
    if query.erase == "true":
        return _erase(query, stream, key)
    if query.file is not None:
        raise ApiError("invalid_request", "file needs erase=true.", param="file")
    return _gone(query, lambda connection: deletion.delete_record(connection, stream, key))


def _erase(query: EraseQuery, stream: str, key: str) -> Response:
    connection = existing(query)
    if connection is None:
        raise ApiError("stream_not_found")
    sha256 = None if query.file is None else query.file.removeprefix("blob_sha256_").lower()
    try:
        done = erasure.erase(Names(connection, stream, key, sha256))
    except StreamNotFound:
        raise ApiError("stream_not_found") from None
    add_to_erasure_file()
    places = cleaning.clean(CLEANING_SECONDS)
    if done.shared_files:
        places.append(cleaning.OTHER_RECORDS)
    _remove_rows()
    return reply(erased(stream, key, done.versions, done.files, places))


def _gone(query: ConnectionQuery, delete: Callable[[str], None]) -> Response:
    connection = existing(query)
    if connection is not None:
        with suppress(NotFound):
            delete(connection)
            _remove_rows()
    return Response(status=204)


def _remove_rows() -> None:
    current_app.extensions["housekeeping"].wake()
