"""The body of the summary read, field for field."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from pdpp_ref.models import RetainedSizeGlobal
from tests.support import contract
from tests.support.factories import DatabaseProbe, delete, mark, upsert, write

Read = Callable[[], dict[str, Any]]

FRESHNESS = {"computed_at", "state", "stale_since", "rebuild_status", "last_error"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def test_the_body_has_the_contracts_fields_and_no_other(summary: Read) -> None:
    write(upsert("a", {"n": 1}), upsert("a", {"n": 22}), upsert("p", {"n": 3}, stream="photos"))
    body = summary()
    assert list(body) == contract.SUMMARY
    assert set(body["projection"]) == FRESHNESS
    assert body["object"] == "dataset_summary"
    assert (body["connector_count"], body["stream_count"], body["record_count"]) == (1, 2, 2)
    assert (body["record_json_bytes"], body["record_changes_json_bytes"]) == (15, 22)
    assert body["total_retained_bytes"] == 15 + 22 + body["blob_bytes"]
    for name in ("earliest_ingested_at", "latest_ingested_at"):
        assert TIME.fullmatch(body[name])
    assert TIME.fullmatch(body["projection"]["computed_at"])
    assert body["projection"]["state"] == "fresh"
    assert body["projection"]["rebuild_status"] == "idle"


def test_a_database_without_records_is_measured_and_fresh(summary: Read) -> None:
    body = summary()
    assert body["projection"]["state"] == "fresh"
    assert body["projection"]["computed_at"] is not None
    assert body["top_connectors"] == []
    assert all(body[name] == 0 for name in contract.SUMMARY if name.endswith(("_count", "_bytes")))
    assert all(body[name] is None for name in contract.SUMMARY if name.endswith(("_time", "_at")))


def test_times_are_null_again_when_the_last_record_is_gone(summary: Read) -> None:
    write(upsert("a"), delete("a"))
    body = summary()
    assert body["record_count"] == 0
    assert body["earliest_ingested_at"] is body["latest_ingested_at"] is None
    assert body["record_changes_json_bytes"] > 0, "its history is kept"


def test_top_connectors_are_summed_over_connections_by_count_then_id(summary: Read) -> None:
    for connection, connector, records in (
        ("mail 1", "mail", 3),
        ("mail 2", "mail", 2),
        ("b", "bank", 4),
        ("c", "calendar", 4),
        ("d", "drive", 1),
        ("e", "empty", 0),
    ):
        changes = [upsert(str(n)) for n in range(records)] or [upsert("x"), delete("x")]
        write(*changes, connection=connection, connector=connector)
    body = summary()
    assert [(top["connector_id"], top["record_count"]) for top in body["top_connectors"]] == [
        ("mail", 5),
        ("bank", 4),
        ("calendar", 4),
    ]
    assert all(top["object"] == "dataset_connector_summary" for top in body["top_connectors"])
    assert all(len(top) == 3 for top in body["top_connectors"])
    assert body["connector_count"] == 6, "connections, not connectors"


def test_a_lost_global_row_is_not_called_fresh(summary: Read, probe: DatabaseProbe) -> None:
    write(upsert("a"))
    probe("DELETE FROM retained_size_global")
    probe.fail("UPDATE ON retained_size_global", "NOT NEW.dirty")
    body = summary()
    assert body["projection"]["state"] == "stale"
    assert body["projection"]["computed_at"] is None


@pytest.mark.parametrize("column", ["rebuild_status", "dirty", "record_count"])
def test_garbage_cannot_be_stored_in_the_projection(
    column: str, probe: DatabaseProbe, summary: Read
) -> None:
    summary()
    with pytest.raises(Exception, match=r"constraint|cannot store|invalid input"):
        probe(f"UPDATE retained_size_global SET {column} = 'garbage'")


def test_a_text_that_is_no_time_is_not_passed_on(owner: Any, probe: DatabaseProbe, summary: Read) -> None:
    write(upsert("a"))
    mark()
    probe.fail_reconcile()
    RetainedSizeGlobal.update(stale_since="garbage", computed_at="garbage").execute()
    block = summary()["projection"]
    assert (block["state"], block["stale_since"], block["computed_at"]) == ("stale", None, None)
    page = owner.get("/dashboard")
    assert page.status_code == 200
    assert "garbage" not in page.text
