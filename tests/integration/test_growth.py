"""Growth: from the figures of days, through gaps and recounts; and its picture."""

import re
from collections.abc import Callable
from datetime import date, timedelta

import pytest

from pdpp_ref.blueprints.owner.chart import HEIGHT, WIDTH, chart
from pdpp_ref.canonical import deletion
from pdpp_ref.database import read_snapshot
from pdpp_ref.operations import verify
from pdpp_ref.projection.grains import CONNECTION, GLOBAL, SNAPSHOT_RETENTION_DAYS, STREAM
from pdpp_ref.queries import growth
from pdpp_ref.queries.growth import COMPARED_DAYS, Day
from pdpp_ref.services import reconcile
from pdpp_ref.timestamps import days_before
from tests.support.factories import Calendar, DatabaseProbe, fill, ids, mark, statements, upsert, write

pytestmark = pytest.mark.usefixtures("app")

Stood = Callable[..., None]
START = Calendar.moment


@pytest.fixture
def stood(probe: DatabaseProbe) -> Stood:
    """Lets so many bytes of current records have stood at the end of a day, so many days ago.

    Days are linked to each other in the order of the calls, and to nothing before and after them.
    """
    last = {}

    def keep(ago: int, size: int, connection: str | None = None) -> None:
        table, key = ("global", 1) if connection is None else ("connection", ids(connection)["connection"])
        column = "id" if connection is None else "connection_id"
        number = last.setdefault(table, -100)
        last[table] += 1
        probe(
            f"INSERT INTO retained_size_{table}_days ({column}, day, current_record_json_bytes, "
            "previous_generation, generation) VALUES (?, ?, ?, ?, ?)",
            key,
            days_before(ago),
            size,
            number,
            number + 1,
        )

    return keep


@pytest.fixture
def it_is(calendar: type[Calendar]) -> Callable[[int], None]:
    """Sets the clock to so many days after the first."""

    def turn(day: int) -> None:
        calendar.moment = START + timedelta(days=day)

    return turn


def put(name: str, size: int, connection: str = "laptop", stream: str = "notes") -> None:
    """A record whose text has `size` bytes; it counts twice, as it is and in the history."""
    write(upsert(name, "x" * (size - 2), stream), connection=connection)


def reported(shown: int = 90, **of: int) -> dict[int, int | None]:
    """The totals that growth tells, by days after the first."""
    found = growth.days(shown, **of)
    return {(date.fromisoformat(each.day) - START.date()).days: each.total for each in found}


def test_a_day_without_figures_stands_at_the_day_before(stood: Stood) -> None:
    for ago, size in ((200, 1), (95, 10), (40, 20), (3, 5)):
        stood(ago, size)
    found = [(day.day, day.total) for day in growth.days(90)]
    assert found[:2] == [(days_before(90), 10), (days_before(40), 20)]
    assert [day.total for day in growth.days(365)][:4] == [None, 1, 10, 20]


def test_what_was_before_the_first_change_is_nothing_and_before_a_gap_unknown(
    it_is: Callable[[int], None], stood: Stood
) -> None:
    it_is(0)
    assert reported() == {-90: 0}
    put("a", 10)
    it_is(3)
    assert reported() == {-87: 0, 0: 20}
    assert reported(2) == {1: 20}
    stood(10, 7)
    assert reported()[-87] is None, "its row says that something was before it"


