"""The dashboard in a real Chromium, against a real server process."""

import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Request, expect, sync_playwright

from tests.support import accessibility
from tests.support.factories import PASSWORD
from tests.support.owner_pages import unwell
from tests.support.screenshots import chromium_path
from tests.support.server_process import Server

# What a slow machine may take for anything that happens sooner or later.
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)
LONG = os.environ.get("PDPP_TEST_LONG") == "1"
LONG_NAME = "one-name-without-a-place-to-break-it-" * 4
LONG_RECORD = '{"type":"RECORD","stream":"notes","key":"%s","data":{"%s":["%s",{},[[1]]]}}' % (
    ("x" * 1_000,) * 3
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("hasty")
    with Server(folder, HERO_POLL_SECONDS=1, RECONCILE_COOLDOWN_SECONDS=1) as started:
        started.add_record()
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = chromium_path()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium)
        yield started
        started.close()


@pytest.fixture
def problems() -> Iterator[list[str]]:
    """What the browser complains of.  A test that provokes complaints checks them and clears the list."""
    found: list[str] = []
    yield found
    assert not found


@pytest.fixture
def new_page(browser: Browser, problems: list[str]) -> Iterator[Callable[..., Page]]:
    """Opens a page with cookies of its own, whose complaints fail the test."""
    opened: list[BrowserContext] = []

    def heard(message: Any) -> None:
        if message.type in ("error", "warning"):
            problems.append(message.text)

    def make(**options: Any) -> Page:
        opened.append(browser.new_context(**options))
        opened[-1].set_default_timeout(PATIENCE_MS)
        page = opened[-1].new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", heard)
        return page

    yield make
    for context in opened:
        context.close()


@pytest.fixture
def page(new_page: Callable[..., Page], server: Server) -> Page:
    """The owner's dashboard, up to date, long after the last record came."""
    found = new_page()
    server.set_last_arrival(datetime(2024, 1, 1, tzinfo=UTC))
    server.sign_in(found.context)
    found.goto(f"{server.url}/dashboard")
    shows(found, "fresh")
    return found


def shows(page: Page, state: str) -> None:
    expect(page.locator("#hero")).to_have_attribute("data-state", state)


def counted(page: Page) -> Locator:
    return page.locator("#hero .counts data").first


def records(page: Page) -> int:
    return int(counted(page).get_attribute("value") or "")


def is_poll(message: Any) -> bool:
    return "/dashboard/hero" in message.url


def next_poll(page: Page) -> int:
    with page.expect_response(is_poll) as answer:
        pass
    return answer.value.status


def test_the_hero_changes_and_nothing_else_does(page: Page, server: Server) -> None:
    page.evaluate("window.mark = document.querySelector('#connections tbody tr').mark = 'same'")
    with server.broken():
        shows(page, "updating")
        expect(page.locator("#hero")).to_contain_text("All your records are here.")
    shows(page, "fresh")
    expect(page.locator("#hero")).to_contain_text("Up to date")
    marks = page.evaluate("[window.mark, document.querySelector('#connections tbody tr').mark]")
    assert marks == ["same", "same"]


def test_complaints_are_heard_and_the_policy_is_in_force(page: Page, problems: list[str]) -> None:
    with page.expect_console_message():
        page.evaluate("document.body.insertAdjacentHTML('beforeend', '<p style=\"color: red\">')")
    with page.expect_event("pageerror"):
        page.evaluate("setTimeout(() => { throw new Error('thrown') })")
    assert "Content Security Policy" in problems[0]
    assert problems[-1] == "thrown"
    problems.clear()


def test_an_unchanged_poll_leaves_focus_and_selection_alone(page: Page) -> None:
    page.evaluate("document.getElementById('hero').mark = 'same'")
    page.locator("#hero .note").select_text()
    page.get_by_role("button", name="Refresh totals now").focus()
    selected = page.evaluate("String(getSelection())")
    assert "last change" in selected
    assert [next_poll(page), next_poll(page)] == [204] * 2
    assert page.evaluate("document.activeElement.textContent") == "Refresh totals now"
    assert page.evaluate("String(getSelection())") == selected
    assert page.evaluate("document.getElementById('hero').mark") == "same"


