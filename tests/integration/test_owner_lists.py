"""The owner's lists as pages and as files, a stream's page, and the refresh that an owner asks for."""

import csv
import io
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from bs4 import BeautifulSoup, Tag
from flask.testing import FlaskClient

from pdpp_ref.canonical import blobs
from pdpp_ref.models import RetainedSizeConnection, RetainedSizeGlobal
from pdpp_ref.models.measures import MEASURE_NAMES, TOTAL
from pdpp_ref.queries import listings
from pdpp_ref.timestamps import days_before
from tests.integration.test_dashboard import FORBIDDEN, figures, hero_of, soup, words
from tests.support.factories import PASSWORD, DatabaseProbe, delete, fill, ids, mark, upsert, write

HOSTILE = ["=1+1", "<script>alert(1)</script>", "a,b\n\"c'", "é😀", "-2"]
STREAM = "/dashboard/streams?connection=laptop&stream=notes"


def rows_of(page: BeautifulSoup, kind: str = "connection") -> list[list[str]]:
    """The name and the exact figures of each row that is shown."""
    rows = page.select(f"#{kind}s tbody tr")
    return [
        [row.select_one("th bdi").get_text(), *(data["value"] for data in row.select("td data"))]  # type: ignore[union-attr, misc]
        for row in rows
    ]


def table(text: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text.decode(), newline=""), strict=True))


def listed(text: bytes) -> list[dict[str, str]]:
    """The rows of a list's file, which ends with what they add up to."""
    *rows, total = table(text)
    assert total["kept"] == "total"
    assert "total" not in {row["kept"] for row in rows}
    for name in (*MEASURE_NAMES, TOTAL):
        known = all(row[name] for row in rows)
        assert total[name] == (str(sum(int(row[name]) for row in rows)) if known else "")
    return rows


@pytest.fixture
def several(app: Any) -> None:
    for number, name in enumerate(("small", "large", "middle")):
        fill((1, 30, 7)[number], connection=name)


# ---- the list ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("several")
def test_every_heading_sorts_one_way_and_then_the_other(owner: FlaskClient) -> None:
    page = soup(owner.get("/dashboard").text)
    headings = {words(link): str(link["href"]) for link in page.select("#connections thead a")}
    assert len(headings) == 10
    for heading, address in headings.items():
        first = soup(owner.get(address).text)
        (sorted_by,) = first.select("#connections thead [aria-sort]")
        assert words(sorted_by) == heading
        turned = soup(owner.get(str(sorted_by.a["href"])).text)  # type: ignore[index]
        (again,) = turned.select("#connections thead [aria-sort]")
        assert {sorted_by["aria-sort"], again["aria-sort"]} == {"ascending", "descending"}
    rising = soup(owner.get("/dashboard?sort=record_count&order=asc").text)
    assert [row[0] for row in rows_of(rising)] == ["small", "middle", "large"]


@pytest.mark.usefixtures("several")
def test_search_keeps_the_order_and_says_what_it_leaves_out(owner: FlaskClient) -> None:
    page = soup(owner.get("/dashboard?q=L&sort=name&limit=1").text)
    assert [row[0] for row in rows_of(page)] == ["large"]
    others = page.select_one("#connections .others")
    assert isinstance(others, Tag)
    assert "2 other connections" in words(others)
    shown, left_out, whole = (
        figures(page, f"{part} td.main data")[0] for part in ("tbody", ".others", ".whole")
    )
    assert shown + left_out == whole
    stored_too = {
        str(field["name"]): field["value"] for field in page.select(".find input") if field.get("value")
    }
    assert stored_too == {"sort": "name", "q": "L"}


def test_a_search_without_a_hit_is_reported_and_can_be_left(owner: FlaskClient) -> None:
    fill(1)
    page = soup(owner.get('/dashboard?q=<b>"no').text)
    assert '0 connections with “<b>"no”' in re.sub(r"\s+", " ", page.get_text())
    assert "Nothing to show." in words(page.select_one("#connections tbody"))  # type: ignore[arg-type]
    assert page.find("a", string="Show all")


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("query", ["sort=nonsense", "order=up", "days=7", "limit=x", "format=xml"])
def test_a_wrong_parameter_is_named(owner: FlaskClient, query: str) -> None:
    response = owner.get(f"/dashboard?{query}")
    assert response.status_code == 400
    assert query.split("=")[0] in response.get_json()["error"]["message"]


