"""When the disk will be full."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from pdpp_ref.services import room
from pdpp_ref.services.room import Forecast, RecentRoom, Room, forecast
from tests.support.factories import Clock

TODAY = "2026-01-01"
HERE = Room(database_bytes=2_000, free_bytes=600)


@pytest.mark.parametrize(
    ("totals", "expected"),
    [
        pytest.param([700, 850, 1_000], Forecast("2026-01-31", "2026-01-31"), id="steadily"),
        pytest.param([700, 800, 1_000], Forecast("2026-01-23", "2026-02-15"), id="faster lately"),
        pytest.param([700, 1_100, 1_000], Forecast("2026-01-12", None), id="less lately"),
        pytest.param([999_999_998, 999_999_999, 10**9], Forecast(None, None), id="in ages"),
    ],
)
def test_the_disk_is_full_between_the_days_of_the_faster_and_the_slower_rate(
    totals: Sequence[int], expected: Forecast
) -> None:
    measured = HERE if totals[-1] < 10**9 else Room(10**9, 10**12)
    assert forecast(measured, totals, TODAY) == expected


@pytest.mark.parametrize(
    ("measured", "totals"),
    [
        pytest.param(HERE, [0, 850, 1_000], id="there was nothing a month ago"),
        pytest.param(HERE, [None, 850, 1_000], id="a month ago is unknown"),
        pytest.param(HERE, [700, None, 1_000], id="a day between is unknown"),
        pytest.param(HERE, [700, 850, None], id="today is unknown"),
        pytest.param(HERE, [1_000, 850, 700], id="it shrinks"),
        pytest.param(HERE, [1_000, 1_000, 1_000], id="it does not grow"),
        pytest.param(Room(2_000, None), [700, 850, 1_000], id="the disk is elsewhere"),
        pytest.param(Room(None, 600), [700, 850, 1_000], id="the database is busy"),
    ],
)
def test_what_cannot_be_known_is_not_forecast(measured: Room, totals: Sequence[int | None]) -> None:
    assert forecast(measured, totals, TODAY) is None


def test_a_folder_that_is_gone_has_no_known_room(tmp_path: Path) -> None:
    assert room.free_bytes(tmp_path)
    assert room.free_bytes(tmp_path / "gone") is None


def test_room_is_measured_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter([1, 2])
    monkeypatch.setattr(room, "measure", lambda: Room(next(sizes), None))
    clock = Clock()
    recent = RecentRoom(clock)
    assert [recent.read().database_bytes, recent.read().database_bytes] == [1, 1]
    clock.advance(60)
    assert recent.read().database_bytes == 2
