"""Growth: from the figures of days, through gaps and recounts; and its picture."""

import re
from collections.abc import Callable

import pytest

from pdpp_ref.blueprints.chart import HEIGHT, WIDTH, chart
from pdpp_ref.database import read_snapshot
from pdpp_ref.services import growth, reconcile
from pdpp_ref.services.growth import Day
from pdpp_ref.times import days_before
from tests.world import Outside, fill, ids, mark, statements, upsert, write

pytestmark = pytest.mark.usefixtures("app")

Stood = Callable[..., None]


@pytest.fixture
def stood(outside: Outside) -> Stood:
    """Lets so many bytes of current records have stood at the end of a day, so many days ago."""

    def keep(ago: int, size: int, connection: str | None = None) -> None:
        table, key = ("global", 1) if connection is None else ("connection", ids(connection)["connection"])
        column = "id" if connection is None else "connection_id"
        outside(
            f"INSERT INTO retained_size_{table}_days ({column}, day, current_record_json_bytes) VALUES (?, ?, ?)",
            key,
            days_before(ago),
            size,
        )

    return keep


def test_a_day_without_figures_stands_at_the_day_before(stood: Stood) -> None:
    for ago, size in ((200, 1), (95, 10), (40, 20), (3, 5)):
        stood(ago, size)
    found = [(day.day, day.total) for day in growth.days(90)]
    assert found == [(days_before(90), 10), (days_before(40), 20), (days_before(3), 5)]
    assert [day.total for day in growth.days(30)] == [20, 5]
    assert [day.total for day in growth.days(365)] == [1, 10, 20, 5]


def test_what_was_before_the_first_day_is_not_said(stood: Stood) -> None:
    assert growth.days(90) == []
    stood(10, 7)
    assert growth.days(90) == [Day(days_before(10), (7, 0, 0))]


def test_days_of_a_connection_are_its_own(stood: Stood) -> None:
    fill(1)
    fill(1, connection="phone")
    stood(5, 11)
    stood(5, 22, "phone")
    phone = growth.days(90, ids("phone")["connection"])
    assert [day.total for day in phone][:1] == [22]
    assert phone[-1].day == days_before(0)


def test_a_recount_leaves_the_days_before_it_as_they_were(stood: Stood, outside: Outside) -> None:
    fill(50)
    stood(20, 123)
    before = growth.days(90)
    outside("UPDATE retained_size_stream SET record_history_json_bytes = 1")
    reconcile.begin_rebuild()
    assert growth.days(90) == before, "what is being counted again changes nothing yet"
    reconcile.finish_rebuild()
    assert growth.days(90) == before
    mark("laptop", "notes")
    write(upsert("new"))
    assert growth.days(90) == before
    reconcile.run_until_fresh()
    after = growth.days(90)
    assert after[:-1] == before[:-1]
    assert after[-1].total > before[-1].total


def test_growth_begins_at_what_is_known(stood: Stood, outside: Outside) -> None:
    for name in ("new", "old", "unknown"):
        fill(1, connection=name)
    stood(45, 100, "old")
    outside(
        "UPDATE connections SET created_at = '2020-01-01T00:00:00.000Z' WHERE connector_instance_id <> 'new'"
    )
    then = growth.before()
    assert then == {
        ids("new")["connection"]: 0,
        ids("old")["connection"]: 100,
        ids("unknown")["connection"]: None,
    }
    assert growth.before_in_all() is None
    stood(31, 50)
    assert growth.before_in_all() == 50


def test_a_server_that_began_since_had_nothing() -> None:
    assert growth.before_in_all() is None, "nothing is known of an empty one"
    fill(1)
    assert growth.before_in_all() == 0


def test_the_growth_of_all_connections_is_one_statement() -> None:
    counts = []
    for number in (2, 40):
        for each in range(number):
            write(upsert("a"), connection=f"c{each}")
        with read_snapshot(), statements() as seen:
            assert len(growth.before()) == number
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


@pytest.mark.parametrize("days", [[], [Day(days_before(3), (0, 0, 0))]])
def test_nothing_is_no_picture(days: list[Day]) -> None:
    assert chart(days, 90) is None


def test_a_day_from_a_clock_that_was_ahead_stays_inside() -> None:
    drawn = chart([Day(days_before(2), (1, 0, 0)), Day(days_before(-5), (2, 0, 0))], 30)
    assert drawn is not None
    assert all(0 <= step.left <= WIDTH and step.width >= 0 for step in drawn.steps)


@pytest.mark.only("sqlite")
def test_days_are_found_by_index(outside: Outside) -> None:
    fill(1)
    with statements() as seen:
        growth.days(90)
        growth.before()
    for sql in seen:
        values = [1] * sql.count("?")
        plan = " ".join(row[-1] for row in outside(f"EXPLAIN QUERY PLAN {sql}", *values))
        assert not re.search(r"SCAN (d|retained_size_\w+_days)\b", plan), plan
