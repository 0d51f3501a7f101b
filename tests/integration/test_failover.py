"""Waiting for another server to take over: at a start, in an import, and in a statement that gets no answer."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import peewee
import psycopg
import pytest

from pdpp_ref import config, database, startup
from pdpp_ref.canonical import importer, records, retrying
from pdpp_ref.database import (
    DatabaseUnavailable,
    DatabaseUnusable,
    connecting,
    db,
    driver,
    fetch_value,
    impatient,
    write_transaction,
)
from pdpp_ref.operations import verify
from tests.support import command, postgres
from tests.support.factories import fill, upsert, write
from tests.support.pooler import Pooler

pytestmark = [pytest.mark.only("postgres"), pytest.mark.slow]

LINE = b'{"type":"RECORD","stream":"notes","key":"%d","data":{}}'


@pytest.fixture(scope="module")
def own() -> Iterator[postgres.Server]:
    """A server for tests that stop it."""
    if not postgres.binaries():
        pytest.skip("a server that tests may stop needs PostgreSQL's programs on this machine")
    server = postgres.Server(**postgres.QUICK)
    yield server
    server.remove()


@pytest.fixture
def url(own: postgres.Server) -> Iterator[str]:
    with postgres.new_database(own.url, "pdpp") as found:
        yield found
        db.close()
        own.start() if not own.running() else None


@pytest.fixture(autouse=True)
def brief_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(retrying, "AGAIN_SECONDS", 0.05)


@contextmanager
def away(own: postgres.Server, seconds: float) -> Iterator[None]:
    """The server is away for so long from now on."""
    own.stop("immediate")
    timer = threading.Timer(seconds, own.start)
    timer.start()
    try:
        yield
    finally:
        timer.join()


def settings(url: str, wait: float) -> config.Settings:
    return config.Settings.load({"DATABASE_URL": url, "DATABASE_WAIT_SECONDS": int(wait)})


def work(seconds: float) -> importer.Importer:
    return importer.Importer(
        records.Target("laptop", "files"), lambda _: None, lambda _: None, outage_seconds=seconds
    )


# ---- at a start --------------------------------------------------------------------------------


def test_a_start_waits_for_the_server(own: postgres.Server, url: str) -> None:
    with away(own, 1):
        startup.open_database(settings(url, 30))
    assert fetch_value("SELECT version FROM pdpp_ref_schema")


def test_a_start_gives_up_after_its_time_and_says_why(url: str, own: postgres.Server) -> None:
    own.stop("immediate")
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match="no PostgreSQL server answers"):
        startup.open_database(settings(url, 1))
    assert 1 <= time.monotonic() - began < 5


def test_what_waiting_does_not_change_is_reported_at_once(url: str) -> None:
    with pytest.raises(DatabaseUnusable, match="the user or the database") as raised:
        startup.open_database(settings(url.replace("/pdpp?", "/nothing?"), 30))
    assert not isinstance(raised.value, DatabaseUnavailable)


def test_a_command_without_a_server_ends_with_3(url: str, own: postgres.Server, tmp_path: Path) -> None:
    own.stop("immediate")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PDPP_")}
    environment |= {"PDPP_DATABASE_URL": url, "PDPP_DATABASE_WAIT_SECONDS": "1"}
    environment["PDPP_INSTANCE_PATH"] = str(tmp_path)
    done = command.run("import", "--connection", "laptop", env=environment, stdin=LINE % 1)
    assert done.returncode == 3
    reported = done.stderr.decode().splitlines()
    assert "waiting for up to 1 s" in reported[0]
    assert "Error: no PostgreSQL server answers" in reported[-1]
    assert len(reported) == 2, "it says once that it waits"


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("connection failed: session is read-only", "none of the hosts"),
        ("connection failed: server is in hot standby mode", "none of the hosts"),
        (
            "FATAL: server login has been failing, try again later (server_login_retry)",
            "the pooler reaches",
        ),
        ("FATAL: query_wait_timeout", "the pooler reaches"),
        ("FATAL: no more connections allowed (max_client_conn)", "accepts no more connections"),
    ],
)
def test_a_failover_is_not_reported_as_a_wrong_address(url: str, text: str, reported: str) -> None:
    why = driver.why_unusable(psycopg.OperationalError(text), None, psycopg.conninfo.conninfo_to_dict(url))
    assert isinstance(why, DatabaseUnavailable)
    assert reported in str(why)


def test_a_pooler_in_statement_mode_is_refused(own: postgres.Server, url: str) -> None:
    pooler = Pooler(own.url, mode="statement")
    try:
        with pytest.raises(DatabaseUnusable, match="set its pool_mode to transaction or session"):
            startup.open_database(settings(pooler.url(url), 30))
    finally:
        db.close()
        pooler.remove()


# ---- in an import ------------------------------------------------------------------------------


def test_an_import_waits_for_the_server_and_stores_all(own: postgres.Server, url: str) -> None:
    startup.open_database(settings(url, 0))

    def lines() -> Iterator[bytes | None]:
        for number in range(3):
            yield LINE % number
            yield None
        with away(own, 1):
            yield LINE % 3
            yield None

    assert work(30).run(lines()).counts.created == 4
    assert fetch_value("SELECT COUNT(*) FROM record_changes") == 4
    assert list(verify.differences()) == []


def test_an_import_waits_while_the_database_is_read_only(own: postgres.Server, url: str) -> None:
    """As one that has become a replica, until another server is reached."""
    startup.open_database(settings(url, 0))
    set_to = "ALTER DATABASE pdpp SET default_transaction_read_only = {}"
    with psycopg.connect(own.url, autocommit=True) as admin:
        admin.execute(set_to.format("on"))
        db.close()
        timer = threading.Timer(0.5, admin.execute, [set_to.format("off")])
        timer.start()
        assert work(30).run([LINE % 1]).counts.created == 1
        timer.join()


def test_an_import_gives_up_after_its_time(own: postgres.Server, url: str) -> None:
    startup.open_database(settings(url, 0))
    own.stop("immediate")
    began = time.monotonic()
    with pytest.raises(importer.StorageUnavailable, match="the database can't be reached"):
        work(1).run([LINE % 1])
    assert 1 <= time.monotonic() - began < 5


def test_a_request_does_not_wait_for_the_server(own: postgres.Server, url: str) -> None:
    startup.open_database(settings(url, 0))
    own.stop("immediate")
    began = time.monotonic()
    with impatient(), pytest.raises(importer.StorageUnavailable):
        work(0).run([LINE % 1])
    assert time.monotonic() - began < 1


def test_an_answer_that_was_lost_is_sent_again_and_changes_nothing(
    own: postgres.Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit is stored, and its answer does not arrive."""
    startup.open_database(settings(url, 0))
    commit, lost = db.obj.commit, []

    class Lost(peewee.OperationalError):
        orig = psycopg.OperationalError("the connection is lost")

    def commit_once_without_answer() -> None:
        commit()
        if not lost:
            lost.append(True)
            raise Lost

    monkeypatch.setattr(db.obj, "commit", commit_once_without_answer)
    counts = work(30).run([LINE % 1, LINE % 2]).counts
    assert lost
    assert (counts.created, counts.unchanged) == (0, 2)
    assert fetch_value("SELECT COUNT(*) FROM record_changes") == 2
    assert list(verify.differences()) == []


