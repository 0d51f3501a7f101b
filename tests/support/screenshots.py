"""A browser to see the dashboard with; as a program, pictures of its states."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from playwright.sync_api import sync_playwright

from tests.support import tools
from tests.support.factories import DatabaseProbe
from tests.support.server_process import Server

NAMED_CHROMIUM = os.environ.get("PDPP_TEST_CHROMIUM")  # read before conftest takes the variable away
FOLDER = Path(__file__).parents[2] / "docs/screenshots"


def chromium_path() -> str:
    advice = "run `make setup-tests`, or apt-get install chromium, or set PDPP_TEST_CHROMIUM"
    return NAMED_CHROMIUM or tools.chromium() or pytest.fail(f"no Chromium: {advice}")


def unwell(server: Server) -> Iterator[str]:
    """Bring a server with records, one that waits long after a failure, into each state but the good."""
    with server.broken() as probe:
        yield "updating"
        probe("UPDATE retained_size_global SET stale_since = '2024-01-01T00:00:00.000Z'")
        yield "delayed"
        probe("UPDATE retained_size_global SET rebuild_status = 'running'")
        probe("UPDATE retained_size_global SET rebuild_total = (SELECT COUNT(*) FROM record_changes)")
        probe("UPDATE retained_size_stream SET dirty = TRUE WHERE stream_id % 3 = 1")
        yield "recounting"
        for grain in ("stream", "connection", "global"):
            probe(f"UPDATE retained_size_{grain} SET dirty = TRUE, computed_at = NULL")
        yield "first_count"


# Each picture is drawn in each of these; those that documents show are kept with them.
WINDOWS = {"wide": 1280, "narrow": 390}
SCHEMES = ("light", "dark")
STORED = (
    "fresh-wide-light",
    "fresh-narrow-dark",
    "stream-wide-light",
    "record-wide-light",
    "empty-wide-light",
    "recounting-wide-dark",
)
EVERY = FOLDER / "all"
PATHS = {
    "fresh": "/dashboard",
    "connection": "/dashboard/connections/sample%20photo%20library",
    "stream": "/dashboard/streams?connection=sample+photo+library&stream=photos",
    "search": "/dashboard?q=mail&sort=growth",
    "record": "/dashboard/records?connection=sample+photo+library&stream=photos&key=00030",
}


def main() -> None:
    EVERY.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as place, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path())

        def draw(
            on: Server, name: str, path: str = "/dashboard", prepare: str = "", until: str = ""
        ) -> None:
            for (window, width), scheme in itertools.product(WINDOWS.items(), SCHEMES):
                size = {"width": width, "height": 844}
                with browser.new_context(viewport=size, color_scheme=scheme) as tab:
                    on.sign_in(tab)
                    page = tab.new_page()
                    page.goto(on.url + path)
                    if prepare:
                        page.route("**/dashboard/hero*", lambda route: route.abort())
                        page.evaluate(prepare)
                        page.wait_for_selector(until)
                    title = f"{name}-{window}-{scheme}"
                    folder = FOLDER if title in STORED else EVERY
                    page.screenshot(path=folder / f"{title}.png", full_page=True)

        with Server(Path(place) / "new") as server:
            draw(server, "empty")
        with Server(Path(place) / "sample", "demo", RECONCILE_COOLDOWN_SECONDS=3600) as server:
            draw(server, "arriving")
            with DatabaseProbe(server.database) as probe:
                probe("UPDATE retained_size_global SET latest_ingested_at = '2026-01-01T00:00:00.000Z'")
            for name, path in PATHS.items():
                draw(server, name, path)
            draw(
                server,
                "download",
                PATHS["record"],
                prepare="document.querySelector('.download form').submit()",
                until="#download[data-state=ready]",
            )
            draw(
                server,
                "away",
                prepare="window.dispatchEvent(new Event('online'))",
                until="#offline:not([hidden])",
            )
            for state in unwell(server):
                draw(server, state)


if __name__ == "__main__":
    main()
