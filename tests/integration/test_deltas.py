"""Deltas and marks: exact where they can be, marked where not, refused where not even that."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import peewee
import pytest

from pdpp_ref.canonical import records
from pdpp_ref.database import write_transaction
from pdpp_ref.models import RetainedSizeGlobal
from pdpp_ref.models.measures import MEASURES
from pdpp_ref.operations import verify
from pdpp_ref.parsing.messages import Change
from pdpp_ref.projection import marks
from pdpp_ref.services import reconcile
from tests.support.factories import MEASURES as EXPECTED_MEASURES
from tests.support.factories import DatabaseProbe, delete, fill, ids, mark, stored, upsert, write

pytestmark = pytest.mark.usefixtures("app")
Read = Callable[[], dict[str, Any]]


def test_the_measures_are_those_of_the_contract() -> None:
    assert tuple(measure.name for measure in MEASURES) == EXPECTED_MEASURES


def test_every_write_leaves_all_grains_exact(probe: DatabaseProbe) -> None:
    write(upsert("a"), upsert("b"), upsert("a", 2), connection="one", connector="x")
    write(upsert("a"), delete("a"), upsert("p", stream="photos"), connection="two", connector="x")
    write(delete("b"), connection="one", connector="x")
    assert probe.wrong_but_clean() == []
    assert probe.dirty() == (0, 0, 0)
    assert probe("SELECT stream_count, connection_count FROM retained_size_global") == [(3, 2)]


def test_bounds_follow_the_live_records_through_deletes(probe: DatabaseProbe, summary: Read) -> None:
    assert summary()["earliest_ingested_at"] is None
    for key in "abc":
        write(upsert(key), connection=f"of {key}", connector="x")
    times = [row[0] for row in probe("SELECT ingested_at FROM records ORDER BY key")]
    assert (summary()["earliest_ingested_at"], summary()["latest_ingested_at"]) == (times[0], times[2])
    write(delete("a"), connection="of a", connector="x")
    assert summary()["earliest_ingested_at"] == times[1]
    write(delete("c"), connection="of c", connector="x")
    assert summary()["latest_ingested_at"] == times[1]
    write(delete("b"), connection="of b", connector="x")
    assert summary()["earliest_ingested_at"] is summary()["latest_ingested_at"] is None


@pytest.mark.parametrize("grain", ["stream", "connection", "global"])
def test_a_failed_delta_marks_and_does_not_fail_the_write(grain: str, probe: DatabaseProbe) -> None:
    write(upsert("a"))
    probe.fail(f"UPDATE OF record_count ON retained_size_{grain}")
    before = stored()

    assert write(upsert("b")) == records.Counts(created=1)

    assert probe("SELECT COUNT(*) FROM records") == [(2,)]
    assert probe.dirty() == (1, 1, 1)
    after = stored()
    for table, rows in after.items():
        assert rows[0]["record_count"] == before[table][0]["record_count"], "the savepoint undid it"
    probe.restore()
    assert reconcile.run_until_fresh().fresh
    assert probe.wrong_but_clean() == []


@pytest.mark.parametrize("grain", ["stream", "connection", "global"])
def test_where_not_even_the_mark_can_be_stored_the_write_is_refused(
    grain: str, probe: DatabaseProbe
) -> None:
    write(upsert("a"))
    before = stored()
    probe.fail(f"UPDATE ON retained_size_{grain}")
    with pytest.raises(peewee.DatabaseError):
        write(upsert("b"))
    assert probe("SELECT key FROM records") == [("a",)]
    assert stored() == before
    probe.restore()
    assert write(upsert("b")).created == 1
    assert probe.wrong_but_clean() == []


def test_drift_below_zero_is_caught_and_marked(probe: DatabaseProbe) -> None:
    write(upsert("a"))
    probe("UPDATE retained_size_stream SET record_count = 0")
    write(delete("a"))
    assert probe.dirty() == (1, 1, 1)
    reconcile.run_until_fresh()
    assert probe.wrong_but_clean() == []


def test_a_mark_marks_the_grains_above_and_only_those(probe: DatabaseProbe) -> None:
    write(upsert("a"), upsert("p", stream="photos"))
    write(upsert("a"), connection="phone", connector="x")
    mark("laptop", "notes")
    assert probe.dirty() == (1, 1, 1)
    mark("laptop", "photos")
    assert probe.dirty() == (2, 1, 1)


def test_a_mark_keeps_the_first_time_and_touches_no_figure(
    probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(upsert("a"))
    mark("laptop", "notes")
    first = stored()
    monkeypatch.setattr(marks, "utc_now", lambda: "2999-01-01T00:00:00.000Z")
    mark("laptop", "notes")
    assert stored() == first
    assert first["retained_size_stream"][0]["record_count"] == 1


def test_a_mark_on_a_stream_that_has_no_row_is_not_forgotten(probe: DatabaseProbe, summary: Read) -> None:
    fill(30)
    for grain in ("stream", "connection", "global"):
        probe(f"DELETE FROM retained_size_{grain}")
    row = ids("laptop", "notes")
    with write_transaction():
        marks.mark_stream(row["id"], row["connection"])
    assert probe.dirty() == (1, 1, 1)
    assert summary()["projection"]["state"] == "fresh"
    assert summary()["record_count"] == 30
    assert probe.wrong_but_clean() == []


def test_a_mark_rolls_back_with_its_transaction(probe: DatabaseProbe) -> None:
    write(upsert("a"))
    row = ids("laptop", "notes")

    def failing_write() -> None:
        with write_transaction():
            marks.mark_stream(row["id"], row["connection"])
            raise RuntimeError("the canonical write failed")

    with pytest.raises(RuntimeError):
        failing_write()
    assert probe.dirty() == (0, 0, 0)


@pytest.mark.parametrize("grain", ["stream", "connection", "global"])
def test_a_write_to_a_lost_row_marks_it(grain: str, probe: DatabaseProbe) -> None:
    fill(20)
    probe(f"DELETE FROM retained_size_{grain}")
    write(upsert("more"))
    assert probe.wrong_but_clean() == []
    assert probe("SELECT dirty FROM retained_size_global") == [(1,)]
    reconcile.run_until_fresh()
    assert probe("SELECT record_count FROM retained_size_global") == [(21,)]
    assert probe.wrong_but_clean() == []


def test_a_lost_row_is_not_passed_over_in_the_times_above(probe: DatabaseProbe) -> None:
    for year, stream in ((2020, "photos"), (2021, "notes")):
        time = f"{year}-01-01T00:00:00.000Z"
        write(Change(stream, "a", "{}", record_time=time, record_time_field="at"))
    probe("DELETE FROM retained_size_stream WHERE stream_id = (SELECT MIN(id) FROM streams)")
    mark()
    write(upsert("more"))
    assert [found for found in verify.differences() if not found.dirty] == []


def test_a_row_marked_in_one_table_alone_is_never_passed_over(probe: DatabaseProbe, summary: Read) -> None:
    write(upsert("a"))
    probe("UPDATE retained_size_stream SET dirty = TRUE, record_count = 9")
    write(upsert("b"))
    assert probe.dirty() == (1, 1, 1), "the next write passes the mark up"
    assert summary()["record_count"] == 2

    probe("UPDATE retained_size_stream SET dirty = TRUE, record_count = 9")
    probe("UPDATE retained_size_connection SET dirty = TRUE, record_count = 9")
    assert reconcile.run_until_fresh().reconciled == 2, "and so does a pass"
    assert probe.wrong_but_clean() == []


def test_a_write_to_what_is_marked_already_needs_no_mark(probe: DatabaseProbe) -> None:
    write(upsert("a"))
    mark("laptop", "notes")
    probe.fail("UPDATE ON retained_size_global")
    assert write(upsert("b")).created == 1
    probe.restore()
    reconcile.run_until_fresh()
    assert probe.wrong_but_clean() == []


@pytest.mark.parametrize("grain", ["stream", "connection", "global"])
def test_an_update_that_changes_no_row_is_a_failure(grain: str, probe: DatabaseProbe) -> None:
    write(upsert("a"))
    probe.ignore(f"UPDATE OF record_count ON retained_size_{grain}")
    write(upsert("b"))
    assert probe.dirty() == (1, 1, 1)
    with suppress(peewee.OperationalError):  # a row below the global one is set aside instead
        reconcile.run_until_fresh()
    assert probe.dirty()[2] == 1
    assert probe.wrong_but_clean() == []
    probe.restore()
    reconcile.run_until_fresh()
    assert probe.dirty() == (0, 0, 0)
    assert probe.wrong_but_clean() == []


def test_figures_of_a_marked_row_stay_as_they_were_at_their_time(probe: DatabaseProbe) -> None:
    write(upsert("a"))
    mark("laptop", "notes")
    before = stored()
    write(upsert("b"), upsert("c"))
    assert stored() == before
    reconcile.run_until_fresh()
    assert probe("SELECT record_count FROM retained_size_global") == [(3,)]


@pytest.mark.parametrize(("grain", "where"), [("connection", ["laptop"]), ("global", [])])
def test_figures_of_what_is_marked_above_a_clean_stream_stay_too(
    grain: str, where: list[str], probe: DatabaseProbe
) -> None:
    write(upsert("a"))
    mark(*where)
    before = stored()
    write(upsert("b"), upsert("c"))
    for table in {grain, "global"}:
        assert stored()[f"retained_size_{table}"] == before[f"retained_size_{table}"]
    assert probe("SELECT record_count FROM retained_size_stream") == [(3,)]
    assert probe.wrong_but_clean() == []


def test_figures_are_exact_past_2_to_the_53(probe: DatabaseProbe) -> None:
    write(upsert("a"))
    large = 2**53 + 1
    for grain in ("stream", "connection", "global"):
        probe(f"UPDATE retained_size_{grain} SET blob_bytes = {large}")
    write(upsert("b"))
    assert RetainedSizeGlobal.get().blob_bytes == large
    probe("UPDATE retained_size_global SET dirty = TRUE")
    reconcile.run_until_fresh()
    assert RetainedSizeGlobal.get().blob_bytes == large