def test_days_of_streams_and_connections_are_their_own(it_is: Callable[[int], None]) -> None:
    it_is(0)
    put("a", 10)
    it_is(1)
    put("a", 20, connection="phone")
    it_is(2)
    put("p", 30, stream="photos")
    phone, laptop = ids("phone", "notes"), ids("laptop", "photos")
    assert reported() == {-88: 0, 0: 20, 1: 60, 2: 120}
    assert reported(connection_id=laptop["connection"]) == {-88: 0, 0: 20, 2: 80}
    assert reported(connection_id=phone["connection"]) == reported(stream_id=phone["id"]) == {-88: 0, 1: 40}
    assert reported(stream_id=laptop["id"]) == {-88: 0, 2: 60}
    it_is(COMPARED_DAYS + 1)
    assert growth.global_baseline() == 60
    assert growth.baselines() == {laptop["connection"]: 20, phone["connection"]: 40}
    streams = [ids("laptop", "notes")["id"], laptop["id"]]
    assert [growth.day_of(STREAM, each, days_before(COMPARED_DAYS)).total for each in streams] == [20, 0]


def test_days_on_which_rows_were_dirty_are_unknown(it_is: Callable[[int], None]) -> None:
    """They were taken for unchanged, so growth was computed from too early a day."""
    it_is(0)
    put("a", 10)
    it_is(2)
    mark("laptop", "notes")
    put("b", 50)
    it_is(4)
    assert reported() == {-86: 0, 0: 20, 2: None}, "as long as it is dirty"
    it_is(5)
    reconcile.run_until_fresh()
    it_is(6)
    assert reported() == {-84: 0, 0: 20, 2: None, 5: 120}
    for day, then in ((1, 20), (2, None), (4, None), (5, 120)):
        it_is(day + COMPARED_DAYS)
        assert growth.global_baseline() == then
        assert growth.baselines() == {ids("laptop")["connection"]: then}
    assert list(verify.differences()) == []


def test_a_mark_that_is_cleared_on_its_day_leaves_no_gap(it_is: Callable[[int], None]) -> None:
    it_is(0)
    put("a", 10)
    it_is(2)
    mark("laptop", "notes")
    put("b", 50)
    reconcile.run_until_fresh()
    assert reported() == {-88: 0, 0: 20, 2: 120}


def test_a_reconcile_leaves_the_days_before_it_as_they_were(it_is: Callable[[int], None]) -> None:
    it_is(0)
    put("a", 10)
    it_is(3)
    before = reported()
    reconcile.begin_rebuild()
    assert reported() == {**before, 3: None}
    reconcile.finish_rebuild()
    assert reported() == {**before, 3: 20}


@pytest.mark.parametrize("days", [365, -365, -20_000])
def test_one_write_with_a_wrong_clock_hides_one_day(it_is: Callable[[int], None], days: int) -> None:
    for day in range(0, 8, 2):
        it_is(day)
        put(f"before {day}", 10)
    it_is(6 + days)
    put("wrong", 10)
    it_is(7)
    assert reported()[6] is None
    for day in range(7, 12):
        it_is(day)
        put(f"after {day}", 10)
    it_is(20)
    whole = {-70: 0, 0: 20, 2: 40, 4: 60, 6: None, 7: 120, 8: 140, 9: 160, 10: 180, 11: 200}
    row = ids("laptop", "notes")
    assert reported() == reported(connection_id=row["connection"]) == reported(stream_id=row["id"]) == whole
    it_is(6 + 365)
    assert reported(365) == {6: None, **{day: whole[day] for day in range(7, 12)}}
    assert list(verify.differences()) == []


def test_a_day_of_a_clock_that_was_ahead_gives_way_when_that_day_comes(
    it_is: Callable[[int], None],
) -> None:
    it_is(0)
    put("a", 10)
    it_is(6)
    put("ahead", 10)
    for day in range(1, 6):
        it_is(day)
        put(f"{day}", 10)
    assert reported() == {-85: 0, 0: None, 1: 60, 2: 80, 3: 100, 4: 120, 5: 140}
    it_is(6)
    put("in time", 10)
    it_is(7)
    assert reported() == {-83: 0, 0: None, 1: 60, 2: 80, 3: 100, 4: 120, 5: 140, 6: 160}


