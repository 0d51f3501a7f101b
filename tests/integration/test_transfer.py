"""Moving between databases, in each direction; and backups."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from flask import Flask

from pdpp_ref import credentials, database, migrations, tokens
from pdpp_ref.canonical import blobs, retention
from pdpp_ref.database import (
    Busy,
    DatabaseUnusable,
    db,
    fetch_all,
)
from pdpp_ref.models import (
    HOUSEKEEPING_TABLES,
    TABLES,
    GlobalSnapshot,
    Record,
    RecordChange,
    Table,
)
from pdpp_ref.operations import transfer, verify
from pdpp_ref.queries import growth
from tests.conftest import Backend
from tests.support import postgres
from tests.support.factories import (
    TOKEN,
    Calendar,
    DatabaseProbe,
    assert_sized_and_ranked,
    delete,
    fill,
    ids,
    mark,
    upsert,
    write,
)
from tests.support.server_process import Server

PROGRAM = str(Path(sys.executable).with_name("pdpp-ref"))
BEARER = {"Authorization": f"Bearer {TOKEN}"}
pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture(scope="module")
def emptied(server: str) -> Iterator[postgres.Reused]:
    with postgres.new_database(server, f"copy_{os.getpid()}") as url:
        yield postgres.Reused(url, lambda _: None)


@pytest.fixture(params=["sqlite", "postgres"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/target.sqlite3"
    else:
        emptied = request.getfixturevalue("emptied")
        yield emptied.url
        emptied.reset()


@pytest.fixture
def _filled(app: Flask) -> None:
    """Some of everything, and some of it marked."""
    fill(50)
    write(
        upsert("é😀\n", {"n": "\\u0000"}),
        upsert("0000001", {"n": 1}),
        delete("0000002"),
        connection="laptop",
    )
    write(upsert("0000001", {"n": 2}), upsert("t", {"t": "2020"}, "photos"), connection="phone")
    retention.prune(2)
    blobs.store("laptop", "notes", "0000003", iter([bytes(range(256)) * 9_000]))
    tokens.create("connector", ("write",), "laptop", 30)
    tokens.create("revoked", ("read",), None, None)
    tokens.revoke("revoked")
    blobs.store("phone", "photos", "t", iter([b""]))
    mark("phone", "photos")


def copy(url: str, progress: Callable[..., None] = lambda *_: None) -> int:
    target = database.from_url(url, Path())
    try:
        return transfer.copy(target, progress)
    finally:
        target.close()


def content() -> dict[str, list[Any]]:
    return {
        model._meta.table_name: [row for batch in transfer._batches(model) for row in batch]
        for model in transfer.COPIED
    }


@pytest.mark.usefixtures("_filled")
def test_everything_arrives_and_counts(target: str) -> None:
    before = content()
    assert copy(target) == sum(map(len, before.values()))
    assert content() == before, "the source is as it was"
    other = database.from_url(target, Path())
    with database.using(other):
        migrations.prepare()
        arrived = content()
        days = [f"retained_size_{grain}_days" for grain in ("stream", "connection", "global")]
        assert {name: rows for name, rows in arrived.items() if name not in days} == {
            name: rows for name, rows in before.items() if name not in days
        }
        assert list(verify.differences()) == []
        with DatabaseProbe(target) as probe:
            assert_sized_and_ranked(probe)
        write(upsert("new", stream="new"), connection="new")
        assert list(verify.differences()) == [], "and it goes on from there"
        other.close()


@pytest.mark.usefixtures("_filled")
def test_a_copy_reports_how_far_it_has_come(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "BATCH_ROWS", 7)
    shown: list[transfer.Moved] = []
    rows = copy(target, shown.append)
    assert [moved.done for moved in shown] == sorted({moved.done for moved in shown})
    assert {moved.total for moved in shown} == {shown[-1].done} == {2 * rows}
    assert [moved.table for moved in shown if moved.comparing] == [
        moved.table for moved in shown if not moved.comparing
    ]


@pytest.mark.usefixtures("_filled")
def test_a_copy_has_the_same_tokens(target: str) -> None:
    secret, before = tokens.create("new", ("read",), None, None), tokens.listed()
    copy(target)
    other = database.from_url(target, Path())
    with database.using(other):
        migrations.prepare()
        assert tokens.listed() == before
        assert [token.is_valid for token in before] == [True, True, False]
        assert tokens.find(credentials.digest(secret)) == tokens.named("new")
        other.close()


@pytest.mark.usefixtures("_filled")
def test_an_interrupted_copy_does_not_miss_a_revocation(target: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        copy(target, stop_at("tokens"))
    tokens.revoke("connector")
    copy(target)
    with DatabaseProbe(target) as probe:
        assert probe("SELECT COUNT(*) FROM tokens WHERE revoked_at IS NULL") == [(0,)]


@pytest.mark.usefixtures("_filled")
def test_one_that_is_interrupted_continues_and_is_not_served_before(
    target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cut(Exception):
        pass

    def cut(moved: transfer.Moved) -> None:
        if moved.table == "records" and moved.comparing:
            raise Cut

    monkeypatch.setattr(transfer, "BATCH_ROWS", 7)
    with pytest.raises(Cut):
        copy(target, cut)
    other = database.from_url(target, Path())
    with database.using(other):
        with pytest.raises(DatabaseUnusable, match="not finished"):
            migrations.prepare()
        assert fetch_all("SELECT COUNT(*) FROM records")[0][0] > 40
        other.close()
    sent: list[type[Table]] = []
    send = transfer.insert_many
    monkeypatch.setattr(
        transfer, "insert_many", lambda model, *rest: (sent.append(model), send(model, *rest))
    )
    copy(target)
    assert sent
    assert Record not in sent, "these had arrived"
    with database.using(other):
        migrations.prepare()
        assert list(verify.differences()) == []
        other.close()


@pytest.mark.usefixtures("_filled")
def test_one_whose_source_has_changed_begins_again(target: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        copy(target, stop_at("streams"))
    write(delete("0000004"))
    assert copy(target) == sum(map(len, content().values()))


def test_a_target_with_data_of_its_own_is_left_alone(target: str) -> None:
    fill(1)
    copy(target)
    with pytest.raises(transfer.TargetNotEmpty):
        copy(target)


# ---- a target that somebody else has open ------------------------------------------------------


def stop_at(table: str) -> Callable[..., None]:
    def stop(moved: transfer.Moved) -> None:
        if moved.table == table and moved.comparing:
            raise KeyboardInterrupt

    return stop


def everything(url: str) -> dict[str, list[Any]]:
    with DatabaseProbe(url) as probe:
        return {table: sorted(probe(f"SELECT * FROM {table}"), key=repr) for table in probe.columns()}


def test_every_table_is_copied_counted_or_the_targets_own() -> None:
    assert set(TABLES) == {*transfer.COPIED, *transfer.DERIVED, *HOUSEKEEPING_TABLES}


@pytest.mark.slow
@pytest.mark.usefixtures("_filled")
def test_a_server_on_a_half_copied_target_answers_503_also_one_that_was_there_before(
    target: str, tmp_path: Path
) -> None:
    def status(server: Server) -> int:
        return httpx.get(f"{server.url}/_ref/dataset/summary", headers=BEARER).status_code

    def ingest(server: Server) -> httpx.Response:
        line = b'{"key":"theirs","data":{}}'
        address = f"{server.url}/v1/ingest/notes?connector_id=files"
        return httpx.post(address, content=line, headers=BEARER)

    with Server(tmp_path / "server", DATABASE_URL=target) as server:
        assert status(server) == 200
        with pytest.raises(KeyboardInterrupt):
            copy(target, stop_at("records"))
        before = everything(target)
        assert status(server) == 503
        refused = ingest(server)
        assert refused.status_code == 503
        assert "not finished" in refused.json()["error"]["message"]
        assert httpx.get(f"{server.url}/healthz").status_code == 200
        assert everything(target) == before
        copy(target)
        assert status(server) == 200, "and it goes on when the copy is done"
        assert ingest(server).status_code == 200


@pytest.mark.parametrize(
    "model",
    [model for model in transfer.COPIED if model is not GlobalSnapshot],
    ids=lambda model: model.__name__,
)
@pytest.mark.only("sqlite")  # the source
@pytest.mark.usefixtures("_filled")
def test_a_target_with_a_row_of_any_table_is_not_empty(model: type[Table], target: str) -> None:
    other = database.from_url(target, Path())
    row = next((batch[0] for batch in transfer._batches(model)), None)
    with database.using(other):
        migrations.prepare()
        other.close()
    with DatabaseProbe(target) as probe:
        probe("PRAGMA foreign_keys = 0" if target.startswith("sqlite") else OFF)
        names = transfer._names(model)
        if row is None:
            kinds = {"TEXT": "x", "BOOL": False}
            row = tuple(kinds.get(field.field_type, 1) for field in model._meta.sorted_fields)
        values = ", ".join("?" * len(names))
        probe(f"INSERT INTO {transfer._table(model)} ({', '.join(names)}) VALUES ({values})", *row)
    before = everything(target)
    with pytest.raises(transfer.TargetNotEmpty):
        copy(target)
    assert everything(target) == before


OFF = "SET session_replication_role = replica"


@pytest.mark.parametrize("change", ["add", "remove"])
@pytest.mark.parametrize("same", [True, False], ids=["same state", "another state"])
@pytest.mark.usefixtures("_filled")
def test_an_unfinished_copy_that_somebody_has_written_to_is_refused_and_nothing_deleted(
    target: str, same: bool, change: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        copy(target, stop_at("records"))
    with DatabaseProbe(target) as probe:
        if change == "add":
            columns = "id, created_at, connector_instance_id, connector_id"
            probe(f"INSERT INTO connections ({columns}) VALUES (9, '2020', 'theirs', 'x')")
        else:
            probe("DELETE FROM records WHERE key = '0000001'")
    if not same:
        write(upsert("later"))
    before = everything(target)
    with pytest.raises(transfer.TargetChanged):
        copy(target)
    assert everything(target) == before


@pytest.mark.usefixtures("_filled")
def test_what_the_copy_has_sent_and_somebody_has_changed_is_not_deleted(target: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        copy(target, stop_at("records"))
    with DatabaseProbe(target) as probe:
        probe("UPDATE records SET emitted_at = '2020-01-01T00:00:00.000Z' WHERE key = '0000001'")
    before = everything(target)
    write(upsert("later"))
    with pytest.raises(transfer.TargetChanged):
        copy(target)
    assert everything(target) == before


@pytest.mark.usefixtures("_filled")
def test_a_copy_interrupted_while_it_counts_is_finished(
    target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut() -> None:
        raise KeyboardInterrupt

    for moment in ("mark_all", "run_until_fresh"):
        module = transfer.marks if moment == "mark_all" else transfer.reconcile
        with monkeypatch.context() as patched:
            patched.setattr(module, moment, cut)
            with pytest.raises(KeyboardInterrupt):
                copy(target)
    assert copy(target) == sum(map(len, content().values()))
    with database.using(database.from_url(target, Path())):
        migrations.prepare()
        assert list(verify.differences()) == []
        db.close()


@pytest.mark.usefixtures("_filled")
def test_days_continue_in_their_order_and_the_databases_age_stays(
    target: str, probe: DatabaseProbe
) -> None:
    probe("UPDATE pdpp_ref_schema SET created_at = '2020-01-01T00:00:00.000Z'")
    probe("UPDATE retained_size_connection SET generation = 70 + connection_id, days_disordered = TRUE")
    copy(target)
    with DatabaseProbe(target) as there:
        assert there("SELECT created_at FROM pdpp_ref_schema") == [("2020-01-01T00:00:00.000Z",)]
        rows = there("SELECT connection_id, generation, days_disordered FROM retained_size_connection")
        assert rows
        assert all(generation >= 70 + key and disordered for key, generation, disordered in rows)


@pytest.mark.usefixtures("_filled")
def test_of_two_copies_at_once_one_gives_way(target: str) -> None:
    def meanwhile(moved: transfer.Moved) -> None:
        if moved.table == "connections" and moved.comparing:
            other = database.from_url(target, Path())
            with database.using(other):
                database.execute("UPDATE pdpp_ref_copying SET progress = '{\"tables\": {}}'")
                other.close()

    with pytest.raises(Busy):
        copy(target, meanwhile)


def test_a_row_that_did_not_arrive_as_it_was_is_noticed(
    target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(3)
    send = transfer.insert_many

    def spoil(model: type[Table], columns: tuple[str, ...], rows: list[Any]) -> None:
        if model is RecordChange:
            rows = [(*row[:-2], "2000-01-01T00:00:00.000Z", row[-1]) for row in rows]
        send(model, columns, rows)

    monkeypatch.setattr(transfer, "insert_many", spoil)
    with pytest.raises(transfer.TransferMismatch, match="record_changes"):
        copy(target)


def run(backend: Backend, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PDPP_DATABASE_URL": backend.url} | settings
    return subprocess.run(
        [PROGRAM, *arguments], env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.slow
def test_the_command_copies_and_says_so(backend: Backend, target: str) -> None:
    fill(3)
    done = run(backend, "copy", "--to", target)
    assert done.stdout.startswith("Copied "), done.stderr
    assert json.loads(run(backend, "summary", PDPP_DATABASE_URL=target).stdout)["record_count"] == 3
    with DatabaseProbe(target) as probe:
        probe("INSERT INTO pdpp_ref_copying (id, state) VALUES (1, '[]')")
    half = run(backend, "copy", "--to", target)
    assert half.returncode == 2
    assert "somebody else has written there.  Nothing was deleted" in half.stderr
    assert half.stderr.count("\n") == 1
    with DatabaseProbe(target) as probe:
        probe("DELETE FROM pdpp_ref_copying")
    again = run(backend, "copy", PDPP_COPY_TO=target)
    assert (again.returncode, again.stderr) == (
        2,
        "Error: the database of --to holds data already; name an empty one\n",
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "url", ["mysql://x", "sqlite:////nowhere/x", "postgresql://127.0.0.1:1/x?connect_timeout=1"]
)
def test_a_target_that_cannot_be_is_one_line(backend: Backend, url: str) -> None:
    done = run(backend, "copy", "--to", url)
    assert done.returncode == (3 if url.startswith("postgresql") else 2)
    assert done.stderr.count("\n") == 1
    assert "PDPP_DATABASE_URL" not in done.stderr


# ---- backups -----------------------------------------------------------------------------------


@contextmanager
def writing() -> Iterator[None]:
    """Somebody writes without a pause."""
    ended = threading.Event()

    def proceed() -> None:
        number = 0
        while not ended.is_set():
            write(upsert(f"w{number}"), delete(f"w{number - 1}"))
            number += 1
        db.close()

    writer = threading.Thread(target=proceed)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join()


def assert_restored(backend: Backend, url: str, records: int) -> None:
    """It is called fresh, and equals its own recount."""
    assert run(backend, "verify", PDPP_DATABASE_URL=url).stdout == "No differences.\n"
    body = json.loads(run(backend, "summary", PDPP_DATABASE_URL=url).stdout)
    assert body["projection"]["state"] == "fresh"
    assert body["record_count"] >= records
    with DatabaseProbe(url) as probe:
        assert probe.wrong_but_clean() == []


@pytest.mark.slow
@pytest.mark.only("sqlite")
def test_a_backup_taken_during_writes_equals_its_own_reconcile(backend: Backend, tmp_path: Path) -> None:
    fill(5_000)
    with writing():
        for number in range(3):
            assert run(backend, "backup", str(tmp_path / f"{number}.sqlite3")).returncode == 0
    for number in range(3):
        assert_restored(backend, f"sqlite:///{tmp_path}/{number}.sqlite3", 5_000)
        assert (tmp_path / f"{number}.sqlite3").stat().st_mode & 0o777 == 0o600


@pytest.mark.only("sqlite")
def test_a_backup_replaces_nothing_and_leaves_nothing_half(backend: Backend, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("mine")
    assert "exists; name a new file" in run(backend, "backup", str(there)).stderr
    assert there.read_text() == "mine"
    assert run(backend, "backup", str(tmp_path / "no" / "folder")).returncode == 2
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.only("postgres")
def test_a_dump_of_postgresql_taken_during_writes_equals_its_own_reconcile(
    backend: Backend, server: str, tmp_path: Path
) -> None:
    fill(5_000)
    reported = run(backend, "backup", str(tmp_path / "x"))
    assert reported.returncode == 2
    (command,) = re.findall(r"run: (pg_dump .+)", reported.stderr)
    file = tmp_path / "dump"
    with writing():
        program(*command.replace("FILE", str(file)).replace("URL", backend.url).split())
    with postgres.new_database(server, f"restored_{os.getpid()}") as restored:
        program("pg_restore", f"--dbname={restored}", str(file))
        assert_restored(backend, restored, 5_000)
        # Numbers go on behind those that came.
        with database.using(database.from_url(restored, Path())):
            write(upsert("new", stream="new"), connection="new")
            db.close()
        assert_restored(backend, restored, 5_001)


def program(name: str, *arguments: str) -> None:
    """One of PostgreSQL's own."""
    folder = postgres.binaries()
    subprocess.run([str(folder / name) if folder else name, *arguments], check=True)


@pytest.mark.parametrize("dirty", [False, True])
@pytest.mark.usefixtures("app")
def test_growth_continues_in_a_copy(target: str, calendar: type[Calendar], dirty: bool) -> None:
    start = calendar.moment
    write(upsert("a"))
    calendar.moment = start + timedelta(days=5)
    if dirty:
        mark("laptop", "notes")
    calendar.moment = start + timedelta(days=9)
    copy(target)
    row = ids("laptop", "notes")
    other = database.from_url(target, Path())
    with database.using(other):
        migrations.prepare()
        every = growth.days(9), growth.days(9, row["connection"]), growth.days(9, stream_id=row["id"])
        assert [[day.total for day in found] for found in every] == [[20, *[None] * dirty, 20]] * 3
        assert list(verify.differences()) == []
        other.close()
