"""A pooler in transaction mode between us and the server: nothing of a session is relied on."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pdpp_ref import database, migrations
from pdpp_ref.canonical import retention
from pdpp_ref.database import (
    Busy,
    DatabaseUnusable,
    db,
    fetch_all,
    read_snapshot,
    using,
    write_transaction,
)
from pdpp_ref.database.postgres import Postgres
from pdpp_ref.database.preamble import split_options
from pdpp_ref.operations import transfer, verify
from pdpp_ref.services import reconcile, summary
from pdpp_ref.services.auto_reconcile import AutoReconcile
from pdpp_ref.services.cooldown import Cooldown
from tests.support import postgres
from tests.support.factories import DatabaseProbe, delete, fill, mark, statements, upsert, write
from tests.support.pooler import Pooler

pytestmark = pytest.mark.slow  # these start servers of their own

PROGRAM = str(Path(sys.executable).with_name("pdpp-ref"))


@pytest.fixture(scope="module")
def pooler(server: str) -> Iterator[Pooler]:
    """Fewer sessions than there are clients."""
    found = Pooler(server)
    yield found
    found.remove()


@pytest.fixture
def direct(server: str) -> Iterator[str]:
    with postgres.new_database(server, f"pooled_{os.getpid()}") as url:
        yield url


@pytest.fixture
def pooled(pooler: Pooler, direct: str) -> Iterator[str]:
    """The same database behind the pooler, opened; other clients have left settings in the sessions."""
    url = pooler.url(direct)
    spoil(url)
    database.connect(url, Path())
    migrations.prepare()
    yield url
    db.close()


def spoil(url: str, path: str = "pg_catalog") -> None:
    """In transaction mode what one client sets for its session is left to whoever comes next."""
    clients = [psycopg.connect(url) for _ in range(2)]  # in a transaction each, so on a session each
    for client in clients:
        for setting in (
            "lock_timeout = 0",
            "synchronous_commit = off",
            f"search_path = {path}",
            "default_transaction_isolation = 'serializable'",
            "row_security = on",
            "jit = on",
            "enable_bitmapscan = on",
            "DateStyle = 'SQL, DMY'",
            "IntervalStyle = 'sql_standard'",
            "bytea_output = 'escape'",
            "extra_float_digits = -15",
        ):
            client.execute(f"SET {setting}")
    for client in clients:
        client.commit()
        client.close()


def setting(name: str) -> str:
    return str(fetch_all("SELECT current_setting(?)", [name])[0][0])


def auto() -> AutoReconcile:
    return AutoReconcile(reconcile.Limits(), Cooldown(30))


@contextmanager
def thread_of_its_own(run: Callable[[], object]) -> Iterator[None]:
    failed: list[BaseException] = []

    def go() -> None:
        try:
            run()
        except BaseException as error:
            failed.append(error)
        finally:
            db.close()

    thread = threading.Thread(target=go)
    thread.start()
    yield
    thread.join(60)
    assert not failed
    assert not thread.is_alive()


# ---- what a transaction relies on --------------------------------------------------------------


def test_a_write_states_its_settings_and_leaves_none(pooled: str) -> None:
    for _ in range(4):
        with write_transaction():
            assert {name: setting(name) for name in WANTED} == WANTED | {
                "transaction_isolation": "read committed"
            }
        with read_snapshot():
            assert setting("transaction_isolation") == "repeatable read"
            assert setting("transaction_read_only") == "on"
            assert setting("lock_timeout") == "5s"
        spoil(pooled)
    assert write(upsert("a")).created == 1
    with psycopg.connect(pooled) as another:
        assert another.execute("SHOW lock_timeout").fetchone() == ("0",)
        assert another.execute("SHOW search_path").fetchone() == ("pg_catalog",)


WANTED = {
    "transaction_isolation": "read committed",
    "transaction_read_only": "off",
    "lock_timeout": "5s",
    "synchronous_commit": "on",
    "search_path": '"$user", public',
    "row_security": "off",
    "jit": "off",
    "enable_bitmapscan": "off",
}


def test_a_statement_of_its_own_has_them_too(pooled: str) -> None:
    assert setting("lock_timeout") == "5s"
    assert setting("synchronous_commit") == "on"
    assert setting("search_path") == '"$user", public'


def test_nothing_is_prepared_behind_a_pooler(pooled: str, direct: str) -> None:
    named = "SELECT COUNT(*) FROM pg_prepared_statements"
    for number in range(20):
        write(upsert(str(number)))
    assert fetch_all(named) == [(0,)]
    with using(database.from_url(direct, Path())):
        migrations.prepare()
        for number in range(20):
            write(upsert(str(number)))
        with read_snapshot():
            assert fetch_all(named)[0][0] > 5, "a session of our own is used as one"
        db.close()


@pytest.mark.parametrize("path", ["pg_catalog", "public, pg_temp"])
def test_a_session_that_was_our_own_and_is_not_any_more_is_noticed(pooled: str, path: str) -> None:
    """Whether or not its tables are found there."""
    db.connection().prepare_threshold = 5  # as where the process was ours in the transaction before
    spoil(pooled, path)
    with read_snapshot():
        assert setting("search_path") == '"$user", public'
        assert setting("transaction_isolation") == "repeatable read"
        assert db.connection().prepare_threshold is None


def test_a_beginning_is_one_round_trip(pooled: str) -> None:
    with read_snapshot():
        pass
    for begun in (read_snapshot, write_transaction):
        with statements() as seen, begun():
            pass
        assert len(seen) == 2, "with COMMIT"


def test_a_wait_for_a_lock_ends(pooled: str, direct: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdpp_ref.database.patience.LOCK_SECONDS", 0.2)
    monkeypatch.setattr("pdpp_ref.database.patience.LEAST_SECONDS", 0.1)
    write(upsert("a"))
    db.close()
    database.connect(pooled, Path())
    migrations.prepare()
    with psycopg.connect(direct) as holds:
        holds.execute("SELECT * FROM streams FOR UPDATE")
        with pytest.raises(Busy):
            write(upsert("b"))
    assert write(upsert("b")).created == 1


def test_a_session_that_ends_behind_the_pooler_is_not_missed(pooled: str, direct: str) -> None:
    write(upsert("a"))
    with psycopg.connect(direct, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert write(upsert("b")).created == 1


# ---- several at once ---------------------------------------------------------------------------


def a_source(number: int) -> None:
    """What an importer sends: new records, changes, deletes; in a connection of its own and in one of all."""
    for batch in range(12):
        keys = [f"{number}-{batch}-{each}" for each in range(5)]
        write(*(upsert(key) for key in keys), connection=f"own{number}")
        write(upsert(keys[0], {"by": number}), delete(keys[1]), connection=f"own{number}")
        write(*(upsert(key, stream=f"s{each % 3}") for each, key in enumerate(keys)), connection="shared")


def a_reader(ended: threading.Event) -> None:
    """Statements of different clients are never mixed: each gets its own answer."""
    attempts, last = auto(), 0
    while not ended.is_set():
        mine = str(threading.get_ident())
        assert fetch_all("SELECT ?::text", [mine]) == [(mine,)]
        found = summary.read(attempts)
        assert found.totals.record_count >= 0
        with read_snapshot():
            (counted,) = fetch_all("SELECT COUNT(*) FROM record_changes")[0]
            assert counted == fetch_all("SELECT COUNT(*) FROM record_changes")[0][0]
        assert counted >= last
        last = counted


def stored() -> list[tuple[Any, ...]]:
    return fetch_all(
        "SELECT connector_instance_id, name, key, data FROM records JOIN streams s ON s.id = stream_id "
        "JOIN connections c ON c.id = connection_id ORDER BY 1, 2, 3"
    )


def test_importers_readers_and_reconciles_at_once_end_as_without_a_pooler(
    pooled: str, server: str, direct: str
) -> None:
    ended = threading.Event()

    def marks() -> None:
        while not ended.is_set():
            mark()
            reconcile.run_until_fresh()

    with (
        thread_of_its_own(marks),
        thread_of_its_own(lambda: a_reader(ended)),
        thread_of_its_own(lambda: a_reader(ended)),
        ThreadPoolExecutor(4) as importers,
    ):
        try:
            list(importers.map(a_source, range(4)))
        finally:
            ended.set()
    retention.prune(1)
    reconcile.run_until_fresh()
    assert list(verify.differences()) == []
    with DatabaseProbe(direct) as probe:
        assert probe.wrong_but_clean() == []
    found = stored()
    with (
        postgres.new_database(server, f"plain_{os.getpid()}") as url,
        using(database.from_url(url, Path())),
    ):
        migrations.prepare()
        for number in range(4):
            a_source(number)
        assert stored() == found
        db.close()


def test_a_copy_goes_through_a_pooler_both_ways(pooler: Pooler, pooled: str, server: str) -> None:
    fill(500)
    with postgres.new_database(server, f"copied_{os.getpid()}") as url:
        target = database.from_url(pooler.url(url), Path())
        transfer.copy(target)
        with using(target):
            migrations.prepare()
            assert fetch_all("SELECT COUNT(*) FROM records") == [(500,)]
            assert list(verify.differences()) == []
        target.close()


def test_the_commands_work_there(pooled: str) -> None:
    fill(20)
    for arguments, reported in ((("verify",), "No differences.\n"), (("reconcile",), "")):
        done = subprocess.run(
            [PROGRAM, *arguments],
            env=os.environ | {"PDPP_DATABASE_URL": pooled},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, reported in done.stdout) == (0, True), done


# ---- settings of the URL -----------------------------------------------------------------------


def test_each_owners_schema_is_its_own(pooler: Pooler, direct: str) -> None:
    """`search_path` comes with the URL; neither a pooler nor a connection is asked to keep it."""
    url = pooler.url(direct)
    owners: list[Any] = []
    for name in ("owner_1", "Owner 2"):
        with psycopg.connect(direct, autocommit=True) as admin:
            admin.execute(f'CREATE SCHEMA "{name}"')
        quoted = name if name == name.lower() else f"%22{name.replace(' ', '%5C%20')}%22"
        owners.append(database.from_url(f"{url}&options=-c%20search_path%3D{quoted}", Path()))
        with using(owners[-1]):
            migrations.prepare()
    for number in range(5):
        for which, owner in enumerate(owners):
            with using(owner):
                write(upsert(f"{which}-{number}"))
    for which, owner in enumerate(owners):
        with using(owner):
            assert [key for _, _, key, _ in stored()] == [f"{which}-{number}" for number in range(5)]
            assert list(verify.differences()) == []
            owner.close()


@pytest.mark.parametrize(
    ("options", "settings", "rest"),
    [
        ("-c search_path=a", (("search_path", "a"),), ""),
        ("-csearch_path=a,b --jit=off", (("search_path", "a,b"), ("jit", "off")), ""),
        (r"-c search_path=a,\ b", (("search_path", "a, b"),), ""),
        ("--work-mem=64MB", (("work_mem", "64MB"),), ""),
        ("endpoint=ep-cool-1", (), "endpoint=ep-cool-1"),
        (r"project=a\ b -c x.y=1", (("x.y", "1"),), r"project=a\ b"),
        ("", (), ""),
    ],
)
def test_options_are_split_as_the_server_splits_them(
    options: str, settings: tuple[tuple[str, str], ...], rest: str
) -> None:
    assert split_options(options) == (settings, rest)


@pytest.mark.parametrize("options", ["-c search_path", "-c a;b=1", "-c =1", "-c x=\\"])
def test_options_that_are_no_settings_are_refused(options: str) -> None:
    with pytest.raises(DatabaseUnusable, match="options"):
        split_options(options)


@pytest.mark.parametrize(
    ("value", "wanted"), [("it's", "it's"), ("a\\b", "a\\b"), ('"A b", c', '"A b", c'), ("", '""')]
)
def test_a_value_arrives_as_it_is(direct: str, value: str, wanted: str) -> None:
    found = Postgres({"conninfo": direct, "options": ""})
    name = "search_path" if '"' in wanted else "pdpp.test"
    found._preamble = type(found._preamble)(((name, value),))
    with using(found):
        assert setting(name) == wanted
        db.close()