def test_too_few_days_to_know_which_clock_was_wrong_are_unknown(it_is: Callable[[int], None]) -> None:
    """Either the clock was ahead on day 10, or behind on day 3."""
    for day in (1, 10, 3, 11):
        it_is(day)
        put(f"{day}", 10)
    it_is(20)
    assert reported() == {-70: 0, 1: None, 11: 80}


def test_a_clock_that_was_ahead_leaves_later_times_right(
    it_is: Callable[[int], None], probe: DatabaseProbe
) -> None:
    it_is(400)
    put("a", 10)
    it_is(0)
    put("b", 10)
    arrived = [row[0][:10] for row in probe("SELECT ingested_at FROM record_changes ORDER BY version")]
    assert arrived == ["2027-04-05", "2026-03-01"]
    (computed,) = probe("SELECT SUBSTR(computed_at, 1, 10) FROM retained_size_global")
    assert computed == ("2026-03-01",)
    assert list(verify.differences()) == []
    mark("laptop", "notes")
    reconcile.run_until_fresh()
    assert list(verify.differences()) == [], (
        "the oldest and newest version, not the least and greatest time"
    )


def test_deleting_a_connection_leaves_what_growth_says_of_the_rest(it_is: Callable[[int], None]) -> None:
    """The oldest one that is left is younger than what was before it."""
    it_is(0)
    put("a", 100, connection="old")
    it_is(20)
    put("a", 10, connection="young")
    it_is(40)
    deletion.delete_connection("old")
    reconcile.run_until_fresh()
    assert reported() == {-50: 0, 0: 200, 20: 220, 40: 20}
    assert growth.global_baseline() == 200
    assert growth.baselines() == {ids("young")["connection"]: 0}


def test_a_mark_by_a_clock_that_was_ahead_hides_the_days_since_it_was_right(
    it_is: Callable[[int], None],
) -> None:
    it_is(0)
    put("a", 10)
    it_is(7)
    mark("laptop", "notes")
    it_is(2)
    put("b", 10)
    it_is(9)
    row = ids("laptop", "notes")
    assert (
        reported(stream_id=row["id"])
        == reported(connection_id=row["connection"])
        == {-81: 0, 0: 20, 2: None}
    )
    assert reported() == {-81: 0, 0: 20, 2: None}


@pytest.mark.parametrize("then", ["mark", "write", "mark all"])
@pytest.mark.parametrize("days", [-499, 2])
def test_a_row_that_is_cleaned_before_the_day_of_its_mark_hides_that_day(
    then: str, days: int, it_is: Callable[[int], None], probe: DatabaseProbe
) -> None:
    """Something may have arrived on that day, by a clock that was ahead, or before one was set back."""
    it_is(7)
    probe.fail("UPDATE OF record_count ON retained_size_global")
    put("a", 10)
    probe.restore()
    it_is(days)
    if then == "write":
        put("b", 10)
    elif then == "mark":
        mark("laptop", "notes")
    else:
        reconcile.begin_rebuild()
    assert reconcile.run_until_fresh().fresh
    it_is(9)
    assert list(verify.differences()) == []


def test_a_row_that_is_marked_again_before_its_mark_hides_both_days(
    it_is: Callable[[int], None], probe: DatabaseProbe
) -> None:
    """On each of them something arrived that was not added."""
    for day in (7, 2):
        it_is(day)
        probe.fail("UPDATE OF record_count ON retained_size_stream")
        put(f"{day}", 10, stream=f"stream {day}")
        probe.restore()
    it_is(7)
    assert reconcile.run_until_fresh().fresh
    assert list(verify.differences()) == []


def test_a_clock_that_was_behind_once_hides_the_day_it_showed(it_is: Callable[[int], None]) -> None:
    """It was taken for one that had been ahead before, and day 1 for having ended with "late"."""
    for day in (1, 5):
        it_is(day)
        put(f"{day}", 10)
    it_is(1)
    put("late", 10)
    it_is(5)
    put("in time", 10)
    it_is(9)
    row = ids("laptop", "notes")
    assert reported() == reported(connection_id=row["connection"]) == {-81: 0, 1: None, 5: 80}
    assert reported(stream_id=row["id"]) == {-81: 0, 1: None, 5: 80}
    assert list(verify.differences()) == []


