"""What an owner wants to know, answered by the demo's pages in a few clicks each."""

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.test_browser import browser, new_page, problems
from tests.support.server_process import Server

__all__ = ["browser", "new_page", "problems"]  # fixtures

MINUTE_MS = 60_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("questions"), "demo") as started:
        yield started


@pytest.fixture
def page(new_page: Callable[..., Page], server: Server) -> Page:
    """The dashboard; each step of an answer must be there within the minute."""
    opened = new_page()
    opened.set_default_timeout(MINUTE_MS)
    server.sign_in(opened.context)
    opened.goto(f"{server.url}/dashboard")
    return opened


def values(figures: Locator) -> list[int]:
    return [int(each.get_attribute("value") or "") for each in figures.all()]


def test_how_much(page: Page) -> None:
    (total,) = values(page.locator("#hero .total data"))
    parts = values(page.locator("#hero .parts div:not(.sum) dd > data"))
    assert total == sum(parts) > 1_000_000
    expect(page.locator("#hero time").first).to_be_visible()


def test_from_where(page: Page) -> None:
    totals = values(page.locator("#connections tbody td:nth-child(2) data"))
    assert sum(totals) == values(page.locator("#hero .total data"))[0]
    assert totals == sorted(totals, reverse=True), "the largest comes first"
    page.locator("#connections tbody a").first.click()
    assert values(page.locator(".facts .total data")) == [totals[0]]


def test_why_more(page: Page) -> None:
    page.get_by_text("Show as a table").click()
    page.locator(".days tr", has_text="+").nth(1).locator("a").click()
    (change,) = values(page.locator(".facts .total data"))
    assert change > 0
    for part in ("#connections", "#streams"):
        assert sum(values(page.locator(f"{part} li > data, {part} li strong data"))) == change


def test_what_can_go(page: Page) -> None:
    page.get_by_role("link", name="Remove old versions").click()
    page.get_by_label("Versions of each record to retain").fill("1")
    page.get_by_role("button", name="Preview").first.click()
    expect(page.locator("#preview[data-state=counted]")).to_be_visible()
    versions, size = values(page.locator("#preview tfoot td data"))
    assert versions > 0 < size
    expect(page.get_by_role("button", name=re.compile("Remove .* versions"))).to_be_enabled()


def test_can_i_have_it(page: Page) -> None:
    records = values(page.locator("#hero .counts data"))[0]
    page.get_by_role("button", name="Download everything").click()
    expect(page.locator("#download[data-state=ready]")).to_be_visible(timeout=MINUTE_MS)
    with page.expect_download() as download:
        page.get_by_role("link", name="Save").click()
    with zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes())) as packed:
        (lines,) = (name for name in packed.namelist() if name.endswith(".jsonl"))
        text = packed.read(lines).decode()
    assert sum(json.loads(line)["type"] == "RECORD" for line in text.splitlines()) >= records
