"""Each page's template receives one dataclass, and nothing else but what Flask adds."""

import inspect
from dataclasses import is_dataclass
from typing import Any

import pytest
from flask import Flask, template_rendered
from flask.testing import FlaskClient
from jinja2 import StrictUndefined

from pdpp_ref import tokens
from pdpp_ref.blueprints.owner import pages, room
from pdpp_ref.canonical import prunings
from pdpp_ref.canonical.prunings import Request
from pdpp_ref.canonical.retention import Policy
from tests.support.factories import csrf_token, fill

# What Flask and Flask-WTF add to the context of every template.
ADDED = {"csrf_meta_tag", "csrf_token", "g", "request", "session"}
PAGES: dict[type[Any], str] = {
    pages.DashboardPage: "/dashboard",
    pages.HeroFragment: "/dashboard/hero",
    pages.ConnectionPage: "/dashboard/connections/laptop",
    pages.StreamPage: "/dashboard/streams?connection=laptop&stream=notes",
    pages.DayPage: "/dashboard/days?day=2026-01-31",
    pages.RecordPage: "/dashboard/records?connection=laptop&stream=notes&key=0000001",
    pages.DownloadPage: "/dashboard/downloads/ID/page",
    pages.DownloadFragment: "/dashboard/downloads/ID/state",
    pages.TokensPage: "/dashboard/tokens?revoke=bank",
    room.RoomPage: "/dashboard/room?connection=laptop&stream=notes&keep=1",
    room.PreviewFragment: "/dashboard/room/count?before=2026-01-31",
    room.PruningPage: "/dashboard/room/prunings/a",
    room.PruningFragment: "/dashboard/room/prunings/a/state",
    room.DeletePage: "/dashboard/delete?connection=laptop&stream=notes&key=0000001",
    room.DonePage: "/dashboard/deleted",
    pages.LoginPage: "/owner/login",
    pages.ErrorPage: "/dashboard/connections/unknown",
}


def test_every_page_is_listed() -> None:
    classes = [found for module in (pages, room) for _, found in inspect.getmembers(module, is_dataclass)]
    assert {found for found in classes if hasattr(found, "template")} == PAGES.keys()


def address(kind: type[Any], app: Flask, owner: FlaskClient) -> str:
    """`ID` stands for that of a download."""
    if "ID" not in PAGES[kind]:
        return PAGES[kind]
    form = {"csrf_token": csrf_token(owner)}
    place = owner.post("/dashboard/downloads", data=form).headers["Location"]
    app.extensions["prepared_files"].wait()
    return PAGES[kind].replace("ID", place.split("/")[3])


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("kind", PAGES, ids=lambda kind: kind.__name__)
def test_a_template_receives_its_page_alone(app: Flask, owner: FlaskClient, kind: type[Any]) -> None:
    fill(3)
    path = address(kind, app, owner)
    tokens.create("bank", ("read",), None, None)
    prunings.ask("a", Request(Policy(1)), 0)
    contexts: list[dict[str, Any]] = []

    def record(_: Flask, context: dict[str, Any], **__: Any) -> None:
        contexts.append(context)

    client = app.test_client() if kind is pages.LoginPage else owner
    with template_rendered.connected_to(record, app):
        client.get(path, headers={"Accept": "text/html"})
    (context,) = contexts
    assert context.keys() - ADDED == {"page"}
    assert type(context["page"]) is kind


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("kind", PAGES, ids=lambda kind: kind.__name__)
def test_a_template_uses_only_what_its_page_has(app: Flask, owner: FlaskClient, kind: type[Any]) -> None:
    """A misspelt name would be shown as nothing."""
    fill(3)
    path = address(kind, app, owner)
    tokens.create("bank", ("read",), None, None)
    prunings.ask("a", Request(Policy(1)), 0)
    app.jinja_env.undefined = StrictUndefined
    client = app.test_client() if kind is pages.LoginPage else owner
    response = client.get(path, headers={"Accept": "text/html"})
    assert response.status_code == (404 if kind is pages.ErrorPage else 200)
