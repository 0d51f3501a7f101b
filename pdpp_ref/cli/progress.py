"""How far a command has come, on standard error: a bar on a terminal, otherwise a line now and then."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import click

from . import output

LINE_SECONDS = 10.0  # from one line in a log to the next
FIRST_DRAWN_SECONDS = 0.5  # what ends sooner needs no bar
DRAWN_SECONDS = 0.1
BAR_CELLS = 20
BESIDE_TEXT = len("[]  100%  00:00:00  ") + BAR_CELLS
USUAL_COLUMNS = 80
ERASE_REST = "\033[K"


class Show(Protocol):
    """Shows that `count` units are done.  `part`: how much that is, of how much, if it is not `count`."""

    def __call__(self, count: int, part: tuple[int, int] | None = None) -> None: ...


Part = Callable[[], tuple[int, int] | None]


@contextmanager
def progress(
    unit: str,
    total: int | None = None,
    *,
    count_all: Callable[[], int | None] = lambda: None,
    part: Part = lambda: None,
    draw: bool = True,
) -> Iterator[Show]:
    """Yield a function that shows how much is done.

    `total` is in `unit`.  `count_all` is called for it if there is a bar; `part`, for a total in other
    units, whenever it is drawn.  Without a total, there is a rate instead of a percentage.
    """
    if draw and _is_drawn():
        bar = _Bar(unit, total or count_all(), part)
        try:
            yield bar
            bar.finish()
        finally:
            bar.leave()
        return
    yield _Lines(unit, total)


def _is_drawn() -> bool:
    return output.Terminal().isatty() and os.environ.get("TERM") != "dumb"


class _Lines:
    def __init__(self, unit: str, total: int | None) -> None:
        self._unit, self._total = unit, total
        self._began = self._shown = time.monotonic()

    def __call__(self, count: int, part: tuple[int, int] | None = None) -> None:
        now = time.monotonic()
        if now - self._shown < LINE_SECONDS:
            return
        self._shown = now
        if self._total:
            output.mention(f"{count:,} of {self._total:,} {self._unit}")
        else:
            output.mention(_rate(count, self._unit, now - self._began))


class _Bar:
    """A bar of click's, which is drawn as soon as it is worth it, and not more often than one can read."""

    def __init__(self, unit: str, total: int | None, part: Part) -> None:
        self._unit, self._total, self._part = unit, total, part
        self._count = 0
        self._given: tuple[int, int] | None = None
        self._began = time.monotonic()
        self._next = self._began + FIRST_DRAWN_SECONDS
        self._drawn: Any = None

    def __call__(self, count: int, part: tuple[int, int] | None = None) -> None:
        self._count, self._given = count, part
        if time.monotonic() >= self._next:
            self._draw()

    def _draw(self) -> None:
        done, total = self._given or self._part() or (self._count, self._total or 0)
        if self._drawn is None:
            self._drawn = self._made(total)
        bar = self._drawn
        bar.length = total or None
        bar.max_width = 0  # so that click appends no spaces: the terminal may have become narrower
        bar.update(max(done - bar.pos, 0), self._text(bool(total)))
        self._next = time.monotonic() + DRAWN_SECONDS

    def _made(self, total: int) -> Any:
        terminal: Any = output.Terminal()
        bar: Any = click.progressbar(
            length=total or 1,
            file=terminal,
            width=BAR_CELLS,
            show_percent=bool(total),
            item_show_func=lambda text: text,
            bar_template=f"{'[%(bar)s]  ' if total else ''}%(info)s{ERASE_REST}",
            update_min_steps=0,
        )
        # click estimates from it how much time is left.
        bar.start = bar.last_eta = time.time() - (time.monotonic() - self._began)
        return bar

    def _text(self, has_bar: bool) -> str:
        """What fits: a terminal wraps a longer line, and then it could not be drawn over."""
        if has_bar:
            return f"{self._count:,} {self._unit}"[: max(_columns() - 1 - BESIDE_TEXT, 0)]
        return _rate(self._count, self._unit, time.monotonic() - self._began)[: _columns() - 1]

    def finish(self) -> None:
        """Show that all is done."""
        if self._drawn is not None:
            self._drawn.finished = True
            self._draw()

    def leave(self) -> None:
        """End the line."""
        if self._drawn is not None:
            self._drawn.render_finish()


def _rate(count: int, unit: str, seconds: float) -> str:
    return f"{count:,} {unit}, {count / max(seconds, 0.001):,.0f} a second"


def _columns() -> int:
    """Of the terminal that is drawn on; standard output may be another, or none."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or USUAL_COLUMNS
    except (OSError, ValueError):
        return USUAL_COLUMNS
