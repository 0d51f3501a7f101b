"""A browser to see the dashboard with; as a program, pictures of its states."""

import itertools
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from playwright.sync_api import sync_playwright

from tests.support import owner_pages, tools

NAMED_CHROMIUM = os.environ.get("PDPP_TEST_CHROMIUM")  # read before conftest takes the variable away
FOLDER = Path(__file__).parents[2] / "docs/screenshots"


def chromium_path() -> str:
    advice = "run `make setup-tests`, or apt-get install chromium, or set PDPP_TEST_CHROMIUM"
    return NAMED_CHROMIUM or tools.chromium() or pytest.fail(f"no Chromium: {advice}")


# Each picture is drawn in each of these; those that documents show are stored with them.
WINDOWS = {"wide": 1280, "narrow": 390, "narrowest": 320}
SCHEMES = ("light", "dark")
STORED = {
    "demo-dashboard-wide-light": "fresh-wide-light",
    "demo-dashboard-narrow-dark": "fresh-narrow-dark",
    "demo-stream-wide-light": "stream-wide-light",
    "demo-record-wide-light": "record-wide-light",
    "empty-wide-light": "empty-wide-light",
    "recounting-dashboard-wide-dark": "recounting-wide-dark",
}
EVERY = FOLDER / "all"


def main() -> None:
    """With `--stored`, only the pictures that documents show."""
    only_stored = "--stored" in sys.argv[1:]
    EVERY.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as place, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path())
        for view in owner_pages.every_view(Path(place)):
            for (window, width), scheme in itertools.product(WINDOWS.items(), SCHEMES):
                title = f"{view.name.replace(': ', '-').replace(' ', '-')}-{window}-{scheme}"
                if only_stored and title not in STORED:
                    continue
                size = {"width": width, "height": 844}
                with browser.new_context(viewport=size, color_scheme=scheme) as tab:
                    page = tab.new_page()
                    view.open(page)
                    name = f"{STORED[title]}.png" if title in STORED else f"all/{title}.png"
                    page.screenshot(path=FOLDER / name, full_page=True)


if __name__ == "__main__":
    main()
