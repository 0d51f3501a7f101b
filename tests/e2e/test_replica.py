"""A streaming replica of PostgreSQL that serves the pages: what it says, and of when that is."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg
import pytest
from bs4 import BeautifulSoup
from flask import Flask
from playwright.sync_api import Page, expect

from pdpp_ref import create_app
from pdpp_ref.database import db, read_snapshot, replicated_until
from tests.e2e.test_browser import browser, new_page, problems
from tests.support import accessibility, postgres, sweep
from tests.support.factories import PASSWORD, TOKEN, upsert, write
from tests.support.pooler import Pooler
from tests.support.server_process import Server

__all__ = ["browser", "new_page", "problems"]  # fixtures

BEARER = {"Authorization": f"Bearer {TOKEN}"}


class Standby(postgres.Server):
    """A server that follows another one."""

    def __init__(self, primary: postgres.Server) -> None:
        self._primary = primary
        super().__init__(**postgres.QUICK)

    def _create(self) -> None:
        source = f"host={self._primary.folder} user=pdpp dbname=postgres"
        self._run(
            "pg_basebackup",
            "--write-recovery-conf",
            "--wal-method=stream",
            "--checkpoint=fast",
            f"--dbname={source}",
        )

    def promote(self) -> None:
        self._run("pg_ctl", "promote", "--wait")


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[postgres.Server, Standby]]:
    with ExitStack() as both:
        primary = postgres.Server(**postgres.QUICK)
        both.callback(primary.remove)
        standby = Standby(primary)
        both.callback(standby.remove)
        yield primary, standby


def open_app(url: str, folder: Path) -> Flask:
    if db.obj and not db.is_closed():
        db.close()
    settings = {"DATABASE_URL": url, "OWNER_PASSWORD": PASSWORD, "OPERATOR_TOKEN": TOKEN, "SECRET_KEY": "k"}
    return create_app(settings | {"INSTANCE_PATH": str(folder)})


def summary(app: Flask) -> dict[str, Any]:
    body: dict[str, Any] = app.test_client().get("/_ref/dataset/summary", headers=BEARER).get_json()
    return body


def until(found: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not found():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def hero(app: Flask) -> BeautifulSoup:
    client = app.test_client()
    assert client.post("/owner/login", json={"password": PASSWORD}).status_code == 302
    page = client.get("/dashboard")
    assert page.status_code == 200
    return BeautifulSoup(page.text, "html.parser").find(id="hero")


def all_say(app: Flask) -> set[str]:
    """The states that the routes and the page tell, and the metrics; each with the time of the figures."""
    client = app.test_client()
    found = [
        client.get(f"/_ref/dataset/{path}", headers=BEARER).get_json()["projection"]
        for path in ("summary", "summary/streams", "size", "top")
    ]
    found = [projection.get("metadata", projection) for projection in found]
    row = client.get("/_ref/dataset/size", headers=BEARER).get_json()["rows"][0]
    assert {projection["computed_at"] for projection in found} == {row["computed_at"]}
    assert {projection["stale_since"] for projection in found} == {row["computed_at"]}
    assert hero(app)["data-state"] == "replica"
    assert hero(app).find("time")["datetime"] == row["computed_at"]
    metrics = client.get("/_ref/metrics", headers=BEARER).text
    assert "pdpp_projection_stale_seconds " in metrics, "stale, and since when"
    states = [
        line.split('"')[1] for line in metrics.splitlines() if line.endswith("} 1.0") and "_state{" in line
    ]
    return {*states, *(projection["state"] for projection in found)}


def test_a_time_of_a_replica_is_read_before_the_figures(
    servers: tuple[postgres.Server, Standby], tmp_path: Path
) -> None:
    """Read after them, it could be that of a commit that is not in them."""
    primary, standby = servers
    with postgres.new_database(primary.url, "apart") as source:
        open_app(source, tmp_path / "source")
        write(upsert("a"))
        db.close()
        replica = postgres.at(standby.url, "apart")
        until(lambda: arrived(replica, 1))
        open_app(replica, tmp_path / "copy")
        with read_snapshot():
            before = replicated_until()
            with psycopg.connect(source, autocommit=True) as probe:
                probe.execute("UPDATE records SET emitted_at = 'later'")
            until(lambda: arrived(replica, 0))
            assert replicated_until() == before is not None
        with read_snapshot():
            assert replicated_until() > before
        db.close()


def arrived(url: str, records: int) -> bool:
    """Whether so many records there are as they were at first."""
    try:
        with psycopg.connect(url) as found:
            counted = found.execute("SELECT COUNT(*) FROM records WHERE emitted_at IS NULL").fetchone()
            return counted == (records,)
    except psycopg.Error:
        return False  # not even the database, or its tables


def test_a_replica_lags_once_its_primary_is_gone(tmp_path: Path) -> None:
    """All that has arrived is replayed then, which says nothing."""
    with ExitStack() as both:
        primary = postgres.Server(**postgres.QUICK)
        both.callback(primary.remove)
        with postgres.new_database(primary.url, "lagging") as source:
            app = open_app(source, tmp_path / "source")
            write(upsert("a"))
            assert lag(app) is None
            standby = Standby(primary)
            both.callback(standby.remove)
            app = open_app(postgres.at(standby.url, "lagging"), tmp_path / "copy")
            until(lambda: lag(app) == 0)
            db.close()
            primary.stop("immediate")
            until(lambda: (lag(app) or 0) > 0.1)
            since = lag(app)
            until(lambda: lag(app) > since)
            db.close()
            primary.start()


def lag(app: Flask) -> float | None:
    """As the operator scrapes it."""
    metrics = app.test_client().get("/_ref/metrics", headers=BEARER).text
    found = [
        line.split()[1] for line in metrics.splitlines() if line.startswith("pdpp_replica_lag_seconds ")
    ]
    return float(found[0]) if found else None


def test_the_page_of_a_replica_has_no_flaw(
    servers: tuple[postgres.Server, Standby], tmp_path: Path, new_page: Callable[..., Page]
) -> None:
    primary, standby = servers
    with postgres.new_database(primary.url, "page") as own:
        replica = postgres.at(standby.url, "page")
        with Server(tmp_path / "one", DATABASE_URL=own) as one:
            one.add_record()
            until(lambda: arrived(replica, 1))
        with Server(tmp_path / "copy", DATABASE_URL=replica, HERO_POLL_SECONDS=3600) as copy:
            for scheme in accessibility.SCHEMES.values():
                page = new_page(**scheme)
                copy.sign_in(page.context)
                page.goto(f"{copy.url}/dashboard")
                expect(page.locator("#hero")).to_have_attribute("data-state", "replica")
                assert not list(accessibility.violations(page))
            assert not list(sweep.flaws(page, sweep.DRESSES[0], (320, 996, 1400)))


def test_two_servers_on_a_primary_and_one_on_its_replica(
    servers: tuple[postgres.Server, Standby], tmp_path: Path
) -> None:
    primary, standby = servers
    with (
        Server(tmp_path / "one", DATABASE_URL=primary.url) as one,
        Server(tmp_path / "two", DATABASE_URL=primary.url) as two,
    ):
        one.add_record("laptop")
        two.add_record("phone")
        app = open_app(standby.url, tmp_path / "copy")
        until(lambda: summary(app)["record_count"] == 2)

    body = summary(app)
    projection = body["projection"]
    assert (projection["state"], body["connector_count"]) == ("stale", 2)
    assert projection["stale_since"] == projection["computed_at"]
    with psycopg.connect(primary.url, autocommit=True) as probe:
        (last,) = probe.execute("SELECT computed_at FROM retained_size_global").fetchone()
    assert projection["computed_at"] >= last, "the last commit that has arrived"

    shown = hero(app)
    assert shown["data-state"] == "replica"
    assert shown.find("time")["datetime"] == projection["computed_at"]
    assert "Up to date" not in shown.text

    # Whoever shows the figures in all says the same of them, also where a pooler stands between, that
    # tells a client what the first server told it, or nothing.
    reported = all_say(app)
    pooler = Pooler(standby.url)
    try:
        behind = open_app(pooler.url(standby.url), tmp_path / "pooled")
        with mock.patch.object(psycopg.ConnectionInfo, "parameter_status", return_value="off"):
            assert all_say(behind) == reported == {"stale"}
    finally:
        db.close()
        pooler.remove()
    app = open_app(standby.url, tmp_path / "copy")

    # A replica whose link is cut stays at what it has, and at its time.
    with psycopg.connect(standby.url, autocommit=True) as held:
        held.execute("SELECT pg_wal_replay_pause()")
        with Server(tmp_path / "one", DATABASE_URL=primary.url) as one:
            one.add_record("laptop")
        time.sleep(0.5)
        assert summary(app)["projection"] == projection
        assert summary(app)["record_count"] == 2
        held.execute("SELECT pg_wal_replay_resume()")
    until(lambda: summary(app)["record_count"] == 3)

    # It attempts no repair, and refuses what it can't do.
    with Server(tmp_path / "one", DATABASE_URL=primary.url) as one:
        one.run("mark-dirty")
    until(lambda: summary(app)["projection"]["stale_since"] != summary(app)["projection"]["computed_at"])
    assert app.extensions["auto_reconcile"].attempts == 0
    assert hero(app)["data-state"] in ("updating", "delayed")
    refused = app.test_client().post(
        "/v1/ingest/s?connector_id=c", data=b'{"key":"a","data":{}}', headers=BEARER
    )
    assert (refused.status_code, refused.get_json()["error"]["code"]) == (503, "storage_unavailable")

    # Promoted, it is a server like any other.
    standby.promote()
    until(lambda: summary(app)["projection"]["state"] == "fresh")
    assert hero(app)["data-state"] == "fresh"
    db.close()
