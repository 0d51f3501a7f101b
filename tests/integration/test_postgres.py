"""A PostgreSQL server that refuses, restarts, is full or cuts connections; locks; and what must sort alike."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import peewee
import psycopg
import pytest
from flask import Flask

from pdpp_ref import create_app, database, migrations
from pdpp_ref.database import db, fetch_all
from pdpp_ref.operations import verify
from pdpp_ref.services.reconcile import Limits, run_pass
from tests.conftest import Backend
from tests.support import postgres
from tests.support.factories import PASSWORD, TOKEN, DatabaseProbe, fill, mark, upsert, write

pytestmark = pytest.mark.slow  # these start servers of their own

COMMAND = str(Path(sys.executable).with_name("pdpp-ref"))
SECRET = "s3cret-of-the-database"


@pytest.fixture(scope="module")
def own() -> Iterator[postgres.Server]:
    """A server for tests that stop it; it has few connections, and keeps what it acknowledges."""
    if not postgres.binaries() and os.environ.get(postgres.NAMED):
        pytest.skip("a server that tests may stop needs PostgreSQL's programs on this machine")
    server = postgres.Server(max_connections="12", superuser_reserved_connections="2")
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE locked LOGIN PASSWORD '{SECRET}'")
        admin.execute("CREATE ROLE ordinary LOGIN")
    yield server
    server.remove()


@pytest.fixture
def url(own: postgres.Server) -> Iterator[str]:
    with postgres.new_database(own.url, "pdpp"):
        with psycopg.connect(own.url_of("pdpp", "pdpp"), autocommit=True) as admin:
            admin.execute("GRANT ALL ON SCHEMA public TO ordinary, locked")
        yield own.url_of("ordinary", "pdpp")
        own.start() if not own.running() else None


@pytest.fixture
def serving(url: str) -> Iterator[Callable[[], int]]:
    """Asks an application for its summary; returns the status."""
    app = create_app({"DATABASE_URL": url, "OWNER_PASSWORD": PASSWORD, "OPERATOR_TOKEN": TOKEN})

    def ask() -> int:
        header = {"Authorization": f"Bearer {TOKEN}"}
        answer = app.test_client().get("/_ref/dataset/summary", headers=header)
        if answer.status_code != 200:
            assert answer.status_code == 503
            assert answer.get_json()["error"]["code"] == "storage_unavailable"
        return answer.status_code

    yield ask
    db.close()


# ---- at start ----------------------------------------------------------------------------------


def run(url: str, *arguments: str, program: tuple[str, ...] = (COMMAND,), code: int = 2) -> str:
    """The one line that a command ends with, if it does not wait for a server."""
    done = subprocess.run(
        [*program, *(arguments or ("summary",))],
        env=os.environ | {"PDPP_DATABASE_URL": url, "PDPP_DATABASE_WAIT_SECONDS": "0"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (code, ""), done
    assert done.stderr.count("\n") == 1, done.stderr
    assert SECRET not in done.stderr
    assert "wrong-secret" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        (("ordinary@", "locked:wrong-secret@"), "refuses the user or the password"),
        (("ordinary@", "locked@"), "refuses the user or the password"),
        (("ordinary@", "nobody@"), "refuses the user or the database"),
        (("/pdpp?", "/nothing?"), "refuses the user or the database"),
        (("pdpp-pg-", "nowhere-"), "no PostgreSQL server answers"),
        (
            ("ordinary@/pdpp?host=", "locked:wrong-secret@127.0.0.1:1/pdpp?host=127.0.0.1&x="),
            "is not a PostgreSQL URL",
        ),
        (("/pdpp?host=", "/pdpp?host=127.0.0.1&port=1&application_name="), "no PostgreSQL server answers"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_line_without_the_password(
    url: str, change: tuple[str, str], reported: str
) -> None:
    code = 3 if "answers" in reported else 2
    assert reported in run(url.replace(*change), code=code)


def test_the_right_password_is_used(own: postgres.Server, url: str) -> None:
    locked = url.replace("ordinary@", f"locked:{SECRET}@")
    database.connect(locked, Path())
    with db.connection_context():
        assert fetch_all("SELECT current_user") == [("locked",)]


def test_a_database_of_others_is_left_alone(own: postgres.Server, url: str) -> None:
    with psycopg.connect(own.url_of("pdpp", "pdpp"), autocommit=True) as admin:
        admin.execute("CREATE TABLE theirs (x text)")
    assert "tables of another program" in run(url)
    with psycopg.connect(url) as look:
        assert look.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall() == [
            ("theirs",)
        ]


def test_a_user_who_may_not_create_tables_is_reported(own: postgres.Server, url: str) -> None:
    with psycopg.connect(own.url_of("pdpp", "pdpp"), autocommit=True) as admin:
        admin.execute("REVOKE ALL ON SCHEMA public FROM ordinary")
    assert "grant it CREATE on the schema" in run(url)


def test_another_encoding_is_refused(own: postgres.Server) -> None:
    with psycopg.connect(own.url, autocommit=True) as admin:
        admin.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    try:
        assert "encoding is not UTF8" in run(own.url_of("pdpp", "latin"))
    finally:
        with psycopg.connect(own.url, autocommit=True) as admin:
            admin.execute("DROP DATABASE latin WITH (FORCE)")


def test_a_driver_that_is_missing_is_one_line() -> None:
    hidden = "import sys; sys.modules['psycopg'] = None; from pdpp_ref.cli.main import main; main()"
    reported = run("postgresql://somebody@localhost/x", "summary", program=(sys.executable, "-c", hidden))
    assert "pip install 'pdpp-ref[postgres]'" in reported


def test_a_password_with_odd_characters_is_understood() -> None:
    from pdpp_ref.database import postgres as module

    found = module.from_url("postgres://us%40er:p%2F%40ss@/db?host=%2Ftmp%2Fx&sslmode=disable")
    assert found._settings["password"] == "p/@ss"
    assert found._settings["host"] == "/tmp/x"
    assert "p/@ss" not in repr(found)


# ---- a server that comes and goes --------------------------------------------------------------


def test_a_restart_of_the_server_needs_none_of_ours(
    own: postgres.Server, serving: Callable[[], int]
) -> None:
    fill(10)
    assert serving() == 200
    own.stop("immediate")
    assert [serving(), serving()] == [503, 503]
    own.start()
    assert [serving(), serving()] == [200, 200]
    assert list(verify.differences()) == []


def test_a_restart_between_two_requests_is_not_even_noticed(
    own: postgres.Server, serving: Callable[[], int]
) -> None:
    assert serving() == 200
    own.stop("fast")
    own.start()
    assert serving() == 200


def test_a_connection_that_was_cut_is_replaced(own: postgres.Server, serving: Callable[[], int]) -> None:
    assert serving() == 200
    cut_all(own)
    assert serving() == 200
    cut_all(own)
    assert write(upsert("a")).created == 1


def cut_all(own: postgres.Server) -> None:
    with psycopg.connect(own.url_of("pdpp", "pdpp"), autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = 'pdpp' AND pid <> pg_backend_pid()"
        )


@pytest.mark.usefixtures("serving")
@pytest.mark.parametrize("row", [50, 250])
def test_a_connection_cut_among_rows_leaves_nothing_and_the_retry_is_whole(
    own: postgres.Server,
    row: int,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While many rows are sent, most of them after the cut."""
    changes = [upsert(f"key {number}", "x" * 100_000) for number in range(200)]
    write_row, left = psycopg.Copy.write_row, row

    def cut(self: psycopg.Copy, values: Sequence[object]) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            cut_all(own)
        write_row(self, values)

    monkeypatch.setattr(psycopg.Copy, "write_row", cut)
    with pytest.raises(peewee.DatabaseError):
        write(*changes)
    assert write(*changes).created == len(changes)
    assert list(verify.differences()) == []
    assert not caplog.records, "the driver warns of what is reported anyway"


