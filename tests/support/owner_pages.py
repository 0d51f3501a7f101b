"""Every page and every state that the owner can see, with data that strains the layout.

A new page of the server gets a line in EVERYTHING or in `about`: the sweep of the layout, the check of accessibility and the
screenshots then have it.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlencode

from playwright.sync_api import Page

from pdpp_ref.models.measures import MEASURE_NAMES
from tests.support.factories import DatabaseProbe
from tests.support.server_process import Server

SAMPLE = ("sample photo library", "photos", "00030")
# A name with no place to break it, one with many, and two that show nothing.
LONG, WORDS, BLANKS = "m" * 1_000, "two words " * 100, (" ", "\u200b\u2800")
# Totals of the demo become some terabytes.
MANY = 123_457
GRAINS = tuple(f"retained_size_{grain}" for grain in ("record", "stream", "connection", "global"))
DAYS = tuple(f"{grain}_days" for grain in GRAINS[1:])
# Of a server whose pages change only when told to.
QUIET = {"HERO_POLL_SECONDS": 3600, "RECONCILE_COOLDOWN_SECONDS": 3600, "LOG_LEVEL": "error"}


class Address(NamedTuple):
    """A page by its name, and its path."""

    name: str
    path: str


EVERYTHING = (
    Address("dashboard", "/dashboard"),
    Address("search", "/dashboard?q=mail&sort=growth"),
    Address("nothing found", "/dashboard?q=none&days=365"),
    Address("tokens", "/dashboard/tokens"),
    Address("question", "/dashboard/tokens?revoke=reader"),
    Address("room", "/dashboard/room?keep=1"),
    Address("error", "/dashboard/connections/none"),
)


class View(NamedTuple):
    """A page in a state that its server is in now."""

    name: str
    server: Server
    path: str
    prepare: Callable[[Page], None] = lambda _: None

    def open(self, page: Page) -> None:
        """Show it, as the owner, and let nothing change by itself."""
        page.unroute_all()
        page.context.clear_cookies()
        if self.name != "sign in":
            self.server.sign_in(page.context)
        page.goto(self.server.url + self.path)
        self.prepare(page)


def about(record: tuple[str, str, str]) -> tuple[Address, ...]:
    """The pages about a record, its stream and its connection, in the order connection, stream, record."""
    connection, stream, key = record
    of_stream = {"connection": connection, "stream": stream}
    return (
        Address("connection", f"/dashboard/connections/{quote(connection, safe='')}"),
        Address("stream", f"/dashboard/streams?{urlencode(of_stream)}"),
        Address("room of a stream", f"/dashboard/room?{urlencode(of_stream | {'keep': '1'})}"),
        Address("delete a stream", f"/dashboard/delete?{urlencode(of_stream)}"),
        Address("record", f"/dashboard/records?{urlencode(of_stream | {'key': key})}"),
    )


def every_view(place: Path) -> Iterator[View]:
    """Each page with the demo, with names that are long or blank, and with terabytes; each state of the hero."""
    with Server(place / "new", **QUIET) as server:
        yield View("sign in", server, "/owner/login")
        yield View("empty", server, "/dashboard")
    with Server(place / "sample", "demo", **QUIET) as server:
        yield View("arriving", server, "/dashboard")
        server.set_last_arrival(datetime(2026, 1, 1, tzinfo=UTC))
        server.run("token", "new", "reader", "--scope", "write,read,erase", "--connection", LONG)
        yield from _pages(server, "demo", EVERYTHING + about(SAMPLE))
        yield View("refreshed", server, "/dashboard", refresh)
        yield View("download", server, about(SAMPLE)[-1].path, download)
        yield View("out of reach", server, "/dashboard", cut_off)
        for state in unwell(server):
            yield from _pages(server, state, EVERYTHING[:1] + about(SAMPLE)[:1])
        server.run("rebuild")
        strain(server)
        yield from strained(server)
        for state in unwell(server):
            yield from _pages(server, f"{state} terabytes", EVERYTHING[:1])
    with Server(place / "aside", "demo", **QUIET) as server:
        for state in one_aside(server):
            yield from _pages(server, state, EVERYTHING[:1] + about(SAMPLE)[:1])


def strained(server: Server) -> Iterator[View]:
    """Pages of the names that `strain` has added, and pages with terabytes."""
    for title, name in (("long", LONG), ("words", WORDS), ("blank", BLANKS[0])):
        yield from _pages(server, title, about((name,) * 3))
    yield from _pages(server, "terabytes", EVERYTHING[:1] + about(SAMPLE))


def _pages(server: Server, title: str, addresses: Iterable[Address]) -> Iterator[View]:
    for name, path in addresses:
        yield View(f"{title}: {name}", server, path)


def strain(server: Server) -> None:
    """Add long and blank names, and make all totals and their days large."""
    for name in (LONG, WORDS, *BLANKS):
        record = {"type": "RECORD", "stream": name, "key": name, "data": {name: [name]}}
        server.run("import", "--connection", name, given=json.dumps(record, ensure_ascii=False))
    larger = ", ".join(f"{name} = {name} * {MANY}" for name in MEASURE_NAMES)
    with DatabaseProbe(server.database) as probe:
        for table in (*GRAINS, *DAYS):
            probe(f"UPDATE {table} SET {larger}")


def unwell(server: Server) -> Iterator[str]:
    """Bring a server with records, one that waits long after a failure, into each state but the good."""
    with server.broken() as probe:
        yield "updating"
        probe("UPDATE retained_size_global SET stale_since = '2024-01-01T00:00:00.000Z'")
        yield "delayed"
        probe("UPDATE retained_size_global SET rebuild_status = 'running'")
        probe("UPDATE retained_size_global SET rebuild_total = (SELECT COUNT(*) FROM record_changes)")
        probe("UPDATE retained_size_stream SET dirty = TRUE WHERE stream_id % 3 = 1")
        yield "recounting"
        for grain in ("stream", "connection", "global"):
            probe(f"UPDATE retained_size_{grain} SET dirty = TRUE, computed_at = NULL")
        yield "first_count"


def one_aside(server: Server) -> Iterator[str]:
    """Bring a server that has shown no page yet into the state in which one stream can't be counted."""
    with DatabaseProbe(server.database) as probe:
        ((stream, connection),) = probe("SELECT id, connection_id FROM streams ORDER BY id LIMIT 1")
        probe.fail("UPDATE ON retained_size_stream", f"OLD.stream_id = {stream} AND NOT NEW.dirty")
        probe(f"UPDATE retained_size_stream SET dirty = TRUE WHERE stream_id = {stream}")
        probe(f"UPDATE retained_size_connection SET dirty = TRUE WHERE connection_id = {connection}")
        probe("UPDATE retained_size_global SET dirty = TRUE")
        yield "partly"
        probe.restore()


def refresh(page: Page) -> None:
    page.get_by_role("button", name="Refresh totals now").click()
    page.wait_for_selector(".outcome")


def download(page: Page) -> None:
    page.get_by_role("button", name="Download this record").click()
    page.wait_for_selector("#download[data-state=ready]")


def cut_off(page: Page) -> None:
    page.route("**/dashboard/hero*", lambda route: route.abort())
    page.evaluate("window.dispatchEvent(new Event('online'))")
    page.wait_for_selector("#offline:not([hidden])")
