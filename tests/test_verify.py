"""The recount that checks the repair, and shares nothing with it."""

import pytest

from pdpp_ref.services import verify
from pdpp_ref.times import days_before
from tests.world import MEASURES, Calendar, Outside, mark, stored, upsert, write

pytestmark = pytest.mark.usefixtures("app")


def found() -> list[tuple[str, str, object, object, bool]]:
    return [
        (difference.row[0], difference.figure, difference.stored, difference.counted, difference.dirty)
        for difference in verify.differences()
    ]


def test_exact_figures_have_no_differences() -> None:
    assert found() == []
    write(upsert("a"), upsert("a", 2), upsert("p", stream="photos"))
    assert found() == []


@pytest.mark.parametrize("grain", ["stream", "connection", "global"])
def test_every_wrong_figure_is_told_at_its_grain(grain: str, outside: Outside) -> None:
    write(upsert("a"))
    outside(f"UPDATE retained_size_{grain} SET record_count = 5, latest_ingested_at = 'x'")
    before = stored()
    differences = found()
    assert [(row[0], row[1]) for row in differences] == [
        (grain, "record_count"),
        (grain, "latest_ingested_at"),
    ]
    assert differences[0] == (grain, "record_count", 5, 1, False)
    assert stored() == before, "nothing is written"


def test_counts_of_streams_and_connections_are_checked(outside: Outside) -> None:
    write(upsert("a"))
    outside("UPDATE retained_size_global SET stream_count = 3, connection_count = 2")
    assert [row[1] for row in found()] == ["stream_count", "connection_count"]


def test_a_missing_row_differs_in_every_figure(outside: Outside) -> None:
    write(upsert("a"))
    outside("DELETE FROM retained_size_stream")
    differences = found()
    assert len(differences) == len(MEASURES) + 4, "the measures and the bounds of times"
    assert all(stored is None for _, _, stored, _, _ in differences)


def test_a_difference_of_a_marked_row_says_so(outside: Outside) -> None:
    write(upsert("a"))
    mark("laptop", "notes")
    write(upsert("b"))
    differences = found()
    assert differences
    assert all(dirty for *_, dirty in differences)


@pytest.mark.parametrize("grain", ["stream", "connection", "global"])
def test_the_newest_day_is_checked_at_every_grain(grain: str, outside: Outside) -> None:
    write(upsert("a"))
    outside(f"UPDATE retained_size_{grain}_days SET record_count = 5, generation = 7")
    names = {"stream": ("laptop", "notes"), "connection": ("laptop",), "global": ()}[grain]
    row = ("day", days_before(0), grain, *names)
    assert list(verify.differences()) == [
        verify.Difference(row, "generation", 7, 1, False),
        verify.Difference(row, "record_count", 5, 1, False),
    ]


def test_a_day_that_is_not_there_differs(outside: Outside) -> None:
    write(upsert("a"))
    outside("DELETE FROM retained_size_global_days")
    (first, *_, last) = verify.differences()
    assert (first.row, first.figure, first.stored) == (("day", "none", "global"), "generation", None)
    assert (last.figure, last.stored, last.counted) == ("blob_bytes", None, 0)


def test_a_gap_that_is_not_marked_is_told(calendar: type[Calendar], outside: Outside) -> None:
    """Versions came on a day that growth says nothing happened on."""
    for day in (1, 3, 5):
        calendar.moment = calendar.moment.replace(day=day)
        write(upsert(f"{day}"))
    assert found() == []
    outside("DELETE FROM retained_size_stream_days WHERE day = '2026-03-03'")
    assert found() == [], "unlinked: unknown"
    outside("UPDATE retained_size_stream_days SET previous_generation = 1 WHERE day = '2026-03-05'")
    row = ("day", "2026-03-03", "stream", "laptop", "notes")
    assert list(verify.differences()) == [verify.Difference(row, "versions", 0, 1, False)]
