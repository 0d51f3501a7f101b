"""The owner's pages, read as HTML."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from bs4 import BeautifulSoup, Tag
from flask.testing import FlaskClient

from pdpp_ref.blueprints.owner.formatting import size_text
from pdpp_ref.models import RetainedSizeGlobal
from pdpp_ref.services import reconcile
from tests.support.factories import Clock, DatabaseProbe, fill, ids, mark, upsert, write

FORBIDDEN = (
    "projection|reconcil|rebuild|dirty|generation|lease|cooldown|drift|retained_size|record_changes|"
    "exception|sqlite|constraint|select |update |last_error|laptop|traceback|http 5|/home"
)
CANARY = "CANARY-SQL-SELECT-token-/home/someone"


def soup(text: str) -> BeautifulSoup:
    return BeautifulSoup(text, "html.parser")


def hero_of(page: str) -> Tag:
    found = soup(page).find(id="hero")
    assert isinstance(found, Tag)
    return found


def figures(tag: Tag, selector: str) -> list[int]:
    return [int(str(data["value"])) for data in tag.select(selector)]


def words(tag: Tag) -> str:
    return tag.get_text(" ", strip=True)


@pytest.fixture
def be(owner: FlaskClient, probe: DatabaseProbe, clock: Clock) -> Callable[[str], Tag]:
    """Bring the server into a state by real means and read the page's hero."""

    def become(kind: str) -> Tag:
        if kind != "empty":
            fill(1234)
        if kind in ("updating", "delayed", "recounting", "first_count"):
            mark()
            probe.fail_reconcile(CANARY)
        if kind == "partly":
            write(upsert("a"), connection="phone")
            mark("phone", "notes")
            broken = f"OLD.connection_id = {ids('phone')['connection']} AND NOT NEW.dirty"
            probe.fail("UPDATE ON retained_size_stream", broken, why=CANARY)
        if kind == "first_count":
            probe("UPDATE retained_size_global SET computed_at = NULL, record_count = 0")
        if kind == "recounting":
            probe("UPDATE retained_size_stream SET dirty = TRUE")
            probe("UPDATE retained_size_global SET rebuild_status = 'running', rebuild_total = 2000")
        # That the last record came just now is told apart: see TestArriving.
        probe("UPDATE retained_size_global SET latest_ingested_at = '2024-01-01T00:00:00.000Z'")
        if kind == "delayed":
            owner.get("/dashboard/hero")
            clock.advance(31)
        return hero_of(owner.get("/dashboard").text)

    return become


KINDS = ["fresh", "empty", "updating", "partly", "delayed", "recounting", "first_count"]


@pytest.mark.parametrize(
    ("kind", "reported"),
    [
        ("fresh", ["Up to date", "1,234 records", "1 stream", "1 connection", "last change"]),
        ("empty", ["No records yet", "pdpp-ref import records.jsonl --connection my-source"]),
        (
            "updating",
            ["Updating totals", "your records are here", "a few minutes", "nothing to do", "1,234 records"],
        ),
        (
            "partly",
            [
                "Almost everything is up to date",
                "All but one source are up to date",
                "records are safe",
                "last complete total",
                "1,235 records",
                "pdpp-ref summary",
            ],
        ),
        ("delayed", ["Totals are behind", "records are safe", "last completed totals", "pdpp-ref summary"]),
        ("recounting", ["Counting again", "of 2,000 versions counted", "1,234 records"]),
        ("first_count", ["Counting for the first time", "nothing to do"]),
    ],
)
def test_each_state_says_what_it_must(be: Callable[[str], Tag], kind: str, reported: list[str]) -> None:
    hero = be(kind)
    assert hero["data-state"] == kind
    for text in reported:
        assert text in words(hero)


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("kind", KINDS)
def test_no_state_says_what_it_must_not(be: Callable[[str], Tag], owner: FlaskClient, kind: str) -> None:
    be(kind)
    for path in ("/dashboard", "/dashboard/hero"):
        # Everything, attributes and comments too; a connection's name may stand in the list below.
        text = owner.get(path).text if path.endswith("hero") else str(hero_of(owner.get(path).text))
        assert not re.search(FORBIDDEN, text, re.IGNORECASE), re.search(FORBIDDEN, text, re.IGNORECASE)
        assert "canary" not in owner.get(path).text.lower()


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "path",
    ["/dashboard", "/dashboard/connections/laptop", "/dashboard/streams?connection=laptop&stream=notes"],
)
def test_no_page_says_what_it_must_not(
    be: Callable[[str], Tag], owner: FlaskClient, kind: str, path: str
) -> None:
    be(kind)
    text = owner.get(path).text
    forbidden = FORBIDDEN.replace("|laptop", "")  # a connection's name stands in the list of connections
    assert not re.search(forbidden, text, re.IGNORECASE), re.search(forbidden, text, re.IGNORECASE)