def test_a_screen_reader_hears_of_states_and_not_of_numbers(page: Page, server: Server) -> None:
    page.evaluate("""() => {
        window.heard = [];
        window.states = [];
        const status = document.getElementById("announcement");
        new MutationObserver(() => heard.push(status.textContent.trim())).observe(status, {childList: true});
        new MutationObserver(() => {
            const state = document.getElementById("hero")?.dataset.state;
            if (state && state !== states.at(-1)) states.push(state);
        }).observe(document.getElementById("main"), {childList: true});
    }""")
    before = records(page)
    for added in (1, 2):
        server.add_record()
        expect(counted(page)).to_have_attribute("value", str(before + added))
    assert page.evaluate("[states, heard]") == [["fresh"], []]
    assert page.locator("#announcement").inner_text() == ""
    with server.broken():
        shows(page, "updating")
    shows(page, "fresh")
    next_poll(page)
    states, heard = page.evaluate("[states, heard]")
    # On a slow machine "delayed" may come in between.  Each change is told once.
    assert len(heard) == len(states) - 1
    assert (heard[0], heard[-1]) == ("Totals are being updated.", "Totals are up to date.")


def test_a_dead_server_is_reported_waited_for_and_found_again(
    page: Page, server: Server, problems: list[str]
) -> None:
    before, banner = records(page), page.locator("#offline")
    expect(banner).to_be_hidden()
    server.__exit__()
    try:
        expect(banner).to_be_visible()
        expect(banner).to_contain_text("Can’t reach your server")
        # From here on: a browser fetches the icon after all else, so perhaps only after the server has ended.
        asked: list[Request] = []
        page.on("request", lambda request: asked.append(request))
        while len(asked) < 3:
            page.wait_for_event("request")
        assert all(map(is_poll, asked)), [each.url for each in asked]
        assert is_away(page)
        assert records(page) == before
        server.add_record()
    finally:
        server.__enter__()
    expect(banner).to_be_hidden()
    expect(counted(page)).to_have_attribute("value", str(before + 1))
    assert all(re.match("Failed to load resource|htmx:", problem) for problem in problems), problems
    problems.clear()


def test_an_ended_session_leads_to_the_form_and_back(page: Page, problems: list[str]) -> None:
    page.context.clear_cookies()  # once: the form that a poll leads to brings a cookie of its own
    page.wait_for_url("**/owner/login?**")
    expect(page.locator("#hero")).to_have_count(0)
    assert all("401" in problem for problem in problems), problems
    problems.clear()
    page.get_by_label("Owner password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/dashboard")
    shows(page, "fresh")


def test_a_hidden_tab_rests_and_asks_at_once_when_shown(page: Page) -> None:
    page.add_init_script("""
        let hidden = false;
        Object.defineProperty(Document.prototype, "hidden", {get: () => hidden});
        window.show = (shown) => {
            hidden = !shown;
            document.dispatchEvent(new Event("visibilitychange", {bubbles: true}));
        };""")
    page.clock.install()  # with the page's clock in hand a minute passes at once
    page.reload()
    asked: list[Any] = []
    page.on("request", lambda request: asked.append(request) if is_poll(request) else None)
    page.evaluate("show(false)")
    page.clock.run_for(60_000)
    assert not asked
    page.clock.pause_at(page.evaluate("Date.now() + 100"))  # and no poll falls due by itself
    with page.expect_response(is_poll):
        page.evaluate("show(true)")
    assert len(asked) == 1
    with page.expect_response(is_poll):
        page.clock.run_for(1_000)


def test_without_javascript_the_page_is_complete(
    new_page: Callable[..., Page], server: Server, problems: list[str]
) -> None:
    page = new_page(java_script_enabled=False)
    page.goto(server.url)
    page.get_by_label("Owner password").fill("not it")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not the owner password")
    assert ["401" in problem for problem in problems] == [True]
    problems.clear()
    page.get_by_label("Owner password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{server.url}/dashboard")
    expect(page.locator("#hero .total data")).to_be_visible()
    expect(page.locator("#offline")).to_be_hidden()
    before = records(page)
    server.add_record()
    page.get_by_role("button", name="Refresh totals now").click()
    expect(page.locator(".outcome")).to_contain_text("everything was counted")
    expect(counted(page)).to_have_attribute("value", str(before + 1))
    page.get_by_role("link", name="Versions", exact=True).click()
    expect(page.locator("[aria-sort=descending]")).to_have_text("Versions")
    page.get_by_role("searchbox").fill("LAP")
    page.keyboard.press("Enter")
    expect(page.locator("#connections tbody tr")).to_have_count(1)
    page.get_by_role("link", name="laptop").click()
    expect(page.get_by_role("heading", name="laptop")).to_be_visible()
    page.get_by_role("link", name="notes").click()
    expect(page.locator("#records li")).to_have_count(min(before + 1, 10))
    with page.expect_download() as taken:
        page.get_by_role("link", name="CSV", exact=True).click()
    assert taken.value.suggested_filename.startswith("retained-records-")
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(f"{server.url}/owner/login")