# ---- in a statement ----------------------------------------------------------------------------


@pytest.fixture
def curious(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "CHECK_SECONDS", 0.3)
    monkeypatch.setattr(connecting, "SILENT_SECONDS", 1.0)


def sleep_as(process: int | None, seconds: float) -> None:
    """In a transaction that runs, as far as the connection knows, in another process of the server."""
    with write_transaction():
        db.connection().process = process
        fetch_value(f"SELECT 1 FROM pg_sleep({seconds})")


@pytest.mark.usefixtures("curious", "app")
def test_a_long_statement_of_a_command_may_take_its_time() -> None:
    with write_transaction():
        assert fetch_value("SELECT 1 FROM pg_sleep(1.5)") == 1


@pytest.mark.usefixtures("curious", "app")
def test_a_statement_on_a_server_that_was_replaced_ends() -> None:
    """The new primary has no process of that number."""
    began = time.monotonic()
    with pytest.raises(peewee.OperationalError) as raised:
        sleep_as(2**30, 20)
    assert database.problem(raised.value) == "unreachable"
    assert time.monotonic() - began < 5
    assert fetch_value("SELECT 1") == 1


@pytest.mark.usefixtures("curious", "app")
def test_a_beginning_that_gets_no_answer_ends() -> None:
    """Of a transaction at a pooler: nobody knows which server would run it."""
    began = time.monotonic()
    with pytest.raises(peewee.OperationalError):
        sleep_as(None, 20)
    assert time.monotonic() - began < 5


@pytest.mark.usefixtures("curious", "app")
def test_a_long_statement_on_a_replica_may_take_its_time() -> None:
    sleep_as(connecting.OF_REPLICA, 1.5)


@pytest.mark.usefixtures("app")
def test_after_an_answer_that_never_came_other_connections_are_replaced() -> None:
    """They may be to the same server; it may answer again, and be no primary any more."""
    fill(1)
    before = db.connection()

    def wait_in_vain() -> None:
        with pytest.raises(peewee.OperationalError), impatient(0.5):
            fetch_value("SELECT pg_sleep(20)")
        db.close()

    thread = threading.Thread(target=wait_in_vain)
    thread.start()
    thread.join(30)
    write(upsert("b"))
    assert db.connection() is not before
