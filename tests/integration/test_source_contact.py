"""When a stream's source last made contact, also if nothing changed."""

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from pdpp_ref.canonical import deletion, importer, records
from pdpp_ref.canonical.errors import NotFound
from pdpp_ref.canonical.importer import Importer
from tests.support.factories import TOKEN, DatabaseProbe, upsert, write

pytestmark = pytest.mark.usefixtures("app")

RECORD = {"type": "RECORD", "stream": "notes", "key": "a", "data": {"id": "a"}}


@pytest.fixture
def _silent(probe: DatabaseProbe) -> None:
    """Streams that were last heard of long ago."""
    write(upsert("a"), upsert("p", stream="photos"))
    probe("UPDATE streams SET last_contact_at = '2001'")


def heard_of(probe: DatabaseProbe) -> list[str]:
    return [name for (name,) in probe("SELECT name FROM streams WHERE last_contact_at > '2002' ORDER BY 1")]


def feed(*messages: Any) -> None:
    lines = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in messages]
    Importer(records.Target("laptop", "files"), lambda _: None, lambda _: None).run(iter(lines))


@pytest.mark.usefixtures("_silent")
@pytest.mark.parametrize(
    "message",
    [
        pytest.param(RECORD, id="the same record again"),
        pytest.param({**RECORD, "key": 7}, id="a rejected record"),
        pytest.param({"type": "SCHEMA", "stream": "notes", "key_properties": ["id"]}, id="SCHEMA"),
        pytest.param({"type": "STATE", "stream": "notes", "value": {}}, id="STATE"),
        pytest.param({"type": "ACTIVATE_VERSION", "stream": "notes", "version": 1}, id="ACTIVATE_VERSION"),
    ],
)
def test_whatever_a_source_says_of_a_stream_is_contact(
    probe: DatabaseProbe, message: dict[str, Any]
) -> None:
    before = probe("SELECT last_ingested_at, last_version FROM streams ORDER BY id")
    feed(message)
    assert heard_of(probe) == ["notes"]
    assert probe("SELECT last_ingested_at, last_version FROM streams ORDER BY id") == before
    assert probe.wrong_but_clean() == []


@pytest.mark.usefixtures("_silent")
def test_a_request_is_contact_of_the_stream_that_it_is_sent_to(
    probe: DatabaseProbe, client: FlaskClient
) -> None:
    address = "/v1/ingest/notes?connector_id=files&connector_instance_id=laptop"
    client.post(address, data=b"", headers={"Authorization": f"Bearer {TOKEN}"})
    assert heard_of(probe) == ["notes"]


def test_contact_creates_nothing(probe: DatabaseProbe) -> None:
    feed({"type": "SCHEMA", "stream": "notes", "key_properties": ["id"]})
    write(upsert("a"), connection="phone")
    assert probe("SELECT connector_instance_id FROM connections") == [("phone",)]


def test_a_delete_never_creates_anything(probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a record whose connection is deleted at the same moment, too."""
    feed({"type": "RECORD", "stream": "notes", "key": "a", "op": "delete"})
    assert probe("SELECT * FROM connections") == []
    write(upsert("a"))
    known = deletion.known_stream

    def then_gone(*names: str) -> Any:
        found = known(*names)
        monkeypatch.undo()
        deletion.delete_connection("laptop")
        return found

    monkeypatch.setattr(deletion, "known_stream", then_gone)
    with pytest.raises(NotFound):
        deletion.delete_record("laptop", "notes", "a")
    assert probe("SELECT * FROM connections") == []
    assert probe("SELECT * FROM streams WHERE connection_id IS NOT NULL") == []
    assert probe.wrong_but_clean() == []


def test_streams_without_records_fill_a_batch_too(monkeypatch: pytest.MonkeyPatch) -> None:
    contacts = []

    def write(*given: Any) -> records.Written:
        contacts.append(given[3])
        return records.Written(records.Counts(), [])

    monkeypatch.setattr(records, "write", write)
    monkeypatch.setattr(importer, "BATCH_LINES", 10)
    feed(*({"type": "SCHEMA", "stream": f"s{n}", "key_properties": ["id"]} for n in range(25)))
    assert [len(each) for each in contacts] == [10, 10, 5]