def save(page: Page, click: Locator) -> list[str]:
    """The lines of the file that a click saves."""
    with page.expect_download() as taken:
        click.click()
    return Path(taken.value.path()).read_text().splitlines()


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_a_record_is_found_read_and_downloaded(
    new_page: Callable[..., Page], server: Server, script: bool
) -> None:
    page = new_page(java_script_enabled=script)
    server.run(
        "import",
        "--connection",
        "<b>",
        given='{"type":"RECORD","stream":"<i>","key":"..","data":{"n":1.0}}',
    )
    server.sign_in(page.context)
    page.goto(f"{server.url}/dashboard")
    for link in ("<b>", "<i>"):
        page.get_by_role("link", name=link).click()
    page.get_by_label("Find records by the beginning of their key").fill(".")
    page.get_by_role("button", name="Find").click()
    page.locator("#browsed").get_by_role("link", name="..", exact=True).click()
    expect(page.locator("#content")).to_have_text('{ "n": 1.0 }')
    page.get_by_label("Files, in a zip").uncheck()
    page.get_by_role("button", name="Download this record").click()
    if script:  # the page follows by itself
        expect(page.locator("#download")).to_have_attribute("data-state", "ready")
    else:
        while page.get_by_role("link", name="Reload").count():
            page.get_by_role("link", name="Reload").click()
    lines = save(page, page.get_by_role("link", name="Save"))
    assert sum('"data":{"n":1.0}' in line for line in lines) == 1


def flaws(page: Page, rules: tuple[str, ...]) -> list[str]:
    """What axe finds in a wide and in a narrow window, by these rules or by all, and what does not fit into the
    narrow one.
    """
    reported = list(accessibility.violations(page, rules))
    boxes = "[...document.querySelectorAll('html, section')]"
    wide = page.evaluate(
        f"{boxes}.filter((box) => box.scrollWidth > box.clientWidth).map((box) => box.outerHTML)"
    )
    return reported + [f"too wide: {box[:99]}" for box in wide]


# What a scheme of colours can change; the ordinary run tries all other rules in one scheme.
RULES_OF_COLOURS = ("color-contrast", "link-in-text-block")


@pytest.mark.parametrize("scheme", accessibility.SCHEMES)
def test_every_page_is_accessible_and_fits_a_narrow_window(
    new_page: Callable[..., Page], problems: list[str], tmp_path: Path, scheme: str
) -> None:
    page = new_page(**accessibility.SCHEMES[scheme])
    rules = () if scheme == "light" or LONG else RULES_OF_COLOURS
    found: list[str] = []
    with Server(tmp_path, RECONCILE_COOLDOWN_SECONDS=3600, SAMPLE_DATA=1) as server:

        def look(path: str, state: str = "") -> None:
            page.goto(server.url + path)
            if state:
                shows(page, state)
            found.extend(f"{state or path[:25]}: {flaw}" for flaw in flaws(page, rules))

        look("/owner/login")
        server.sign_in(page.context)
        look("/dashboard", "empty")
        for connection in ("laptop", LONG_NAME):
            server.add_record(connection)
        look("/dashboard", "fresh")
        look(f"/dashboard/connections/{LONG_NAME}")
        look(f"/dashboard/streams?connection={LONG_NAME}&stream=notes")
        server.run("import", "--connection", LONG_NAME, given=LONG_RECORD)
        look(f"/dashboard/streams?connection={LONG_NAME}&stream=notes&q=x")
        page.locator("#browsed a").click()
        found.extend(f"record: {flaw}" for flaw in flaws(page, rules))
        page.get_by_role("button", name="Download this record").click()
        expect(page.locator("#download")).to_have_attribute("data-state", "ready")
        found.extend(f"download: {flaw}" for flaw in flaws(page, rules))
        look("/dashboard?q=lap&sort=name&days=365")
        look("/dashboard?q=none")
        look("/dashboard/connections/none")
        server.run("token", "new", "reader", "--scope", "write,read,erase", "--connection", LONG_NAME)
        look("/dashboard/tokens")
        look("/dashboard/tokens?revoke=reader")
        for state in unwell(server):
            look("/dashboard", state)
            if not rules:  # other pages have the same colours
                look("/dashboard/connections/laptop")
                look("/dashboard/streams?connection=laptop&stream=notes")
        page.goto("about:blank")  # it would poll a server that has ended
    assert not found, "\n".join(found)
    assert all("404" in problem for problem in problems), problems
    problems.clear()


def icon(page: Page) -> str:
    return str(page.locator("#icon").get_attribute("href"))


