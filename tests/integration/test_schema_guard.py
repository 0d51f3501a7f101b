"""A process that goes on running while another one migrates the database, or copies to it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import peewee
import pytest
from flask import Flask

from pdpp_ref import database, migrations
from pdpp_ref.canonical import importer, retention
from pdpp_ref.database import (
    DatabaseUnusable,
    db,
    problem,
    write_transaction,
)
from pdpp_ref.operations import verify
from pdpp_ref.services import reconcile
from tests.conftest import Backend
from tests.support import scenarios
from tests.support.factories import PASSWORD, TOKEN, DatabaseProbe, fill, mark, upsert, write

BEARER = {"Authorization": f"Bearer {TOKEN}"}
MIGRATED = "UPDATE pdpp_ref_schema SET version = version + 1"
BEGUN = (
    "INSERT INTO pdpp_ref_copying (id, state) VALUES (1, '[]')",
    "UPDATE pdpp_ref_schema SET unfinished = TRUE",
)


@pytest.fixture(params=["upgraded", "unfinished"])
def why(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def change(why: str, probe: DatabaseProbe) -> Callable[[], None]:
    """What the other process does."""

    def do() -> None:
        for sql in (MIGRATED,) if why == "upgraded" else BEGUN:
            probe(sql)

    return do


def all_rows(probe: DatabaseProbe) -> dict[str, list[Any]]:
    return {table: sorted(probe(f"SELECT * FROM {table}"), key=repr) for table in probe.columns()}


def test_no_write_of_an_old_process_is_stored(
    app: Flask, probe: DatabaseProbe, why: str, change: Callable[[], None]
) -> None:
    fill(3)
    mark()
    change()
    before = all_rows(probe)
    for attempt in (
        lambda: write(upsert("a")),
        lambda: mark("laptop"),
        lambda: reconcile.run_pass(reconcile.Limits()),
        reconcile.begin_rebuild,
        lambda: retention.prune(1),
        lambda: database.execute("DELETE FROM records"),
        lambda: list(verify.differences()),
    ):
        with pytest.raises(peewee.DatabaseError) as refused:
            attempt()
        assert problem(refused.value) == why
    assert all_rows(probe) == before
    assert db.transaction_lost() or not db.in_transaction()


@pytest.mark.parametrize("name", [name for name, act in scenarios.ACTS.items() if not act.opens])
def test_no_act_continues(
    probe: DatabaseProbe, backend: Backend, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each way to change the database, of a process that was there before."""
    scenarios.small_steps(monkeypatch)
    act = scenarios.ACTS[name]
    assert act.begin is not None
    act.begin(backend.url)
    with scenarios.opened(backend.url):
        probe(MIGRATED)
        before = all_rows(probe)
        with pytest.raises((peewee.DatabaseError, importer.StorageUnavailable)) as refused:
            act.do()
        assert problem(refused.value.__cause__ or refused.value) == "upgraded"
        assert all_rows(probe) == before


WITHOUT_DATABASE = (
    *("/healthz", "/static/style.css", "/_ref/metrics", "/_ref/openapi.json"),
    *("/owner/login", "/dashboard/deleted"),
)


def test_every_route_but_liveness_and_files_is_503(
    app: Flask, why: str, change: Callable[[], None], probe: DatabaseProbe
) -> None:
    fill(1)
    client = app.test_client()
    assert client.post("/owner/login", json={"password": PASSWORD}).status_code == 302
    change()
    reported = {"upgraded": "upgraded", "unfinished": "not finished"}[why]
    seen = 0
    for path, method, body in routes(app):
        if path.startswith("/owner/logout"):  # which works, and would sign this client out
            continue
        answer = client.open(path, method=method, headers=BEARER, data=body)
        answer.close()
        if path.startswith("/dashboard/delete") and method == "POST" and answer.status_code == 400:
            continue  # it is no form, which is noticed first
        if path.partition("?")[0] in WITHOUT_DATABASE:
            assert answer.status_code < 500
            continue
        assert answer.status_code == 503, path
        assert reported in answer.text, path
        if answer.is_json:
            assert answer.get_json()["error"]["code"] == "storage_unavailable"
        seen += 1
    assert seen > 15


