"""The recount that checks the repair, and shares nothing with it."""

import pytest

from pdpp_ref.services import verify
from tests.world import MEASURES, Outside, mark, stored, upsert, write

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
    assert len(differences) == len(MEASURES) + 5, (
        "the measures, the bounds of times, and whether those are known"
    )
    assert all(stored is None for _, _, stored, _, _ in differences)


def test_a_difference_of_a_marked_row_says_so(outside: Outside) -> None:
    write(upsert("a"))
    mark("laptop", "notes")
    write(upsert("b"))
    differences = found()
    assert differences
    assert all(dirty for *_, dirty in differences)
