"""A browser to see the dashboard with; as a program, pictures of its states."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from playwright.sync_api import sync_playwright

from tests import tools
from tests.live import Server

NAMED_CHROMIUM = os.environ.get("PDPP_TEST_CHROMIUM")  # read before conftest takes the variable away
FOLDER = Path(__file__).parent.parent / "docs/screenshots"


def chromium_path() -> str:
    advice = "run `make setup-tests`, or apt-get install chromium, or set PDPP_TEST_CHROMIUM"
    return NAMED_CHROMIUM or tools.chromium() or pytest.fail(f"no Chromium: {advice}")


def unwell(server: Server) -> Iterator[str]:
    """Bring a server with records, one that waits long after a failure, into each state but the good."""
    with server.broken() as outside:
        yield "updating"
        outside("UPDATE retained_size_global SET stale_since = '2024-01-01T00:00:00.000Z'")
        yield "delayed"
        outside("UPDATE retained_size_global SET rebuild_status = 'running'")
        outside("UPDATE retained_size_global SET rebuild_total = (SELECT COUNT(*) FROM record_changes)")
        outside("UPDATE retained_size_stream SET dirty = TRUE WHERE stream_id % 3 = 1")
        yield "recounting"
        for grain in ("stream", "connection", "global"):
            outside(f"UPDATE retained_size_{grain} SET dirty = TRUE, computed_at = NULL")
        yield "first_count"


def main() -> None:
    chromium = chromium_path()
    with TemporaryDirectory() as place, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)

        def draw(on: Server, state: str, name: str = "", width: int = 1280, scheme: str = "light") -> None:
            with browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme) as tab:
                on.sign_in(tab)
                page = tab.new_page()
                page.goto(f"{on.url}/dashboard")
                page.wait_for_selector(f"#hero.{state}")
                page.screenshot(path=FOLDER / f"{name or state}.png", full_page=True)

        with Server(Path(place) / "new") as server:
            draw(server, "empty")
        with Server(Path(place) / "sample", "demo", RECONCILE_COOLDOWN_SECONDS=3600) as server:
            for scheme in ("light", "dark"):
                draw(server, "fresh", f"dashboard-wide-{scheme}", scheme=scheme)
                draw(server, "fresh", f"dashboard-narrow-{scheme}", 390, scheme)
            for state in unwell(server):
                draw(server, state)


if __name__ == "__main__":
    main()
