"""Each connector's records, which the summary ranks: a part of the global row."""

import pytest
from flask import Flask

from pdpp_ref.canonical import deletion
from pdpp_ref.operations import verify
from pdpp_ref.services import reconcile
from tests.support.factories import DatabaseProbe, delete, mark, stored, upsert, write


def rows(probe: DatabaseProbe) -> dict[str, int]:
    return dict(probe("SELECT connector_id, record_count FROM retained_size_connector"))


@pytest.fixture(autouse=True)
def _two_connectors(app: Flask) -> None:
    write(upsert("a"), upsert("b"), connection="mail 1", connector="mail")
    write(upsert("a"), connection="mail 2", connector="mail")
    write(upsert("a"), connection="bank", connector="bank")


def test_they_follow_each_write_and_none_is_left_of_nothing(probe: DatabaseProbe) -> None:
    assert rows(probe) == {"mail": 3, "bank": 1}
    write(upsert("a", 2), delete("b"), connection="mail 1", connector="mail")
    write(delete("a"), connection="bank", connector="bank")
    assert rows(probe) == {"mail": 2}
    write(upsert("c"), connection="bank", connector="bank")
    assert rows(probe) == {"mail": 2, "bank": 1}


def test_deleted_streams_and_connections_are_subtracted(probe: DatabaseProbe) -> None:
    deletion.delete_stream("mail 1", "notes")
    assert rows(probe) == {"mail": 1, "bank": 1}
    deletion.delete_connection("mail 2")
    deletion.delete_connection("bank")
    assert rows(probe) == {}
    assert list(verify.differences()) == []


def test_a_lost_row_is_summed_again_by_the_next_write(probe: DatabaseProbe) -> None:
    probe("DELETE FROM retained_size_connector")
    write(upsert("x"), connection="mail 2", connector="mail")
    assert rows(probe) == {"mail": 4}


def test_while_the_global_row_is_dirty_they_stay_as_of_its_time(probe: DatabaseProbe) -> None:
    mark("bank")
    write(upsert("x"), connection="mail 1", connector="mail")
    assert rows(probe) == {"mail": 3, "bank": 1}
    assert stored()["retained_size_global"][0]["record_count"] == 4
    reconcile.run_until_fresh()
    assert rows(probe) == {"mail": 4, "bank": 1}


def test_drift_becomes_a_mark_and_is_corrected(probe: DatabaseProbe) -> None:
    probe("UPDATE retained_size_connector SET record_count = 0 WHERE connector_id = 'mail'")
    write(delete("a"), connection="mail 2", connector="mail")
    assert probe.dirty() == (1, 1, 1)
    reconcile.run_until_fresh()
    assert rows(probe) == {"mail": 2, "bank": 1}


def test_verify_reports_a_wrong_or_missing_one(probe: DatabaseProbe) -> None:
    probe("UPDATE retained_size_connector SET record_count = 7 WHERE connector_id = 'mail'")
    probe("DELETE FROM retained_size_connector WHERE connector_id = 'bank'")
    probe("INSERT INTO retained_size_connector (connector_id, record_count) VALUES ('gone', 1)")
    found = [(row.row, row.column, row.stored, row.counted, row.dirty) for row in verify.differences()]
    assert found == [
        (("connector", "bank"), "record_count", None, 1, False),
        (("connector", "gone"), "record_count", 1, None, False),
        (("connector", "mail"), "record_count", 7, 3, False),
    ]


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("retained_size_stream", "connection_name"),
        ("retained_size_stream", "stream_name"),
        ("retained_size_connection", "connection_name"),
    ],
)
def test_a_wrong_name_in_the_projection_is_told_and_a_rebuild_corrects_it(
    table: str, column: str, probe: DatabaseProbe
) -> None:
    probe(f"UPDATE {table} SET {column} = 'x'")
    assert {difference.column for difference in verify.differences()} == {column}
    reconcile.begin_rebuild()
    reconcile.finish_rebuild()
    assert list(verify.differences()) == []


@pytest.mark.parametrize("grain", ["stream", "connection"])
def test_a_row_that_is_added_again_has_its_names(grain: str, probe: DatabaseProbe) -> None:
    probe(f"DELETE FROM retained_size_{grain}")
    write(upsert("x"), connection="bank", connector="bank")  # marks one, and a pass discovers the others
    mark()
    reconcile.run_until_fresh()
    assert list(verify.differences()) == []