@pytest.mark.slow
def test_a_long_list_is_cut_and_still_adds_up(owner: FlaskClient) -> None:
    for number in range(listings.MAX_ROWS + 3):
        write(upsert("a"), connection=f"c{number:03}")
    page = soup(owner.get("/dashboard").text)
    assert len(rows_of(page)) == listings.MAX_ROWS
    assert "3 other connections" in words(page.select_one(".others"))  # type: ignore[arg-type]
    (link,) = [link for link in page.select("#list a") if words(link) == "Show all 103"]
    assert len(rows_of(soup(owner.get(str(link["href"])).text))) == listings.MAX_ROWS + 3


def test_zero_unknown_and_least_look_different(owner: FlaskClient, probe: DatabaseProbe) -> None:
    for name in ("laptop", "phone"):
        fill(2, connection=name)
    probe("DELETE FROM retained_size_connection WHERE connection_id = ?", ids("phone")["connection"])
    probe("UPDATE retained_size_global SET dirty = TRUE, computed_at = NULL")
    probe.fail_reconcile()
    probe.fail("INSERT ON retained_size_connection", name="never")
    page = soup(owner.get("/dashboard").text)
    known, unknown = page.select("#connections tbody tr")
    zero = known.select_one("data.zero")
    assert isinstance(zero, Tag)
    assert zero["value"] == "0"
    assert words(unknown) == "phone not counted yet"
    assert not unknown.find("data")
    least = page.select_one("#connections .whole .least")
    assert isinstance(least, Tag)
    assert words(least).startswith("≥")
    assert figures(least, "data") == figures(known, "td.main data")


@pytest.mark.usefixtures("several")
def test_shares_are_drawn_and_reported(owner: FlaskClient) -> None:
    page = soup(owner.get("/dashboard").text)
    rows = page.select("#connections tbody tr")
    reported = [float(str(row.select('[data-label="Share"] data')[0]["value"])) for row in rows]
    drawn = [float(str(row.select_one("rect.fill")["width"]).rstrip("%")) for row in rows]  # type: ignore[index]
    assert sum(reported) == pytest.approx(1, abs=0.001)
    assert drawn == pytest.approx([100 * share for share in reported], abs=0.02)


# ---- taken away --------------------------------------------------------------------------------


@pytest.mark.one_on_postgres
@pytest.mark.usefixtures("several")
@pytest.mark.parametrize("query", ["", "sort=name", "sort=record_count&order=asc", "q=l", "sort=growth"])
def test_page_csv_and_json_are_one(owner: FlaskClient, query: str) -> None:
    shown = rows_of(soup(owner.get(f"/dashboard?{query}").text))
    lines = listed(owner.get(f"/dashboard?{query}&format=csv").data)
    body = owner.get(f"/dashboard?{query}&format=json").get_json()
    assert [row[0] for row in shown] == [line["connection"] for line in lines]
    assert [line["connection"] for line in lines] == [row["connection"] for row in body["rows"]]
    for row, line, reported in zip(shown, lines, body["rows"], strict=True):
        total, _share, growth, *rest = row[1:]
        assert (total, growth) == (line["total_retained_bytes"], line["growth_30_days"])
        names = ("record_count", "record_history_count", "blob_count", "current_record_json_bytes")
        assert rest[:4] == [line[name] for name in names]
        for name, value in reported.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            assert line[name] == ("" if value is None else text)


def test_a_file_is_stamped_in_its_name_and_in_each_row(owner: FlaskClient) -> None:
    fill(1)
    as_of = RetainedSizeGlobal.get().computed_at
    response = owner.get("/dashboard?format=csv")
    stamp = as_of[:19].replace(":", "-") + "Z"
    assert (
        response.headers["Content-Disposition"]
        == f'attachment; filename="retained-connections-{stamp}.csv"'
    )
    assert response.headers["Cache-Control"] == "no-store"
    assert listed(response.data)[0]["as_of"] == RetainedSizeConnection.get().computed_at
    body = owner.get("/dashboard?format=json").get_json()
    assert (body["object"], body["as_of"], body["may_lag"]) == ("owner_list", as_of, False)


