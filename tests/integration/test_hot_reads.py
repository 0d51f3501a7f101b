"""The reads that are answered before Flask: each response is the route's own, in every state."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from typing import Any

import httpx
import pytest
from bs4 import BeautifulSoup
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pdpp_ref import tokens
from pdpp_ref.canonical.deletion import delete_stream
from pdpp_ref.database import db, fetch_all, read_snapshot
from pdpp_ref.server import hot_reads
from pdpp_ref.server.hot_reads import HotReads
from pdpp_ref.services import freshness
from tests.support.factories import PASSWORD, TOKEN, Clock, DatabaseProbe, delete, fill, mark, upsert, write
from tests.support.server_process import served

SUMMARY, HERO, HEALTH = "/_ref/dataset/summary", "/dashboard/hero", "/healthz"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
# A query that the routes ignore sends a request to its route.
SLOWLY = "x=1"
READERS = 4

Message = tuple[int, list[tuple[str, str]], bytes]


class Both:
    """Sends each request twice: as it is, and so that it is left to its route."""

    def __init__(self, url: str, hot: list[bool]) -> None:
        self._client = httpx.Client(base_url=url, timeout=60)
        self._hot = hot

    def sign_in(self) -> None:
        response = self._client.post("/owner/login", json={"password": PASSWORD})
        self.cookie = {"Cookie": response.headers["Set-Cookie"].partition(";")[0]}
        self._client.cookies.clear()

    def get(self, path: str, query: str = "", **headers: str) -> tuple[Message, Message]:
        """The response of the hot path and that of the route.  Fails if the first was the route's too."""
        found = self._send(path, query, headers)
        assert self._hot.pop(), "it was left to its route"
        own = self._send(path, "&".join(filter(None, (query, SLOWLY))), headers)
        assert not self._hot.pop()
        return found, own

    def left_to_its_route(self, path: str, query: str = "", method: str = "GET", **headers: str) -> int:
        """The status."""
        status, _, _ = self._send(path, query, headers, method)
        assert not self._hot.pop()
        return status

    def _send(self, path: str, query: str, headers: dict[str, str], method: str = "GET") -> Message:
        response = self._client.request(method, f"{path}?{query}" if query else path, headers=headers)
        return response.status_code, sorted(response.headers.multi_items()), response.content


def without_what_differs(message: Message) -> Message:
    status, headers, body = message
    return status, [(name, value) for name, value in headers if name not in ("request-id", "date")], body


def same(pair: tuple[Message, Message]) -> Message:
    found, own = map(without_what_differs, pair)
    assert found == own
    return found


