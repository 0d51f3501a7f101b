"""Singer's ACTIVATE_VERSION never deletes a record of which a newer version may have been rejected."""

import json
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from pdpp_ref.canonical import activation, importer, records
from pdpp_ref.canonical.importer import Importer, Report
from pdpp_ref.parsing.messages import Change
from tests.support.factories import TOKEN, DatabaseProbe, statements, write

pytestmark = pytest.mark.usefixtures("app")

SCHEMA = {"type": "SCHEMA", "stream": "rows", "schema": {}, "key_properties": ["id"]}


def row(key: int, version: int | None, stream: str = "rows", **more: Any) -> dict[str, Any]:
    return {"type": "RECORD", "stream": stream, "record": {"id": key}, "version": version, **more}


def activate(version: int, stream: str = "rows") -> dict[str, Any]:
    return {"type": "ACTIVATE_VERSION", "stream": stream, "version": version}


BAD = row(9, 2) | {"record": {"id": [9]}}  # its key can't be read, its version can


def feed(*messages: dict[str, Any] | bytes) -> tuple[Report, list[int]]:
    """Import lines; returns the report and the lines whose activation was skipped."""
    lines = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in messages]
    skipped: list[int] = []
    work = Importer(
        records.Target("tap", "tap"), print, print, on_skipped=lambda line, _: skipped.append(line)
    )
    return work.run(iter(lines)), skipped


def keys(probe: DatabaseProbe) -> list[str]:
    return [key for (key,) in probe("SELECT key FROM records ORDER BY key")]


@pytest.fixture
def _old(app: Flask) -> None:
    feed(SCHEMA, row(1, 1), row(2, 1), row(3, 1))


@pytest.mark.usefixtures("_old")
class TestOfAStreamWithOldRecords:
    def test_what_it_removes_is_removed_and_not_accepted(self, probe: DatabaseProbe) -> None:
        report, skipped = feed(SCHEMA, row(1, 2), activate(2))
        assert (report.counts.removed, report.counts.accepted, skipped) == (2, 1, [])
        assert keys(probe) == ["1"]
        assert probe.wrong_but_clean() == []

    @pytest.mark.parametrize(
        "rejected",
        [
            pytest.param(BAD, id="of the version"),
            pytest.param({**BAD, "version": 3}, id="of a later version"),
            pytest.param({**BAD, "version": None}, id="of an unknown version"),
            pytest.param(b"not JSON", id="of an unknown stream"),
            pytest.param({"type": "SCHEMA", "stream": "rows", "key_properties": 7}, id="a SCHEMA"),
        ],
    )
    @pytest.mark.parametrize("restarted", [False, True])
    def test_after_a_rejected_line_it_is_skipped(
        self, probe: DatabaseProbe, rejected: dict[str, Any] | bytes, restarted: bool
    ) -> None:
        """Also if the import ended in between, and another goes on."""
        if restarted:
            feed(SCHEMA, row(1, 2), rejected)
            _, skipped = feed(activate(2))
            assert skipped == [1]
        else:
            _, skipped = feed(SCHEMA, row(1, 2), rejected, activate(2))
            assert skipped == [4]
        assert keys(probe) == ["1", "2", "3"]
        _, skipped = feed(SCHEMA, row(1, 4), row(2, 4), activate(4))
        assert (keys(probe), skipped) == (["1", "2"], []), "the next version without a fault is activated"

    @pytest.mark.parametrize("rejected", [{**BAD, "version": 1}, {**BAD, "stream": "others"}])
    def test_a_rejected_line_of_an_older_version_or_another_stream_does_not_matter(
        self, probe: DatabaseProbe, rejected: dict[str, Any]
    ) -> None:
        _, skipped = feed(SCHEMA, rejected, row(1, 2), activate(2))
        assert (keys(probe), skipped) == (["1"], [])

    def test_a_record_that_does_not_fit_what_is_stored_is_a_rejected_line(
        self, probe: DatabaseProbe
    ) -> None:
        text = {**row(1, 2), "record": {"id": "1"}}
        report, skipped = feed(SCHEMA, row(2, 2), text, activate(2))
        assert (report.rejected, skipped, keys(probe)) == (1, [4], ["1", "2", "3"])

    def test_over_http_it_is_skipped_too(self, probe: DatabaseProbe, client: FlaskClient) -> None:
        def post(*messages: dict[str, Any] | bytes) -> Any:
            lines = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in messages]
            headers = {"Authorization": f"Bearer {TOKEN}"}
            address = "/v1/ingest/rows?connector_id=tap"
            return client.post(address, data=b"\n".join(lines), headers=headers).get_json()

        assert post(SCHEMA, row(1, 2), b"not JSON")["records_rejected"] == 1
        done = post(activate(2))
        assert [each["line"] for each in done["activations_skipped"]] == [1]
        assert "records_removed" not in done
        assert keys(probe) == ["1", "2", "3"]
        assert post(SCHEMA, row(1, 4), activate(4))["records_removed"] == 2


def test_its_cost_is_linear() -> None:
    """Each key is read once, however few of them are old."""
    write(*(Change("rows", f"{key:05}", "{}", table_version=1 + key % 2) for key in range(3_000)))
    with pytest.MonkeyPatch.context() as patched, statements() as seen:
        patched.setattr(activation, "KEYS_PER_PAGE", 100)
        done = activation.activate_version(records.Target("laptop", "files"), "rows", 2)
    pages = [sql for sql in seen if sql.startswith("SELECT key, table_version")]
    assert (done.removed, len(pages)) == (1_500, 31)


def test_of_a_connection_or_stream_that_there_is_not_it_creates_nothing(probe: DatabaseProbe) -> None:
    assert feed(activate(2))[1] == []
    assert probe("SELECT * FROM connections") == []
    write(Change("rows", "a", "{}"))
    feed(activate(2, "others"))
    assert probe("SELECT name FROM streams") == [("rows",)]


def test_a_kill_between_its_pages_leaves_a_part_and_a_repeat_does_the_rest(probe: DatabaseProbe) -> None:
    write(*(Change("rows", f"{key:05}", "{}", table_version=1) for key in range(10)))
    target = records.Target("laptop", "files")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(activation, "KEYS_PER_PAGE", 4)
        pages = activation._older_keys(target, "rows", 2)
        activation._activate_page(target, "rows", 2, next(pages))
    assert len(keys(probe)) == 6
    assert activation.activate_version(target, "rows", 2).removed == 6


def test_batches_know_of_rejected_lines_in_others(probe: DatabaseProbe) -> None:
    feed(SCHEMA, row(1, 1), row(2, 1))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(importer, "BATCH_LINES", 1)
        _, skipped = feed(SCHEMA, BAD, row(1, 2), activate(2))
    assert (keys(probe), skipped) == (["1", "2"], [4])
