"""Keys of Singer streams: compared by value, each property of one type, and never made in two ways."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pdpp_ref import database, migrations
from pdpp_ref.canonical import records
from pdpp_ref.canonical.importer import Importer
from pdpp_ref.database import db, execute, fetch_all
from tests.support import postgres
from tests.support.factories import DatabaseProbe, delete, upsert, write
from tests.support.probe import DatabaseProbe as Other

DATABASES = Path(__file__).parents[1] / "databases"


def declare(*properties: str, stream: str = "rows") -> dict[str, Any]:
    return {"type": "SCHEMA", "stream": stream, "schema": {}, "key_properties": list(properties)}


def row(record: str, stream: str = "rows") -> str:
    return f'{{"type":"RECORD","stream":"{stream}","record":{record}}}'


def feed(*messages: dict[str, Any] | str, connection: str = "tap") -> list[tuple[int, str]]:
    """Import lines; returns the rejected ones with their reasons."""
    rejected: list[tuple[int, str]] = []
    lines = [(each if isinstance(each, str) else json.dumps(each)).encode() for each in messages]
    work = Importer(
        records.Target(connection, connection),
        print,
        lambda line: rejected.append((line.number, line.reason)),
    )
    work.run(iter(lines))
    return rejected


def keys() -> list[str]:
    return [key for (key,) in fetch_all("SELECT key FROM records ORDER BY key")]


@pytest.mark.usefixtures("app")
class TestOfAStream:
    @pytest.mark.parametrize(
        ("spellings", "key"),
        [(("1", "1.0", "1e0"), "1"), (("0", "-0", "-0.0"), "0"), (("1.50", "15e-1"), "1.5")],
    )
    def test_numbers_are_compared_by_value(self, spellings: tuple[str, ...], key: str) -> None:
        for spelling in spellings:
            assert feed(declare("id"), row(f'{{"id":{spelling}}}')) == []
        assert keys() == [key]

    @pytest.mark.parametrize(
        ("first", "second"), [("1", '"1"'), ("true", '"true"'), ('"1"', "1"), ("1", "true")]
    )
    def test_two_types_are_never_one_key(self, first: str, second: str) -> None:
        for batches in ([[first], [second]], [[first, second]]):
            found = [
                each
                for batch in batches
                for each in feed(declare("id"), *(row(f'{{"id":{value}}}') for value in batch))
            ]
            assert len(found) == 1
            assert "key property 'id' is a" in found[0][1]
        assert len(keys()) == 1

    def test_a_null_has_no_type(self) -> None:
        pairs = [row('{"a":null,"b":"x"}'), row('{"a":1,"b":""}'), row('{"a":null,"b":"x","c":2}')]
        assert feed(declare("a", "b"), *pairs) == []
        assert keys() == ['["1",""]', '[null,"x"]']
        assert fetch_all("SELECT key_schema FROM streams") == [('[["a", "number"], ["b", "string"]]',)]

    def test_other_key_properties_are_refused_while_there_are_records(self) -> None:
        assert feed(declare("id"), row('{"id":1,"n":2}')) == []
        assert feed(declare("n")) == [], "a SCHEMA that no record follows is harmless"
        ((line, reason),) = feed(declare("n"), row('{"id":1,"n":2}'))
        assert line == 2
        assert "keyed by 'n', and the stream's other records by 'id'" in reason
        assert keys() == ["1"]
        assert len(feed(declare(), row('{"id":1,"n":2}'))) == 1
        assert len(feed(declare("n", "id"), row('{"id":1,"n":2}'))) == 1
        write(delete("1", "rows"), connection="tap", connector="tap")
        assert feed(declare("n"), row('{"id":1,"n":2}')) == []
        assert keys() == ["2"]

    @pytest.mark.parametrize(
        ("key", "data", "refused"),
        [
            pytest.param("7", {"id": 7}, False, id="keyed by the same property"),
            pytest.param("x", {"id": 7, "name": "x"}, True, id="keyed by another"),
            pytest.param('["7","x"]', {"id": 7, "name": "x"}, True, id="keyed by two"),
            pytest.param("made up", {"id": 7}, False, id="keyed by nobody knows what"),
        ],
    )
    def test_how_a_stream_of_an_earlier_version_is_keyed_is_seen_in_its_newest_record(
        self, key: str, data: dict[str, Any], refused: bool
    ) -> None:
        write(upsert(key, data, "rows"), connection="tap", connector="tap")
        execute("UPDATE streams SET key_schema = 'null'")
        assert len(feed(declare("id"), row('{"id":7.0,"n":1}'))) == refused

    def test_keys_of_the_collection_profile_are_of_no_properties(self) -> None:
        write(upsert("x", {"id": 7, "name": "x"}, "rows"), connection="tap", connector="tap")
        assert feed(declare("id"), row('{"id":7.0,"name":"x"}')) == []
        assert keys() == ["7", "x"]

    def test_a_lone_surrogate_is_stored_as_its_escape(self) -> None:
        assert feed(declare("id"), row('{"id":1,"t":"\\ud83d and \\uDE00"}')) == []
        assert fetch_all("SELECT data, json_bytes FROM records") == [
            ('{"id":1,"t":"\\ud83d and \\ude00"}', 32)
        ]
        assert len(feed(declare("id"), row('{"id":"\\ud83d"}'))) == 1


@pytest.fixture(params=["sqlite", "postgres"])
def _old(request: pytest.FixtureRequest, server: str, tmp_path: Path) -> Any:
    """A database of schema 2: stream `rows` with keys 1.0, 2 and 1e1, and `pairs` with ["1.50","x"]."""
    if request.param == "sqlite":
        with Other(tmp_path / "old.sqlite3") as probe:
            probe.db.execute((DATABASES / "schema-2.sql").read_text())
        database.connect(f"sqlite:///{tmp_path}/old.sqlite3", tmp_path)
        migrations.prepare()
        yield
        db.close()
        return
    with postgres.new_database(server, f"keys_{os.getpid()}") as url:
        with Other(url) as probe:
            probe((DATABASES / "schema-2-postgres.sql").read_text())
        database.connect(url, tmp_path)
        migrations.prepare()
        yield
        db.close()


@pytest.mark.usefixtures("_old")
class TestOfAnEarlierVersion:
    def test_existing_keys_keep_their_spelling(self) -> None:
        before = fetch_all("SELECT key FROM records ORDER BY stream_id, key")
        assert feed(declare("id"), *(row(f'{{"id":{n},"new":true}}') for n in ("1", "2.0", "10"))) == []
        pairs = declare("a", "b", stream="pairs")
        assert feed(pairs, row('{"a":1.5,"b":"x","new":true}', "pairs")) == []
        assert fetch_all("SELECT key FROM records ORDER BY stream_id, key") == before
        assert fetch_all("SELECT COUNT(*) FROM records WHERE data LIKE '%new%'") == [(4,)]
        assert feed(declare("id"), row('{"id":1.00,"again":true}')) == []
        assert fetch_all("SELECT key FROM records ORDER BY stream_id, key") == before

    def test_types_are_derived_from_what_is_stored(self) -> None:
        ((_, reason),) = feed(declare("id"), row('{"id":"1.0"}'))
        assert "key property 'id' is a string here, and a number" in reason
        ((_, reason),) = feed(declare("t"), row('{"id":1,"t":"one"}'))
        assert "other records" in reason


@pytest.mark.usefixtures("app")
def test_a_write_of_known_types_asks_nothing_more(probe: DatabaseProbe) -> None:
    feed(declare("id"), row('{"id":1}'))
    assert probe("SELECT key_schema, respelled_keys FROM streams") == [('[["id", "number"]]', 0)]
