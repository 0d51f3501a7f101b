"""The dashboard in a real Chromium, against a real server process."""

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from tests.live import Server
from tests.screenshots import chromium_path, unwell
from tests.world import PASSWORD

AXE = Path(__file__).parent / "node/node_modules/axe-core/axe.min.js"
LONG_NAME = "one-name-without-a-place-to-break-it-" * 4


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
        opened[-1].set_default_timeout(15_000)
        page = opened[-1].new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", heard)
        return page

    yield make
    for context in opened:
        context.close()


@pytest.fixture
def page(new_page: Callable[..., Page], server: Server) -> Page:
    """The owner's dashboard, up to date."""
    found = new_page()
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
        expect(page.locator("#hero")).to_contain_text("Your records are all here.")
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
    page.get_by_role("link", name="Refresh").focus()
    selected = page.evaluate("String(getSelection())")
    assert "last change" in selected
    assert [next_poll(page), next_poll(page)] == [204] * 2
    assert page.evaluate("document.activeElement.textContent") == "Refresh"
    assert page.evaluate("String(getSelection())") == selected
    assert page.evaluate("document.getElementById('hero').mark") == "same"


def test_a_screen_reader_is_told_of_states_and_not_of_numbers(page: Page, server: Server) -> None:
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


def test_a_dead_server_is_told_waited_for_and_found_again(
    page: Page, server: Server, problems: list[str]
) -> None:
    before, banner, failed = records(page), page.locator("#offline"), []
    expect(banner).to_be_hidden()
    page.on("requestfailed", lambda request: failed.append(request))
    page.evaluate("performance.clearResourceTimings()")
    server.__exit__()
    try:
        expect(banner).to_be_visible()
        expect(banner).to_contain_text("can’t be reached")
        while len(failed) < 3:
            page.wait_for_event("requestfailed")
        assert records(page) == before
        server.add_record()
    finally:
        server.__enter__()
    expect(banner).to_be_hidden(timeout=20_000)
    expect(counted(page)).to_have_attribute("value", str(before + 1))
    assert [next_poll(page), next_poll(page)] == [204] * 2  # the first of which is surely recorded now
    polls = page.evaluate("""performance.getEntriesByType("resource")
        .filter((entry) => entry.name.includes("/dashboard/hero"))
        .map((entry) => [entry.startTime / 1000, entry.responseStatus])""")
    failures = polls[[status for _, status in polls].index(0) :]
    waits = [later - earlier for (earlier, _), (later, _) in pairwise(failures)]
    # Each is twice the one before, give or take a quarter, and then up to a second until it is looked.
    assert waits[0] < 2.9 < waits[2], waits
    assert waits[-1] < 2.9, waits
    assert all(re.match("Failed to load resource|htmx:", problem) for problem in problems), problems
    problems.clear()


def test_an_ended_session_leads_to_the_form_and_back(page: Page, problems: list[str]) -> None:
    page.context.clear_cookies()
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
    page.get_by_role("link", name="Refresh").click()
    expect(counted(page)).to_have_attribute("value", str(before + 1))
    page.get_by_role("link", name="laptop").click()
    expect(page.get_by_role("heading", name="laptop")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(f"{server.url}/owner/login")


def flaws(page: Page) -> list[str]:
    """What axe finds in a wide and in a narrow window, and what does not fit into the narrow one."""
    page.evaluate(AXE.read_text())
    told = []
    for width in (1280, 320):
        page.set_viewport_size({"width": width, "height": 800})
        found = page.evaluate("axe.run()")["violations"]
        told += [f"{rule['id']}: {node['html'][:99]}" for rule in found for node in rule["nodes"]]
    boxes = "[...document.querySelectorAll('html, section')]"
    wide = page.evaluate(
        f"{boxes}.filter((box) => box.scrollWidth > box.clientWidth).map((box) => box.outerHTML)"
    )
    return told + [f"too wide: {box[:99]}" for box in wide]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_accessible_and_fits_a_narrow_window(
    new_page: Callable[..., Page], tmp_path: Path, scheme: str
) -> None:
    page = new_page(color_scheme=scheme)
    found: list[str] = []
    with Server(tmp_path, RECONCILE_COOLDOWN_SECONDS=3600, SAMPLE_DATA=1) as server:

        def look(path: str, state: str = "") -> None:
            page.goto(server.url + path)
            if state:
                shows(page, state)
            found.extend(f"{state or path[:25]}: {flaw}" for flaw in flaws(page))

        look("/owner/login")
        server.sign_in(page.context)
        look("/dashboard", "empty")
        for connection in ("laptop", LONG_NAME):
            server.add_record(connection)
        look("/dashboard", "fresh")
        look(f"/dashboard/connections/{LONG_NAME}")
        for state in unwell(server):
            look("/dashboard", state)
    assert not found, "\n".join(found)
