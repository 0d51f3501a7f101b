"""A database file that is moved, removed or replaced under a running server: nothing goes on in the old one.

The system keeps such a file for who has it open, so that all would seem well until the server ends.
"""

import os
import shutil
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from pdpp_ref.database import db
from tests.support.factories import TOKEN, DatabaseProbe

pytestmark = pytest.mark.only("sqlite")
BEARER = {"Authorization": f"Bearer {TOKEN}"}
INGEST = "/v1/ingest/notes?connector_id=files"
LINE = b'{"key":"%s","data":{}}\n'


@pytest.fixture
def file(client: FlaskClient, tmp_path: Path) -> Path:
    assert send(client, b"first") == 200
    return tmp_path / "test.sqlite3"


def send(client: FlaskClient, key: bytes) -> int:
    return client.post(INGEST, data=LINE % key, headers=BEARER).status_code


def refused(client: FlaskClient) -> bool:
    """Writing and reading, on the connection that there is and on a new one."""
    for _ in ("this connection", "a new one"):
        for method, path in (("POST", INGEST), ("GET", "/_ref/dataset/summary")):
            answer = client.open(path, method=method, data=LINE % b"more", headers=BEARER)
            if answer.status_code != 503:
                return False
            assert answer.get_json()["error"]["code"] == "storage_unavailable"
        db.close()
    return True


def test_a_file_that_is_gone_is_not_written_to_and_no_new_one_is_begun(
    client: FlaskClient, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    away = file.rename(file.with_name("away"))
    assert refused(client)
    assert not file.exists()
    assert "moved, removed or replaced" in caplog.text
    assert str(file) not in caplog.text
    away.rename(file)
    assert send(client, b"more") == 200
    with DatabaseProbe(file) as probe:
        assert probe("SELECT key FROM records") == [("first",), ("more",)]
        assert probe.wrong_but_clean() == []


def test_a_file_in_its_place_is_not_taken_for_it(client: FlaskClient, file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copy(file, copy)
    os.replace(copy, file)
    assert refused(client)
