"""Growth as a chart: the geometry of an inline SVG, which templates draw and the stylesheet colours.

Bytes stay the same until they change, so lines go in steps.  An unknown day is a gap: no line crosses
it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby

from ...models.measures import BYTE_MEASURES
from ...queries.growth import Day, changes
from ...timestamps import days_before

WIDTH, HEIGHT = 600, 160


@dataclass(frozen=True)
class Step:
    """From `left`, for `width`, the bytes were those of `day`, which had added `change`; None: unknown."""

    left: float
    width: float
    day: Day
    change: int | None


@dataclass(frozen=True)
class Chart:
    """`bands` are (name of the measure, path), to be drawn in their order, each over the one before it.

    `known` are the `steps` whose bytes are known.
    """

    bands: list[tuple[str, str]]
    line: str
    steps: list[Step]
    top: int
    first_day: str
    middle_day: str
    last_day: str

    @property
    def known(self) -> list[Step]:
        return [step for step in self.steps if step.day.parts is not None]


def chart(days: Sequence[Day], shown: int) -> Chart | None:
    """A chart of the last `shown` days; None if nothing is known about them."""
    top = max((day.total or 0 for day in days), default=0)
    if not top:
        return None
    first, last = date.fromisoformat(days_before(shown)), date.fromisoformat(days_before(0))
    # The last day has a width too.
    unit = WIDTH / ((last - first).days + 1)
    lefts = [min(max(0, (date.fromisoformat(day.day) - first).days) * unit, WIDTH) for day in days]
    rights = [*lefts[1:], float(WIDTH)]
    steps = [
        Step(round(left, 2), round(right - left, 2), day, change)
        for left, right, day, change in zip(lefts, rights, days, changes(days), strict=True)
    ]
    runs = [list(run) for known, run in groupby(steps, lambda step: step.day.parts is not None) if known]
    # The whole first: each part is drawn over it and leaves the share of the last part visible.
    stacked = [
        (measure.name, "".join(_area(run, place + 1, top) for run in runs))
        for place, measure in reversed(list(enumerate(BYTE_MEASURES)))
    ]
    line = "".join(_line(run, len(BYTE_MEASURES), top) for run in runs)
    middle = first + (last - first) / 2
    return Chart(stacked, line, steps, top, first.isoformat(), middle.isoformat(), last.isoformat())


def _line(run: Sequence[Step], parts: int, top: int) -> str:
    """Along the sums of each step's first `parts`; all of them are known."""
    path = ""
    for step in run:
        height = HEIGHT - sum((step.day.parts or ())[:parts]) * HEIGHT / top
        path += f"{'V' if path else f'M{step.left:g},'}{height:.1f}H{step.left + step.width:.1f}"
    return path


def _area(run: Sequence[Step], parts: int, top: int) -> str:
    return f"{_line(run, parts, top)}V{HEIGHT}H{run[0].left:g}Z"