def routes(app: Flask) -> list[tuple[str, str, bytes | None]]:
    """Each route with values in its place and a body that it takes."""
    found = []
    values = {
        "stream": "notes",
        "key": "0000000",
        "name": "laptop",
        "connection": "laptop",
        "filename": "style.css",
        "blob_id": "blob_sha256_" + "0" * 64,
    }
    parameters = {
        "connector_id": "files",
        "connector_instance_id": "laptop",
        "connection": "laptop",
        "stream": "notes",
        "name": "laptop",
        "key": "a",
        "day": "2026-01-01",
        "keep": "1",
    }
    for rule in app.url_map.iter_rules():
        with app.test_request_context():
            path = rule.build(
                {name: values.get(name, "x") for name in rule.arguments}, append_unknown=False
            )
        assert path is not None
        declared = getattr(app.view_functions[rule.endpoint], "operation", None)
        known = declared.query.__struct_fields__ if declared and declared.query else ()
        query = urlencode({name: value for name, value in parameters.items() if name in known})
        address = path[1] if path[1] in ("/healthz", "/static/style.css") else f"{path[1]}?{query}"
        for method in rule.methods - {"HEAD", "OPTIONS"}:
            body = json.dumps({"key": "a", "data": {}}).encode() if "ingest" in address else b'{"state":{}}'
            if address.startswith("/_ref/retention"):
                body = b'{"keep":1}'
            found.append((address, method, b"a file" if "blob" in address else body))
    return found


def test_a_process_that_starts_then_says_what_to_do(
    app: Flask, probe: DatabaseProbe, backend: Backend
) -> None:
    probe(MIGRATED)
    with pytest.raises(DatabaseUnusable, match="install a newer pdpp-ref"):
        migrations.prepare()


def test_a_commands_exit_code_is_try_again(
    app: Flask, probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the same program, one that is started now is of the new version, or says what to do."""
    import click

    from pdpp_ref.cli.common import cli_errors

    probe(MIGRATED)
    with pytest.raises(click.ClickException) as ended, cli_errors():
        write(upsert("a"))
    assert ended.value.exit_code == 3
    assert "upgraded by another version" in ended.value.message


@pytest.mark.only("postgres")
def test_a_migration_waits_for_a_write_and_later_writes_see_it(app: Flask, probe: DatabaseProbe) -> None:
    with write_transaction():
        probe("SET lock_timeout = 100")
        with pytest.raises(Exception, match="lock timeout"):
            probe("BEGIN; LOCK TABLE pdpp_ref_schema IN ACCESS EXCLUSIVE MODE")
        probe("ROLLBACK")
    probe("BEGIN; LOCK TABLE pdpp_ref_schema IN ACCESS EXCLUSIVE MODE; " + MIGRATED)
    probe("COMMIT")
    with pytest.raises(database.DatabaseNotReady):
        write(upsert("a"))


@pytest.mark.only("sqlite")
def test_a_check_costs_one_look_up(app: Flask) -> None:
    plan = database.fetch_all("EXPLAIN QUERY PLAN SELECT version, unfinished FROM pdpp_ref_schema")
    assert [row[3] for row in plan] == ["SCAN pdpp_ref_schema"]
    assert database.fetch_all("SELECT COUNT(*) FROM pdpp_ref_schema") == [(1,)]


def test_of_two_that_start_at_once_the_older_one_does_not_touch_what_the_newer_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looked before the other one migrated, and gets the lock after that."""
    database.connect(f"sqlite:///{tmp_path}/test.sqlite3", tmp_path)
    migrations.prepare()
    with DatabaseProbe(tmp_path / "test.sqlite3") as probe:
        probe(f"UPDATE pdpp_ref_schema SET version = {migrations.OLDEST}")
        ordinary = db.prepare_file

        def meanwhile() -> None:
            ordinary()
            probe(f"UPDATE pdpp_ref_schema SET version = {migrations.CURRENT + 1}")

        monkeypatch.setattr(db.obj, "prepare_file", meanwhile)
        with pytest.raises(DatabaseUnusable, match="install a newer"):
            migrations.prepare()
    db.close()
