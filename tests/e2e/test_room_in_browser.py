"""An owner makes room in a real browser, with scripts and without."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.test_browser import browser, new_page, problems
from tests.support import accessibility
from tests.support.server_process import Server

__all__ = ["browser", "new_page", "problems"]  # fixtures

LINE = '{"type":"RECORD","stream":"notes","key":"%s","data":{"n":%d}}\n'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("room")
    with Server(folder) as started:
        yield started


@pytest.mark.parametrize("script", [True, False])
def test_an_owner_makes_room(new_page: Callable[..., Page], server: Server, script: bool) -> None:
    lines = "".join(LINE % (key, number) for key in "ab" for number in range(4))
    server.run("import", "--connection", "laptop", given=lines)
    page = new_page(java_script_enabled=script, viewport={"width": 320, "height": 700})
    server.sign_in(page.context)
    page.goto(f"{server.url}/dashboard/streams?connection=laptop&stream=notes")
    page.get_by_role("link", name="Remove old versions").click()
    page.get_by_label("Versions of each record to retain").fill("2")
    page.get_by_role("button", name="Preview").first.click()
    expect(page.locator("#preview")).to_contain_text("4 versions in 1 stream, which frees 28 B")
    expect(page.get_by_role("button", name="Download this stream")).to_be_visible()
    fits(page, script)
    page.get_by_role("button", name="Remove 4 versions").click()
    ended = page.locator("#pruning[data-state=done]")
    if script:  # the page follows by itself
        expect(ended).to_be_visible()
    else:
        while not ended.is_visible():
            page.reload()
    expect(ended).to_contain_text("Removed 4 versions, which freed 28 B. Begun")
    fits(page, script)
    page.get_by_role("link", name="Back").click()
    page.get_by_label("Versions of each record to retain").fill("1")
    page.get_by_role("button", name="Preview").first.click()
    page.get_by_role("button", name="Always retain 1 version").click()
    expect(page.locator("#rules")).to_contain_text("The rule is set.")
    while "Applied" not in page.locator("#rules").inner_text():
        page.reload()
    expect(page.locator("#rules")).to_contain_text("2 versions removed so far")
    fits(page, script)
    page.get_by_role("link", name="notes", exact=True).click()
    page.get_by_role("link", name="Delete this stream").click()
    expect(page.locator("#extent")).to_contain_text("It holds 2 records, 2 versions and 0 files: 28 B")
    fits(page, script)
    page.get_by_role("button", name="Delete this stream").click()
    expect(page.locator("#done")).to_contain_text("Stream notes of connection laptop was deleted")
    fits(page, script)


def fits(page: Page, script: bool) -> None:
    """Nothing scrolls sideways, and axe finds nothing."""
    if not script:
        return
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    width = page.evaluate("window.innerWidth")
    assert list(accessibility.violations(page, widths=[width])) == []
