"""What each day's growth comes from, growth by stream, and room, on pages and in the operator's JSON."""

import csv
import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from pdpp_ref.canonical import deletion
from pdpp_ref.queries import day_changes
from pdpp_ref.services import reconcile, room
from pdpp_ref.services.room import Room
from pdpp_ref.timestamps import days_before
from tests.integration.test_dashboard import soup, words
from tests.integration.test_growth import put
from tests.integration.test_owner_lists import listed
from tests.support.factories import TOKEN, Calendar, DatabaseProbe, ids, mark

pytestmark = pytest.mark.usefixtures("app")

START = Calendar.moment
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def it_is(calendar: type[Calendar]) -> Callable[[int], None]:
    def turn(day: int) -> None:
        calendar.moment = START + timedelta(days=day)

    return turn


@pytest.fixture
def grown(app: Any, it_is: Callable[[int], None]) -> None:
    """Two connections; on the second day one of them grows by two streams.  It is the third day."""
    it_is(0)
    put("a", 10)
    put("a", 100, connection="phone")
    it_is(1)
    put("b", 20)
    put("p", 30, stream="photos")
    it_is(2)


def changes(origins: day_changes.Origins) -> list[tuple[str, str | None, int | None]]:
    return [(row.connection, row.stream, row.change) for row in origins.rows]


@pytest.mark.usefixtures("grown")
def test_a_day_comes_from_the_connections_and_streams_that_changed_on_it(
    it_is: Callable[[int], None],
) -> None:
    found = day_changes.of_day(days_before(1))
    assert (found.change, found.elsewhere) == (100, 0)
    assert changes(found.connections) == [("laptop", None, 100)]
    assert changes(found.streams) == [("laptop", "photos", 60), ("laptop", "notes", 40)]
    first = day_changes.of_day(days_before(2))
    assert first.change == 220
    assert changes(first.connections) == [("phone", None, 200), ("laptop", None, 20)]
    assert day_changes.of_day(days_before(0)).change == 0
    put("c", 7, connection="phone")
    assert changes(day_changes.of_day(days_before(0)).streams) == [("phone", "notes", 14)], "until now"
    it_is(3)
    assert day_changes.of_day(days_before(0)).connections.rows == []


@pytest.mark.usefixtures("grown")
def test_what_a_deleted_connection_added_is_accounted_for_apart() -> None:
    deletion.delete_connection("laptop")
    found = day_changes.of_day(days_before(1))
    assert (found.change, found.elsewhere) == (100, 100)
    assert (found.connections.rows, found.streams.rows) == ([], [])


@pytest.mark.usefixtures("grown")
def test_a_day_of_one_connection_has_its_streams_alone() -> None:
    put("c", 7, connection="phone")
    found = day_changes.of_day(days_before(2), ids("laptop")["connection"])
    assert (found.change, found.elsewhere) == (20, 0)
    assert changes(found.streams) == [("laptop", "notes", 20)]
    assert changes(found.connections) == []


@pytest.mark.usefixtures("grown")
def test_an_unknown_change_is_listed_first_and_is_no_number(it_is: Callable[[int], None]) -> None:
    mark("phone", "notes")
    it_is(3)
    reconcile.run_until_fresh()
    put("d", 5)
    found = day_changes.of_day(days_before(0))
    assert (found.change, found.elsewhere) == (None, None)
    assert changes(found.connections) == [("phone", None, None), ("laptop", None, 10)]


@pytest.mark.usefixtures("grown")
def test_the_largest_changes_are_listed_and_the_others_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(day_changes, "MOST", 1)
    found = day_changes.of_day(days_before(1)).streams
    assert changes(found) == [("laptop", "photos", 60)]
    assert (found.others, found.left_out) == (1, 40)


def test_a_stream_grows_like_a_connection(it_is: Callable[[int], None], owner: FlaskClient) -> None:
    it_is(0)
    put("a", 10)
    put("p", 1_000, stream="photos")
    it_is(40)
    put("b", 30)
    rows = listed(owner.get("/dashboard/connections/laptop?sort=growth&format=csv").data)
    assert [(row["stream"], row["growth_30_days"]) for row in rows] == [("notes", "60"), ("photos", "0")]
    page = soup(owner.get("/dashboard/connections/laptop?sort=growth&order=asc").text)
    assert [words(each) for each in page.select("#streams tbody bdi")] == ["photos", "notes"]
    stream = soup(owner.get("/dashboard/streams?connection=laptop&stream=notes&days=30").text)
    assert words(stream.select_one(".grown")) == "+60 B in 30 days"  # type: ignore[arg-type]
    assert [words(each) for each in stream.select(".scale span")] == ["80 B", "40 B", "0 B"]


