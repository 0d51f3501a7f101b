"""The route that ranks: its parameters, and the shape of its rows."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from pdpp_ref.models.measures import EVERY_MEASURE
from pdpp_ref.queries import rankings
from pdpp_ref.schemas.dataset import SCOPES
from tests.support import contract
from tests.support.factories import TOKEN, fill, mark, statements, upsert, write


@pytest.fixture
def operator(app: Flask) -> FlaskClient:
    found = app.test_client()
    found.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKEN}"
    return found


@pytest.fixture(autouse=True)
def _records(app: Flask) -> None:
    for number in range(30):
        fill(number % 3 + 1, stream=f"s{number:02}", connection=f"c{number:02}")


def ranked(operator: FlaskClient, **query: Any) -> Any:
    response = operator.get("/_ref/dataset/top", query_string=query)
    assert response.status_code == 200
    return response.get_json()


def reported(operator: FlaskClient, **query: Any) -> str:
    response = operator.get("/_ref/dataset/top", query_string=query)
    assert (response.status_code, response.get_json()["error"]["code"]) == (400, "invalid_request")
    message: str = response.get_json()["error"]["message"]
    return message


def test_defaults_are_the_ten_largest_connections(operator: FlaskClient) -> None:
    body = ranked(operator)
    contract.check_top(body)
    assert (body["scope"], body["measure"], len(body["rows"])) == ("connection", "total_retained_bytes", 10)


@pytest.mark.parametrize("scope", SCOPES)
def test_every_scope_and_measure_answers_the_contracts_fields(operator: FlaskClient, scope: str) -> None:
    for measure in rankings.MEASURES_OF[scope]:
        body = ranked(operator, scope=scope, measure=measure)
        contract.check_top(body)
        assert (body["scope"], body["measure"]) == (scope, measure)
        keys = [row["grain_key"] for row in body["rows"]]
        assert len(set(keys)) == len(keys)


def test_equals_are_in_the_order_of_their_names(operator: FlaskClient) -> None:
    rows = ranked(operator, scope="stream", measure="record_count", limit=25)["rows"]
    order = [(-row["record_count"], row["connector_instance_id"], row["stream"]) for row in rows]
    assert order == sorted(order)


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    ("limit", "rows"), [("1", 1), ("25", 25), ("0", 1), ("-7", 1), ("26", 25), ("9" * 30, 25)]
)
def test_a_limit_is_clamped(operator: FlaskClient, limit: str, rows: int) -> None:
    assert len(ranked(operator, limit=limit)["rows"]) == rows


def test_an_empty_parameter_means_its_default(operator: FlaskClient) -> None:
    assert ranked(operator, limit="", measure="") == ranked(operator)


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("limit", ["x", "1.5", "nan", "1e400", "٣", "0x10"])
def test_a_limit_that_is_no_number_is_reported(operator: FlaskClient, limit: str) -> None:
    assert reported(operator, limit=limit) == "limit must be a whole number."


def test_another_scope_or_measure_is_reported_with_those_there_are(operator: FlaskClient) -> None:
    assert reported(operator, scope="person") == "scope must be one of blob, connection, record, stream."
    message = reported(operator, measure="dirty")
    assert all(measure in message for measure in EVERY_MEASURE)


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("scope", SCOPES)
def test_a_measure_that_says_nothing_of_its_scope_is_reported(operator: FlaskClient, scope: str) -> None:
    for measure in set(EVERY_MEASURE) - set(rankings.MEASURES_OF[scope]):
        message = reported(operator, scope=scope, measure=measure)
        assert (
            message
            == f"measure must be one of {', '.join(rankings.MEASURES_OF[scope])} for the scope {scope}."
        )


def test_it_reconciles_as_every_read_does(operator: FlaskClient) -> None:
    mark("c00", "s00")
    body = ranked(operator)
    assert body["projection"]["dirty"] is False


def test_a_fresh_read_opens_no_record(operator: FlaskClient) -> None:
    write(upsert("a"))
    with statements() as seen:
        ranked(operator)
    assert len(seen) < 10
    assert not [sql for sql in seen if "record_changes" in sql]


def test_operators_alone_may(client: FlaskClient) -> None:
    assert client.get("/_ref/dataset/top").status_code == 401
