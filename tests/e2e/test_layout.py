"""The layout in a real browser: a sample of `make sweep`, what it finds, and what moves or changes colour."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support import accessibility, fonts, owner_pages, sweep
from tests.support.screenshots import chromium_path
from tests.support.server_process import Server

ROOT = Path(__file__).parents[2]
# The least width of each layout, and of the usual windows; and one that is larger than any.
WIDTHS = (320, 484, 996, 1268, 3840)
RECORD = '{"type":"RECORD","stream":"photos","key":"00030","data":{"text":"%s"}}'


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium_path())
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context() as context:
        yield context.new_page()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("strained")
    with Server(folder, "demo", **owner_pages.QUIET | {"HERO_POLL_SECONDS": 1}) as started:
        started.run("import", "--connection", "sample photo library", given=RECORD % ("text" * 20_000))
        owner_pages.strain(started)
        started.set_last_arrival(datetime(2026, 1, 1, tzinfo=UTC))  # the notice of it would end in between
        yield started


def test_the_fonts_are_installed() -> None:
    assert not fonts.missing(), fonts.ADVICE.format(" ".join(fonts.missing()))


@pytest.mark.parametrize("dress", [sweep.DRESSES[0], sweep.DRESSES[3]], ids=str)
def test_a_sample_of_widths_has_no_flaw(server: Server, page: Page, dress: sweep.Dress) -> None:
    found = []
    for view in owner_pages.strained(server):
        view.open(page)
        found += [f"{view.name}: {flaw}" for flaw in sweep.flaws(page, dress, WIDTHS)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("style", "flaw"),
    [
        ("p { width: 2000px }", "too wide"),
        ("p { position: relative; left: -40px }", "“First” leaves section.card"),
        ("p { margin: 0; line-height: 6px }", "“First” is over “Second”"),
        ("p { white-space: nowrap; width: 8px }", "p (First) has more than fits"),
        ("p { float: left }", "“First” is over “Second”"),
        ("p { width: 12px; overflow-wrap: anywhere }", "“First” is split in “First”"),
    ],
)
def test_the_sweep_finds(page: Page, style: str, flaw: str) -> None:
    page.set_content(
        f"<style>section {{ padding: 20px; overflow-x: visible }} {style}</style>"
        "<section class=card><p>First</p><p>Second</p></section>"
    )
    assert any(flaw in each for each in page.evaluate(sweep.MEASURE)), page.evaluate(sweep.MEASURE)


def test_the_sweep_finds_nothing_in_order(page: Page) -> None:
    page.set_content("<section class=card><p>First, <b>and</b> more</p><p>Second</p></section>")
    assert page.evaluate(sweep.MEASURE) == []


def test_axe_finds_what_nobody_can_read(page: Page) -> None:
    page.set_content(
        "<html lang=en><title>T</title><main><h1>H</h1><p style='color: #eee'>First</p></main></html>"
    )
    assert len(list(accessibility.violations(page))) == len(accessibility.WIDTHS)
    assert not list(accessibility.violations(page, ["image-alt"]))


# The sum of all shifts; `hadRecentInput` counts too, as nobody touches the page.
SHIFTS = """() => {
    window.shifted = 0;
    window.moved = [];
    const add = (list) => { for (const shift of list.getEntries()) {
        window.shifted += shift.value;
        for (const { node } of shift.sources) window.moved.push(node?.outerHTML ?? node?.data ?? "removed");
    } };
    new PerformanceObserver(add).observe({ type: "layout-shift", buffered: true });
}"""


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_moves_while_a_page_loads_and_is_polled(server: Server, page: Page, width: int) -> None:
    page.add_init_script(f"({SHIFTS})()")
    page.set_viewport_size({"width": width, "height": 900})
    server.sign_in(page.context)
    for address in (*owner_pages.EVERYTHING[:1], *owner_pages.about(owner_pages.SAMPLE)):
        page.goto(server.url + address.path)
        if address.name == "dashboard":
            with page.expect_response(lambda answer: "/dashboard/hero" in answer.url):
                pass
        page.wait_for_timeout(100)
        assert page.evaluate("shifted") == 0, f"{address.name}: {page.evaluate('moved')}"


class InTwoParts(SimpleHTTPRequestHandler):
    """Serves static files, and `text` as a page whose second half takes its time."""

    text = b""

    def do_GET(self) -> None:
        if self.path.startswith("/static/"):
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        middle = len(self.text) // 2
        self.wfile.write(self.text[:middle])
        time.sleep(0.5)
        self.wfile.write(self.text[middle:])

    def log_message(self, *_: object) -> None:
        pass


def test_a_page_is_drawn_once_all_of_it_is_here(server: Server, page: Page) -> None:
    """Otherwise what comes late moves what is there."""
    server.sign_in(page.context)
    InTwoParts.text = page.context.request.get(server.url + "/dashboard").body()
    handler = partial(InTwoParts, directory=ROOT)
    page.add_init_script(f"({SHIFTS})()")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as slow:
        Thread(target=slow.serve_forever, daemon=True).start()
        page.goto(f"http://127.0.0.1:{slow.server_port}/")
        page.wait_for_function("performance.getEntriesByType('paint').length")
        assert page.evaluate("shifted") == 0, page.evaluate("moved")
        assert page.evaluate("performance.getEntriesByType('paint')[0].startTime") > 500
        page.goto("about:blank")
        slow.shutdown()


def test_a_shift_would_be_seen(page: Page) -> None:
    page.add_init_script(f"({SHIFTS})()")
    page.goto("data:text/html,<p id=above></p><p>text</p>")
    page.wait_for_timeout(100)
    page.evaluate("above.style.height = '300px'")
    page.wait_for_function("shifted > 0")


COLOURS = """() => [1, 2, 3].map((part) => [
    getComputedStyle(document.querySelector(`.legend .part-${part}`)).backgroundColor,
    getComputedStyle(document.querySelector(`.plot .part-${part}`)).fill,
    getComputedStyle(document.querySelector(`.parts-bar .part-${part}`)).fill,
    getComputedStyle(document.querySelector(`.parts .part-${part}`)).backgroundColor,
])"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("forced", ["none", "active"])
def test_the_legend_has_the_colours_of_the_chart(
    server: Server, browser: Browser, scheme: str, forced: str
) -> None:
    with browser.new_context(color_scheme=scheme, forced_colors=forced) as context:  # type: ignore[arg-type]
        server.sign_in(context)
        page = context.new_page()
        page.goto(f"{server.url}/dashboard")
        parts = page.evaluate(COLOURS)
    assert [len(set(colours)) for colours in parts] == [1, 1, 1]
    assert len({colours[0] for colours in parts}) == 3, "each part has a colour of its own"


def test_paper_says_that_data_is_a_sample(browser: Browser, server: Server, tmp_path: Path) -> None:
    with Server(tmp_path, SAMPLE_DATA=1, LOG_LEVEL="error") as sample, browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{sample.url}/owner/login")
        page.emulate_media(media="print")
        assert page.locator(".sample").is_visible()


def test_a_stream_that_cannot_be_counted_is_shown_without_a_flaw(tmp_path: Path, page: Page) -> None:
    with Server(tmp_path, **owner_pages.QUIET) as started:
        for connection in ("laptop", "phone"):
            started.add_record(connection)
        started.sign_in(page.context)
        for state in owner_pages.one_aside(started):
            page.goto(f"{started.url}/dashboard")
            expect(page.locator("#hero")).to_have_attribute("data-state", state)
            assert not list(accessibility.violations(page))
