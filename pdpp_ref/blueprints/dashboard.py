"""The owner's pages and downloads."""

from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import Any

import peewee
from flask import Blueprint, Response, current_app, flash, redirect, request, url_for

from ..canonical import retention_rules
from ..database import Busy, DatabaseNotReady
from ..queries import browsing, growth, listings, silence
from ..schemas import downloads
from ..schemas.server import Form
from ..services import summary as summaries
from ..services.freshness import Hero, hero
from ..services.summary import Summary
from ..timestamps import utc_now
from . import csv_export, rooms
from .auth import check_form, owner_only, redirect_to
from .errors import NO_CONNECTION, ApiError
from .extensions import auto_reconcile
from .openapi.decorator import (
    CSV,
    FORM,
    PAGE,
    operation,
)
from .owner import exports
from .owner.exports import Download
from .owner.pages import (
    ConnectionPage,
    DashboardPage,
    HeroFragment,
    ListView,
    RecordsView,
    StreamPage,
    connection_url,
    growth_view,
    stream_growth,
)
from .owner.requests import ConnectionByNameQuery, HeroQuery, ListQuery, StreamQuery
from .responses import JSON, render, streamed
from .return_paths import local_path

blueprint = Blueprint("dashboard", __name__)

LIST = (PAGE, downloads.OwnerList, CSV)
LISTED_RECORDS = 20  # of a stream, on one page


@blueprint.get("/")
@operation("Redirects to the dashboard", {302: "The page."})
def index() -> Any:
    return redirect(url_for("dashboard.dashboard"))


@blueprint.get("/dashboard")
@owner_only
@operation("The dashboard, or its list as a file", LIST, query=ListQuery, errors=("invalid_request",))
def dashboard(query: ListQuery) -> str | Response:
    if query.format != "page":
        return _connections_file(query)
    room = rooms.recent()
    with summaries.reading(auto_reconcile()) as summary:
        forecast = rooms.forecast(room)
        connections = listings.connections(query.listing_order)
        days = growth.days(query.days)
        baseline = growth.global_baseline()
        silent = silence.count()
    totals, shown = summary.totals, _hero(summary)
    listing = ListView(
        kind="connection",
        path=url_for("dashboard.dashboard"),
        query=query,
        list=connections,
        whole=totals,
        whole_growth=listings.growth_since(totals, baseline),
        is_lagging=shown.kind != "fresh",
        silent=silent,
    )
    return render(
        DashboardPage(
            hero=shown,
            poll_seconds=_poll_seconds(shown),
            listing=listing,
            growth=growth_view(listing, days, totals.computed_at),
            room=room,
            forecast=forecast,
        )
    )


@blueprint.get("/dashboard/hero")
@owner_only
@operation("The totals alone", {200: PAGE, 204: "The page already shows them."}, query=HeroQuery)
def hero_fragment(query: HeroQuery) -> str | Response:
    """The hero alone, or 204 if the page already shows it."""
    shown = _hero(summaries.read(auto_reconcile()))
    if query.seen == shown.revision:
        return Response(status=204)
    return render(fragment_of(shown, query.seen))


def fragment_of(shown: Hero, seen: str) -> HeroFragment:
    """The hero for a page that shows the revision `seen`."""
    # A screen reader announces a new state, but no new number.
    announce = not seen.startswith(f"{shown.kind}-")
    return HeroFragment(shown, _poll_seconds(shown), announce)


@blueprint.post("/dashboard/refresh")
@owner_only
@operation(
    "Bring the totals up to date: one bounded pass",
    {302: "Sign in first.", 303: "Done or not; the page shows which."},
    errors=("csrf_token_required", "body_too_large"),
    body={FORM: Form},
)
def refresh() -> Any:
    check_form()
    flash(utc_now(), _refreshed())
    return redirect_to(local_path(request.form.get("return_to")), 303)


def _refreshed() -> str:
    """The outcome of a pass.  Only the operator sees the cause of a failure, in the summary."""
    try:
        done = auto_reconcile().click()
    except Busy:
        return "busy"
    except DatabaseNotReady:
        raise
    except peewee.DatabaseError:
        return "failed"
    if done is None or not (done.reconciled or done.fresh or not auto_reconcile().aside.problems):
        return "failed"
    return "done" if done.fresh else "begun"


# ---- one connection, one stream ----------------------------------------------------------------


