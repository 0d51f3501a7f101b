"""What axe finds on a page, in a browser."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

AXE = Path(__file__).parents[1] / "node/node_modules/axe-core/axe.min.js"
# What a browser of each kind asks pages for.
SCHEMES: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "contrast": {"color_scheme": "dark", "contrast": "more", "forced_colors": "active"},
}
# Where a layout is widest and narrowest.
WIDTHS = (1280, 320)


def violations(page: Page, rules: Iterable[str] = (), widths: Iterable[int] = WIDTHS) -> Iterator[str]:
    """Each violation of these rules, or of all, in windows of these widths."""
    page.evaluate(AXE.read_text())
    options = {"resultTypes": ["violations"]} | ({"runOnly": list(rules)} if rules else {})
    for width in widths:
        page.set_viewport_size({"width": width, "height": 800})
        for rule in page.evaluate("(options) => axe.run(options)", options)["violations"]:
            yield from (f"{rule['id']}: {node['html'][:99]}" for node in rule["nodes"])
