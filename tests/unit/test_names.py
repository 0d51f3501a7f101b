"""How names that somebody else chose are shown."""

import pytest

from pdpp_ref.blueprints.owner.formatting import name


@pytest.mark.parametrize(
    ("given", "codes"),
    [
        (" ", "U+0020"),
        ("\u200b\u2800", "U+200B U+2800"),
        ("\u3164" * 4, "U+3164 U+3164 U+3164…"),
    ],
)
def test_a_blank_name_is_described(given: str, codes: str) -> None:
    assert name(given) == f'<span class="unknown">blank ({codes})</span>'


@pytest.mark.parametrize("given", ["laptop", " a ", "\u200bא", "😀"])
def test_a_visible_name_is_shown(given: str) -> None:
    assert name(given) == f"<bdi>{given}</bdi>"


def test_a_name_is_escaped() -> None:
    assert name("<b>") == "<bdi>&lt;b&gt;</bdi>"
