"""A page that is left open: its lists, its focus, its forms, and a server out of reach, in a real Chromium."""

import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.e2e.test_browser import (
    browser,
    counted,
    is_poll,
    new_page,
    page,
    problems,
    records,
    server,
    shows,
)
from tests.support.factories import PASSWORD
from tests.support.server_process import Server

__all__ = ["browser", "new_page", "page", "problems", "server"]  # fixtures

NOTICE = "The lists below are older than the totals."


def whole(page: Page) -> str:
    """The total of all connections in the list."""
    return str(page.locator("#connections .whole .main data").get_attribute("value"))


def total(page: Page) -> str:
    return str(page.locator("#hero .total data").get_attribute("value"))


def test_lists_that_are_older_say_so_until_one_click_reloads_them(page: Page, server: Server) -> None:
    base = page.url
    page.goto(f"{base}?sort=name&order=desc&q=lap&days=365")
    page.set_viewport_size({"width": 1000, "height": 400})
    page.evaluate("window.mark = 'same'")
    notice = page.locator(".newer")
    expect(notice).to_be_hidden()
    before, counted_before = whole(page), records(page)
    server.add_record("laptop")
    expect(notice).to_be_visible()
    expect(notice).to_contain_text(NOTICE)
    assert total(page) != before == whole(page)
    page.locator("details summary").click()
    search = page.get_by_role("searchbox")
    search.fill("lap and more")
    search.evaluate("(field) => field.setSelectionRange(2, 5)")
    page.get_by_label("Files, in a zip").uncheck()
    search.focus()
    page.evaluate("scrollTo(0, 500)")
    assert page.evaluate("scrollY") == 500
    page.get_by_role("link", name="Show the latest").click()
    expect(notice).to_be_hidden()
    expect(counted(page)).to_have_attribute("value", str(counted_before + 1))
    assert whole(page) == total(page)
    assert page.evaluate("[window.mark, scrollY, document.activeElement.id]") == ["same", 500, "q"]
    assert search.evaluate("(field) => [field.selectionStart, field.selectionEnd]") == [2, 5]
    expect(search).to_have_value("lap and more")
    expect(page.get_by_label("Files, in a zip")).not_to_be_checked()
    assert page.evaluate("document.querySelector('details').open")
    expect(page.locator("[aria-sort=descending]")).to_have_text("Connection")
    expect(page.locator("#connections tbody tr")).to_have_count(1)
    with page.expect_response(is_poll):  # the new hero polls too
        pass


def test_the_notice_moves_nothing_and_works_by_keyboard(page: Page, server: Server) -> None:
    place = "document.getElementById('list').getBoundingClientRect().top"
    server.add_record()
    expect(page.locator(".newer")).to_be_visible()
    page.evaluate("document.querySelector('.newer').hidden = true")
    hidden = page.evaluate(place)
    page.evaluate("document.querySelector('.newer').hidden = false")
    assert page.evaluate(place) == hidden
    page.locator("#newer-link").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".newer")).to_be_hidden()
    assert page.evaluate("document.activeElement.tagName") == "H2"
    # And without the script's help it is a link to the page.
    assert page.locator("#newer-link").get_attribute("href") == "/dashboard"


def test_the_list_appears_after_the_first_import(new_page: Callable[..., Page], tmp_path: Path) -> None:
    page = new_page()
    with Server(tmp_path, HERO_POLL_SECONDS=1) as server:
        server.sign_in(page.context)
        page.goto(f"{server.url}/dashboard")
        shows(page, "empty")
        expect(page.locator("#list")).to_have_count(0)
        server.add_record()
        expect(page.locator("#connections").get_by_role("link", name="laptop")).to_be_visible()
        shows(page, "fresh")
        expect(page).to_have_title("Up to date · Your data server")
        expect(page.locator("#icon")).to_have_attribute("href", re.compile("icon-good"))
        expect(page.locator("#announcement")).to_have_text("Totals are up to date.")


