"""What is usual for a source."""

from datetime import timedelta

import pytest

from pdpp_ref.canonical.contacts import usual

HOUR, DAY = 3_600, 86_400


@pytest.mark.parametrize("intervals", [[], [DAY], [DAY, DAY]])
def test_of_few_visits_nothing_follows(intervals: list[int]) -> None:
    assert usual(intervals) is None


@pytest.mark.parametrize(
    ("intervals", "interval", "allowed"),
    [
        pytest.param([HOUR] * 3, HOUR, HOUR + DAY, id="hourly, and never at night"),
        pytest.param([DAY, DAY, 20 * DAY, DAY], DAY, 2 * DAY, id="one holiday is not usual"),
        pytest.param([7 * DAY] * 5, 7 * DAY, 14 * DAY, id="weekly"),
    ],
)
def test_the_usual_interval_is_the_median_and_the_grace_as_long_again(
    intervals: list[int], interval: int, allowed: int
) -> None:
    found = usual(intervals)
    assert found is not None
    assert found == (timedelta(seconds=interval), timedelta(seconds=allowed))
