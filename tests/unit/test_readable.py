"""Stored JSON as text for a person."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pdpp_ref.blueprints.owner.readable import indented

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def spelt(text: str) -> Any:
    """The value with its numbers as they are spelt and its members in their order."""
    return json.loads(text, parse_int=str, parse_float=str, object_pairs_hook=list)


def test_each_member_has_a_line_and_no_number_is_respelt() -> None:
    text = '{"a":1.0,"b":[1e400,-0],"c":{},"d":[],"e":{"f":"x, [y]: {z}"},"g":12345678901234567890}'
    assert indented(text) == (
        '{\n  "a": 1.0,\n  "b": [\n    1e400,\n    -0\n  ],\n  "c": {},\n  "d": [],\n'
        '  "e": {\n    "f": "x, [y]: {z}"\n  },\n  "g": 12345678901234567890\n}'
    )


@settings(max_examples=50)
@given(VALUES)
def test_the_text_means_what_is_stored(value: Any) -> None:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    assert spelt(indented(text)) == spelt(text)


@settings(max_examples=50)
@given(VALUES, st.integers(0, 200))
def test_a_beginning_loses_no_character(value: Any, cut: int) -> None:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)[:cut]
    shown = indented(text)
    at = 0
    for character in text:  # in order, with nothing but space between
        while shown[at] != character:
            assert shown[at] in " \n"
            at += 1
        at += 1
    assert not shown[at:].strip()


def test_deep_nesting_stays_small() -> None:
    text = "[" * 100_000 + "]" * 100_000
    assert len(indented(text)) < 100 * len(text)