# ---- the page ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("grown")
def test_the_chart_and_its_table_lead_to_the_page_of_a_day(owner: FlaskClient) -> None:
    page = soup(owner.get("/dashboard").text)
    links = {words(link): str(link["href"]) for link in page.select(".days th a")}
    assert set(links.values()) == {str(link["href"]) for link in page.select(".plot a")}
    table = [[words(cell) for cell in row.select("th, td")][:2] for row in page.select(".days tbody tr")]
    assert [change for _, change in table] == ["+100 B", "+220 B", ""]
    day = soup(owner.get(links["2 Mar 2026"]).text)
    assert words(day.select_one(".total")) == "+100 B"  # type: ignore[arg-type]
    streams = [words(row) for row in day.select("#streams li")]
    assert streams == ["photos of laptop +60 B", "notes of laptop +40 B"]
    one = soup(owner.get(str(day.select_one("#connections a")["href"])).text)  # type: ignore[index]
    assert [words(row) for row in one.select("#streams li")] == ["photos +60 B", "notes +40 B"]
    assert one.select_one("#connections") is None
    assert "midnight UTC" in words(one)


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("day", ["2026-02-30", "yesterday", "0001-01-01", "9999-12-31", "2026-1-1"])
@pytest.mark.parametrize("path", ["/dashboard/days", "/_ref/dataset/growth/day"])
def test_a_day_that_is_none_is_refused(owner: FlaskClient, path: str, day: str) -> None:
    response = owner.get(f"{path}?day={day}")
    assert (response.status_code, response.get_json()["error"]["code"]) == (400, "invalid_request")
    assert "day" in response.get_json()["error"]["message"]


def test_a_connection_that_does_not_exist_has_no_days(owner: FlaskClient) -> None:
    for path in (
        "/dashboard/days?day=2026-01-31&connection=none",
        "/_ref/dataset/growth/day?day=2026-01-31&connector_instance_id=none",
        "/_ref/dataset/growth?connector_instance_id=none",
    ):
        assert owner.get(path).status_code == 404


# ---- the operator's JSON -----------------------------------------------------------------------


def get(client: FlaskClient, path: str) -> Any:
    return client.get(f"/_ref/dataset/{path}", headers=BEARER)


@pytest.mark.usefixtures("grown")
def test_growth_is_json_and_csv_at_each_grain(client: FlaskClient) -> None:
    days = get(client, "growth?days=30").get_json()["days"]
    assert [(day["day"], day["change"], day["total_retained_bytes"]) for day in days] == [
        ("2026-02-01", None, 0),
        ("2026-03-01", 220, 220),
        ("2026-03-02", 100, 320),
    ]
    stream = get(client, "growth?connector_instance_id=laptop&stream=photos&format=csv")
    rows = list(csv.DictReader(io.StringIO(stream.text, newline="")))
    assert [(row["day"], row["change"]) for row in rows] == [("2025-12-03", ""), ("2026-03-02", "60")]
    assert 'filename="retained-growth-2026-03-03' in stream.headers["content-disposition"]
    assert get(client, "growth?stream=photos").status_code == 400
    assert get(client, "growth?connector_instance_id=laptop&stream=none").status_code == 404


@pytest.mark.usefixtures("grown")
def test_the_operator_sees_what_the_page_of_a_day_shows(client: FlaskClient) -> None:
    body = get(client, "growth/day?day=2026-03-02").get_json()
    assert (body["change"], body["elsewhere"]) == (100, 0)
    assert [(row["stream"], row["change"]) for row in body["streams"]["rows"]] == [
        ("photos", 60),
        ("notes", 40),
    ]
    one = get(client, "growth/day?day=2026-03-02&connector_instance_id=laptop").get_json()
    assert one["streams"] == body["streams"]


def test_room_is_on_the_page_and_in_the_json(
    it_is: Callable[[int], None], owner: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "measure", lambda: Room(20_000, 1_000))
    it_is(0)
    put("a", 350)
    it_is(16)
    put("b", 75)
    it_is(40)
    put("c", 75)
    body = owner.get("/_ref/dataset/room").get_json()
    assert (body["database_bytes"], body["free_bytes"], body["total_retained_bytes"]) == (
        20_000,
        1_000,
        1_000,
    )
    assert body["full"] == {"earliest": "2026-04-15", "latest": "2026-04-15"}
    shown = words(soup(owner.get("/dashboard").text).select_one("#room"))  # type: ignore[arg-type]
    assert "Database on disk 20.0 kB" in shown
    assert "Free on its disk 1.00 kB" in shown
    assert "about 15 Apr 2026" in shown


def test_a_database_that_is_busy_has_unknown_room_and_the_page_is_there(
    owner: FlaskClient, probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("a", 10)

    def busy() -> int:
        raise room.Busy

    monkeypatch.setattr(room.condition, "size_bytes", busy)
    page = owner.get("/dashboard")
    assert page.status_code == 200
    assert soup(page.text).select_one("#room") is None
    body = owner.get("/_ref/dataset/room").get_json()
    assert (body["database_bytes"], body["full"]) == (None, None)


def test_the_disk_of_a_database_server_is_unknown(backend: Any) -> None:
    measured = room.measure()
    assert measured.database_bytes
    assert (measured.free_bytes is None) == (backend.kind == "postgres")