@blueprint.get("/dashboard/connections")
@owner_only
@operation(
    "A connection's page",
    LIST,
    query=ConnectionByNameQuery,
    errors=("connection_not_found", "invalid_request"),
)
def connection_by_name(query: ConnectionByNameQuery) -> Any:
    """`?name=` instead of a path, for names that a browser would take for folders."""
    return connection(query.name)


@blueprint.get("/dashboard/connections/<anything:name>")
@owner_only
@operation("A connection's page", LIST, query=ListQuery, errors=("connection_not_found", "invalid_request"))
def connection(name: str, query: ListQuery) -> str | Response:
    if query.format != "page":
        return _streams_file(name, query)
    with summaries.reading(auto_reconcile()) as summary:
        detail = listings.connection(name, query.listing_order, query.days)
    if detail is None:
        raise ApiError("connection_not_found", NO_CONNECTION)
    listing = ListView(
        kind="stream",
        path=connection_url(name),
        query=query,
        list=detail.streams,
        whole=detail.row,
        whole_growth=detail.row.growth,
        is_lagging=detail.row.dirty,
        connection=name,
    )
    return render(
        ConnectionPage(
            state=_hero(summary).kind,
            connection=detail.row,
            listing=listing,
            growth=growth_view(listing, detail.days, detail.row.computed_at),
        )
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
        return _contents_file(query)
    with summaries.reading(auto_reconcile()) as summary:
        detail = listings.stream(query.connection, query.stream, query.days)
        if detail is None:
            raise ApiError("stream_not_found")
        place = browsing.Place(query.q, query.after, query.before)
        records = browsing.page(detail.row.id, place, LISTED_RECORDS)
        rules = retention_rules.rules(query.connection, query.stream)
    return render(
        StreamPage(
            state=_hero(summary).kind,
            connection_name=query.connection,
            stream=detail.row,
            growth=stream_growth(query.connection, detail.row, detail.days, query.days),
            listing=RecordsView(query.connection, query.stream, query.q, records),
            records=detail.records,
            files=detail.files,
            all_searched=detail.all_searched,
            rule=rules[0] if rules else None,
        )
    )


def _hero(summary: Summary) -> Hero:
    return hero(summary, datetime.now(UTC))


def _poll_seconds(shown: Hero) -> int:
    """Sooner if the totals are about to change."""
    usual: int = current_app.config["HERO_POLL_SECONDS"]
    return max(1, usual // 5) if shown.about_to_change else usual


# ---- downloads ---------------------------------------------------------------------------------


def _connections_file(query: ListQuery) -> Response:
    def read() -> Download:
        rows = listings.all_connections(query.listing_order)
        return Download(downloads.ListedConnection, rows, downloads.listed_connection)

    return _file("connections", query.format, read)


def _streams_file(connection: str, query: ListQuery) -> Response:
    def read() -> Download:
        rows = listings.all_streams(connection, query.listing_order)
        if rows is None:
            raise ApiError("connection_not_found", NO_CONNECTION)
        to_row = partial(downloads.listed_stream, connection=connection)
        return Download(downloads.ListedStream, rows, to_row)

    return _file("streams", query.format, read)


def _contents_file(query: StreamQuery) -> Response:
    def read() -> Download:
        rows = listings.stream_contents(query.connection, query.stream, query.of)
        if rows is None:
            raise ApiError("stream_not_found")
        if query.of == "record":
            return Download(downloads.ListedRecord, rows, downloads.listed_record)
        return Download(downloads.ListedFile, rows, downloads.listed_file)

    return _file(f"{query.of}s", query.format, read)


def _file(title: str, file_format: str, read: Callable[[], Download]) -> Response:
    """A list as a file named after its content and time, sent out of the snapshot of its summary."""
    with ExitStack() as resources:
        summary = resources.enter_context(summaries.reading(auto_reconcile()))
        download, as_of = read(), summary.totals.computed_at
        if file_format == "csv":
            media_type, parts = f"{CSV.type}; charset=utf-8", exports.csv_parts(download)
        else:
            media_type, parts = JSON, exports.json_parts(download, as_of, summary.state != "fresh")
        response = streamed(parts, media_type, resources)
    response.headers["PDPP-Rows"] = str(download.rows.count)
    name = csv_export.file_name(title, as_of, file_format)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
