"""Which connection a connector's request is about: parameters of several names, and their defaults."""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

from ..canonical.records import Target
from ..parsing.messages import Rejected, check_name
from ..queries.connections import of_connector, of_name
from ..schemas.server import AvailableConnection
from .auth import check_connection, restriction
from .errors import ApiError

Instance = Annotated[str | None, Meta(description="The connection; by default the connector's own.")]
Alias = Annotated[str | None, Meta(description="Another name of `connector_instance_id`.")]
RunId = Annotated[str | None, Meta(description="Ignored.")]


class ConnectionQuery(Struct, kw_only=True):
    connector_id: Annotated[str | None, Meta(description="What kind of source the connection is of.")] = (
        None
    )
    connector_instance_id: Instance = None
    connection_id: Alias = None


def checked_name(what: str, name: str) -> str:
    """A name that can be stored.  Raises ApiError."""
    try:
        return check_name(what, name)
    except Rejected as reason:
        raise ApiError("invalid_request", f"{capital(reason)}.", param=what) from None


def capital(reason: Exception | str) -> str:
    text = str(reason)
    return text[:1].upper() + text[1:]


def target_of(query: ConnectionQuery) -> Target:
    """The connection to write to, which may not exist yet.  Without a name it has the connector's.

    Raises ApiError, also if the caller is restricted to another connection.
    """
    if query.connector_id is None:
        raise ApiError("invalid_request", "connector_id must be given.", param="connector_id")
    connector = checked_name("connector_id", query.connector_id)
    name = _name_in(query)
    target = Target(connector if name is None else name, connector)
    check_connection(target.connection)
    return target


def existing(query: ConnectionQuery) -> str | None:
    """The name of the connection to delete from; None if there is none.

    A connector's only connection need not be named.  Raises ApiError.
    """
    name = _name_in(query)
    if query.connector_id is None:
        if name is None:
            message = "connector_id or connector_instance_id must be given."
            raise ApiError("invalid_request", message, param="connector_id")
        check_connection(name)
        return name
    connector = checked_name("connector_id", query.connector_id)
    if name is None:
        return _only_one(connector)
    check_connection(name)
    found = of_name(name)
    if found is not None and found.connector != connector:
        raise ApiError("connector_mismatch")
    return name


def _name_in(query: ConnectionQuery) -> str | None:
    names = {
        what: checked_name(what, name)
        for what in ("connector_instance_id", "connection_id")
        if (name := getattr(query, what)) is not None
    }
    if len({*names.values()}) > 1:
        message = "connection_id and connector_instance_id are two names of the same; give one."
        raise ApiError("invalid_request", message, param="connection_id")
    return next(iter(names.values()), None)


def _only_one(connector: str) -> str | None:
    """The connector's only connection that the caller may use."""
    only = restriction()
    known = [each for each in of_connector(connector) if only in (None, each.name)]
    if len(known) > 1:
        raise ambiguous([each.name for each in known])
    return known[0].name if known else None


def ambiguous(connections: Sequence[str]) -> ApiError:
    """Several connections are possible, and the client has to name one."""
    available = [AvailableConnection(connection_id=name, display_name=name) for name in connections]
    return ApiError("ambiguous_connection", retry_with="connection_id", available_connections=available)