def test_what_was_never_counted_is_empty_in_a_file_and_not_zero(
    owner: FlaskClient, probe: DatabaseProbe
) -> None:
    fill(1)
    probe("UPDATE retained_size_connection SET dirty = TRUE, computed_at = NULL")
    mark()
    probe.fail_reconcile()
    (line,) = listed(owner.get("/dashboard?format=csv").data)
    assert (line["total_retained_bytes"], line["record_count"], line["as_of"]) == ("", "", "")
    assert line["may_lag"] == "true"
    (row,) = owner.get("/dashboard?format=json").get_json()["rows"]
    assert row["total_retained_bytes"] is None


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_in_files_and_pages(owner: FlaskClient, name: str) -> None:
    write(upsert(name, stream=name), connection=name, connector=name)
    blobs.store(name, name, name, iter([b"x"]))
    page = soup(owner.get("/dashboard").text)
    connection = str(page.select_one("#connections tbody a")["href"])  # type: ignore[index]
    stream = str(soup(owner.get(connection).text).select_one("#streams tbody a")["href"])  # type: ignore[index]
    text = owner.get(stream).text
    assert "<script>alert" not in text
    assert soup(text).select_one("#records bdi").get_text() == name  # type: ignore[union-attr]
    for address in ("/dashboard", connection, stream, stream + "&of=file"):
        (line,) = listed(owner.get(address + ("&" if "?" in address else "?") + "format=csv").data)
        cells = list(line.values())
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))]
        assert line["connection"].removeprefix("'") == name


# ---- a stream ----------------------------------------------------------------------------------


def test_a_stream_is_reached_and_reports_its_figures(owner: FlaskClient) -> None:
    write(
        upsert("a", {"t": "x" * 50}),
        upsert("a", {"t": "y"}),
        upsert("b"),
        upsert("gone", {"t": "z" * 200}),
        delete("gone"),
    )
    blobs.store("laptop", "notes", "b", iter([b"12345"]))
    listed = soup(owner.get("/dashboard/connections/laptop").text).select_one("#streams tbody a")
    assert isinstance(listed, Tag)
    page = soup(owner.get(str(listed["href"])).text)
    *parts, whole = figures(page, ".parts dd data")
    assert sum(parts) == whole == figures(page, ".total data")[0]
    assert "2 records, 5 versions and 1 file" in words(page)
    records = {words(row.bdi): row for row in page.select("#records li")}  # type: ignore[arg-type]
    assert next(iter(records)) == "gone"
    assert "deleted" in words(records["gone"])
    assert "2 versions" in words(records["a"])
    assert figures(page, "#files strong data") == [5]
    assert page.select_one("#files code[title]")["title"].startswith("SHA-256 ")  # type: ignore[index, union-attr]
    assert "First imported" in words(page)


def test_no_page_shows_what_a_record_holds(owner: FlaskClient) -> None:
    write(upsert("a", {"secret": "CANARY-CONTENT"}))
    blobs.store("laptop", "notes", "a", iter([b"CANARY-CONTENT"]))
    for path in ("/dashboard", "/dashboard/hero", "/dashboard/connections/laptop", STREAM):
        for more in ("", "&format=csv", "&format=json", "&of=file&format=csv"):
            assert "CANARY" not in owner.get(path + ("" if "?" in path else "?") + more).text


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("query", ["", "connection=laptop&stream=no", "connection=no&stream=notes"])
def test_a_stream_that_is_not_there(owner: FlaskClient, query: str) -> None:
    fill(1)
    response = owner.get(f"/dashboard/streams?{query}", headers={"Accept": "text/html"})
    assert response.status_code == 404
    assert "no such stream" in response.text


# ---- growth on the page ------------------------------------------------------------------------


