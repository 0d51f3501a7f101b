"""Stored JSON as text for a person: each member on a line of its own, and nothing respelt.

Numbers and strings stay exactly as they are stored, so the text without the added space is the stored one.
"""

import re
from collections.abc import Iterator

# A string, also one that is cut off; a sign; anything else, such as a number.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"?|[{}\[\],:]|[^"{}\[\],:]+', re.DOTALL)
_STEP, _DEEPEST = "  ", 20  # text that is nested more deeply would be mostly space


def indented(text: str) -> str:
    """Of minified JSON, or of its beginning."""
    return "".join(_pieces(text))


def _pieces(text: str) -> Iterator[str]:
    depth, before = 0, ""
    for part in _TOKEN.findall(text):
        closes = part in ("}", "]")
        if closes:
            depth -= 1
        if before in ("{", "[", ",") or closes:
            is_empty = closes and before in ("{", "[")
            yield "" if is_empty else "\n" + _STEP * min(depth, _DEEPEST)
        yield part
        if part == ":":
            yield " "
        if part in ("{", "["):
            depth += 1
        before = part
