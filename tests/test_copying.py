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

import pytest
from flask import Flask

from pdpp_ref import database, schema
from pdpp_ref.database import DatabaseUnusable, db, fetch_all
from pdpp_ref.models import Record, RecordChange, Table
from pdpp_ref.services import blobs, copying, growth, pruning, verify
from tests import postgres
from tests.conftest import Backend
from tests.world import Calendar, Outside, assert_sized_and_ranked, delete, fill, ids, mark, upsert, write

PROGRAM = str(Path(sys.executable).with_name("pdpp-ref"))
pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture(params=["sqlite", "postgres"])
def target(request: pytest.FixtureRequest, server: str, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/target.sqlite3"
    else:
        with postgres.new_database(server, f"copy_{os.getpid()}") as url:
            yield url


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
    pruning.prune(2)
    blobs.store("laptop", "notes", "0000003", iter([bytes(range(256)) * 9_000]))
    blobs.store("phone", "photos", "t", iter([b""]))
    mark("phone", "photos")


def copy(url: str, progress: Callable[..., None] = lambda *_: None) -> int:
    target = database.at(url, Path())
    try:
        return copying.copy(target, progress)
    finally:
        target.close()


def content() -> dict[str, list[Any]]:
    return {
        model._meta.table_name: [row for batch in copying._batches(model) for row in batch]
        for model in copying.COPIED
    }


@pytest.mark.usefixtures("_filled")
def test_everything_arrives_and_counts(target: str) -> None:
    before = content()
    assert copy(target) == sum(map(len, before.values()))
    assert content() == before, "the source is as it was"
    other = database.at(target, Path())
    with database.bound(other):
        schema.prepare()
        arrived = content()
        days = [f"retained_size_{grain}_days" for grain in ("stream", "connection", "global")]
        assert {name: rows for name, rows in arrived.items() if name not in days} == {
            name: rows for name, rows in before.items() if name not in days
        }
        assert list(verify.differences()) == []
        with Outside(target) as outside:
            assert_sized_and_ranked(outside)
        write(upsert("new", stream="new"), connection="new")
        assert list(verify.differences()) == [], "and it goes on from there"
        other.close()


@pytest.mark.usefixtures("_filled")
def test_one_that_is_cut_short_goes_on_and_is_not_served_before(
    target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cut(Exception):
        pass

    def cut(table: str, rows: int) -> None:
        if table == "records":
            raise Cut

    monkeypatch.setattr(copying, "BATCH_ROWS", 7)
    with pytest.raises(Cut):
        copy(target, cut)
    other = database.at(target, Path())
    with database.bound(other):
        with pytest.raises(DatabaseUnusable, match="not finished"):
            schema.prepare()
        assert fetch_all("SELECT COUNT(*) FROM records")[0][0] > 40
        other.close()
    sent: list[type[Table]] = []
    send = copying.insert_many
    monkeypatch.setattr(
        copying, "insert_many", lambda model, *rest: (sent.append(model), send(model, *rest))
    )
    copy(target)
    assert sent
    assert Record not in sent, "these had arrived"
    with database.bound(other):
        schema.prepare()
        assert list(verify.differences()) == []
        other.close()


@pytest.mark.usefixtures("_filled")
def test_one_whose_source_has_changed_begins_anew(target: str) -> None:
    def stop(table: str, _: int) -> None:
        if table == "streams":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy(target, stop)
    write(delete("0000004"))
    assert copy(target) == sum(map(len, content().values()))


def test_a_target_with_data_of_its_own_is_left_alone(target: str) -> None:
    fill(1)
    copy(target)
    with pytest.raises(copying.NotEmpty):
        copy(target)


def test_a_row_that_did_not_arrive_as_it_was_is_noticed(
    target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(3)
    send = copying.insert_many

    def spoil(model: type[Table], columns: tuple[str, ...], rows: list[Any]) -> None:
        if model is RecordChange:
            rows = [(*row[:-2], "2000-01-01T00:00:00.000Z", row[-1]) for row in rows]
        send(model, columns, rows)

    monkeypatch.setattr(copying, "insert_many", spoil)
    with pytest.raises(copying.Different, match="record_changes"):
        copy(target)


def run(backend: Backend, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PDPP_DATABASE_URL": backend.url} | settings
    return subprocess.run(
        [PROGRAM, *arguments], env=environment, capture_output=True, text=True, timeout=60
    )


def test_the_command_copies_and_says_so(backend: Backend, target: str) -> None:
    fill(3)
    done = run(backend, "copy", "--to", target)
    assert done.stdout.startswith("Copied "), done.stderr
    assert json.loads(run(backend, "summary", PDPP_DATABASE_URL=target).stdout)["record_count"] == 3
    again = run(backend, "copy", PDPP_COPY_TO=target)
    assert (again.returncode, again.stderr) == (
        2,
        "Error: the database of --to holds data already; name an empty one\n",
    )


@pytest.mark.parametrize(
    "url", ["mysql://x", "sqlite:////nowhere/x", "postgresql://127.0.0.1:1/x?connect_timeout=1"]
)
def test_a_target_that_cannot_be_is_one_line(backend: Backend, url: str) -> None:
    done = run(backend, "copy", "--to", url)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "PDPP_DATABASE_URL" not in done.stderr


# ---- backups -----------------------------------------------------------------------------------


@contextmanager
def writing() -> Iterator[None]:
    """Somebody writes without a pause."""
    ended = threading.Event()

    def go_on() -> None:
        number = 0
        while not ended.is_set():
            write(upsert(f"w{number}"), delete(f"w{number - 1}"))
            number += 1
        db.close()

    writer = threading.Thread(target=go_on)
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
    with Outside(url) as outside:
        assert outside.wrong_but_clean() == []


@pytest.mark.only("sqlite")
def test_a_backup_taken_during_writes_equals_its_own_recount(backend: Backend, tmp_path: Path) -> None:
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
def test_a_dump_of_postgresql_taken_during_writes_equals_its_own_recount(
    backend: Backend, server: str, tmp_path: Path
) -> None:
    fill(5_000)
    told = run(backend, "backup", str(tmp_path / "x"))
    assert told.returncode == 2
    (command,) = re.findall(r"run: (pg_dump .+)", told.stderr)
    file = tmp_path / "dump"
    with writing():
        program(*command.replace("FILE", str(file)).replace("URL", backend.url).split())
    with postgres.new_database(server, f"restored_{os.getpid()}") as restored:
        program("pg_restore", f"--dbname={restored}", str(file))
        assert_restored(backend, restored, 5_000)
        # Numbers go on behind those that came.
        with database.bound(database.at(restored, Path())):
            write(upsert("new", stream="new"), connection="new")
            db.close()
        assert_restored(backend, restored, 5_001)


def program(name: str, *arguments: str) -> None:
    """One of PostgreSQL's own."""
    folder = postgres.binaries()
    subprocess.run([str(folder / name) if folder else name, *arguments], check=True)


@pytest.mark.parametrize("dirty", [False, True])
@pytest.mark.usefixtures("app")
def test_growth_goes_on_in_a_copy(target: str, calendar: type[Calendar], dirty: bool) -> None:
    start = calendar.moment
    write(upsert("a"))
    calendar.moment = start + timedelta(days=5)
    if dirty:
        mark("laptop", "notes")
    calendar.moment = start + timedelta(days=9)
    copy(target)
    row = ids("laptop", "notes")
    other = database.at(target, Path())
    with database.bound(other):
        schema.prepare()
        every = growth.days(9), growth.days(9, row["connection"]), growth.days(9, stream_id=row["id"])
        assert [[day.total for day in found] for found in every] == [[20, *[None] * dirty, 20]] * 3
        assert list(verify.differences()) == []
        other.close()
