"""The colours of the style sheet: text has 4.5:1 to what it is on, drawings 3:1."""

import pytest

from tests.support import contrast

GROUNDS = ("surface", "ground")
TEXTS = ("ink", "soft", "accent", "good", "late")
DRAWINGS = ("part-1", "part-2", "part-3", "accent")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_enough_contrast(scheme: str) -> None:
    colours = contrast.tokens(scheme)
    needed = {(text, ground): 4.5 for text in TEXTS for ground in GROUNDS}
    needed |= {(drawing, ground): 3.0 for drawing in DRAWINGS for ground in GROUNDS if ground == "surface"}
    needed |= {("sample-ink", "sample"): 4.5, ("surface", "accent"): 4.5}
    found = {pair: contrast.ratio(colours[pair[0]], colours[pair[1]]) for pair in needed}
    assert {pair: found[pair] for pair in needed if found[pair] < needed[pair]} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_bands_that_touch_differ(scheme: str) -> None:
    colours = contrast.tokens(scheme)
    first, second, third = (colours[f"part-{number}"] for number in (1, 2, 3))
    assert contrast.ratio(first, second) > 1.8
    assert contrast.ratio(second, third) > 1.8


def test_the_formula_is_that_of_wcag() -> None:
    assert contrast.ratio("#000000", "#ffffff") == pytest.approx(21)
    assert contrast.ratio("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)
