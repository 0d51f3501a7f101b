"""The owner's pages.  Templates get view models of numbers, times and enumerated states alone."""

from datetime import UTC, datetime
from typing import Annotated, Any

from flask import Blueprint, Response, current_app, redirect, render_template, url_for
from markupsafe import Markup
from msgspec import Meta, Struct

from ..models import BYTE_MEASURES, COUNT_MEASURES
from ..services import summary, wire
from ..services.freshness import Hero, hero
from ..times import to_moment
from .auth import owner_only
from .errors import ApiError
from .http import auto_reconcile
from .operations import PAGE, operation

blueprint = Blueprint("dashboard", __name__)


class Seen(Struct):
    seen: Annotated[str, Meta(description="The revision that the page shows.")] = ""


class Named(Struct):
    name: wire.Connection = ""


@blueprint.get("/")
@operation("Goes on to the dashboard", {302: "It is there."})
def index() -> Any:
    return redirect(url_for("dashboard.dashboard"))


@blueprint.get("/dashboard")
@owner_only
@operation("The dashboard", PAGE)
def dashboard() -> str:
    found = summary.read(auto_reconcile(), summary.connections)
    return render_template("dashboard.html", **_hero_context(found), connections=found.more)


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


@blueprint.get("/dashboard/connections")
@owner_only
@operation("A connection's page", PAGE, query=Named, errors=("connection_not_found",))
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
@operation("A connection's page", PAGE, errors=("connection_not_found",))
def connection(name: str) -> str:
    found = summary.read(auto_reconcile(), lambda: summary.connection(name)).more
    if found is None:
        raise ApiError("connection_not_found", "There is no connection of this name.")
    return render_template("connection.html", connection=found)


def _hero_context(found: summary.Summary) -> dict[str, Any]:
    shown = hero(found, datetime.now(UTC))
    return {"hero": shown, "poll_seconds": _poll_seconds(shown)}


def _poll_seconds(shown: Hero) -> int:
    """Sooner where the figures are about to change."""
    usual: int = current_app.config["HERO_POLL_SECONDS"]
    return usual if shown.kind in ("fresh", "empty", "delayed") else max(1, usual // 5)


@blueprint.app_context_processor
def _measures() -> dict[str, Any]:
    """The columns of every table of figures."""
    return {"byte_measures": BYTE_MEASURES, "count_measures": COUNT_MEASURES}


# ---- how numbers and times look ----------------------------------------------------------------


@blueprint.app_template_filter()
def size(value: int) -> Markup:
    """A number of bytes in decimal units with three digits; the exact figure is in the markup."""
    exact = f"{value:,} bytes"
    return Markup('<data value="{}" title="{}">{}</data>').format(value, exact, size_text(value))


@blueprint.app_template_filter()
def count(value: int) -> Markup:
    return Markup('<data value="{}">{}</data>').format(value, f"{value:,}")


@blueprint.app_template_filter()
def moment(value: str | None) -> Markup:
    """An absolute time, which unlike an age stays true on a page that is left open."""
    if value is None:
        return Markup("a time that is not known")
    at = to_moment(value)
    shown = f"{at.day} {at:%B %Y, %H:%M:%S} UTC"
    return Markup('<time datetime="{}">{}</time>').format(value, shown)


def size_text(value: int) -> str:
    """`0 B`, `999 B`, `1.00 kB`, `12.3 MB`, `456 GB`: three digits, rounded half to even."""
    if value < 1000:
        return f"{value} B"
    scaled = float(value)
    for unit in ("kB", "MB", "GB", "TB", "PB", "EB"):
        scaled /= 1000
        digits = 2 if scaled < 9.995 else 1 if scaled < 99.95 else 0
        if scaled < 999.5:
            return f"{scaled:.{digits}f} {unit}"
    return f"{scaled:,.0f} EB"
