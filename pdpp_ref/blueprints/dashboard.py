"""The owner's pages.  Templates get view models of numbers, times and enumerated states alone."""

from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlencode

import peewee
from flask import Blueprint, Response, current_app, flash, redirect, render_template, request, url_for
from msgspec import Meta, Struct, structs

from .. import schemas
from ..database import Busy, DatabaseNotReady, read_snapshot
from ..models.measures import BYTE_MEASURES, COUNT_MEASURES, TOTAL
from ..queries import growth, listings
from ..services import summary
from ..services.freshness import Hero, hero
from ..timestamps import utc_now
from . import csv_export
from .auth import check_form, local_path, owner_only
from .errors import ApiError
from .middleware import auto_reconcile, streamed
from .openapi.decorator import (
    CSV,
    FORM,
    JSON,
    PAGE,
    operation,
)
from .owner import exports
from .owner.chart import chart

blueprint = Blueprint("dashboard", __name__)

if TYPE_CHECKING:
    SortedBy = str
    Days = int
else:
    SortedBy = Literal[listings.SORTS]
    Days = Literal[growth.RANGES]

MOST_ROWS = 500  # of a page; a file has all
ALL_ROWS = "It has all rows, whatever a page shows, and ends with their total; `PDPP-Rows` is their number."


class Seen(Struct):
    seen: Annotated[str, Meta(description="The revision that the page shows.")] = ""


class ListQuery(Struct):
    sort: SortedBy = "total_retained_bytes"
    order: Annotated[
        Literal["asc", "desc"] | None, Meta(description="Names rise and figures fall by themselves.")
    ] = None
    q: Annotated[str, Meta(description="Leaves the rows with this in their name.")] = ""
    limit: Annotated[int, Meta(description="How many rows a page shows, at most 500.")] = listings.MOST_ROWS
    days: Annotated[Days, Meta(description="How far back growth is drawn.")] = 90
    format: Annotated[
        Literal["page", "csv", "json"], Meta(description=f"The list as a file, in its order.  {ALL_ROWS}")
    ] = "page"


class Named(ListQuery):
    name: schemas.Connection = ""


class StreamQuery(Struct):
    connection: schemas.Connection = ""
    stream: schemas.Stream = ""
    of: Annotated[Literal["record", "file"], Meta(description="What a file lists.")] = "record"
    format: Annotated[
        Literal["page", "csv", "json"], Meta(description=f"All of them as a file, by name.  {ALL_ROWS}")
    ] = "page"


LIST = (PAGE, exports.Kept, CSV)


@blueprint.get("/")
@operation("Goes on to the dashboard", {302: "It is there."})
def index() -> Any:
    return redirect(url_for("dashboard.dashboard"))


@blueprint.get("/dashboard")
@owner_only
@operation("The dashboard, or its list as a file", LIST, query=ListQuery, errors=("invalid_request",))
def dashboard(query: ListQuery) -> str | Response:
    order = _order(query)
    if query.format != "page":
        return _file(query.format, "connection", lambda: listings.every_connection(order))
    found = summary.read(
        auto_reconcile(),
        lambda: (listings.connections(order), growth.days(query.days), growth.before_in_all()),
    )
    shown, days, before = found.more
    figures = found.figures
    return render_template(
        "dashboard.html",
        **_hero_context(found),
        **_list_context(url_for("dashboard.dashboard"), query, shown, figures),
        chart=chart(days, query.days),
        grown=None if before is None or not figures["computed_at"] else figures[TOTAL] - before,
    )


@blueprint.get("/dashboard/hero")
@owner_only
@operation("The totals alone", {200: PAGE, 204: "The page shows them already."}, query=Seen)
def hero_fragment(query: Seen) -> str | Response:
    """The hero alone, or 204 where the page shows it already."""
    context = _hero_context(summary.read(auto_reconcile()))
    shown: Hero = context["hero"]
    if query.seen == shown.revision:
        return Response(status=204)
    # A screen reader is told when the state has changed, never when a number has.
    changed = not query.seen.startswith(f"{shown.kind}-")
    return render_template("_hero_fragment.html", **context, announce=changed)


@blueprint.post("/dashboard/refresh")
@owner_only
@operation(
    "Bring the totals up to date: one bounded pass",
    {302: "Sign in first.", 303: "Done, or not; the page tells."},
    errors=("csrf_token_required", "body_too_large"),
    body={FORM: schemas.Form},
)
def refresh() -> Any:
    check_form()
    flash(utc_now(), _refreshed())
    return redirect(local_path(request.form.get("return_to")), 303)


def _refreshed() -> str:
    """What became of a pass; what made it fail is for the operator, who finds it in the summary."""
    try:
        done = auto_reconcile().run(wait=False)
    except Busy:
        return "busy"
    except DatabaseNotReady:
        raise
    except peewee.DatabaseError:
        return "failed"
    return "done" if done.fresh else "begun"


# ---- below the whole ---------------------------------------------------------------------------


@blueprint.get("/dashboard/connections")
@owner_only
@operation("A connection's page", LIST, query=Named, errors=("connection_not_found", "invalid_request"))
def named_connection(query: Named) -> Any:
    """`?name=` instead of a path, for names that a browser would take for folders."""
    return connection(query.name)


@blueprint.app_template_global()
def connection_url(name: str) -> str:
    if any(part in ("", ".", "..") for part in name.split("/")):
        return url_for("dashboard.named_connection", name=name)
    return url_for("dashboard.connection", name=name)


