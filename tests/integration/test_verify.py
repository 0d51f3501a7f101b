"""The recount that checks the repair, and shares nothing with it."""

import pytest

from pdpp_ref.canonical import blobs, retention
from pdpp_ref.database import db
from pdpp_ref.operations import verify
from pdpp_ref.timestamps import days_before
from tests.support.factories import MEASURES, Calendar, DatabaseProbe, delete, mark, stored, upsert, write

pytestmark = pytest.mark.usefixtures("app")


def found() -> list[tuple[str, str, object, object, bool]]:
    return [
        (difference.row[0], difference.column, difference.stored, difference.counted, difference.dirty)
        for difference in verify.differences()
    ]


def test_exact_figures_have_no_differences() -> None:
    assert found() == []
    write(upsert("a"), upsert("a", 2), upsert("p", stream="photos"))
    assert found() == []


@pytest.mark.only("sqlite")
def test_it_sorts_on_the_disk_and_not_in_memory(probe: DatabaseProbe) -> None:
    write(upsert("a"))
    probe("UPDATE retained_size_global SET record_count = 5, stream_count = 5")
    differences = verify.differences()
    next(differences)
    assert db.execute_sql("PRAGMA temp_store").fetchone() == (1,)
    assert list(differences)
    assert db.execute_sql("PRAGMA temp_store").fetchone() == (2,)


@pytest.mark.parametrize("grain", ["stream", "connection", "global"])
def test_every_wrong_figure_is_reported_at_its_grain(grain: str, probe: DatabaseProbe) -> None:
    write(upsert("a"))
    probe(f"UPDATE retained_size_{grain} SET record_count = 5, latest_ingested_at = 'x'")
    before = stored()
    differences = found()
    assert [(row[0], row[1]) for row in differences] == [
        (grain, "record_count"),
        (grain, "latest_ingested_at"),
    ]
    assert differences[0] == (grain, "record_count", 5, 1, False)
    assert stored() == before, "nothing is written"


def test_counts_of_streams_and_connections_are_checked(probe: DatabaseProbe) -> None:
    write(upsert("a"))
    probe("UPDATE retained_size_global SET stream_count = 3, connection_count = 2")
    assert [row[1] for row in found()] == ["stream_count", "connection_count"]


def test_a_missing_row_differs_in_every_figure(probe: DatabaseProbe) -> None:
    write(upsert("a"))
    probe("DELETE FROM retained_size_stream")
    differences = found()
    assert len(differences) == len(MEASURES) + 7, (
        "the measures, the bounds of times, whether those are known, and two names"
    )
    assert all(stored is None for _, _, stored, _, _ in differences)


def test_a_difference_of_a_marked_row_says_so(probe: DatabaseProbe) -> None:
    write(upsert("a"))
    mark("laptop", "notes")
    write(upsert("b"))
    differences = found()
    assert differences
    assert all(dirty for *_, dirty in differences)


@pytest.mark.parametrize("grain", ["stream", "connection", "global"])
def test_the_newest_day_is_checked_at_every_grain(grain: str, probe: DatabaseProbe) -> None:
    write(upsert("a"))
    probe(f"UPDATE retained_size_{grain}_days SET record_count = 5, generation = 7")
    names = {"stream": ("laptop", "notes"), "connection": ("laptop",), "global": ()}[grain]
    row = ("day", days_before(0), grain, *names)
    assert list(verify.differences()) == [
        verify.Difference(row, "generation", 7, 1, False),
        verify.Difference(row, "record_count", 5, 1, False),
    ]


def test_a_day_that_is_not_there_differs(probe: DatabaseProbe) -> None:
    write(upsert("a"))
    probe("DELETE FROM retained_size_global_days")
    (first, *_, last) = verify.differences()
    assert (first.row, first.column, first.stored) == (("day", "none", "global"), "generation", None)
    assert (last.column, last.stored, last.counted) == ("blob_bytes", None, 0)


def test_a_gap_that_is_not_marked_is_reported(calendar: type[Calendar], probe: DatabaseProbe) -> None:
    """Versions came on a day that growth says nothing happened on."""
    for day in (1, 3, 5):
        calendar.moment = calendar.moment.replace(day=day)
        write(upsert(f"{day}"))
    assert found() == []
    probe("DELETE FROM retained_size_stream_days WHERE day = '2026-03-03'")
    assert found() == [], "unlinked: unknown"
    probe("UPDATE retained_size_stream_days SET previous_generation = 1 WHERE day = '2026-03-05'")
    row = ("day", "2026-03-03", "stream", "laptop", "notes")
    assert list(verify.differences()) == [verify.Difference(row, "versions", 0, 1, False)]