@pytest.mark.usefixtures("serving")
@pytest.mark.parametrize("statement", range(1, 15))
def test_a_connection_cut_in_a_write_leaves_nothing_and_the_retry_is_whole(
    own: postgres.Server, statement: int
) -> None:
    from tests.support.factories import traced

    write(upsert("a"), upsert("p", stream="photos"))
    left = statement

    def cut(_: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            cut_all(own)

    with traced(cut):
        try:
            write(upsert("a", "new"), upsert("b", stream="new"))
        except peewee.DatabaseError as error:
            assert database.problem(error) == "unreachable"
            assert fetch_all("SELECT COUNT(*) FROM record_changes") == [(2,)]
    write(upsert("a", "new"), upsert("b", stream="new"))
    assert fetch_all("SELECT COUNT(*) FROM record_changes") == [(4,)]
    assert list(verify.differences()) == []


def test_a_server_without_a_free_connection_is_a_plain_error_until_there_is_one(
    own: postgres.Server, url: str, serving: Callable[[], int]
) -> None:
    db.close()
    with ExitStack() as others:
        try:
            for _ in range(20):
                others.enter_context(psycopg.connect(url))
        except psycopg.OperationalError:
            pass
        assert serving() == 503
        assert "accepts no more connections" in run(url, code=3)
    until = time.monotonic() + 10
    while serving() != 200:
        assert time.monotonic() < until


# ---- defaults of a role ------------------------------------------------------------------------


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_writers_at_once_under_any_default_isolation_leave_right_totals(
    own: postgres.Server, url: str, isolation: str
) -> None:
    """Under the role's own default each would add to a total of before it had the lock of it."""
    with psycopg.connect(own.url_of("pdpp", "pdpp"), autocommit=True) as admin:
        admin.execute(f"ALTER ROLE ordinary SET default_transaction_isolation = '{isolation}'")
    try:
        app = create_app({"DATABASE_URL": url, "OWNER_PASSWORD": PASSWORD, "OPERATOR_TOKEN": TOKEN})
        write(upsert("first"))

        def work(number: int) -> None:
            for each in range(25):
                write(upsert(f"{number}-{each}", stream=f"s{each % 2}"), connection=f"c{number % 2}")
            db.close()

        with ThreadPoolExecutor(4) as writers:
            list(writers.map(work, range(4)))
        header = {"Authorization": f"Bearer {TOKEN}"}
        body = app.test_client().get("/_ref/dataset/summary", headers=header).get_json()
        assert (body["projection"]["state"], body["record_count"]) == ("fresh", 101)
        with DatabaseProbe(url) as probe:
            assert probe.wrong_but_clean() == []
    finally:
        db.close()
        with psycopg.connect(own.url_of("pdpp", "pdpp"), autocommit=True) as admin:
            admin.execute("ALTER ROLE ordinary RESET ALL")


@pytest.mark.usefixtures("serving")
def test_rows_that_a_policy_would_hide_are_an_error_and_not_wrong_figures(
    own: postgres.Server, url: str
) -> None:
    fill(3)
    db.close()
    with psycopg.connect(own.url_of("pdpp", "pdpp"), autocommit=True) as admin:
        admin.execute("ALTER TABLE retained_size_global ENABLE ROW LEVEL SECURITY")
        admin.execute("ALTER TABLE retained_size_global FORCE ROW LEVEL SECURITY")
    with pytest.raises(peewee.DatabaseError) as refused:
        fetch_all("SELECT * FROM retained_size_global")
    assert database.problem(refused.value) == "forbidden"


@pytest.mark.usefixtures("serving")
def test_a_role_that_is_read_only_is_a_plain_error(own: postgres.Server, url: str) -> None:
    db.close()
    with psycopg.connect(own.url_of("pdpp", "pdpp"), autocommit=True) as admin:
        admin.execute("ALTER ROLE ordinary SET default_transaction_read_only = on")
    try:
        with pytest.raises(peewee.DatabaseError) as refused:
            write(upsert("a"))
        assert database.problem(refused.value) == "read_only"
    finally:
        db.close()
        with psycopg.connect(own.url_of("pdpp", "pdpp"), autocommit=True) as admin:
            admin.execute("ALTER ROLE ordinary RESET ALL")


def test_a_child_process_opens_a_connection_of_its_own(backend: Backend, app: Flask) -> None:
    fill(3)
    connection = db.connection()
    child = os.fork()
    if not child:
        try:
            own_connection = db.connection() is not connection
            counted = fetch_all("SELECT COUNT(*) FROM records") == [(3,)]
            db.close()
        finally:
            os._exit(0 if own_connection and counted else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert db.connection() is connection
    assert fetch_all("SELECT COUNT(*) FROM records") == [(3,)]


def test_a_reads_pass_that_is_lost_with_the_power_is_made_again() -> None:
    server = postgres.Server(wal_writer_delay="10s")  # until then, only a commit that waits is on the disk
    try:
        with postgres.new_database(server.url, "pdpp") as url:
            database.connect(url, Path())
            migrations.prepare()
            write(upsert("a"))
            mark()
            assert run_pass(Limits(), wait=False).fresh
            db.close()
            server.stop("immediate")
            server.start()
            with DatabaseProbe(url) as probe:
                assert probe("SELECT key FROM records") == [("a",)]
                assert probe("SELECT dirty FROM retained_size_global") == [(True,)]
            assert run_pass(Limits(), wait=False).fresh
            assert list(verify.differences()) == []
            db.close()
    finally:
        server.remove()
