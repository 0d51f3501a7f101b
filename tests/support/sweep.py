"""Every page of the owner in every state: what overlaps, leaves its card or scrolls sideways at any width, and
what axe finds.

`make sweep`, or `python -m tests.support.sweep --step 40` for every tenth width.  A page is opened once for each
font and size of text; then the window changes, and one script measures what is drawn (`layout.js`).  It is opened
once more for each scheme of colours, in which axe sees it.  Any flaw makes it exit with 1.
"""

import itertools
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import click
from playwright.sync_api import Page, sync_playwright

from tests.support import accessibility, fonts, owner_pages
from tests.support.screenshots import chromium_path

MEASURE = Path(__file__).with_name("layout.js").read_text()
NARROWEST, WIDEST = 320, 1400
# A font, and twice the size of text.  A style sheet of the browser's own would do the same; the policy of the
# page allows no other.
DRESS = """([font, size]) => {
    const sheet = new CSSStyleSheet();
    const scale = size === 100 ? "" : `font-size: ${size}%`;
    sheet.replaceSync(`:root { font-family: "${font}"; ${scale} }`);
    document.adoptedStyleSheets = [sheet];
    for (const details of document.querySelectorAll("details")) details.open = true;
}"""


class Dress(NamedTuple):
    """A font, and the size of text in percent of the usual."""

    font: str
    size: int


DRESSES = tuple(itertools.starmap(Dress, itertools.product(fonts.PACKAGES, (100, 200))))


def flaws(page: Page, dress: Dress, widths: Iterable[int]) -> Iterator[str]:
    """Each flaw of an open page once, with the widths at which it is seen."""
    page.evaluate(DRESS, dress)
    seen = defaultdict(list)
    for width in widths:
        page.set_viewport_size({"width": width, "height": 900})
        for flaw in page.evaluate(MEASURE):
            seen[flaw].append(width)
    for flaw, found in seen.items():
        where = f"{len(found)} widths from {found[0]} to {found[-1]} px"
        yield f"{flaw} ({dress.font}, text at {dress.size} %; {where})"


Inspect = Callable[[Page], Iterable[str]]


def layout(dress: Dress, widths: range) -> list[str]:
    """What `layout.js` finds in one font and size of text."""
    return inspect({}, lambda page: flaws(page, dress, widths))


def accessible(scheme: str) -> list[str]:
    """What axe finds in one scheme of colours."""
    return inspect(accessibility.SCHEMES[scheme], accessibility.violations)


def inspect(options: dict[str, Any], look: Inspect) -> list[str]:
    """The flaws of every page and state in a browser with these options."""
    found = []
    with TemporaryDirectory() as place, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path())
        page = browser.new_page(**options)
        for shown in owner_pages.every_view(Path(place)):
            shown.open(page)
            found += [f"{shown.name}: {flaw}" for flaw in look(page)]
        browser.close()
    return found


@click.command()
@click.option("--step", default=4, show_default=True, help="Pixels from one width to the next.")
def main(step: int) -> None:
    """Print every flaw."""
    if missing := fonts.missing():
        sys.exit(fonts.ADVICE.format(", ".join(missing)))
    widths = range(NARROWEST, WIDEST + 1, step)
    found = 0
    # Half of a sweep waits for the browser, which has a process of its own.
    with ProcessPoolExecutor() as pool:
        started = {
            f"{dress.font}, text at {dress.size} %": pool.submit(layout, dress, widths) for dress in DRESSES
        }
        started |= {f"axe, {scheme}": pool.submit(accessible, scheme) for scheme in accessibility.SCHEMES}
        for name, work in started.items():
            flaws_found = work.result()
            print(f"{name}: {len(flaws_found)} flaws", *flaws_found, sep="\n  ", flush=True)
            found += len(flaws_found)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
