"""Line charts as SVG, readable on a light and on a dark page."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 930, 440
LEFT, RIGHT, TOP, BOTTOM = 76, 300, 56, 52
# Each has a contrast of at least 3 to white and to GitHub's dark grey.
COLOURS = ("#3b82d6", "#d9591c", "#2b9348", "#b558c9", "#a67c00", "#d6336c", "#0d9aa8", "#7d8590")
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-size: 16px; font-weight: 600 }
.grid { stroke: #d0d7de; stroke-width: 1 }
.line { fill: none; stroke-width: 2.5 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .grid { stroke: #3d444d } }
"""
LABEL_HEIGHT = 17

Points = Mapping[float, float]


class Axis(NamedTuple):
    """A logarithmic axis with a label, from the power of ten below the least value to the one above the largest."""

    label: str
    least: float
    most: float

    @classmethod
    def of(cls, label: str, values: Sequence[float]) -> "Axis":
        return cls(
            label, 10 ** math.floor(math.log10(min(values))), 10 ** math.ceil(math.log10(max(values)))
        )

    def place(self, value: float) -> float:
        """From 0 to 1."""
        if self.least == self.most:
            return 0.0
        return math.log(value / self.least) / math.log(self.most / self.least)

    def ticks(self) -> list[float]:
        powers = range(round(math.log10(self.least)), round(math.log10(self.most)) + 1)
        return [10.0**power for power in powers]


def lines(
    title: str, x_label: str, y_label: str, series: Mapping[str, Points], ticks: Sequence[float] = ()
) -> str:
    """An SVG with a line for each series, by name; both axes are logarithmic.  `ticks`: the marks of the x axis."""
    xs = sorted({x for points in series.values() for x in points})
    x_axis = Axis(x_label, xs[0], xs[-1])
    y_axis = Axis.of(y_label, [y for points in series.values() for y in points.values()])
    parts = [*_grid(x_axis, y_axis, ticks or xs), *_lines(x_axis, y_axis, series)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            _text(LEFT, 24, title, kind="title"),
            *parts,
            "</svg>\n",
        ]
    )


def number(value: float) -> str:
    """1000 is 1 k, 0.001 is 0.001."""
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _grid(x_axis: Axis, y_axis: Axis, ticks: Sequence[float]) -> list[str]:
    found = []
    for value in y_axis.ticks():
        y = _y(y_axis, value)
        found.append(f'<line class="grid" x1="{LEFT}" y1="{y}" x2="{WIDTH - RIGHT}" y2="{y}"/>')
        found.append(_text(LEFT - 8, y + 4, number(value), "end"))
    found += [_text(_x(x_axis, value), HEIGHT - BOTTOM + 20, number(value), "middle") for value in ticks]
    middle = LEFT + (WIDTH - RIGHT - LEFT) / 2
    return [*found, _text(middle, HEIGHT - 10, x_axis.label, "middle"), _text(8, TOP - 14, y_axis.label)]


def _lines(x_axis: Axis, y_axis: Axis, series: Mapping[str, Points]) -> list[str]:
    found = []
    ends = {name: _y(y_axis, points[max(points)]) for name, points in series.items()}
    labels = _apart(ends)
    for place, (name, points) in enumerate(series.items()):
        colour = COLOURS[place % len(COLOURS)]
        dashed = ' stroke-dasharray="7 4"' if place >= len(COLOURS) else ""
        path = " ".join(f"{_x(x_axis, x)},{_y(y_axis, y)}" for x, y in sorted(points.items()))
        found.append(f'<polyline class="line" stroke="{colour}"{dashed} points="{path}"/>')
        label = WIDTH - RIGHT + 26
        end = f"{label - 4},{labels[name]}"
        found.append(
            f'<polyline stroke="{colour}" fill="none" points="{WIDTH - RIGHT + 2},{ends[name]} {end}"/>'
        )
        found.append(_text(label, labels[name] + 4, name))
    return found


def _apart(ends: Mapping[str, float]) -> dict[str, float]:
    """Where labels are placed, so that none covers another: below each other, near where the lines end."""
    found: dict[str, float] = {}
    last = -math.inf
    for name, y in sorted(ends.items(), key=lambda item: item[1]):
        last = max(y, last + LABEL_HEIGHT)
        found[name] = round(last, 1)
    too_low = max(0.0, last - (HEIGHT - 12))
    return {name: round(y - too_low, 1) for name, y in found.items()}


def _x(axis: Axis, value: float) -> float:
    return round(LEFT + axis.place(value) * (WIDTH - RIGHT - LEFT), 1)


def _y(axis: Axis, value: float) -> float:
    return round(HEIGHT - BOTTOM - axis.place(value) * (HEIGHT - BOTTOM - TOP), 1)


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{style}>{escape(text)}</text>'