TITLES = {
    "fresh": ("Up to date", "good"),
    "empty": ("No records yet", "calm"),
    "updating": ("Updating totals", "calm"),
    "recounting": ("Counting again", "calm"),
    "first_count": ("Counting for the first time", "calm"),
    "partly": ("Almost everything is up to date", "late"),
    "delayed": ("Totals are behind", "late"),
}


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("kind", KINDS)
def test_the_title_and_the_icon_show_the_state(
    be: Callable[[str], Tag], owner: FlaskClient, kind: str
) -> None:
    be(kind)
    title, icon = TITLES[kind]
    for path in ("/dashboard", "/dashboard/hero"):
        page = soup(owner.get(path).text)
        assert page.title
        assert page.title.get_text() == f"{title} · Your data server"
        link = page.find(id="icon")
        assert isinstance(link, Tag)
        assert str(link["href"]).endswith(f"/icon-{icon}.svg")
        with owner.get(str(link["href"])) as file:
            assert file.mimetype == "image/svg+xml"


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "first_count"])
def test_figures_show_their_time(be: Callable[[str], Tag], kind: str) -> None:
    time = be(kind).find("time")
    assert isinstance(time, Tag)
    assert time["datetime"] == RetainedSizeGlobal.get().computed_at
    assert re.fullmatch(r"\d+ \w+ \d{4}, \d\d:\d\d:\d\d UTC", time.get_text())


def test_delayed_promises_no_minutes(be: Callable[[str], Tag]) -> None:
    assert "minute" not in words(be("delayed"))


def test_what_is_not_known_is_not_zero(be: Callable[[str], Tag]) -> None:
    hero = be("first_count")
    assert "0 B" not in words(hero)
    assert not hero.find("data")


def test_a_reconcile_shows_how_far_it_is_and_never_all_before_it_is_published(
    be: Callable[[str], Tag],
) -> None:
    bar = be("recounting").find("progress")
    assert isinstance(bar, Tag)
    assert (bar["value"], bar["max"]) == ("1383", "2000"), (
        "the rows of records are derived, 766 versions counted"
    )
    assert bar["role"] == "progressbar"


def test_a_reconcile_that_has_counted_all_has_not_published_it(
    be: Callable[[str], Tag], owner: FlaskClient, probe: DatabaseProbe
) -> None:
    be("recounting")
    probe("UPDATE retained_size_stream SET dirty = FALSE")
    hero = hero_of(owner.get("/dashboard").text)
    bar = hero.find("progress")
    assert isinstance(bar, Tag)
    assert not bar.get("value")
    assert not bar.get("aria-valuenow")
    assert "counted and being added up" in words(hero)


def test_a_reconcile_that_keeps_failing_is_behind(
    be: Callable[[str], Tag], owner: FlaskClient, clock: Clock
) -> None:
    assert be("recounting")["data-state"] == "recounting"
    clock.advance(31)
    hero = hero_of(owner.get("/dashboard").text)
    assert hero["data-state"] == "delayed"
    assert "minute" not in words(hero)


def test_of_figures_that_lag_since_a_time_that_is_lost_no_minutes_are_promised(
    be: Callable[[str], Tag], owner: FlaskClient, probe: DatabaseProbe
) -> None:
    be("updating")
    probe("UPDATE retained_size_global SET stale_since = NULL, computed_at = '2024-01-01T00:00:00.000Z'")
    assert hero_of(owner.get("/dashboard").text)["data-state"] == "delayed"


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("kind", KINDS)
def test_page_and_fragment_show_the_same_hero(
    be: Callable[[str], Tag], owner: FlaskClient, kind: str
) -> None:
    hero = be(kind)
    fragment = owner.get("/dashboard/hero").text
    assert str(hero_of(fragment)) == str(hero)
    for tag in ("html", "head", "body", "main", "header", "footer", "table", "script"):
        assert not soup(fragment).find(tag), f"the fragment has a {tag}"


