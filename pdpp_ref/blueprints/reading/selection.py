"""Which streams a request is about, among those that its caller may read."""

from collections.abc import Iterator
from typing import Annotated, NamedTuple

from flask import g
from msgspec import Meta, Struct

from ...queries import streams
from ...queries.streams import ReadStream
from ...schemas.reads import ReadWarning
from ...schemas.types import Connection, Connector
from .. import auth
from ..connections import ambiguous
from ..errors import ApiError

MOST_AVAILABLE = 100


class SourceQuery(Struct, kw_only=True):
    connector_id: Annotated[Connector | None, Meta(description="Only connections of this connector.")] = (
        None
    )
    connection_id: Annotated[Connection | None, Meta(description="Only this connection.")] = None
    connector_instance_id: Annotated[
        Connection | None, Meta(description="The older name of `connection_id`.")
    ] = None


class Selection(NamedTuple):
    """`connection` is the one that was named, or the only one that the caller may read."""

    connector: str | None
    connection: str | None
    is_named: bool
    warnings: list[ReadWarning]


def selection(query: SourceQuery) -> Selection:
    """Raises ApiError if the caller may not read the connection."""
    named, alias = query.connection_id, query.connector_instance_id
    if named is not None and alias not in (None, named):
        raise ApiError(
            "invalid_request", "connector_instance_id is an older name of connection_id; send one."
        )
    connection = alias if named is None else named
    if connection is None:
        return Selection(query.connector_id, g.caller.connection, False, [])
    auth.check_connection(connection)
    return Selection(query.connector_id, connection, True, [_DEPRECATED] if alias is not None else [])


_DEPRECATED = ReadWarning(
    code="deprecated_alias_used",
    message="connector_instance_id is an older name of connection_id.",
    param="connector_instance_id",
)


def find_all(chosen: Selection) -> Iterator[list[ReadStream]]:
    """All streams that are selected, some at a time.  Raises ApiError for an unknown connection."""
    check_connection_exists(chosen)
    return streams.batches(chosen.connector, chosen.connection)


def find_named(chosen: Selection, name: str) -> list[ReadStream]:
    """The streams of that name, one for each connection; at least one.  Raises ApiError."""
    found = streams.find(chosen.connector, chosen.connection, name)
    if not found:
        check_connection_exists(chosen)
        raise ApiError("not_found", "There is no such stream.")
    return found


def check_connection_exists(chosen: Selection) -> None:
    if chosen.is_named and not streams.is_connection(chosen.connection or "", chosen.connector):
        raise ApiError("connector_instance_not_found", param="connection_id")


def only(found: list[ReadStream]) -> ReadStream:
    """The one stream.  Raises ApiError if there are several."""
    if len(found) > 1:
        raise ambiguous([stream.connection for stream in found[:MOST_AVAILABLE]])
    return found[0]
