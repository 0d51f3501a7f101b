"""Which field says when a record's thing happened: one that was declared, and no other."""

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from pdpp_ref.operations import verify
from pdpp_ref.projection import rows
from pdpp_ref.services import reconcile
from tests.conftest import Run
from tests.support.factories import TOKEN, DatabaseProbe, mark

pytestmark = pytest.mark.usefixtures("app")

HEADERS = {"Authorization": f"Bearer {TOKEN}"}


def post(client: FlaskClient, stream: str, *records: dict[str, Any], field: str | None = None) -> Any:
    lines = [json.dumps({"key": each["id"], "data": each}) for each in records]
    query = {"connector_id": "laptop"} | ({} if field is None else {"consent_time_field": field})
    return client.post(f"/v1/ingest/{stream}", data="\n".join(lines), query_string=query, headers=HEADERS)


def bounds() -> tuple[str | None, str | None]:
    found = rows.global_row()
    return found.earliest_record_time, found.latest_record_time


OLD, NEW = "2020-01-01T00:00:00.000Z", "2021-01-01T00:00:00.000Z"


def test_without_a_declaration_no_field_is_read(client: FlaskClient, probe: DatabaseProbe) -> None:
    post(client, "notes", {"id": "a", "source_created_at": OLD, "created_at": OLD})
    assert probe("SELECT record_time FROM records") == [(None,)]
    assert probe("SELECT record_time_field FROM streams") == [(None,)]
    assert bounds() == (None, None)


def test_a_declared_field_dates_records_and_totals(client: FlaskClient) -> None:
    post(client, "notes", {"id": "a", "at": OLD}, {"id": "b", "at": NEW}, {"id": "c"}, field="at")
    assert bounds() == (OLD, NEW)
    row = client.get("/_ref/dataset/summary/streams", headers=HEADERS).get_json()["streams"][0]
    assert (row["consent_time_field"], row["earliest_record_time"]) == ("at", OLD)
    assert row["dirty_record_time_bounds"] is False


def test_a_bound_over_part_of_the_data_is_not_a_bound(client: FlaskClient, probe: DatabaseProbe) -> None:
    """While one stream that holds records has no declared field, nobody knows the earliest of all."""
    post(client, "notes", {"id": "a", "at": OLD}, field="at")
    post(client, "photos", {"id": "p"})
    assert bounds() == (None, None)
    mark("laptop", "photos")
    reconcile.run_until_fresh()
    assert bounds() == (None, None)
    post(client, "photos", {"id": "p", "taken": NEW}, field="taken")
    assert bounds() == (OLD, NEW)
    client.delete("/v1/streams/notes/records?connector_instance_id=laptop", headers=HEADERS)
    reconcile.run_until_fresh()
    assert bounds() == (NEW, NEW)
    assert probe.wrong_but_clean() == []
    assert list(verify.differences()) == []


def test_the_declaration_is_stored(client: FlaskClient) -> None:
    """What is sent without one later is read by the last."""
    post(client, "notes", {"id": "a", "at": OLD}, field="at")
    post(client, "notes", {"id": "b", "at": NEW})
    assert bounds() == (OLD, NEW)


def test_records_from_before_it_are_undated_until_they_are_sent_again(client: FlaskClient) -> None:
    records = [{"id": "a", "at": OLD}, {"id": "b", "at": NEW}, {"id": "c"}]
    post(client, "notes", *records)
    for sent in range(3):
        assert bounds() == (None, None)
        assert list(verify.differences()) == [], "nor has the stream a bound"
        post(client, "notes", records[sent], field="at")
    assert bounds() == (OLD, NEW), "the last one has no time, and was sent again"
    assert list(verify.differences()) == []


def test_another_field_forgets_the_times_by_the_first(client: FlaskClient) -> None:
    post(client, "notes", {"id": "a", "at": OLD, "seen": NEW}, {"id": "b", "at": OLD}, field="at")
    post(client, "notes", {"id": "a", "at": OLD, "seen": NEW}, field="seen")
    assert bounds() == (None, None)
    client.delete("/v1/streams/notes/records/b?connector_instance_id=laptop", headers=HEADERS)
    assert bounds() == (NEW, NEW)
    assert list(verify.differences()) == []


def test_the_command_names_it_for_one_stream_or_all(run: Run, probe: DatabaseProbe) -> None:
    lines = [
        {"type": "RECORD", "stream": stream, "key": "a", "data": {"at": OLD, "seen": NEW}}
        for stream in ("notes", "a=b", "photos")
    ]
    fields = ("--time-field", "at", "--time-field", "a=b=seen", "--time-field", "notes=seen")
    text = "".join(json.dumps(each) + "\n" for each in lines)
    assert run("import", "--connection", "laptop", *fields, stdin=text).returncode == 0
    assert probe("SELECT name, record_time_field FROM streams ORDER BY name") == [
        ("a=b", "seen"),
        ("notes", "seen"),
        ("photos", "at"),
    ]


@pytest.mark.parametrize("field", ["", "notes=", "=at", "x" * 3000])
def test_a_field_that_can_be_none_is_refused_before_anything_is_stored(run: Run, field: str) -> None:
    done = run("import", "--connection", "laptop", "--time-field", field, stdin="")
    assert done.returncode == 2
    assert "--time-field" in done.stderr


def test_an_empty_field_in_an_address_is_refused(client: FlaskClient) -> None:
    assert post(client, "notes", {"id": "a"}, field="").status_code == 400
