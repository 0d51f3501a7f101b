"""Names of downloaded files."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdpp_ref.blueprints.owner.file_names import file_name

MOMENT = "2026-01-31T08:00:00.123Z"
HOSTILE = [
    "..",
    "../../etc/passwd",
    "a\nb",
    'a"b',
    "a'b;c",
    "C:\\x",
    "😀",
    "CON",
    "x" * 5_000,
    ".hidden",
    "a b",
    "a%2fb",
    "\u202egpj.exe",
]


def test_plain_names_stay() -> None:
    assert file_name(["laptop", "notes"], MOMENT, "jsonl") == "pdpp-laptop-notes-2026-01-31T08-00-00Z.jsonl"


@pytest.mark.parametrize("name", HOSTILE)
def test_every_system_allows_the_name(name: str) -> None:
    made = file_name([name, name], MOMENT, "zip")
    assert re.fullmatch(r"pdpp-[a-z0-9_-]{1,102}-2026-01-31T08-00-00Z\.zip", made)


@given(st.text(min_size=1), st.text(min_size=1))
def test_two_names_stay_two_where_large_letters_are_small_ones(one: str, other: str) -> None:
    made = [file_name([name], MOMENT, "zip").lower() for name in (one, other)]
    assert (made[0] == made[1]) == (one == other)


def test_names_that_differ_in_case_alone_differ() -> None:
    made = {file_name([name], MOMENT, "zip").lower() for name in ("notes", "Notes", "NOTES")}
    assert len(made) == 3