@pytest.mark.parametrize("reconciled", [0, 1])
def test_a_clock_that_steps_back_while_a_row_is_dirty_hides_that_day(
    it_is: Callable[[int], None], reconciled: int
) -> None:
    """The row itself did not say that it had been written to on a later day."""
    it_is(0)
    put("a", 10)
    put("p", 10, stream="photos")
    mark("laptop", "notes")
    it_is(4)
    put("b", 10)
    deletion.delete_stream("laptop", "photos")
    it_is(reconciled)
    reconcile.run_until_fresh()
    row = ids("laptop", "notes")
    it_is(9)
    for grain, key in ((STREAM, row["id"]), (CONNECTION, row["connection"]), (GLOBAL, 1)):
        totals = [growth.day_of(grain, key, days_before(ago)).total for ago in range(9, -1, -1)]
        assert totals == [None] * 9 + [40]
    assert list(verify.differences()) == []


def test_a_day_on_which_a_dirty_row_is_written_to_is_unknown_whatever_the_clock_says_next(
    it_is: Callable[[int], None],
) -> None:
    it_is(0)
    put("a", 10)
    it_is(2)
    mark("laptop", "notes")
    for day in (3, 3, 6):
        it_is(day)
        put(f"{day}", 10)
    it_is(4)
    reconcile.run_until_fresh()
    for day in range(7, 11):
        it_is(day)
        put(f"{day}", 10)
    it_is(20)
    assert reported() == {-70: 0, 0: 20, 2: None, 7: 80, 8: 100, 9: 120, 10: 140}
    assert list(verify.differences()) == []


