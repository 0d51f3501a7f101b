"""The parameters of lists: sizes, fields and filters, and the addresses of pages."""

import re
from typing import Annotated, Literal
from urllib.parse import quote, urlencode

from flask import request
from msgspec import Meta

from ...schemas.reads import NO_COUNT, CountResult, Links, ListMeta, ReadWarning
from ...schemas.record_text import Filter
from ..errors import ApiError
from .cursors import Order
from .selection import SourceQuery

DEFAULT_LIMIT, MAX_LIMIT = 25, 100
_RANGES = ("gte", "gt", "lte", "lt")
_LARGEST_SHOWN = 10**15


class ExpandQuery(SourceQuery, kw_only=True):
    fields: Annotated[
        str | None, Meta(description="Names of top-level members, separated by commas; no others are sent.")
    ] = None
    expand: Annotated[
        dict[str, str], Meta(description="No relation is declared, so any is 400 `invalid_expand`.")
    ] = {}


class PageQuery(ExpandQuery, kw_only=True):
    limit: Annotated[
        str | None,
        Meta(description=f"{DEFAULT_LIMIT} unless it is a number from 1; at most {MAX_LIMIT}."),
    ] = None
    cursor: Annotated[str | None, Meta(description="The `next_cursor` of the page before.")] = None


class ListQuery(PageQuery, kw_only=True):
    order: Annotated[Order | None, Meta(description="By key: `desc` by default.")] = None
    filter: Annotated[
        dict[str, str],
        Meta(
            description="`filter[name]=value`: only records whose top-level member equals the value, which "
            "is a string, or the number, boolean or null that it spells; in double quotes it is a string."
        ),
    ] = {}
    count: Annotated[Literal["none", "estimated", "exact"], Meta(description="Whether to count them.")] = (
        "none"
    )
    changes_since: Annotated[
        str | None,
        Meta(description="`beginning`, or a `next_changes_since`: what has changed since, by version."),
    ] = None


def page_size(limit: str | None, warnings: list[ReadWarning]) -> int:
    """The number of rows of a page; adds a warning if more were asked for."""
    if limit is None or not re.fullmatch("[0-9]+", limit) or not limit.strip("0"):
        return DEFAULT_LIMIT
    asked = int(limit) if len(limit) < 16 else _LARGEST_SHOWN
    if asked > MAX_LIMIT:
        detail = {"requested_limit": asked, "max_limit": MAX_LIMIT}
        message = f"A page has {MAX_LIMIT} rows at most."
        warnings.append(ReadWarning(code="limit_clamped", message=message, param="limit", detail=detail))
    return min(asked, MAX_LIMIT)


def field_names(query: ExpandQuery) -> list[str] | None:
    """The members to send, or None for all.  Raises ApiError for an `expand`."""
    if query.expand:
        raise ApiError("invalid_expand", param="expand[]")
    return None if query.fields is None else query.fields.split(",")


def record_filter(wanted: dict[str, str]) -> Filter | None:
    """Raises ApiError for a range: no field declares one."""
    for name in wanted:
        if "][" in name:
            range_of = name.rpartition("][")[2] in _RANGES
            why = "No field declares range filters" if range_of else "A filter has one name in brackets"
            raise ApiError("invalid_request", f"{why}.", param="filter")
    return Filter(wanted) if wanted else None


def count_downgraded(message: str) -> ReadWarning:
    return ReadWarning(code="count_downgraded", message=message, param="count")


# ---- addresses -----------------------------------------------------------------------------------


def path() -> str:
    """The path of the request, its names percent-encoded."""
    assert request.url_rule, "a request that has reached its view has matched a rule"
    names = request.view_args or {}
    encoded = re.sub(r"<\w+:(\w+)>", lambda name: quote(names[name[1]], safe=""), request.url_rule.rule)
    return request.script_root + encoded


def address(**changes: str | None) -> str:
    """The path with the query of the request; a parameter that changes to None is left out."""
    query = {name: value for name, value in (request.args.to_dict() | changes).items() if value is not None}
    return f"{path()}?{urlencode(query)}" if query else path()


def list_address() -> str:
    """The `url` of a list: without parameters, except for the stream if it is not in the path."""
    names = {name: request.args[name] for name in ("stream", "key") if name in request.args}
    return f"{path()}?{urlencode(names)}" if names else path()


def links(cursor: str | None = None, connection: str | None = None) -> Links:
    """`next` names the connection, so that it means the same when there is another one.

    It is the same address with the cursor, which says by itself whether it is one of changes.
    """
    following = None
    if cursor is not None:
        following = address(
            connector_instance_id=None, connection_id=connection, changes_since=None, cursor=cursor
        )
    return Links(self_=address(), next=following)


def list_meta(warnings: list[ReadWarning], count: CountResult = NO_COUNT) -> ListMeta:
    return ListMeta(count=count, warnings=warnings)
