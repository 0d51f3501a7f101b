"""The state of connectors over HTTP."""

import json
import threading
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from pdpp_ref.canonical import state
from pdpp_ref.canonical.records import Target
from pdpp_ref.database import db
from tests.support.factories import TOKEN, DatabaseProbe, upsert, write

LAPTOP = "/v1/state/files?connector_instance_id=laptop"


@pytest.fixture
def connector(app: Flask) -> FlaskClient:
    found = app.test_client()
    found.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKEN}"
    return found


def put(connector: FlaskClient, values: Any, path: str = LAPTOP) -> Any:
    return connector.put(path, data=json.dumps({"state": values}))


def test_a_connection_without_state_has_none(connector: FlaskClient, probe: DatabaseProbe) -> None:
    expected = {
        "object": "stream_state",
        "connector_id": "files",
        "grant_id": None,
        "state": {},
        "updated_at": None,
    }
    response = connector.get(LAPTOP)
    assert (response.status_code, response.get_json()) == (200, expected)
    assert probe("SELECT COUNT(*) FROM connections") == [(0,)], "reading creates nothing"


def test_state_is_merged_by_stream_and_a_value_replaced_whole(connector: FlaskClient) -> None:
    put(connector, {"notes": {"a": 1, "b": 2}, "photos": "x"})
    response = put(connector, {"notes": {"c": [3]}, "mail": None})
    expected = {"mail": None, "notes": {"c": [3]}, "photos": "x"}
    assert response.get_json()["state"] == expected
    assert response.get_json()["updated_at"]
    assert connector.get(LAPTOP).get_json() == response.get_json()
    assert put(connector, {"photos": None}).get_json()["state"] == expected | {"photos": None}
    assert put(connector, {}).get_json()["state"] == expected | {"photos": None}


@pytest.mark.only("sqlite")
@pytest.mark.parametrize(
    "value",
    ["1.10", "12345678901234567890123", "1e400", '"\\u00e9"', '"é😀"', '{"b":1,"a":{"x":[ ]}}', "-0"],
)
def test_a_value_comes_back_as_it_was_sent(connector: FlaskClient, value: str) -> None:
    body = f'{{"state":{{"notes":{value}}}}}'.encode()
    assert connector.put(LAPTOP, data=body).status_code == 200
    assert f'"notes":{value}'.encode() in connector.get(LAPTOP).data


@pytest.mark.parametrize("stream", ["a/b", "\n", "é😀", "%2F", " ", "x" * 2000])
def test_streams_of_any_name(connector: FlaskClient, stream: str) -> None:
    assert put(connector, {stream: 1}).get_json()["state"] == {stream: 1}


def test_connections_have_a_state_each(connector: FlaskClient) -> None:
    put(connector, {"notes": 1})
    put(connector, {"notes": 2}, "/v1/state/files?connection_id=phone")
    put(connector, {"notes": 3}, "/v1/state/files")
    found = [
        connector.get(f"/v1/state/files{query}").get_json()["state"]["notes"]
        for query in ("?connector_instance_id=laptop", "?connector_instance_id=phone", "")
    ]
    assert found == [1, 2, 3]


@pytest.mark.only("sqlite")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"state":1}',
        b'{"state":{"a":}}',
        b'{"state":{"a":1}',
        b'{"state":{"a":NaN}}',
        b'{"state":{"a":"\xff"}}',
        b'{"state":{"a":"\\ud800"}}',
        b'{"state":{"":1}}',
        b'{"state":{"\\u0000":1}}',
        b'{"state":{"\\ud800":1}}',
        b"[" * 100_000,
        b'{"state":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        json.dumps({"state": {"x" * 3000: 1}}).encode(),
    ],
)
def test_what_is_no_state_is_refused(connector: FlaskClient, probe: DatabaseProbe, body: bytes) -> None:
    response = connector.put(LAPTOP, data=body)
    assert (response.status_code, response.get_json()["error"]["code"]) == (400, "invalid_request")
    assert probe("SELECT COUNT(*) FROM connector_states") == [(0,)]


def test_a_state_over_the_limit_is_413(connector: FlaskClient, probe: DatabaseProbe) -> None:
    assert put(connector, {"notes": "x" * 1_000_000}).status_code == 200
    response = put(connector, {"photos": "x" * 1_100_000})
    assert (response.status_code, response.get_json()["error"]["code"]) == (413, "body_too_large")
    assert probe("SELECT stream_name FROM connector_states") == [("notes",)]


def test_an_encoded_body_is_refused(connector: FlaskClient) -> None:
    assert connector.put(LAPTOP, data=b"{}", headers={"Content-Encoding": "gzip"}).status_code == 415


def test_a_connection_of_another_connector_is_refused(connector: FlaskClient) -> None:
    put(connector, {"notes": 1})
    other = "/v1/state/mail?connector_instance_id=laptop"
    for response in (connector.get(other), put(connector, {"notes": 2}, other)):
        assert (response.status_code, response.get_json()["error"]["code"]) == (409, "connector_mismatch")
    assert connector.get(LAPTOP).get_json()["state"] == {"notes": 1}


def test_a_state_that_cannot_be_stored_is_not_acknowledged(
    connector: FlaskClient, probe: DatabaseProbe
) -> None:
    put(connector, {"notes": 1})
    probe.fail("INSERT ON connector_states")
    response = put(connector, {"notes": 2, "photos": 2})
    assert response.status_code == 503
    assert response.headers["Retry-After"]
    probe.restore()
    assert connector.get(LAPTOP).get_json()["state"] == {"notes": 1}


def test_state_counts_as_contact(connector: FlaskClient, probe: DatabaseProbe) -> None:
    write(upsert("a"), upsert("b", stream="photos"))
    probe("UPDATE streams SET last_contact_at = NULL")
    put(connector, {"notes": 1})
    assert probe("SELECT name FROM streams WHERE last_contact_at IS NOT NULL") == [("notes",)]


def test_the_owner_may_read_and_replace_state(owner: FlaskClient) -> None:
    assert put(owner, {"notes": 1}).status_code == 200
    assert owner.get(LAPTOP).get_json()["state"] == {"notes": 1}


def test_concurrent_states_of_different_streams_all_survive(app: Flask) -> None:
    target, errors = Target("laptop", "files"), []

    def store(stream: str) -> None:
        try:
            for number in range(10):
                state.merge(target, {stream: str(number), f"{stream}-{number}": "null"})
        except BaseException as error:
            errors.append(error)
        finally:
            db.close()

    threads = [threading.Thread(target=store, args=[stream]) for stream in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    found = {each.stream: each.value for each in state.load(target)}
    assert len(found) == 4 + 40
    assert {found[stream] for stream in "abcd"} == {"9"}