def is_away(page: Page) -> bool:
    """Whether the icon says that no server answers; it is a part of the page."""
    return icon(page) == page.locator("#offline").get_attribute("data-icon") and "data:" in icon(page)


def test_the_title_and_the_icon_follow_the_state(page: Page, server: Server, problems: list[str]) -> None:
    expect(page).to_have_title("Up to date · Your data server")
    assert icon(page).endswith("icon-good.svg")
    with server.broken():
        shows(page, "updating")
        expect(page).to_have_title("Updating totals · Your data server")
        assert icon(page).endswith("icon-calm.svg")
        assert page.locator("head #icon").count() == page.locator("link[rel=icon]").count() == 1
    shows(page, "fresh")
    expect(page).to_have_title("Up to date · Your data server")
    page.route("**/dashboard/hero*", lambda route: route.abort())
    expect(page).to_have_title("Out of reach · Your data server")
    assert is_away(page)
    page.unroute("**/dashboard/hero*")
    expect(page).to_have_title("Up to date · Your data server")
    assert icon(page).endswith("icon-good.svg")
    problems.clear()


def waits(page: Page, number: int) -> list[float]:
    """The next waits between polls, in seconds of the page's clock, which stands still meanwhile."""
    while page.evaluate("document.querySelector('.htmx-request') !== null"):
        page.wait_for_timeout(20)  # a poll of before is on its way
    page.evaluate("polls.length = failures = answers = 0")
    for _ in range(1_000):
        page.clock.run_for(100)
        while page.evaluate("failures + answers < polls.length"):
            page.wait_for_timeout(20)
        polls = page.evaluate("polls")
        if len(polls) > number:
            return [(later - earlier) / 1000 for earlier, later in pairwise(polls)]
    pytest.fail(f"too few polls: {polls}")


@pytest.mark.parametrize("answer", ["none", "slow", "failing", "not found"])
def test_slow_and_failing_answers_are_waited_for_and_forgotten(
    page: Page, problems: list[str], answer: str
) -> None:
    page.clock.install()
    page.reload()
    before = records(page)
    page.evaluate("""
        window.polls = [];
        window.failures = window.answers = 0;
        document.addEventListener("htmx:beforeRequest", () => polls.push(Date.now()));
        document.addEventListener("htmx:beforeOnLoad", (event) => answers += event.detail.xhr.status < 400);
        for (const name of ["htmx:sendError", "htmx:responseError", "htmx:timeout"])
            document.addEventListener(name, () => failures++);""")
    page.clock.pause_at(page.evaluate("Date.now() + 100"))

    def spoil(route: Any) -> None:
        if answer == "none":
            route.abort()
        elif answer != "slow":
            route.fulfill(status=503 if answer == "failing" else 404, body="<h1>no</h1>")

    page.route("**/dashboard/hero*", spoil)
    if answer == "slow":
        page.evaluate("htmx.config.timeout = 300")
    first, _, third = waits(page, 3)
    # Each is twice the one before, give or take a quarter, and then up to a second until it is looked.
    assert first < 2.4
    assert 3 <= third < 6.2
    expect(page.locator("#offline")).to_be_visible()
    assert records(page) == before
    assert page.locator("h1").all_inner_texts() == ["As last known"], "nothing of the answer is put in"
    page.evaluate("htmx.config.timeout = 0")
    page.unroute("**/dashboard/hero*")
    page.evaluate("window.dispatchEvent(new Event('online'))")
    expect(page.locator("#offline")).to_be_hidden()
    assert waits(page, 2) == pytest.approx([1, 1], abs=0.2), "as before"
    assert all(
        re.match("Failed to load resource|Response Status Error|htmx:", each) for each in problems
    ), problems
    problems.clear()


def test_focus_survives_a_hero_that_changes(page: Page, server: Server) -> None:
    page.get_by_role("searchbox").fill("half a wo")
    page.locator("details summary").click()
    page.get_by_role("searchbox").focus()
    page.evaluate("document.getElementById('q').setSelectionRange(2, 5)")
    before = records(page)
    server.add_record()
    expect(counted(page)).to_have_attribute("value", str(before + 1))
    assert page.evaluate("[document.activeElement.id, document.activeElement.selectionStart]") == ["q", 2]
    assert page.get_by_role("searchbox").input_value() == "half a wo"
    assert page.evaluate("document.querySelector('details').open")


