"""Erasing over HTTP: who may, which addresses there are, and what the answer says."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from pdpp_ref.blueprints import auth
from pdpp_ref.canonical import blobs
from pdpp_ref.credentials import ERASE, WRITE, Caller
from tests.support.factories import TOKEN, DatabaseProbe, upsert, write

RECORD = "/v1/streams/notes/records/a"
LAPTOP = {"connector_instance_id": "laptop"}
FILE = b"a file"
DIGEST = hashlib.sha256(FILE).hexdigest()


def token(app: Flask, monkeypatch: pytest.MonkeyPatch, caller: Caller) -> FlaskClient:
    monkeypatch.setattr(auth, "_bearer", lambda: caller)
    found = app.test_client()
    found.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKEN}"
    return found


@pytest.fixture
def eraser(app: Flask, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    write(upsert("a", 1), upsert("a", 2), upsert("b"))
    blobs.store("laptop", "notes", "a", iter([FILE]))
    return token(app, monkeypatch, Caller(frozenset({ERASE})))


def erase(client: FlaskClient, path: str = RECORD, **query: str) -> Any:
    return client.delete(path, query_string=LAPTOP | {"erase": "true"} | query)


def reported(response: Any, status: int, code: str) -> None:
    assert (response.status_code, response.get_json()["error"]["code"]) == (status, code)


def test_a_record_is_erased(eraser: FlaskClient, probe: DatabaseProbe) -> None:
    response = erase(eraser)
    assert response.status_code == 200
    body = response.get_json()
    places = [each["place"] for each in body.pop("remains_in")]
    assert body == {
        "object": "erased",
        "stream": "notes",
        "key": "a",
        "versions_removed": 2,
        "files_removed": 1,
    }
    assert places == ([] if "Sqlite" in type(probe).__name__ else ["dead_rows"])
    assert probe("SELECT key FROM record_changes") == [("b",)]
    assert probe.wrong_but_clean() == []
    assert erase(eraser).get_json()["versions_removed"] == 0


def test_a_record_is_erased_by_its_name(eraser: FlaskClient, probe: DatabaseProbe) -> None:
    assert erase(eraser, "/v1/records", stream="notes", key="a").status_code == 200
    assert probe("SELECT key FROM records") == [("b",)]


@pytest.mark.parametrize("name", [DIGEST, f"blob_sha256_{DIGEST}"])
def test_one_file_is_erased(eraser: FlaskClient, probe: DatabaseProbe, name: str) -> None:
    assert erase(eraser, file=name).get_json()["files_removed"] == 1
    assert probe("SELECT 1 FROM blobs") == []
    assert probe("SELECT key FROM records ORDER BY key") == [("a",), ("b",)]


def test_a_file_that_another_record_has_remains_there(eraser: FlaskClient) -> None:
    blobs.store("laptop", "notes", "b", iter([FILE]))
    assert "other_records" in [each["place"] for each in erase(eraser).get_json()["remains_in"]]


@pytest.mark.only("sqlite")
def test_an_erasure_is_added_to_the_list_in_the_instance_folder(
    eraser: FlaskClient, tmp_path: Path
) -> None:
    erase(eraser)
    (found,) = (tmp_path / "instance").glob("erasures-*.list")
    assert found.read_text().split()[:2] == ["1", "erase"]


@pytest.mark.only("sqlite")
def test_a_list_that_cannot_be_written_does_not_undo_it(
    eraser: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Any) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr("pdpp_ref.canonical.erasure_file.add_missing_lines", full)
    assert erase(eraser).status_code == 200


@pytest.mark.parametrize("path", [RECORD, "/v1/records?stream=notes&key=a"])
def test_it_needs_the_scope(
    app: Flask, eraser: FlaskClient, monkeypatch: pytest.MonkeyPatch, path: str, probe: DatabaseProbe
) -> None:
    assert eraser.delete(path, query_string=LAPTOP if "?" not in path else None).status_code == 403
    writer = token(app, monkeypatch, Caller(frozenset({WRITE})))
    separator = "&" if "?" in path else "?"
    reported(
        writer.delete(f"{path}{separator}connector_instance_id=laptop&erase=true"),
        403,
        "insufficient_scope",
    )
    for spelling in ("1", "True", "yes", "false&erase=true"):
        response = writer.delete(f"{path}{separator}connector_instance_id=laptop&erase={spelling}")
        reported(response, 400, "invalid_request")
    monkeypatch.setattr(auth, "_bearer", lambda: None)
    assert app.test_client().delete(path).status_code == 401
    assert probe("SELECT COUNT(*) FROM record_changes") == [(3,)]


def test_a_token_of_another_connection_may_not(
    app: Flask, eraser: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = token(app, monkeypatch, Caller(frozenset({ERASE}), "phone"))
    reported(erase(other), 403, "insufficient_scope")


def test_the_owner_may(eraser: FlaskClient, owner: FlaskClient, probe: DatabaseProbe) -> None:
    assert erase(owner).status_code == 200
    assert probe("SELECT key FROM records") == [("b",)]


def test_bad_calls_are_refused(
    app: Flask, monkeypatch: pytest.MonkeyPatch, eraser: FlaskClient, probe: DatabaseProbe
) -> None:
    reported(erase(eraser, "/v1/streams/nots/records/a"), 404, "stream_not_found")
    reported(erase(eraser, connector_instance_id="nobody"), 404, "stream_not_found")
    reported(erase(eraser, file="x"), 400, "invalid_request")
    both = token(app, monkeypatch, Caller(frozenset({ERASE, WRITE})))
    reported(erase(both, "/v1/records", stream="notes"), 400, "invalid_request")
    reported(erase(both, "/v1/streams/notes/records"), 400, "invalid_request")
    assert probe("SELECT 1 FROM erasures") == []


def test_a_file_needs_erase(app: Flask, monkeypatch: pytest.MonkeyPatch, eraser: FlaskClient) -> None:
    writer = token(app, monkeypatch, Caller(frozenset({WRITE})))
    reported(writer.delete(RECORD, query_string=LAPTOP | {"file": DIGEST}), 400, "invalid_request")
    assert writer.delete(RECORD, query_string=LAPTOP).status_code == 204


def test_a_connector_that_sends_it_again_succeeds(
    app: Flask, monkeypatch: pytest.MonkeyPatch, eraser: FlaskClient, probe: DatabaseProbe
) -> None:
    erase(eraser)
    connector = token(app, monkeypatch, Caller(frozenset({WRITE})))
    line = b'{"key":"a","data":{"n":1}}'
    sent = connector.post(
        "/v1/ingest/notes?connector_id=files&connector_instance_id=laptop", data=line
    ).get_json()
    assert (sent["records_accepted"], sent["records_rejected"]) == (1, 0)
    query = {"connector_id": "files", "stream": "notes", "record_key": "a"} | LAPTOP
    assert connector.post("/v1/blobs", query_string=query, data=FILE).get_json()["sha256"] == DIGEST
    assert probe("SELECT key FROM records") == [("b",)]
    assert probe("SELECT 1 FROM blobs") == []
