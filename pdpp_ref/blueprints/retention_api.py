"""Rules of retention as JSON under `/_ref`: reference-only, not part of the protocol."""

from typing import Annotated

import msgspec
from flask import Blueprint, Response, current_app, request
from msgspec import Meta, Struct

from ..canonical import retention_rules
from ..canonical.retention_rules import Rule
from ..credentials import ERASE, FIGURES
from ..schemas.retention import NewRetentionRule, RetentionRule, RetentionRules
from ..schemas.types import Connection, Stream
from .auth import check_connection, requires
from .connections import checked_name
from .errors import ApiError
from .openapi.decorator import operation
from .responses import JSON, reply

blueprint = Blueprint("retention", __name__, url_prefix="/_ref")


class RulesQuery(Struct):
    connector_instance_id: Annotated[
        str | None, Meta(description="Return only rules of this connection.")
    ] = None
    stream: Annotated[str | None, Meta(description="Return only rules of streams with this name.")] = None


class RuleQuery(Struct, kw_only=True):
    connector_instance_id: Connection
    stream: Stream


@blueprint.get("/retention")
@requires(FIGURES)
@operation("The rules of retention", RetentionRules, query=RulesQuery)
def read_rules(query: RulesQuery) -> Response:
    found = retention_rules.rules(query.connector_instance_id, query.stream)
    return reply(RetentionRules(rules=list(map(_body, found))))


@blueprint.put("/retention")
@requires(ERASE)
@operation(
    "Set a stream's rule of retention: older versions are removed for good",
    RetentionRule,
    query=RuleQuery,
    errors=("invalid_request", "stream_not_found", "body_too_large"),
    body={JSON: NewRetentionRule},
)
def set_rule(query: RuleQuery) -> Response:
    connection, stream = _names(query)
    try:
        new = msgspec.json.decode(request.get_data(), type=NewRetentionRule)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        message = 'Send a whole number, at least 1, as {"keep": 5}.'
        raise ApiError("invalid_request", message) from None
    retention_rules.set_rule(connection, stream, new.keep)
    current_app.extensions["housekeeping"].wake()
    for rule in retention_rules.rules(connection, stream):
        return reply(_body(rule))
    raise ApiError("stream_not_found")


@blueprint.delete("/retention")
@requires(ERASE)
@operation(
    "Remove a stream's rule of retention",
    {204: "It has none, or not any more."},
    query=RuleQuery,
    errors=("invalid_request", "stream_not_found"),
)
def remove_rule(query: RuleQuery) -> Response:
    retention_rules.remove_rule(*_names(query))
    return Response(status=204)


def _names(query: RuleQuery) -> tuple[str, str]:
    """Raises ApiError, also if the caller is restricted to another connection."""
    connection = checked_name("connector_instance_id", query.connector_instance_id)
    check_connection(connection)
    return connection, checked_name("stream", query.stream)


def _body(rule: Rule) -> RetentionRule:
    return RetentionRule(
        connector_instance_id=rule.connection,
        stream=rule.stream,
        keep=rule.keep,
        set_at=rule.set_at,
        applied=rule.is_applied,
        applied_at=rule.applied_at,
        versions=rule.versions,
        json_bytes=rule.json_bytes,
        files=rule.files,
        file_bytes=rule.file_bytes,
    )
