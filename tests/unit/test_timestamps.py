"""Times as senders write them, as the one text that is stored."""

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pdpp_ref.timestamps import (
    is_time,
    parse_milliseconds,
    parse_time,
    to_moment,
    to_text,
)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("1985-04-12T23:20:50.52Z", "1985-04-12T23:20:50.520Z"),
        ("1996-12-19T16:39:57-08:00", "1996-12-20T00:39:57.000Z"),
        ("1990-12-31T23:59:60Z", "1991-01-01T00:00:00.000Z"),
        ("1990-12-31T15:59:60-08:00", "1991-01-01T00:00:00.000Z"),
        ("1937-01-01T12:00:27.87+00:20", "1937-01-01T11:40:27.870Z"),
    ],
)
def test_the_examples_of_rfc_3339_are_read(text: str, time: str) -> None:
    assert parse_time(text) == time


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-31T08:00:00.123Z", "2026-01-31T08:00:00.123Z"),
        ("2026-01-31t08:00:00z", "2026-01-31T08:00:00.000Z"),
        ("2026-01-31 08:00:00Z", "2026-01-31T08:00:00.000Z"),
        ("2026-01-31 08:00:00z", "2026-01-31T08:00:00.000Z"),
        ("2026-01-31 08:00:00 +01:00", "2026-01-31T07:00:00.000Z"),
        ("2026-01-31T08:00:00", "2026-01-31T08:00:00.000Z"),
        ("2026-01-31T08:00:00-00:00", "2026-01-31T08:00:00.000Z"),
        ("2026-01-31T08:00:00+0130", "2026-01-31T06:30:00.000Z"),
        ("2026-01-31t08:00:00-01", "2026-01-31T09:00:00.000Z"),
        ("2026-01-31T08:00:00.1Z", "2026-01-31T08:00:00.100Z"),
        ("2026-01-31T08:00:00.9999Z", "2026-01-31T08:00:00.999Z"),
        ("2026-01-31t08:00:00.9999999999999999Z", "2026-01-31T08:00:00.999Z"),
        ("2026-01-31T08:00:00." + "9" * 5_000 + "z", "2026-01-31T08:00:00.999Z"),
        ("2026-01-31T08:00:00,5Z", "2026-01-31T08:00:00.500Z"),
        ("2026-01-31T08:00Z", "2026-01-31T08:00:00.000Z"),
        ("20260131T080000Z", "2026-01-31T08:00:00.000Z"),
        ("2026-W05-6T08:00:00Z", "2026-01-31T08:00:00.000Z"),
        ("2026-01-31", "2026-01-31T00:00:00.000Z"),
        ("2026-02-28T24:00:00Z", "2026-03-01T00:00:00.000Z"),
        ("2026-02-28T24:00:00.000Z", "2026-03-01T00:00:00.000Z"),
        ("2026-02-28T24:00:00.000000+02:00", "2026-02-28T22:00:00.000Z"),
        ("2026-06-30T23:59:60.25Z", "2026-07-01T00:00:00.250Z"),
        ("0001-01-01T00:30:00-01:00", "0001-01-01T01:30:00.000Z"),
        ("0001-01-01T00:30:00+00:30", "0001-01-01T00:00:00.000Z"),
        ("9999-12-31T23:59:59.9999Z", "9999-12-31T23:59:59.999Z"),
        ("9999-12-31T24:00:00+00:01", "9999-12-31T23:59:00.000Z"),
        ("1769846400000", "2026-01-31T08:00:00.000Z"),
        ("1769846400000.999", "2026-01-31T08:00:00.000Z"),
        ("100000000000", "1973-03-03T09:46:40.000Z"),
        ("9999999999999", "2286-11-20T17:46:39.999Z"),
    ],
)
def test_a_time_is_read_however_it_is_written(text: str, time: str) -> None:
    assert parse_time(text) == time
    assert is_time(time)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026",
        "2026-01",
        "2026-02-30",
        "2026-13-01T08:00:00Z",
        "2026-01-31T",
        "2026-01-31T08:00:00 ",
        " 2026-01-31T08:00:00Z",
        "2026-01-31x08:00:00Z",
        "2026-01-31x",
        "2026-01-31T08:00:00zz",
        "2026-01-31T08:60:00Z",
        "2026-01-31T08:00:61Z",
        "2026-01-31T24:00:01Z",
        "2026-01-31T24:00:00.5Z",
        "2026-01-31T24:01:00Z",
        "2026-01-31T25:00:00Z",
        "2026-01-31T08:00:00+24:00",
        "2026-01-31t08:00:00+24:00",
        "2026-01-31t08:00:00+01:60",
        "0000-00-00",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:60Z",
        "9999-12-31T24:00:00Z",
        "9999-12-31T23:59:59-00:01",
        "\uff12026-01-31T08:00:00Z",
        "2026-01-31T08:00:0\u0663Z",
        "17698464000",
        "17698464000000",
        "1769846400000000",
        "-1769846400000",
        "0769846400000",
        "1769846400000.",
    ],
)
def test_what_is_no_time_is_none(text: str) -> None:
    assert parse_time(text) is None


def test_milliseconds_have_twelve_or_thirteen_digits() -> None:
    assert parse_milliseconds("99999999999") is None, "it may as well be seconds"
    assert parse_milliseconds("20260131") is None
    assert parse_milliseconds("1769846400123") == "2026-01-31T08:00:00.123Z"


@given(st.datetimes(timezones=st.timezones()))
def test_every_time_is_read_as_it_is_written(moment: datetime) -> None:
    expected: str | None = None
    with suppress(OverflowError):
        expected = to_text(moment)
    offset = moment.utcoffset()
    whole = offset is not None and offset.seconds % 60 == 0
    for text in [moment.isoformat(), moment.isoformat(" "), moment.isoformat().lower() if whole else ""]:
        assert not text or parse_time(text) == expected
    if expected:
        assert parse_time(expected) == expected == to_text(moment.astimezone(UTC))
        assert parse_time(expected.lower()) == expected


@given(st.text(st.sampled_from("0123456789-:.,TtZz+ W"), max_size=40))
def test_any_text_is_a_time_or_none(text: str) -> None:
    time = parse_time(text)
    assert time is None or is_time(time)


@given(
    st.sampled_from(["2026-01-31T08:00:00.000Z", "2024-02-29T23:59:59.999Z", "0001-01-01T00:00:00.000Z"]),
    st.integers(0, 24),
    st.text("0123456789-:T .Z+\n٣W", max_size=3),
)
@example("2026-01-31T08:00:00.000Z", 24, "\n")
@example("2026-01-31T08:00:00.000Z", 8, "32")
@example("2026-01-31T08:00:00.000Z", 11, "24")
@example("2026-01-31T08:00:00.000Z", 17, "60")
def test_a_time_is_what_to_text_makes_of_it(text: str, place: int, put: str) -> None:
    changed = text[:place] + put + text[place + len(put) :]
    try:
        expected = to_text(to_moment(changed)) == changed
    except (ValueError, OverflowError):
        expected = False
    assert is_time(changed) == expected
