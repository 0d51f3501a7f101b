"""The layout of every page of the owner at every width: what overlaps, leaves its card or scrolls sideways.

`make sweep`, or `python -m tests.support.sweep [NAME...]` for some pages only.  A page is opened once; then the
font, the size of text and the window change, and one script measures what is drawn (`layout.js`).  Any flaw
makes it exit with 1.
"""

import itertools
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from playwright.sync_api import BrowserContext, Page, sync_playwright

from tests.support import fonts
from tests.support.screenshots import chromium_path
from tests.support.server_process import Server

MEASURE = Path(__file__).with_name("layout.js").read_text()
WIDTHS = range(320, 1401, 4)
# A style sheet of the browser's own would do the same; the policy of the page allows no other.
DRESS = """([font, size]) => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(`:root { font-family: "${font}"; ${size ? "font-size: " + size + "%" : ""} }`);
    document.adoptedStyleSheets = [sheet];
    for (const details of document.querySelectorAll("details")) details.open = true;
}"""


class Dress(NamedTuple):
    """A font, and the size of text in percent; 0 is that of the page."""

    font: str
    size: int

    def __str__(self) -> str:
        return f"{self.font}, text at {self.size or 100} %"


EVERY_DRESS = tuple(Dress(font, size) for size, font in itertools.product((0, 200), fonts.PACKAGES))


def flaws(page: Page, widths: Iterable[int], dresses: Iterable[Dress] = EVERY_DRESS) -> Iterator[str]:
    """Each flaw of an open page once for each dress, with the widths at which it is seen."""
    for dress in dresses:
        page.evaluate(DRESS, dress)
        seen = defaultdict(list)
        for width in widths:
            page.set_viewport_size({"width": width, "height": 900})
            for flaw in page.evaluate(MEASURE):
                seen[flaw].append(width)
        for flaw, found in seen.items():
            yield f"{flaw} ({dress}; {len(found)} widths from {found[0]} to {found[-1]} px)"
