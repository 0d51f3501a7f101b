"""Ranges of a file's bytes."""

import time

import pytest

from pdpp_ref.blueprints.reading.files import DEFAULT_TYPE, media_type
from pdpp_ref.blueprints.reading.ranges import Unsatisfiable, single_range


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-", (0, 10)),
        ("bytes=3-5", (3, 6)),
        ("bytes=3-99", (3, 10)),
        ("bytes=003-0005", (3, 6)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        ("Bytes = 1 - 2", (1, 3)),
        ("bytes=0-" + "9" * 5_000, (0, 10)),
        (None, None),
        ("", None),
        ("bytes", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=5-3", None),
        ("bytes=a-b", None),
        ("bytes=--1", None),
        ("bytes=0-1,3-4", None),
        ("lines=0-1", None),
        ("bytes=٣-٥", None),
    ],
)
def test_one_range_is_read_and_all_else_is_the_whole_file(header: str, part: tuple[int, int]) -> None:
    assert single_range(header, 10) == part
    assert single_range(header, 0) is None


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=" + "9" * 5_000 + "-"])
def test_a_range_outside_of_the_file_is_refused(header: str) -> None:
    with pytest.raises(Unsatisfiable):
        single_range(header, 10)


def test_many_ranges_cost_no_more_than_one() -> None:
    header = "bytes=" + ",".join(f"{n}-{n}" for n in range(3_000))
    started = time.perf_counter()
    for _ in range(1_000):
        assert single_range(header, 10_000) is None
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        ("image/png", "image/png"),
        ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
        (None, DEFAULT_TYPE),
        ("", DEFAULT_TYPE),
        ("png", DEFAULT_TYPE),
        ("text/html\r\nSet-Cookie: a=b", DEFAULT_TYPE),
        ("text/é", DEFAULT_TYPE),
        ("a/b;" * 1_000, DEFAULT_TYPE),
    ],
)
def test_a_media_type_is_sent_only_if_it_is_one(sent: str | None, answered: str) -> None:
    assert media_type(sent) == answered
