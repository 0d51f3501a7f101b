"""Canaries: what an error or a row may hold of insides, and where it must not come out."""

from collections.abc import Callable
from typing import Any

import apsw
import peewee
import pytest
from flask import Flask
from flask.testing import FlaskClient

from pdpp_ref.database import PROBLEM_TEXT
from pdpp_ref.models import RetainedSizeConnection, RetainedSizeGlobal, RetainedSizeStream
from pdpp_ref.services.auto_reconcile import describe
from tests.support.factories import TOKEN, Clock, DatabaseProbe, fill, mark, upsert, write

CANARIES = (
    "SELECT data FROM records",
    "tok_51H8secret",
    "/home/owner/data.sqlite3",
    "conn-4711",
    "<b>raw</b>",
)
CANARY = " ".join(CANARIES)


def assert_absent(text: str) -> None:
    for canary in (*CANARIES, "tok_51H8", "/home/owner"):
        assert canary not in text


@pytest.fixture
def pages(owner: FlaskClient) -> Callable[[], list[str]]:
    return lambda: [
        owner.get(path).text for path in ("/dashboard", "/dashboard/hero", "/dashboard/connections/laptop")
    ]


def test_an_errors_text_reaches_neither_operator_nor_owner_nor_log(
    pages: Callable[[], list[str]],
    summary: Callable[[], dict[str, Any]],
    probe: DatabaseProbe,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fill(5)
    mark()
    probe.fail_reconcile(CANARY)
    for _ in range(3):
        body = summary()
        assert body["projection"]["last_error"] == "reconcile failed: the database refused a value"
        assert_absent(str(body))
        for page in pages():
            assert_absent(page)
            assert body["projection"]["last_error"] not in page
        clock.advance(3600)
    assert "refused a value" in caplog.text
    assert_absent(caplog.text)


@pytest.mark.parametrize(
    "column", ["stale_since", "computed_at", "earliest_ingested_at", "latest_ingested_at"]
)
def test_a_stored_text_that_should_be_a_time_comes_out_nowhere(
    column: str, pages: Callable[[], list[str]], summary: Callable[[], dict[str, Any]], probe: DatabaseProbe
) -> None:
    fill(5)
    for grain in (RetainedSizeStream, RetainedSizeConnection, RetainedSizeGlobal):
        grain.update({column: CANARY}).execute()
    assert_absent(str(summary()))
    for page in pages():
        assert_absent(page)


def test_a_refused_write_over_http_or_command_reveals_nothing_of_itself(probe: DatabaseProbe) -> None:
    fill(1)
    probe.fail("INSERT ON record_changes", why=CANARY)
    with pytest.raises(peewee.DatabaseError) as refused:
        write(upsert("new"))
    assert_absent(describe(refused.value))


def test_a_server_error_reveals_nothing_of_itself(
    app: Flask, probe: DatabaseProbe, caplog: pytest.LogCaptureFixture
) -> None:
    probe("ALTER TABLE retained_size_global RENAME TO conn_4711")
    response = app.test_client().get("/_ref/dataset/summary", headers={"Authorization": f"Bearer {TOKEN}"})
    assert response.status_code == 503
    for place in (response.text, caplog.text):
        assert "retained_size_global" not in place
        assert "SELECT" not in place


@pytest.mark.parametrize(
    "error", [apsw.BusyError, apsw.FullError, apsw.CorruptError, apsw.SQLError, ValueError]
)
def test_every_error_is_reported_from_a_fixed_list(error: type[Exception]) -> None:
    reported = describe(peewee.OperationalError(error(CANARY)))
    assert reported.removeprefix("reconcile failed: ") in PROBLEM_TEXT.values()


def test_an_error_that_was_wrapped_twice_is_still_reported_by_its_kind() -> None:
    busy = peewee.OperationalError(peewee.OperationalError(apsw.BusyError(CANARY)))
    assert describe(busy) == "reconcile failed: the database is busy with another writer"


def test_an_import_rejection_quotes_no_data(capsys: pytest.CaptureFixture[str]) -> None:
    from pdpp_ref.parsing.messages import Reader, Rejected

    for line in (f'{{"stream":"s","key":5,"data":{{"x":"{CANARY}"}}}}', f'{{"key":"{CANARY}'):
        with pytest.raises(Rejected) as refused:
            Reader().read(line.encode())
        assert_absent(str(refused.value))
