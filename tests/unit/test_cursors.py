"""Cursors and tokens: each is refused wherever it does not belong."""

import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest

from pdpp_ref.blueprints.errors import ApiError
from pdpp_ref.blueprints.reading import cursors
from pdpp_ref.blueprints.reading.cursors import (
    ChangesCursor,
    ChangesToken,
    Place,
    RecordsCursor,
    VersionsCursor,
)

PLACE = {"of": "a", "stream": "b"}
FEED = {**PLACE, "history": "c", "proof": {3: "d", 2: "e"}}
PLACES: list[Place] = [
    RecordsCursor(**PLACE, order="asc", filter="", key="k/é\n"),
    VersionsCursor(**PLACE, record="r", version=2),
    ChangesToken(**FEED, version=3),
    ChangesCursor(**FEED, start=0, after=2, horizon=2**62),
]
KINDS = [type(place) for place in PLACES]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: type(place).__name__)
def test_a_cursor_is_read_as_its_own_kind_and_no_other(place: Place) -> None:
    text = cursors.encode(place)
    assert cursors.decode(text, type(place), "cursor") == place
    for kind in KINDS:
        if kind is not type(place):
            with pytest.raises(ApiError) as refused:
                cursors.decode(text, kind, "cursor")
            assert (refused.value.code, refused.value.details) == ("invalid_cursor", {"param": "cursor"})
    assert cursors.is_of_changes(text) is isinstance(place, ChangesCursor)


def encoded(value: Any) -> str:
    return urlsafe_b64encode(value if isinstance(value, bytes) else json.dumps(value).encode()).decode()


GOOD = {"kind": "page", "session": "records", "order": "asc", "filter": "", "key": "k", **PLACE}
VERSION = {"kind": "page", "session": "versions", "record": "r", **PLACE}
TOKEN = {"kind": "changes_since", "version": 1, **FEED}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "====",
        "é",
        "%00",
        "beginning",
        encoded(b"\xff"),
        encoded(b"[" * 9_000),
        encoded([]),
        encoded({}),
        encoded(GOOD | {"key": "\0"}),
        encoded(GOOD | {"key": "\ud800"}),
        encoded(GOOD | {"key": None}),
        encoded(GOOD | {"order": "up"}),
        encoded(GOOD | {"more": 1}),
        encoded(GOOD | {"key": "k" * 30_000}),
        encoded(VERSION | {"version": -1}),
        encoded(VERSION | {"version": 2**63}),
        encoded(VERSION | {"version": 1.5}),
        encoded(TOKEN | {"version": 10**400}),
        encoded(TOKEN | {"proof": {"x": "y"}}),
        encoded(TOKEN | {"proof": {str(n): "" for n in range(9)}}),
    ],
)
def test_whatever_else_is_sent_is_refused(text: str) -> None:
    for kind in KINDS:
        with pytest.raises(ApiError) as refused:
            cursors.decode(text, kind, "cursor")
        assert refused.value.status == 400


def test_the_good_ones_of_that_test_are_good() -> None:
    assert cursors.decode(encoded(GOOD).rstrip("="), RecordsCursor, "cursor").key == "k"
    assert (
        cursors.decode(encoded(VERSION | {"version": 5}).rstrip("="), VersionsCursor, "cursor").version == 5
    )
    assert cursors.decode(encoded(TOKEN).rstrip("="), ChangesToken, "changes_since").proof == FEED["proof"]