def test_growth_is_drawn_and_reported_as_a_table(owner: FlaskClient, probe: DatabaseProbe) -> None:
    fill(3)
    for number, (ago, size) in enumerate(((60, 100), (20, 900)), start=-3):
        probe(
            "INSERT INTO retained_size_global_days (id, day, blob_bytes, previous_generation, generation) "
            "VALUES (1, ?, ?, ?, ?)",
            days_before(ago),
            size,
            number,
            number + 1,
        )
    probe("UPDATE retained_size_global_days SET previous_generation = -1 WHERE generation > 0")
    page = soup(owner.get("/dashboard").text)
    picture = page.select_one(".growth figure")
    assert isinstance(picture, Tag)
    described = picture.select_one("figcaption")
    assert described
    assert "100 B" in described.get_text()
    table_rows = page.select(".days tbody tr")
    assert len(table_rows) == len(picture.select("rect title")) == 4
    assert [figures(row, "td data")[-1] for row in table_rows[:3]][1:] == [900, 100], (
        "the newest comes first"
    )
    assert "unknown" in words(table_rows[3]), "what was before"
    assert "unknown" in described.get_text()
    total = figures(page, "#hero .total data")[0]
    assert figures(page, ".grown data") == [total - 100]
    assert page.select_one(".growth time")
    near = soup(owner.get("/dashboard?days=30").text)
    assert len(near.select(".days tbody tr")) == 3, "what stood on the first day is the first"
    assert near.select_one(".ranges [aria-current]").get_text() == "30 days"  # type: ignore[union-attr]


def test_growth_that_is_not_known_is_not_zero(owner: FlaskClient, probe: DatabaseProbe) -> None:
    fill(1)
    probe("UPDATE connections SET created_at = '2020-01-01T00:00:00.000Z'")
    for grain in ("connection", "global"):
        probe(f"UPDATE retained_size_{grain}_days SET previous_generation = 1")
    page = soup(owner.get("/dashboard").text)
    assert "not known" in words(page.select_one("#connections tbody"))  # type: ignore[arg-type]
    assert "not known" in words(page.select_one(".grown"))  # type: ignore[arg-type]
    (line,) = listed(owner.get("/dashboard?format=csv").data)
    assert line["growth_30_days"] == ""


def test_a_fall_has_its_sign(owner: FlaskClient, probe: DatabaseProbe) -> None:
    fill(1)
    probe(
        "INSERT INTO retained_size_global_days (id, day, blob_bytes) VALUES (1, ?, 5000)", days_before(40)
    )
    (grown,) = soup(owner.get("/dashboard").text).select(".grown data")
    assert grown.get_text().startswith("−")
    assert int(str(grown["value"])) < 0


# ---- refresh on demand -------------------------------------------------------------------------


@pytest.fixture
def press(owner: FlaskClient) -> Callable[[str], Any]:
    """Presses the button of a page, as a browser without script does, and follows."""

    def pressed(path: str = "/dashboard") -> Any:
        form = soup(owner.get(path).text).find("form", action="/dashboard/refresh")
        assert isinstance(form, Tag)
        fields = {str(field["name"]): str(field["value"]) for field in form.find_all("input")}
        response = owner.post(str(form["action"]), data=fields)
        assert response.status_code == 303
        assert response.headers["Location"] == path
        return owner.get(response.headers["Location"])

    return pressed


def test_a_refresh_counts_even_while_a_reconcile_would_wait(
    press: Callable[..., Any], owner: FlaskClient, probe: DatabaseProbe
) -> None:
    fill(3)
    mark()
    probe.fail_reconcile()
    assert hero_of(owner.get("/dashboard").text)["data-state"] == "updating"
    probe.restore()
    assert hero_of(owner.get("/dashboard").text)["data-state"] == "updating", "it waits after a failure"
    page = press().text
    assert hero_of(page)["data-state"] == "fresh"
    assert "everything was counted" in words(soup(page).select_one(".outcome"))  # type: ignore[arg-type]
    assert not soup(owner.get("/dashboard").text).select(".outcome"), "it is shown once"


def test_a_refresh_that_fails_leads_back_to_the_honest_page(
    press: Callable[..., Any], probe: DatabaseProbe, owner: FlaskClient
) -> None:
    fill(3)
    mark()
    probe.fail_reconcile("CANARY /home SELECT")
    page = press()
    assert page.status_code == 200
    assert hero_of(page.text)["data-state"] == "updating", "one failure may pass by itself"
    reported = words(soup(page.text).select_one(".outcome"))  # type: ignore[arg-type]
    assert "records are safe" in reported
    assert not re.search(FORBIDDEN, reported, re.IGNORECASE)
    assert "CANARY" not in page.text


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("path", ["/dashboard?q=a", "/dashboard/connections/laptop", STREAM])
def test_a_refresh_leads_back_to_where_it_was_asked_for(press: Callable[..., Any], path: str) -> None:
    fill(1)
    assert "everything was counted" in press(path).text