def test_the_parts_add_up_to_the_total(owner: FlaskClient) -> None:
    write(upsert("a", "x" * 100), upsert("a", "y" * 200), upsert("b"))
    hero = hero_of(owner.get("/dashboard").text)
    (total,) = figures(hero, ".total data")
    *parts, whole = figures(hero, ".parts dd data")
    assert len(parts) == 3
    assert total == whole == sum(parts) > 0
    *exact, in_all = [int(re.sub(r"\D", "", words(tag))) for tag in hero.select(".parts dd small")]
    assert (exact, in_all) == (parts, total), "what is read adds up too, to the byte"


def test_the_list_adds_up_to_the_hero_and_is_largest_first(owner: FlaskClient) -> None:
    for name, records in (("small", 1), ("large", 30), ("middle", 7)):
        fill(records, connection=name)
    page = soup(owner.get("/dashboard").text)
    rows = page.select("#connections tbody tr")
    assert [words(row.th) for row in rows] == ["large", "middle", "small"]  # type: ignore[arg-type]
    totals = [int(str(row.select_one("td data")["value"])) for row in rows]  # type: ignore[index]
    assert sum(totals) == int(str(page.select_one("#hero .total data")["value"]))  # type: ignore[index]
    assert page.select_one(".listing time")["datetime"] == RetainedSizeGlobal.get().computed_at  # type: ignore[index]


def test_while_totals_may_lag_each_row_shows_its_own_time(
    owner: FlaskClient, probe: DatabaseProbe, clock: Clock
) -> None:
    fill(3)
    fill(3, connection="phone")
    mark("phone")
    probe.fail_reconcile()
    page = soup(owner.get("/dashboard").text)
    assert [bool(row.select("th time")) for row in page.select("#connections tbody tr")] == [True, True]
    assert not page.select(".listing > .note time"), "no one time is true of all rows"
    probe.restore()
    clock.advance(31)
    page = soup(owner.get("/dashboard").text)
    assert not page.select("#connections tbody th time")
    assert page.select(".listing > .note time")


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    "name",
    ["a/b", "x y", "<script>alert(1)</script>", "q\"'", "é😀", "a\nb", "..", "a/../b", "/", "%2f", "?#"],
)
def test_hostile_names_are_escaped_and_followed(owner: FlaskClient, name: str) -> None:
    fill(2, stream=name, connection=name)
    page = owner.get("/dashboard").text
    assert "<script>alert" not in page
    link = soup(page).select_one("#connections tbody a")
    assert isinstance(link, Tag)
    assert link.get_text() == name
    assert not {".", ".."} & set(str(link["href"]).split("?")[0].split("/")), "a browser would shorten it"
    detail = owner.get(str(link["href"]))
    assert detail.status_code == 200
    assert "<script>alert" not in detail.text
    assert soup(detail.text).select_one("#streams tbody th bdi").get_text() == name  # type: ignore[union-attr]


def test_a_connections_page_reconciles_and_says_what_it_does_not_know(
    owner: FlaskClient, probe: DatabaseProbe
) -> None:
    fill(3)
    probe("DELETE FROM retained_size_connection")
    page = owner.get("/dashboard/connections/laptop")
    assert page.status_code == 200
    assert "not counted yet" in page.text
    mark()
    assert "not counted yet" not in owner.get("/dashboard/connections/laptop").text


@pytest.mark.parametrize("garbage", ["garbage", None])
def test_a_time_that_is_lost_is_no_error(
    owner: FlaskClient, probe: DatabaseProbe, garbage: str | None
) -> None:
    fill(3)
    for grain in ("connection", "global"):
        probe(f"UPDATE retained_size_{grain} SET computed_at = ?", garbage)
    for path in ("/dashboard", "/dashboard/hero", "/dashboard/connections/laptop"):
        assert owner.get(path).status_code == 200
    assert "an unknown time" in owner.get("/dashboard").text


def test_a_connections_page_adds_up(owner: FlaskClient) -> None:
    fill(3, stream="one")
    fill(5, stream="two")
    page = soup(owner.get("/dashboard/connections/laptop").text)
    values = [int(str(row.select_one("td data")["value"])) for row in page.select("#streams tbody tr")]  # type: ignore[index]
    assert sum(values) == int(str(page.select_one("#streams tfoot td data")["value"]))  # type: ignore[index]