def test_focus_inside_the_hero_survives_its_swaps(page: Page, server: Server) -> None:
    """A link there is focused again; if it is gone, the heading is."""
    link = '<p class="arriving"><a id="arriving-link" href="/dashboard">Reload the page</a></p>'
    page.evaluate("(link) => document.getElementById('hero').insertAdjacentHTML('beforeend', link)", link)
    page.route(
        "**/dashboard/hero*",
        lambda route: route.fulfill(
            body=page.locator("#hero").evaluate("(hero) => hero.outerHTML.replace('records', 'Records')"),
            content_type="text/html",
        ),
    )
    page.locator("#arriving-link").focus()
    with page.expect_response(is_poll):
        pass
    expect(page.locator("#hero")).to_contain_text("Records")
    assert page.evaluate("document.activeElement.id") == "arriving-link"
    page.unroute("**/dashboard/hero*")
    server.add_record()
    expect(page.locator("#arriving-link")).to_have_count(0)
    assert page.evaluate("document.activeElement.id") == "hero-title"


def test_nothing_claims_to_be_current_while_the_server_is_out_of_reach(
    page: Page, problems: list[str]
) -> None:
    page.evaluate("document.getElementById('announcement').textContent = 'Totals are up to date.'")
    page.route("**/dashboard/hero*", lambda route: route.abort())
    expect(page.locator("#offline")).to_be_visible()
    everything = (
        page.title() + page.locator("body").inner_text() + page.locator("#announcement").inner_text()
    )
    for claim in ("Up to date", "up to date", "is counted", "nothing to do", "Everything that"):
        assert claim not in everything
    expect(page.locator("#hero .away time")).to_be_visible()
    page.unroute("**/dashboard/hero*")
    page.evaluate("window.dispatchEvent(new Event('online'))")
    expect(page.locator("#hero")).to_contain_text("Up to date")
    expect(page.locator("#hero .away")).to_have_count(0)
    problems.clear()


def test_forms_survive_a_sign_in_in_another_tab(page: Page, server: Server, problems: list[str]) -> None:
    page.goto(f"{server.url}/dashboard/connections/laptop")  # does not poll
    other = page.context.new_page()
    page.context.clear_cookies()
    other.goto(f"{server.url}/owner/login")
    other.get_by_label("Owner password").fill(PASSWORD)
    other.keyboard.press("Enter")
    other.wait_for_url("**/dashboard")
    page.get_by_role("button", name="Refresh totals now").click()
    expect(page.locator(".outcome")).to_contain_text("Refreshed at")
    assert page.url == f"{server.url}/dashboard/connections/laptop"


def test_a_form_without_its_cookie_comes_again_and_works(
    new_page: Callable[..., Page], server: Server, problems: list[str]
) -> None:
    page = new_page()
    page.goto(f"{server.url}/owner/login?return_to=/dashboard/tokens")
    page.context.clear_cookies()
    page.get_by_label("Owner password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("did not send this form’s cookie")
    page.get_by_label("Owner password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/dashboard/tokens")
    assert all("403" in problem for problem in problems)
    problems.clear()


def test_signing_out_in_another_tab_ends_this_one_and_back_shows_nothing(
    page: Page, server: Server, problems: list[str]
) -> None:
    page.goto(f"{server.url}/dashboard?sort=name")
    other = page.context.new_page()
    other.goto(f"{server.url}/dashboard/connections/laptop")
    other.get_by_role("button", name="Sign out").click()
    other.wait_for_url("**/owner/login")
    other.go_back()
    other.wait_for_url("**/owner/login?return_to=/dashboard/connections/laptop")
    page.wait_for_url("**/owner/login?return_to=/dashboard**sort**")
    assert all("401" in problem for problem in problems), problems
    problems.clear()
    page.get_by_label("Owner password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/dashboard?sort=name")
    # The form that is still open in the other tab leads on too.
    other.get_by_label("Owner password").fill(PASSWORD)
    other.keyboard.press("Enter")
    other.wait_for_url("**/dashboard/connections/laptop")


def test_paper_says_sample_and_numbers_are_english(new_page: Callable[..., Page], tmp_path: Path) -> None:
    page = new_page(locale="de-DE")
    with Server(tmp_path, SAMPLE_DATA=1) as server:
        line = '{"type":"RECORD","stream":"notes","key":"%d","data":{}}\n'
        server.run("import", "--connection", "laptop", given="".join(line % key for key in range(1234)))
        server.sign_in(page.context)
        page.goto(f"{server.url}/dashboard")
        page.emulate_media(media="print")
        expect(page.locator(".sample")).to_be_visible()
        expect(counted(page)).to_have_text("1,234")
        assert page.evaluate("document.documentElement.lang") == "en"