@pytest.fixture
def both(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[Both]:
    hot: list[bool] = []
    answer = HotReads.answer

    async def watched(self: HotReads, scope: Any) -> Any:
        found = await answer(self, scope)
        hot.append(found is not None)
        return found

    with served(app) as port:
        found = Both(f"http://127.0.0.1:{port}", hot)
        found.sign_in()
        monkeypatch.setattr(HotReads, "answer", watched)
        with closing(found._client):
            yield found


@pytest.fixture(autouse=True)
def _nothing_is_arriving(monkeypatch: pytest.MonkeyPatch) -> None:
    """For some seconds after each record, the hero changes by itself."""
    monkeypatch.setattr(freshness, "ARRIVING", timedelta(0))
    monkeypatch.setattr(hot_reads, "ARRIVING", timedelta(0))


def revision(both: Both) -> str:
    """The one that the page shows now."""
    page = both._client.get("/dashboard", headers=both.cookie).text
    both._hot.clear()
    found = re.search(r"seen=([\w-]+)", page)
    assert found
    return found[1]


def test_a_fresh_summary_is_the_routes_own(both: Both) -> None:
    fill(20)
    for _ in range(3):
        status, _, body = same(both.get(SUMMARY, **BEARER))
        assert (status, b'"record_count":20' in body) == (200, True)
    write(upsert("another", "photos", "phone"))
    _, _, body = same(both.get(SUMMARY, **BEARER))
    assert b'"record_count":21' in body


def test_liveness_is_the_routes_own(both: Both) -> None:
    assert same(both.get(HEALTH))[0] == 200


def test_an_unchanged_hero_is_the_routes_own(both: Both) -> None:
    fill(20)
    seen = f"seen={revision(both)}"
    for _ in range(2):
        assert same(both.get(HERO, seen, **both.cookie))[0] == 204


def test_a_changed_hero_is_the_routes_own(both: Both) -> None:
    fill(20)
    seen = f"seen={revision(both)}"
    for count in (21, 22):
        write(upsert(f"another {count}"))
        for _ in range(2):
            status, _, body = same(both.get(HERO, seen, **both.cookie))
            assert status == 200
            assert f"{count} records in 1 stream" in BeautifulSoup(body, "html.parser").get_text()
    assert same(both.get(HERO, f"seen={revision(both)}", **both.cookie))[0] == 204


def test_a_new_state_is_left_to_the_route(both: Both) -> None:
    """Which announces it."""
    fill(1)
    seen = f"seen={revision(both)}"
    assert both.left_to_its_route(HERO, "seen=updating-000000000000", **both.cookie) == 200
    delete_stream("laptop", "notes")
    for _ in range(2):
        response = both._client.get(f"{HERO}?{seen}", headers=both.cookie)
        assert (both._hot.pop(), 'data-state="empty"' in response.text) == (False, True)
        assert 'id="announcement"' in response.text


def test_a_hero_below_a_prefix_is_left_to_the_route(both: Both) -> None:
    """Its addresses begin with the prefix."""
    fill(1)
    prefix = {"X-Forwarded-Prefix": "/data"}
    assert both.left_to_its_route(HERO, "seen=fresh-000000000000", **both.cookie, **prefix) == 200


def test_an_open_dashboard_keeps_its_session_alive(both: Both, app: Flask, monkeypatch: Any) -> None:
    """A poll that is due to renew the session is left to the route, which does."""
    fill(1)
    seen = f"seen={revision(both)}"
    monkeypatch.setattr("pdpp_ref.blueprints.sessions.RENEW_SECONDS", 0)
    app.extensions["owner_sessions"]._known.clear()
    response = both._client.get(f"{HERO}?{seen}", headers=both.cookie)
    assert (response.status_code, both._hot.pop()) == (204, False)
    assert response.headers["Set-Cookie"].startswith("pdpp_owner_session=")


@pytest.mark.parametrize("scopes", [("figures",), ("read", "figures")])
def test_a_token_that_may_read_totals_is_served_too(both: Both, scopes: tuple[str, ...]) -> None:
    fill(1)
    named = {"Authorization": f"Bearer {tokens.create('named', scopes, None, None)}"}
    assert both.left_to_its_route(SUMMARY, **named) == 200  # which stores its use
    assert same(both.get(SUMMARY, **named))[0] == 200
    tokens.revoke("named")


def test_a_revoked_token_stops_working(both: Both, clock: Clock) -> None:
    named = {"Authorization": f"Bearer {tokens.create('named', ('figures',), None, None)}"}
    assert both.left_to_its_route(SUMMARY, **named) == 200
    tokens.revoke("named")
    clock.advance(5)
    assert both.left_to_its_route(SUMMARY, **named) == 401


@pytest.mark.parametrize(
    ("path", "query", "method", "headers", "status"),
    [
        (SUMMARY, "", "GET", {}, 401),
        (SUMMARY, "", "GET", {"Authorization": "Bearer wrong"}, 401),
        (SUMMARY, "", "GET", {"Authorization": "Basic abc"}, 401),
        (SUMMARY, "", "HEAD", BEARER, 200),
        (SUMMARY, "", "POST", BEARER, 405),
        (SUMMARY, "", "OPTIONS", BEARER, 200),
        (SUMMARY, "", "GET", BEARER | {"Host": "a b"}, 200),
        (SUMMARY, "", "GET", BEARER | {"Host": "evil.example/x"}, 200),
        (SUMMARY, "", "GET", BEARER | {"Range": "bytes=0-1"}, 200),
        (HERO, "seen=fresh-000000000000", "GET", {}, 401),
        (HERO, "seen=fresh-000000000000", "GET", {"Cookie": "pdpp_owner_session=forged"}, 401),
        (HERO, "seen=fresh-000000000000", "GET", BEARER, 401),
        (HERO, "seen=fresh-00000000000g", "GET", {}, 401),
        ("/healthz/", "", "GET", {}, 404),
    ],
)
def test_what_is_not_plain_is_left_to_its_route(
    both: Both, path: str, query: str, method: str, headers: dict[str, str], status: int
) -> None:
    assert both.left_to_its_route(path, query, method, **headers) == status


def test_a_token_without_the_scope_is_refused(both: Both) -> None:
    secret = tokens.create("reader", ("read",), None, None)
    for _ in range(3):
        assert both.left_to_its_route(SUMMARY, Authorization=f"Bearer {secret}") == 403


def test_totals_that_are_not_fresh_are_left_to_the_route(both: Both, probe: DatabaseProbe) -> None:
    fill(20)
    assert same(both.get(SUMMARY, **BEARER))[0] == 200
    probe.fail_reconcile()
    mark("laptop", "notes")
    response = both._client.get(SUMMARY, headers=BEARER)
    assert (response.json()["projection"]["state"], both._hot.pop()) == ("stale", False)
    probe.restore()


def test_a_database_of_a_newer_program_is_left_to_the_route(both: Both, probe: DatabaseProbe) -> None:
    fill(1)
    assert same(both.get(SUMMARY, **BEARER))[0] == 200
    probe("UPDATE pdpp_ref_schema SET version = version + 1")
    assert both.left_to_its_route(SUMMARY, **BEARER) == 503
    probe("UPDATE pdpp_ref_schema SET version = version - 1")
    assert same(both.get(SUMMARY, **BEARER))[0] == 200


def test_a_new_connection_is_a_new_version_of_the_data(app: Flask) -> None:
    """Each connection counts by itself, so the same number can stand for other data."""
    fill(1)
    read_snapshot_once()
    version = db.data_version()
    assert db.data_version() == version
    db.close()
    db.connect()
    read_snapshot_once()
    assert db.data_version() != version


def read_snapshot_once() -> None:
    """Then PostgreSQL is known to be asked directly, and not through a pooler."""
    with read_snapshot():
        fetch_all("SELECT 1")


def test_the_hero_settles_some_seconds_after_records_arrived(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in (freshness, hot_reads):
        monkeypatch.setattr(place, "ARRIVING", timedelta(seconds=60))
    fill(20)
    arriving = f"seen={revision(both)}"
    assert same(both.get(HERO, arriving, **both.cookie))[0] == 204
    monkeypatch.setattr(freshness, "ARRIVING", timedelta(0))
    status, _, body = same(both.get(HERO, arriving, **both.cookie))
    assert (status, b'class="arriving"' in body) == (200, False)
    assert same(both.get(HERO, f"seen={revision(both)}", **both.cookie))[0] == 204


def test_another_programs_change_is_seen(both: Both, probe: DatabaseProbe) -> None:
    fill(1)
    for count in (5, 6, 5, 7):
        probe(f"UPDATE retained_size_global SET record_count = {count}")
        _, _, body = same(both.get(SUMMARY, **BEARER))
        assert f'"record_count":{count}'.encode() in body


@pytest.mark.only("postgres")
def test_while_the_database_is_late_reads_are_left_to_the_route(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would wait for it, and then be late too."""
    fill(1)
    assert same(both.get(SUMMARY, **BEARER))[0] == 200
    answered, version = threading.Event(), type(db.obj).data_version
    monkeypatch.setattr(type(db.obj), "data_version", lambda self: answered.wait(60) and version(self))
    for _ in range(4):
        assert both.left_to_its_route(SUMMARY, **BEARER) == 200
    began = time.monotonic()
    assert both.left_to_its_route(SUMMARY, **BEARER) == 200
    assert time.monotonic() - began < 0.4, "it is known to be late"
    answered.set()
    for _ in range(100):
        both._client.get(SUMMARY, headers=BEARER)
        if both._hot.pop():
            return
    pytest.fail("it is in time again")


@pytest.mark.only("postgres")
def test_a_server_that_is_known_to_be_away_is_left_to_the_route(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert same(both.get(SUMMARY, **BEARER))[0] == 200
    monkeypatch.setattr(db.obj._server._watch, "is_down", True)  # and the connection is still open
    assert both.left_to_its_route(SUMMARY, **BEARER) == 503


def test_whatever_goes_wrong_is_left_to_the_route(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(db.obj), "data_version", lambda _: 1 / 0)
    assert both.left_to_its_route(SUMMARY, **BEARER) == 200


def test_a_host_that_is_not_trusted_is_left_to_the_route(make_app: Callable[..., Flask]) -> None:
    with served(make_app(TRUSTED_HOSTS="data.example")) as port:
        for host, status in (("data.example", 200), ("data.example:7663", 200), ("evil.example", 400)):
            for path in (HEALTH, f"{HEALTH}?x"):
                response = httpx.get(f"http://127.0.0.1:{port}{path}", headers={"Host": host}, timeout=60)
                assert response.status_code == status


@pytest.mark.parametrize("hosts", ["data.example", ".data.example,other.example"])
def test_a_hero_is_rendered_whatever_hosts_are_trusted(make_app: Callable[..., Flask], hosts: str) -> None:
    app = make_app(TRUSTED_HOSTS=hosts)
    fill(1)
    fresh = HotReads(app)._read()
    assert fresh is not None
    for shown in (fresh.arriving, fresh.settled):
        assert f"/dashboard/hero?seen={shown.revision}".encode() in (shown.fragment or b"")


def fill_photos(number: int) -> None:
    fill(number, "photos", "phone")


ACTS: list[Callable[[int], None]] = [
    fill_photos,
    lambda number: write(upsert(f"key {number}")),
    lambda number: write(delete(f"key {number}")),
    lambda _: mark("laptop", "notes"),
]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(ACTS), st.integers(1, 3)), min_size=1, max_size=8))
def test_a_summary_is_never_older_than_the_last_write(
    both: Both, acts: list[tuple[Callable[[int], None], int]]
) -> None:
    fill(1)
    for act, number in acts:
        act(number)
        found = both._client.get(SUMMARY, headers=BEARER)
        own = both._client.get(f"{SUMMARY}?{SLOWLY}", headers=BEARER)
        assert found.content == own.content
    both._hot.clear()


@pytest.mark.slow
def test_summaries_during_writes_are_never_older_than_what_was_acknowledged(both: Both) -> None:
    """Several readers ask at the same time, so that they share reads."""
    fill(1)
    done, acknowledged = threading.Event(), [1]

    def work() -> None:
        for number in range(300):
            write(upsert(f"key {number}"))
            acknowledged[0] += 1
        done.set()

    def read() -> int:
        reads = 0
        while not done.is_set() or not reads:
            least = acknowledged[0]
            assert both._client.get(SUMMARY, headers=BEARER).json()["record_count"] >= least
            reads += 1
        return reads

    with ThreadPoolExecutor(READERS + 1) as threads:
        writer = threads.submit(work)
        assert all(reads.result() for reads in [threads.submit(read) for _ in range(READERS)])
        writer.result()
    assert both._client.get(SUMMARY, headers=BEARER).json()["record_count"] == 301