class TestPolling:
    def test_unchanged_is_204(self, owner: FlaskClient) -> None:
        fill(5)
        address = str(hero_of(owner.get("/dashboard").text)["hx-get"])
        assert address.startswith("/dashboard/hero?seen=fresh-")
        response = owner.get(address)
        assert (response.status_code, response.text) == (204, "")

    def test_a_change_of_numbers_swaps_and_announces_nothing(self, owner: FlaskClient) -> None:
        fill(5)
        address = str(hero_of(owner.get("/dashboard").text)["hx-get"])
        write(upsert("more"))
        fragment = soup(owner.get(address).text)
        assert "6 records" in words(fragment)
        assert fragment.find(id="announcement") is None

    def test_a_change_of_state_is_announced_out_of_band(
        self, owner: FlaskClient, probe: DatabaseProbe
    ) -> None:
        fill(5)
        address = str(hero_of(owner.get("/dashboard").text)["hx-get"])
        mark()
        probe.fail_reconcile()
        announcement = soup(owner.get(address).text).find(id="announcement")
        assert isinstance(announcement, Tag)
        assert announcement["hx-swap-oob"] == "innerHTML"
        assert words(announcement) == "Totals are being updated."

    def test_the_page_has_an_empty_status_outside_the_hero(self, owner: FlaskClient) -> None:
        status = soup(owner.get("/dashboard").text).find(id="announcement")
        assert isinstance(status, Tag)
        assert (status["role"], status.get_text()) == ("status", "")
        assert not status.find_parent(id="hero")

    @pytest.mark.one_on_postgres
    @pytest.mark.parametrize(("kind", "seconds"), [("fresh", 10), ("updating", 2), ("delayed", 10)])
    def test_the_interval_follows_the_state(
        self, be: Callable[[str], Tag], kind: str, seconds: int
    ) -> None:
        hero = be(kind)
        assert hero["hx-trigger"] == f"every {seconds}s, poll-now"
        assert (hero["hx-swap"], hero["data-poll-seconds"]) == ("outerHTML", str(seconds))

    def test_the_interval_is_a_setting(self, make_app: Any) -> None:
        client = make_app(HERO_POLL_SECONDS=33).test_client()
        client.post("/owner/login", json={"password": "an owner's password"})
        fill(1)
        RetainedSizeGlobal.update(latest_ingested_at=None).execute()
        assert str(hero_of(client.get("/dashboard").text)["hx-trigger"]).startswith("every 33s")


def test_a_hero_poll_reconciles_as_any_read_does(owner: FlaskClient) -> None:
    fill(5)
    mark("laptop", "notes")
    assert hero_of(owner.get("/dashboard/hero").text)["data-state"] == "fresh"


def test_the_page_needs_no_inline_script_or_style(owner: FlaskClient) -> None:
    fill(2)
    page = soup(owner.get("/dashboard").text)
    assert all(script.get("src") and not script.get_text() for script in page.find_all("script"))
    assert not page.find_all("style")
    assert not page.find_all(style=True)
    assert not [
        name for tag in page.find_all(True) for name in tag.attrs if name.startswith(("on", "hx-on"))
    ]


def test_pages_say_they_are_reference_only(owner: FlaskClient, client: FlaskClient) -> None:
    for page in (owner.get("/dashboard"), client.get("/owner/login")):
        footer = soup(page.text).find("footer")
        assert isinstance(footer, Tag)
        assert "reference-only" in words(footer)


def test_sample_data_is_labelled(make_app: Any) -> None:
    assert "Sample data" in make_app(SAMPLE_DATA=True).test_client().get("/owner/login").text
    assert "Sample data" not in make_app().test_client().get("/owner/login").text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (9994, "9.99 kB"),
        (9996, "10.0 kB"),
        (99_960, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (26_800_000, "26.8 MB"),
        (10**18, "1.00 EB"),
        (5 * 10**21, "5,000 EB"),
    ],
)
def test_sizes_have_three_digits_in_decimal_units(value: int, text: str) -> None:
    assert size_text(value) == text


def test_a_rebuild_is_seen_as_a_reconcile_and_ends_by_itself(owner: FlaskClient) -> None:
    fill(50, stream="one")
    fill(50, stream="two")
    reconcile.begin_rebuild()
    assert hero_of(owner.get("/dashboard").text)["data-state"] == "fresh", "the read finished it"


def test_a_first_count_that_keeps_failing_says_so(
    owner: FlaskClient, probe: DatabaseProbe, clock: Clock
) -> None:
    fill(5)
    probe("DELETE FROM retained_size_global")
    probe.fail("UPDATE ON retained_size_global", "NOT NEW.dirty")
    hero = hero_of(owner.get("/dashboard").text)
    assert hero["data-state"] == "first_count"
    clock.advance(31)
    hero = hero_of(owner.get("/dashboard").text)
    assert hero["data-state"] == "delayed"
    assert "have not been counted yet" in words(hero)
    assert not hero.find("data")