# ---- single records ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (
            "DELETE FROM retained_size_record WHERE key = 'a'",
            [
                ("a", "version", None, 5),
                ("a", "record_count", None, 1),
                ("a", "current_record_json_bytes", None, 2),
                ("a", "record_history_count", None, 2),
                ("a", "record_history_json_bytes", None, 3),
                ("a", "blob_count", None, 0),
                ("a", "blob_bytes", None, 0),
                ("a", "has_rollup", 1, 0),
            ],
        ),
        (
            "DELETE FROM retained_size_record WHERE key = 'b'",
            [
                ("b", "version", None, 6),
                ("b", "record_count", None, 0),
                ("b", "current_record_json_bytes", None, 0),
                ("b", "record_history_count", None, 2),
                ("b", "record_history_json_bytes", None, 1),
                ("b", "blob_count", None, 0),
                ("b", "blob_bytes", None, 0),
            ],
        ),
        (
            "INSERT INTO retained_size_record (stream_id, key, version, changed_at, record_count) "
            "SELECT id, 'unknown', 3, 'x', 1 FROM streams",
            [
                ("unknown", "version", 3, None),
                ("unknown", "record_count", 1, 0),
                ("unknown", "changed_at", "x", None),
            ],
        ),
        ("UPDATE retained_size_record SET version = 1 WHERE key = 'a'", [("a", "version", 1, 5)]),
        (
            "UPDATE retained_size_record SET record_history_count = 4, blob_bytes = 5 WHERE key = 'c'",
            [("c", "record_history_count", 4, 1), ("c", "blob_bytes", 5, 6)],
        ),
        ("UPDATE records SET has_rollup = FALSE WHERE key = 'c'", [("c", "has_rollup", 0, 1)]),
        ("UPDATE records SET has_rollup = TRUE WHERE key = 'd'", [("d", "has_rollup", 1, 0)]),
        (
            "UPDATE record_changes SET previous_version = NULL WHERE version = 5",
            [("a", "version before 5", None, 1)],
        ),
        (
            "UPDATE record_changes SET previous_version = 3 WHERE version = 4",
            [("d", "version before 4", 3, None)],
        ),
    ],
)
def test_every_wrong_row_flag_and_link_of_a_record_is_reported(
    damage: str, expected: list[tuple[object, ...]], probe: DatabaseProbe
) -> None:
    write(upsert("a", 1), upsert("b", 1), upsert("c", 1), upsert("d", 1), upsert("a", 22), delete("b"))
    blobs.store("laptop", "notes", "c", iter([b"a file"]))
    assert found() == []
    probe(damage)
    differences = [
        (*difference.row[3:], difference.column, difference.stored, difference.counted)
        for difference in verify.differences()
    ]
    assert sorted(differences, key=str) == sorted(expected, key=str)
    assert {difference.dirty for difference in verify.differences()} == {False}
    probe("UPDATE retained_size_stream SET rollups_dirty = TRUE")
    assert {difference.dirty for difference in verify.differences()} == {True}


def test_the_time_of_a_records_row_is_that_of_its_version_or_of_a_file(probe: DatabaseProbe) -> None:
    write(upsert("a", 1), upsert("a", 2))
    blobs.store("laptop", "notes", "a", iter([b"a file"]))
    blobs.store("laptop", "notes", "a", iter([b"another"]))
    ((changed_at,),) = probe("SELECT changed_at FROM retained_size_record")
    assert [(changed_at,)] == probe("SELECT MAX(bound_at) FROM blob_bindings")
    probe("UPDATE retained_size_record SET changed_at = '2000-01-01T00:00:00.000Z'")
    ((newest,),) = probe("SELECT MAX(ingested_at) FROM record_changes")
    assert found() == [("record", "changed_at", "2000-01-01T00:00:00.000Z", newest, False)]


def test_a_record_of_which_one_version_is_left_may_have_a_row(probe: DatabaseProbe) -> None:
    write(upsert("a", 1), upsert("a", 2))
    retention.prune(1)
    assert found() == []
    probe("UPDATE retained_size_record SET record_history_count = 2")
    assert found() == [("record", "record_history_count", 2, 1, False)]
