"""Formatting numbers and times on a page, and values that all templates share."""

import unicodedata
from collections.abc import Iterable
from itertools import accumulate

from flask import Blueprint
from flask.sansio.blueprints import BlueprintSetupState
from markupsafe import Markup

from ...models.measures import BYTE_MEASURES, COUNT_MEASURES, MEASURES, Measures
from ...queries.growth import COMPARED_DAYS
from ...timestamps import to_moment
from ..return_paths import here
from .pages import connection_url, record_url, stream_url

blueprint = Blueprint("formatting", __name__)

PARTS = {measure.name: place for place, measure in enumerate(BYTE_MEASURES, 1)}
# Letters by their category, which are drawn as nothing; and how many characters of a blank name are listed.
BLANK_LETTERS = "\u115f\u1160\u2800\u3164\uffa0"
SHOWN_CODES = 3
UNITS = ("kB", "MB", "GB", "TB", "PB", "EB")


@blueprint.record_once
def _add_globals(state: BlueprintSetupState) -> None:
    """The headings of every table with measures, and the addresses of pages."""
    state.app.jinja_env.globals.update(
        byte_measures=BYTE_MEASURES,
        count_measures=COUNT_MEASURES,
        headings={measure.name: measure.heading for measure in MEASURES},
        compared_days=COMPARED_DAYS,
        connection_url=connection_url,
        stream_url=stream_url,
        record_url=record_url,
        here=here,
    )


@blueprint.app_template_filter()
def size(value: int) -> Markup:
    """A number of bytes in decimal units with three digits; the exact number is in the markup."""
    return _markup(_size(value))


@blueprint.app_template_filter()
def name(value: str) -> Markup:
    """A name that somebody else chose, in its own direction; one that shows nothing is described."""
    if any(_is_visible(character) for character in value):
        return Markup("<bdi>{}</bdi>").format(value)
    codes = " ".join(f"U+{ord(character):04X}" for character in value[:SHOWN_CODES])
    more = "…" if len(value) > SHOWN_CODES else ""
    return Markup('<span class="unknown">blank ({}{})</span>').format(codes, more)


@blueprint.app_template_filter()
def exact_bytes(value: int) -> str:
    return f"{value:,} byte{'' if value == 1 else 's'}"


@blueprint.app_template_filter()
def count(value: int) -> Markup:
    return _markup(_count(value))


@blueprint.app_template_filter()
def measure_cells(row: Measures) -> Markup:
    """A table cell for each measure, counts first.  A page has thousands of them."""
    return _markup(
        "".join(
            f'<td role="cell" data-label="{measure.heading}">{shown(getattr(row, measure.name))}</td>'
            for measures, shown in ((COUNT_MEASURES, _count), (BYTE_MEASURES, _size))
            for measure in measures
        )
    )


@blueprint.app_template_filter()
def growth(value: int) -> Markup:
    """A change of bytes, with its sign."""
    if not value:
        return _markup('<data value="0" class="zero">no change</data>')
    sign, by = ("+", value) if value > 0 else ("−", -value)
    return _markup(
        f'<data value="{value}" title="{sign}{by:,} bytes">{sign}{size_text(by)}</data>',
    )


@blueprint.app_template_filter()
def share(value: float) -> Markup:
    """A part of the whole as a percentage; one that is too small for a digit is not called 0."""
    percent = value * 100
    text = "&lt;0.1" if 0 < percent < 0.1 else f"{percent:.{0 if percent in (0, 100) else 1}f}"
    return _markup(f'<data value="{value:.4f}">{text}&nbsp;%</data>')


def _size(value: int) -> str:
    return f'<data value="{value}" title="{value:,} bytes"{_zero(value)}>{size_text(value)}</data>'


def _count(value: int) -> str:
    return f'<data value="{value}"{_zero(value)}>{value:,}</data>'


def _zero(value: int) -> str:
    return "" if value else ' class="zero"'


def _is_visible(character: str) -> bool:
    return unicodedata.category(character)[0] not in "ZC" and character not in BLANK_LETTERS


def _markup(text: str) -> Markup:
    """Of numbers and headings alone, in which nothing needs to be escaped."""
    return Markup(text)  # noqa: S704


@blueprint.app_template_filter()
def part(measure: str) -> str:
    """The CSS class that gives a measure its colour."""
    return f"part-{PARTS[measure]}"


@blueprint.app_template_filter()
def stacked(parts: Iterable[tuple[str, int]]) -> list[tuple[str, str, str]]:
    """(name, where it begins, its width) of parts side by side, in percent of their sum."""
    parts = list(parts)
    whole = sum(value for _, value in parts) or 1
    begins = accumulate((value for _, value in parts), initial=0)
    return [
        (name, f"{100 * begin / whole:.3f}", f"{100 * value / whole:.3f}")
        for (name, value), begin in zip(parts, begins, strict=False)
    ]


@blueprint.app_template_filter()
def moment(value: str | None) -> Markup:
    """An absolute time, which unlike an age stays true on a page that is left open."""
    if value is None:
        return Markup("an unknown time")
    at = to_moment(value)
    shown = f"{at.day} {at:%B %Y, %H:%M:%S} UTC"
    return Markup('<time datetime="{}">{}</time>').format(value, shown)


@blueprint.app_template_filter()
def day(value: str) -> Markup:
    """The date of a day, which is a day in UTC, or of a time, which a script shows as the reader's date."""
    at = to_moment(value)
    shown = f"{at.day} {at:%b %Y}"
    if len(value) == len("2026-01-31"):
        return Markup('<time datetime="{}">{}</time>').format(value, shown)
    return Markup('<time datetime="{}" data-date>{}</time>').format(value, shown)


@blueprint.app_template_filter()
def interval(seconds: int) -> str:
    """A usual time between visits, roughly: `20 minutes`, `day`, `3 days`."""
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        number = round(seconds / length)
        if number >= 1:
            return unit if number == 1 else f"{number} {unit}s"
    return "minute"


def size_text(value: int) -> str:
    """`0 B`, `999 B`, `1.00 kB`, `12.3 MB`, `456 GB`: three digits, rounded half to even."""
    if value < 1000:
        return f"{value} B"
    scaled = float(value)
    for unit in UNITS:
        scaled /= 1000
        digits = 2 if scaled < 9.995 else 1 if scaled < 99.95 else 0
        if scaled < 999.5:
            return f"{scaled:.{digits}f} {unit}"
    return f"{scaled:,.0f} EB"
