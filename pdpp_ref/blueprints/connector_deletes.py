"""Connectors' deletes over HTTP.

A delete of what does not exist succeeds: a connector may repeat one whose answer it did not get.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Annotated

from flask import Blueprint, Response, current_app
from msgspec import Meta

from ..canonical import deletion
from ..canonical.errors import NotFound
from ..credentials import ERASE, WRITE
from ..schemas.connectors import ConnectionDeleted
from ..schemas.types import Key, Stream
from .auth import check_connection, requires
from .connections import ConnectionQuery, checked_name, existing
from .openapi.decorator import operation
from .responses import reply

blueprint = Blueprint("deletes", __name__, url_prefix="/v1")

GONE = {204: "It does not exist, or not any more."}
ERRORS = ("invalid_request", "ambiguous_connection", "connector_mismatch")


class RecordQuery(ConnectionQuery, kw_only=True):
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
@requires(WRITE)
@operation(
    "Delete a record; its history stays",
    GONE,
    query=ConnectionQuery,
    errors=(*ERRORS, "not_found", "ambiguous_address"),
)
def delete_record(stream: str, key: str, query: ConnectionQuery) -> Response:
    return _delete_record(query, stream, key)


@blueprint.delete("/records")
@requires(WRITE)
@operation(
    "Delete a record or a stream by its name, whatever characters it has",
    GONE,
    query=RecordQuery,
    errors=ERRORS,
)
def delete_by_name(query: RecordQuery) -> Response:
    """The same as the two above, for clients and proxies that change paths."""
    stream = checked_name("stream", query.stream)
    if query.key is None:
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


def _delete_record(query: ConnectionQuery, stream: str, key: str) -> Response:
    return _gone(query, lambda connection: deletion.delete_record(connection, stream, key))


def _gone(query: ConnectionQuery, delete: Callable[[str], None]) -> Response:
    connection = existing(query)
    if connection is not None:
        with suppress(NotFound):
            delete(connection)
            _remove_rows()
    return Response(status=204)


def _remove_rows() -> None:
    current_app.extensions["housekeeping"].wake()