@blueprint.get("/dashboard/connections/<anything:name>")
@owner_only
@operation("A connection's page", LIST, query=ListQuery, errors=("connection_not_found", "invalid_request"))
def connection(name: str, query: ListQuery) -> str | Response:
    order = _order(query)
    if query.format != "page":
        return _file(query.format, "stream", lambda: listings.every_stream(name, order), connection=name)
    found = summary.read(auto_reconcile(), lambda: listings.connection(name, order, query.days))
    of: listings.OfConnection | None = found.more
    if of is None:
        raise ApiError("connection_not_found", "There is no connection of this name.")
    return render_template(
        "connection.html",
        **_list_context(connection_url(name), query, of.streams, of.figures),
        state=_hero(found).kind,
        name=name,
        chart=chart(of.days, query.days),
    )


@blueprint.get("/dashboard/streams")
@owner_only
@operation(
    "A stream's page",
    LIST,
    query=StreamQuery,
    errors=("connection_not_found", "stream_not_found", "invalid_request"),
)
def stream(query: StreamQuery) -> str | Response:
    if query.format != "page":
        names = (query.connection, query.stream, query.of)
        return _file(query.format, query.of, lambda: listings.everything_in(*names))
    found = summary.read(auto_reconcile(), lambda: listings.stream(query.connection, query.stream))
    of: listings.OfStream | None = found.more
    if of is None:
        raise ApiError("stream_not_found")
    return render_template(
        "stream.html",
        state=_hero(found).kind,
        connection=of.connection,
        stream=of.figures,
        records=of.records,
        files=of.files,
        all_looked_through=of.looked_through,
    )


@blueprint.app_template_global()
def stream_url(connection: str, stream: str, **more: Any) -> str:
    return url_for("dashboard.stream", connection=connection, stream=stream, **more)


@blueprint.app_template_global()
def streams_of(connection: str) -> Callable[[str], str]:
    """What gives the addresses of a connection's streams."""
    return partial(stream_url, connection)


# ---- what pages share --------------------------------------------------------------------------


def _order(query: ListQuery) -> listings.Order:
    limit = min(max(query.limit, 1), MOST_ROWS)
    return listings.Order(query.sort, _descends(query), query.q.strip(), limit)


def _descends(query: ListQuery) -> bool:
    return query.order == "desc" if query.order else query.sort != listings.NAME


def _list_context(path: str, query: ListQuery, shown: listings.List, whole: listings.Row) -> dict[str, Any]:
    def address(**changes: Any) -> str:
        """The page's own address with other parameters; those that go without saying are left out."""
        asked = structs.asdict(query) | changes
        usual = structs.asdict(type(query)())
        told = {name: value for name, value in asked.items() if value not in (usual[name], None)}
        told.pop("name", None)  # is in the path already
        return path + (("&" if "?" in path else "?") + urlencode(told) if told else "")

    def sort_address(column: str) -> str:
        """Sorts by a column; by one that is sorted by already, the other way round."""
        turned = ("asc" if _descends(query) else "desc") if column == query.sort else None
        return address(sort=column, order=turned)

    return {
        "query": query,
        "path": path,
        "list": shown,
        "most_rows": MOST_ROWS,
        "whole": whole,
        "descends": _descends(query),
        "address": address,
        "sort_address": sort_address,
    }


def _file(wanted: str, kind: str, read: Callable[[], listings.Whole | None], **names: str) -> Response:
    """A list as a file named after its content and time, sent out of one snapshot."""
    summary.read(auto_reconcile())  # repairs what it may, which a snapshot can't
    with ExitStack() as held:
        held.enter_context(read_snapshot())
        found, whole = summary.load(auto_reconcile()), read()
        if whole is None:
            raise ApiError(*_MISSING[kind])
        as_of = found.figures["computed_at"]
        if wanted == "csv":
            media, parts = f"{CSV.type}; charset=utf-8", exports.csv_parts(kind, whole, **names)
        else:
            may_lag = found.state != "fresh"
            media, parts = JSON, exports.json_parts(kind, whole, as_of, may_lag, **names)
        response = streamed(parts, media, held)
    response.headers["PDPP-Rows"] = str(whole.count)
    name = csv_export.file_name(f"{kind}s", as_of, wanted)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


_MISSING = {
    "stream": ("connection_not_found", "There is no connection of this name."),
    "record": ("stream_not_found",),
    "file": ("stream_not_found",),
}


def _hero(found: summary.Summary) -> Hero:
    return hero(found, datetime.now(UTC))


def _hero_context(found: summary.Summary) -> dict[str, Any]:
    shown = _hero(found)
    return {"hero": shown, "state": shown.kind, "poll_seconds": _poll_seconds(shown)}


def _poll_seconds(shown: Hero) -> int:
    """Sooner where the figures are about to change."""
    usual: int = current_app.config["HERO_POLL_SECONDS"]
    return max(1, usual // 5) if shown.about_to_change else usual


@blueprint.app_context_processor
def _measures() -> dict[str, Any]:
    """The columns of every table of figures."""
    return {
        "byte_measures": BYTE_MEASURES,
        "count_measures": COUNT_MEASURES,
        "headings": {measure.name: measure.heading for measure in (*BYTE_MEASURES, *COUNT_MEASURES)},
    }