def test_the_keyboard_reaches_everything_in_order(page: Page) -> None:
    page.evaluate("document.activeElement.blur()")
    met: list[str] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        found = page.evaluate("""() => {
            const at = document.activeElement, ring = getComputedStyle(at);
            if (at === document.body) return null;
            const box = at.getBoundingClientRect();
            return [at.textContent.trim() || at.placeholder, ring.outlineStyle !== "none" && box.width > 0];
        }""")
        if found is None:
            break
        assert found[1], f"no focus is seen at {found[0]}"
        met.append(found[0])
    assert met[0] == "Skip to the totals"
    wanted = [
        "Refresh totals now",
        "Sign out",
        "90 days",
        "Show as a table",
        "Find a connection",
        "Total",
        "laptop",
        "CSV",
        "JSON",
    ]
    places = [met.index(name) for name in wanted]
    assert places == sorted(places)
    assert len(met) < 40
    page.get_by_role("link", name="Skip to the totals").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")


def test_paper_shows_the_time_and_no_controls(page: Page) -> None:
    page.emulate_media(media="print")
    for gone in (".actions", ".find", ".take", ".ranges", "#offline"):
        expect(page.locator(gone).first).to_be_hidden()
    expect(page.locator("#hero time").first).to_be_visible()
    expect(page.locator(".stamp time")).to_be_visible()
    assert page.locator("#list").evaluate(
        "(box) => getComputedStyle(box.querySelector('tbody')).display"
    ) == ("table-row-group")
    assert page.pdf()[:5] == b"%PDF-"


def test_little_moves_where_motion_is_not_wanted(new_page: Callable[..., Page], server: Server) -> None:
    page = new_page(reduced_motion="reduce")
    server.sign_in(page.context)
    page.goto(f"{server.url}/dashboard")
    assert page.evaluate("document.getAnimations().length") == 0


def test_the_first_view_is_small(new_page: Callable[..., Page], server: Server) -> None:
    page = new_page()
    server.sign_in(page.context)
    sizes: list[float] = []
    client = page.context.new_cdp_session(page)
    client.send("Network.enable")
    client.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.goto(f"{server.url}/dashboard", wait_until="networkidle")
    assert len(sizes) >= 4
    print(f"first view: {sum(sizes):,.0f} bytes in {len(sizes)} responses")
    assert sum(sizes) < 60_000


def test_an_empty_page_fills_while_the_first_import_runs(
    new_page: Callable[..., Page], tmp_path: Path
) -> None:
    page = new_page()
    with Server(tmp_path, HERO_POLL_SECONDS=5) as server:
        server.sign_in(page.context)
        page.goto(f"{server.url}/dashboard")
        shows(page, "empty")
        expect(page.locator("#hero")).to_contain_text(f"{server.url}/v1/ingest/notes")
        for number in (1, 2):
            server.add_record()
            expect(counted(page)).to_have_attribute("value", str(number))
        shows(page, "fresh")
        server.set_last_arrival(datetime.now(UTC))
        expect(page.locator("#hero")).to_contain_text("Records are arriving")
        page.get_by_role("link", name="Reload the page").click()
        expect(page.get_by_role("link", name="laptop")).to_be_visible()
        server.set_last_arrival(datetime(2024, 1, 1, tzinfo=UTC))
        expect(page.locator("#hero")).not_to_contain_text("arriving")


def test_times_are_in_the_readers_zone_and_days_stay_utc_days(
    new_page: Callable[..., Page], server: Server
) -> None:
    page = new_page(timezone_id="Pacific/Marquesas")
    server.sign_in(page.context)
    page.goto(f"{server.url}/dashboard")
    expect(page.locator("#zone")).to_contain_text("Pacific/Marquesas")
    for _ in range(2):  # of the page, and of a hero that was swapped in
        time = page.locator("#hero .note time").first
        expect(time).to_contain_text("GMT-9:30")
        at = datetime.fromisoformat(time.get_attribute("datetime") or "")
        assert at.tzinfo == UTC
        there = at + timedelta(hours=-9, minutes=-30)
        assert time.inner_text().startswith(f"{there.day} {there:%B %Y, %H:%M:%S} ")
        server.add_record()
        next_poll(page)
    day = page.locator(".plot .span time").last
    written = datetime.fromisoformat(day.get_attribute("datetime") or "")
    assert day.inner_text() == f"{written.day} {written:%b %Y}"


def test_the_chart_leads_to_the_page_of_its_day(page: Page, server: Server) -> None:
    page.get_by_text("Show as a table").click()
    page.locator(".days th a").first.click()
    expect(page.locator("#page-title")).to_have_text(re.compile(r"\d{4}$"))
    expect(page.locator("#streams li").first).to_contain_text("notes")
    page.locator("#connections a").first.click()
    expect(page.locator(".crumbs a").last).to_have_text("laptop")
    assert flaws(page, ()) == []
