"""Opening, creating and migrating a database."""

import os
import subprocess
import sys
import threading
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import apsw
import peewee
import pytest

from pdpp_ref import database, migrations
from pdpp_ref.canonical import retention
from pdpp_ref.database import DatabaseUnusable, db, fetch_all
from pdpp_ref.migrations import days
from pdpp_ref.operations import verify
from pdpp_ref.queries import growth
from pdpp_ref.services import reconcile
from tests.support import postgres
from tests.support.factories import (
    Calendar,
    DatabaseProbe,
    assert_sized_and_ranked,
    fill,
    ids,
    mark,
    statements,
    upsert,
    write,
)
from tests.support.schema_sql import URLS, file_of, schema

DATABASES = Path(__file__).parents[1] / "databases"


@pytest.fixture
def opened(tmp_path: Path) -> None:
    database.connect(f"sqlite:///{tmp_path}/test.sqlite3", tmp_path)
    migrations.prepare()


def tables() -> list[str]:
    return sorted(name for (name,) in fetch_all("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"))


@pytest.mark.usefixtures("opened")
class TestOpened:
    def test_the_driver_is_past_the_corruption_bug(self) -> None:
        version = fetch_all("SELECT sqlite_version()")[0][0]
        assert tuple(map(int, version.split("."))) >= (3, 51, 3)

    @pytest.mark.parametrize(
        ("pragma", "value"),
        [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 5000)],
    )
    @pytest.mark.durable
    def test_every_connection_has_the_pragmas(self, pragma: str, value: object) -> None:
        found = []
        thread = threading.Thread(target=lambda: found.append(fetch_all(f"PRAGMA {pragma}")) or db.close())
        thread.start()
        thread.join()
        assert found == [[(value,)]]

    def test_a_write_holds_the_lock_from_its_first_statement(self) -> None:
        """One that reads first, and then asks for the lock, is refused at once where another has it."""
        with statements() as seen, database.write_transaction():
            pass
        assert seen[0] == "BEGIN IMMEDIATE"

    def test_tables_are_strict_and_foreign_keys_hold(self) -> None:
        assert all("STRICT" in sql for sql in tables() if sql.startswith("CREATE TABLE"))
        with pytest.raises(Exception, match="FOREIGN KEY"):
            db.execute_sql(
                "INSERT INTO streams (connection_id, name, last_version, created_at) VALUES (99, 'x', 0, 'now')"
            )

    def test_opening_again_changes_nothing(self, tmp_path: Path) -> None:
        fill(3)
        before = tables()
        database.connect(f"sqlite:///{tmp_path}/test.sqlite3", tmp_path)
        migrations.prepare()
        assert tables() == before
        assert list(verify.differences()) == []

    def test_an_older_database_is_migrated_step_by_step_and_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill(3)
        steps: list[int] = []
        new = [migrations.CURRENT + 1, migrations.CURRENT + 2]
        for version in new:
            monkeypatch.setitem(migrations.MIGRATIONS, version, lambda v=version: steps.append(v))
        monkeypatch.setattr(migrations, "CURRENT", new[-1])
        migrations.prepare()
        migrations.prepare()
        assert steps == new
        assert fetch_all("SELECT version FROM pdpp_ref_schema") == [(new[-1],)]
        assert list(verify.differences()) == []

    def test_a_migration_that_fails_leaves_the_old_version(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail() -> None:
            db.execute_sql("CREATE TABLE half_done (x TEXT)")
            raise RuntimeError

        before = migrations.CURRENT
        monkeypatch.setitem(migrations.MIGRATIONS, before + 1, fail)
        monkeypatch.setattr(migrations, "CURRENT", before + 1)
        with pytest.raises(RuntimeError):
            migrations.prepare()
        assert fetch_all("SELECT version FROM pdpp_ref_schema") == [(before,)]
        assert not [sql for sql in tables() if "half_done" in sql]


@pytest.mark.parametrize("version", range(migrations.OLDEST, migrations.CURRENT))
def test_a_database_of_an_earlier_version_opens_and_recovers(version: int, tmp_path: Path) -> None:
    """`tests/databases` has one as each earlier version wrote it, with a marked stream."""
    with DatabaseProbe(tmp_path / "test.sqlite3") as probe:
        probe.db.execute((DATABASES / f"schema-{version}.sql").read_text())
        records = probe("SELECT stream_id, key, data FROM records ORDER BY 1, 2")
    database.connect(f"sqlite:///{tmp_path}/test.sqlite3", tmp_path)
    migrations.prepare()
    assert fetch_all("SELECT stream_id, key, data FROM records ORDER BY 1, 2") == records
    assert [found for found in verify.differences() if not found.dirty] == []
    reconcile.run_until_fresh()
    assert list(verify.differences()) == []
    with DatabaseProbe(tmp_path / "test.sqlite3") as probe:
        assert_sized_and_ranked(probe)
    migrated = layout()
    db.close()
    database.connect(f"sqlite:///{tmp_path}/new.sqlite3", tmp_path)
    migrations.prepare()
    assert layout() == migrated
    fill(3)
    retention.prune(1)
    assert list(verify.differences()) == []


@pytest.mark.parametrize("version", range(migrations.OLDEST, migrations.CURRENT))
def test_a_postgresql_database_of_an_earlier_version_opens_and_is_as_a_new_one(
    version: int, server: str, tmp_path: Path
) -> None:
    with postgres.new_database(server, f"old_{os.getpid()}") as url:
        with DatabaseProbe(url) as probe:
            probe((DATABASES / f"schema-{version}-postgres.sql").read_text())
            probe("SET search_path = public")
            records = probe("SELECT stream_id, key, data FROM records ORDER BY 1, 2")
        database.connect(url, tmp_path)
        migrations.prepare()
        assert fetch_all("SELECT stream_id, key, data FROM records ORDER BY 1, 2") == records
        assert [found for found in verify.differences() if not found.dirty] == []
        reconcile.run_until_fresh()
        assert list(verify.differences()) == []
        migrated = layout_of_postgres()
        db.close()
    with postgres.new_database(server, f"new_{os.getpid()}") as url:
        database.connect(url, tmp_path)
        migrations.prepare()
        assert layout_of_postgres() == migrated
        db.close()


@pytest.mark.usefixtures("app")
def test_days_of_schema_2_are_linked_only_where_they_are_proven(
    calendar: type[Calendar], probe: DatabaseProbe
) -> None:
    """It recorded none while rows were dirty: a later day seemed to follow an earlier one."""
    start = calendar.moment
    for day in range(0, 30, 3):
        calendar.moment = start + timedelta(days=day)
        if day in (9, 12):
            mark("laptop", "notes")
        write(upsert(f"{day}"))
        if day in (9, 15):
            reconcile.run_until_fresh()
    for grain in ("stream", "connection", "global"):
        probe(f"DELETE FROM retained_size_{grain}_days WHERE unknown")
        probe(f"UPDATE retained_size_{grain}_days SET previous_generation = 0, generation = 0")
        probe(f"UPDATE retained_size_{grain} SET generation = 0")
    probe("DELETE FROM retained_size_stream_days")
    calendar.moment = start + timedelta(days=40)
    with database.exclusive_transaction():
        days.number_days()
    row = ids("laptop", "notes")
    for found in (growth.days(90), growth.days(90, row["connection"])):
        known = [(date.fromisoformat(each.day) - start.date()).days for each in found if each.total]
        assert known == [0, 3, 6, 9, 15, 18, 21, 24, 27]
        unknown = [
            (date.fromisoformat(each.day) - start.date()).days for each in found if each.parts is None
        ]
        assert unknown[-1] == 12
    assert [each.total is None for each in growth.days(90, stream_id=row["id"])] == [False, True, False]
    assert list(verify.differences()) == []
    calendar.moment = start + timedelta(days=41)
    write(upsert("later"))
    assert growth.days(90)[-2].total == growth.days(90, stream_id=row["id"])[-2].total
    assert list(verify.differences()) == []


@pytest.mark.parametrize("dialect", URLS)
def test_the_documented_schema_is_current(dialect: str) -> None:
    assert file_of(dialect).read_text() == schema(dialect), "run: python -m tests.support.schema_sql"


def test_the_documented_schema_creates_the_tables_of_sqlite(tmp_path: Path) -> None:
    with DatabaseProbe(tmp_path / "documented.sqlite3") as probe:
        probe.db.execute(file_of("sqlite").read_text())
    found = []
    for name in ("documented", "new"):
        database.connect(f"sqlite:///{tmp_path}/{name}.sqlite3", tmp_path)
        if name == "new":
            migrations.prepare()
        found.append(layout())
        db.close()
    assert found[0] == found[1]


def test_the_documented_schema_creates_the_tables_of_postgresql(server: str, tmp_path: Path) -> None:
    found = []
    for name in ("documented", "new"):
        with postgres.new_database(server, f"{name}_{os.getpid()}") as url:
            if name == "documented":
                with DatabaseProbe(url) as probe:
                    probe(file_of("postgres").read_text())
            database.connect(url, tmp_path)
            if name == "new":
                migrations.prepare()
            found.append(layout_of_postgres())
            db.close()
    assert found[0] == found[1]


def layout_of_postgres() -> dict[str, object]:
    """Columns and indexes, in whatever order they were made."""
    of_ours = "table_schema = 'public' ORDER BY 1, 2"
    columns = "table_name, column_name, data_type, is_nullable, column_default, collation_name"
    return {
        "columns": fetch_all(f"SELECT {columns} FROM information_schema.columns WHERE {of_ours}"),
        "indexes": fetch_all("SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"),
        "constraints": fetch_all(
            "SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2"
        ),
    }


def layout() -> dict[str, object]:
    """Columns and indexes, in whatever order they were made."""
    names = [name for (name,) in fetch_all("SELECT name FROM sqlite_master WHERE type = 'table'")]
    columns = 'name, type, "notnull", dflt_value, pk'
    tables = {
        name: sorted(fetch_all(f"SELECT {columns} FROM pragma_table_info('{name}')")) for name in names
    }
    return {
        **tables,
        "indexes": sorted(fetch_all("SELECT sql FROM sqlite_master WHERE type = 'index' AND sql <> ''")),
    }


START = """
import sys, time
from pathlib import Path
from pdpp_ref import database, migrations

folder = Path(sys.argv[1])
database.connect(f"sqlite:///{folder}/test.sqlite3", folder)
print("ready", flush=True)
sys.stdin.readline()
migrations.prepare()
"""


def test_programs_that_start_at_once_create_it_once(tmp_path: Path) -> None:
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", START, tmp_path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for program in programs:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
    for program in programs:
        assert program.stdin is not None
        program.stdin.write("\n")
        program.stdin.flush()
    assert [(program.communicate(timeout=60)[1], program.returncode) for program in programs] == [
        ("", 0)
    ] * 6
    with DatabaseProbe(tmp_path / "test.sqlite3") as probe:
        assert probe("SELECT version FROM pdpp_ref_schema") == [(migrations.CURRENT,)]


@pytest.mark.usefixtures("opened")
def test_a_file_that_another_program_switches_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite does not wait for a lock when it changes the journal mode."""
    failure = peewee.OperationalError("database is locked")
    failure.orig = apsw.BusyError("database is locked")
    failures, execute = [failure, failure], db.execute_sql

    def fail_twice(sql: str, *values: Any) -> Any:
        if "journal_mode" in sql and failures:
            raise failures.pop()
        return execute(sql, *values)

    monkeypatch.setattr(db.obj, "execute_sql", fail_twice)
    db.prepare_file()
    assert failures == []


@pytest.mark.parametrize(
    "url", ["postgresql://[", "postgresql://h/x?no=1", "sqlite:///:memory:", "sqlite://host/x", "x"]
)
def test_a_url_that_names_no_file_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnusable, match="PDPP_DATABASE_URL"):
        database.connect(url, tmp_path)


@pytest.mark.usefixtures("opened")
def test_a_transaction_that_sqlite_ended_by_itself_is_not_taken_for_committed() -> None:
    def write() -> None:
        with database.write_transaction():
            db.execute_sql("INSERT INTO blobs VALUES ('x', 1, 'now')")
            db.connection().execute("ROLLBACK")  # what a full disk does

    with pytest.raises(peewee.OperationalError):
        write()
    assert fetch_all("SELECT * FROM blobs") == []


def test_a_database_that_is_too_old_is_refused(tmp_path: Path) -> None:
    database.connect(f"sqlite:///{tmp_path}/test.sqlite3", tmp_path)
    migrations.prepare()
    with database.write_transaction():
        db.execute_sql("UPDATE pdpp_ref_schema SET version = 1")
    with pytest.raises(DatabaseUnusable, match="schema 1, which is older"):
        migrations.prepare()
    assert fetch_all("SELECT version FROM pdpp_ref_schema") == [(1,)]
    db.close()