def test_a_refresh_needs_its_form_this_site_and_a_session(
    owner: FlaskClient, client: FlaskClient, app: Any
) -> None:
    fill(1)
    attempts = app.extensions["auto_reconcile"].attempts
    assert owner.post("/dashboard/refresh", data={"return_to": "/dashboard"}).status_code == 403
    page = soup(owner.get("/dashboard").text)
    token = str(page.find("input", attrs={"name": "csrf_token"})["value"])  # type: ignore[index]
    foreign = owner.post(
        "/dashboard/refresh", data={"csrf_token": token}, headers={"Origin": "https://evil.example"}
    )
    assert foreign.status_code == 403
    away = client.post("/dashboard/refresh", data={"csrf_token": token}, headers={"Accept": "text/html"})
    assert (away.status_code, away.headers["Location"]) == (302, "/owner/login?return_to=/dashboard")
    assert app.extensions["auto_reconcile"].attempts == attempts
    sent = owner.post("/dashboard/refresh", data={"csrf_token": token, "return_to": "//evil.example"})
    assert sent.headers["Location"] == "/dashboard"


def test_a_refresh_during_an_import_does_not_wait(
    press: Callable[..., Any], owner: FlaskClient, probe: DatabaseProbe
) -> None:
    fill(3)
    token = soup(owner.get("/dashboard").text).find("input", attrs={"name": "csrf_token"})["value"]  # type: ignore[index]
    mark()
    with probe.busy():
        owner.post("/dashboard/refresh", data={"csrf_token": token})
        page = soup(owner.get("/dashboard").text)
    assert "being written" in words(page.select_one(".outcome"))  # type: ignore[arg-type]


# ---- the first run, and arriving ---------------------------------------------------------------


def test_an_empty_server_shows_its_own_address(client: FlaskClient) -> None:
    there = "http://data.example:81"
    client.post("/owner/login", json={"password": PASSWORD}, base_url=there)
    hero = hero_of(client.get("/dashboard", base_url=there).text)
    text = re.sub(r"\s+", " ", hero.get_text())
    assert "pdpp-ref import records.jsonl --connection my-source" in text
    assert "| pdpp-ref import --connection my-tap > state.jsonl" in text
    assert '"http://data.example:81/v1/ingest/notes?connector_id=my-source"' in text
    assert "PDPP_OPERATOR_TOKEN" in text
    assert PASSWORD not in text
    line = re.search(r'\{"type".*?\}\}', text)
    assert line
    assert json.loads(line[0])["type"] == "RECORD"


class TestArriving:
    def test_it_is_reported_while_records_come_and_no_longer(
        self, owner: FlaskClient, probe: DatabaseProbe
    ) -> None:
        fill(3)
        hero = hero_of(owner.get("/dashboard").text)
        assert "Records are arriving" in words(hero)
        assert hero["data-poll-seconds"] == "2"
        address = str(hero["hx-get"])
        probe("UPDATE retained_size_global SET latest_ingested_at = '2024-01-01T00:00:00.000Z'")
        changed = hero_of(owner.get(address).text)
        assert "arriving" not in words(changed)
        assert changed["data-poll-seconds"] == "10"

    @pytest.mark.parametrize("latest", ["2999-01-01T00:00:00.000Z", None])
    def test_a_clock_that_was_ahead_is_not_arriving(
        self, owner: FlaskClient, probe: DatabaseProbe, latest: str | None
    ) -> None:
        fill(1)
        probe("UPDATE retained_size_global SET latest_ingested_at = ?", latest)
        assert "arriving" not in words(hero_of(owner.get("/dashboard").text))


# ---- how numbers are written -------------------------------------------------------------------


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("language", ["en-GB", "de", ""])
def test_numbers_are_english_like_the_page(owner: FlaskClient, language: str) -> None:
    fill(1234)
    hero = hero_of(owner.get("/dashboard", headers={"Accept-Language": language}).text)
    assert "1,234 records" in hero.get_text()
    data = hero.select_one(".counts data")
    assert isinstance(data, Tag)
    assert data["value"] == "1234"
    lines = listed(owner.get("/dashboard?format=csv", headers={"Accept-Language": language}).data)
    assert lines[0]["record_count"] == "1234"
