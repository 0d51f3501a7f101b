"""Growth as a picture: the geometry of an inline SVG, which templates draw and the stylesheet colours.

What is kept stands until it changes, so lines go in steps, and begin where something is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from ..measures import BYTE_MEASURES
from ..services.growth import Day
from ..times import days_before

WIDTH, HEIGHT = 600, 160


@dataclass(frozen=True)
class Step:
    """From `left`, for `width`, stood what `day` ended with."""

    left: float
    width: float
    day: Day


@dataclass(frozen=True)
class Chart:
    """`bands` are (name of the measure, path), to be drawn in their order: each goes over the last."""

    bands: list[tuple[str, str]]
    line: str
    steps: list[Step]
    top: int
    first_day: str
    last_day: str


def chart(days: Sequence[Day], shown: int) -> Chart | None:
    """A picture of the last `shown` days; None where nothing that has a size is known of them."""
    top = max((day.total for day in days), default=0)
    if not top:
        return None
    first, last = date.fromisoformat(days_before(shown)), date.fromisoformat(days_before(0))
    # The last day has a width too.
    unit = WIDTH / ((last - first).days + 1)
    lefts = [min(max(0, (date.fromisoformat(day.day) - first).days) * unit, WIDTH) for day in days]
    rights = [*lefts[1:], float(WIDTH)]
    steps = [
        Step(round(left, 2), round(right - left, 2), day)
        for left, right, day in zip(lefts, rights, days, strict=True)
    ]
    # The whole first: each part that goes over it leaves the last one's share to be seen.
    stacked = [
        (measure.name, _area(steps, [sum(day.parts[: place + 1]) for day in days], top))
        for place, measure in reversed(list(enumerate(BYTE_MEASURES)))
    ]
    totals = [day.total for day in days]
    return Chart(stacked, _line(steps, totals, top), steps, top, first.isoformat(), last.isoformat())


def _line(steps: Sequence[Step], values: Sequence[int], top: int) -> str:
    path = ""
    for step, value in zip(steps, values, strict=True):
        height = HEIGHT - value * HEIGHT / top
        path += f"{'V' if path else f'M{step.left:g},'}{height:.1f}H{step.left + step.width:.1f}"
    return path


def _area(steps: Sequence[Step], values: Sequence[int], top: int) -> str:
    return f"{_line(steps, values, top)}V{HEIGHT}H{steps[0].left:g}Z"