def test_a_gap_that_begins_after_today_is_no_proof_of_what_was_before(
    it_is: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list and the history of a row agree on what is known."""
    it_is(0)
    put("a", 10)
    it_is(40)
    mark("laptop", "notes")
    it_is(2)
    reconcile.run_until_fresh()
    it_is(36)
    put("b", 10)
    it_is(41)
    row = ids("laptop", "notes")["id"]
    for ago in range(1, 41):
        monkeypatch.setattr(growth, "COMPARED_DAYS", ago)
        at = growth.baselines(grain=STREAM)[row]
        assert at == growth.day_of(STREAM, row, days_before(ago)).total, ago


def test_days_are_dropped_by_number_and_by_no_clock(
    it_is: Callable[[int], None], probe: DatabaseProbe
) -> None:
    it_is(0)
    put("a", 10)
    rows = [(1, (START + timedelta(days=day)).date().isoformat(), day, day + 1) for day in range(1, 430)]
    for row in rows:
        probe(
            "INSERT INTO retained_size_global_days (id, day, previous_generation, generation) "
            "VALUES (?, ?, ?, ?)",
            *row,
        )
    probe("UPDATE retained_size_global SET generation = 430")
    it_is(20_000)
    put("b", 10)
    stored = probe("SELECT day FROM retained_size_global_days ORDER BY generation")
    assert len(stored) == SNAPSHOT_RETENTION_DAYS
    assert stored[-2:] == [("2027-05-04",), ("2080-12-02",)]


def test_a_row_that_was_lost_says_nothing_of_before(
    it_is: Callable[[int], None], probe: DatabaseProbe
) -> None:
    it_is(0)
    put("a", 10)
    probe("DELETE FROM retained_size_connection")
    it_is(3)
    mark("laptop")
    reconcile.run_until_fresh()
    it_is(4)
    assert reported(connection_id=ids("laptop")["connection"]) == {-86: 0, 0: None, 3: 20}
    assert reported() == {-86: 0, 0: 20, 3: 20}


def test_the_growth_of_all_connections_is_one_statement() -> None:
    counts = []
    for number in (2, 40):
        for each in range(number):
            write(upsert("a"), connection=f"c{each}")
        with read_snapshot(), statements() as seen:
            assert len(growth.baselines()) == number
        counts.append(len(seen))
    assert counts == [1, 1]


# ---- the picture -------------------------------------------------------------------------------


def points(path: str) -> list[tuple[float, float]]:
    """The corners of a path of M, H and V."""
    x = y = 0.0
    found = []
    for command, numbers in re.findall(r"([MHV])([-\d.,]+)", path):
        if command == "M":
            x, y = map(float, numbers.split(","))
        elif command == "H":
            x = float(numbers)
        else:
            y = float(numbers)
        found.append((x, y))
    return found


def test_a_picture_goes_in_steps_from_what_is_known_to_today() -> None:
    days = [Day(days_before(60), (100, 100, 0)), Day(days_before(30), (200, 200, 400))]
    drawn = chart(days, 90)
    assert drawn is not None
    assert (drawn.top, drawn.first_day, drawn.last_day) == (800, days_before(90), days_before(0))
    corners = points(drawn.line)
    assert corners[0][0] == pytest.approx(WIDTH * 30 / 91, abs=0.1), "what was before is not known"
    assert corners[-1] == (WIDTH, 0)
    assert {y for _, y in corners[1:]} == {0, HEIGHT * 0.75}
    assert sum(step.width for step in drawn.steps) == pytest.approx(WIDTH * 61 / 91, abs=0.1)


def test_an_unknown_day_is_a_gap_and_no_line_goes_across_it() -> None:
    days = [Day(days_before(89), (100, 0, 0)), Day(days_before(59), None), Day(days_before(29), (50, 0, 0))]
    drawn = chart(days, 90)
    assert drawn is not None
    unit = WIDTH / 91
    runs = [points(part) for part in re.findall("M[^M]*", drawn.line)]
    assert [(run[0][0], run[-1][0]) for run in runs] == [
        (pytest.approx(unit, abs=0.1), pytest.approx(31 * unit, abs=0.1)),
        (pytest.approx(61 * unit, abs=0.1), WIDTH),
    ]
    for _, band in drawn.bands:
        assert band.count("M") == band.count("Z") == 2
    assert [step.day.total for step in drawn.known] == [100, 50]
    assert len(drawn.steps) == 3


def test_parts_are_stacked_and_the_whole_is_drawn_first() -> None:
    drawn = chart([Day(days_before(1), (100, 200, 500))], 30)
    assert drawn is not None
    assert [name for name, _ in drawn.bands] == [
        "blob_bytes",
        "record_history_json_bytes",
        "current_record_json_bytes",
    ]
    tops = [min(y for _, y in points(path)) for _, path in drawn.bands]
    assert tops == [0, HEIGHT * 5 / 8, HEIGHT * 7 / 8]


@pytest.mark.parametrize("days", [[], [Day(days_before(3), (0, 0, 0))], [Day(days_before(3), None)]])
def test_nothing_is_no_picture(days: list[Day]) -> None:
    assert chart(days, 90) is None


def test_a_day_from_a_clock_that_was_ahead_stays_inside() -> None:
    drawn = chart([Day(days_before(2), (1, 0, 0)), Day(days_before(-5), (2, 0, 0))], 30)
    assert drawn is not None
    assert all(0 <= step.left <= WIDTH and step.width >= 0 for step in drawn.steps)


@pytest.mark.only("sqlite")
def test_days_are_found_by_index(probe: DatabaseProbe) -> None:
    fill(1)
    with statements() as seen:
        growth.days(90)
        growth.baselines()
    for sql in seen:
        values = [1] * sql.count("?")
        plan = " ".join(row[-1] for row in probe(f"EXPLAIN QUERY PLAN {sql}", *values))
        assert not re.search(r"SCAN (d|retained_size_\w+_days)\b", plan), plan
