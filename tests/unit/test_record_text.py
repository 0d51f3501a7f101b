"""Records' texts: their members, filters by value, and the addresses of files added to them."""

import json

import pytest

from pdpp_ref.schemas import record_text
from pdpp_ref.schemas.record_text import Filter, members, number, selected, with_fetch_urls

DEEP = '{"a":' + "[" * 5_000 + "]" * 5_000 + ',"b":1}'
TEXTS = [
    "{}",
    '{"a":{}}',
    '{"a":[1,{"b":[]}],"b":"x,}\\":{","":null}',
    '{"a":1e400,"b":-0,"c":1.0}',
    '{"\\ud800":"\\udc00","b":"\\\\"}',
    DEEP,
]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_members_are_the_texts_parts(text: str) -> None:
    found = members(text)
    assert (
        "{" + ",".join(f"{record_text._spelt(name)}:{value}" for name, value in found.items()) + "}" == text
    )
    assert dict(record_text._split(text)) == found


def test_a_selection_keeps_order_and_spelling() -> None:
    text = '{"z":1.50,"a":{"b":1},"é":"é","n":123456789012345678901234567890}'
    assert selected(text, ["n", "é", "z", "missing"]) == (
        '{"z":1.50,"é":"é","n":123456789012345678901234567890}'
    )


# ---- filters -------------------------------------------------------------------------------------

VALUES = ["5", '"5"', "5.0", "50e-1", "true", "null", "[]", "{}", "1e400", '"null"', '"true"', '"\\"5\\""']


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("5", ["5", '"5"', "5.0", "50e-1"]),
        ("5.0", ["5", "5.0", "50e-1"]),
        ('"5"', ['"5"']),
        ("true", ["true", '"true"']),
        ('"true"', ['"true"']),
        ("null", ["null", '"null"']),
        ("10e399", ["1e400"]),
        ("1e400", ["1e400"]),
        ("[]", []),
        ("{}", []),
        ("", []),
        ('"\\"5\\""', ['"\\"5\\""']),
        ("05", []),
        ("+5", []),
        ('"', []),
    ],
)
def test_a_filter_compares_values_of_its_own_type(wanted: str, found: list[str]) -> None:
    condition = Filter({"f": wanted})
    assert [value for value in VALUES if condition.accepts(f'{{"f":{value}}}')] == found
    assert not condition.accepts('{"g":5}')


def test_all_conditions_have_to_be_met() -> None:
    both = Filter({"a": "1", "b": "x"})
    assert both.accepts('{"b":"x","a":1}')
    assert not both.accepts('{"a":1}')
    assert both.digest == Filter({"b": "x", "a": "1"}).digest != Filter({"a": "1"}).digest


@pytest.mark.parametrize("text", ["1e" + "9" * 5_000, "9" * 10_000, "0." + "0" * 10_000 + "1"])
def test_a_number_of_any_size_equals_itself(text: str) -> None:
    assert Filter({"f": text}).accepts(f'{{"f":{text}}}')
    assert not Filter({"f": text}).accepts('{"f":1}')


@pytest.mark.parametrize(
    ("one", "other"), [("0", "-0"), ("0", "0e99"), ("1200", "1.2e3"), ("0.001", "1E-3"), ("-5", "-5.00")]
)
def test_numbers_are_equal_by_value(one: str, other: str) -> None:
    assert number(one) == number(other)
    assert number(one) != number("7")


# ---- files ---------------------------------------------------------------------------------------

ID = "blob_sha256_" + "a" * 64
REF = f'"blob_ref":{{"blob_id":"{ID}","n":{{"x":"}}"}}'
URL = f',"fetch_url":"/v1/blobs/{ID}"'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f'{{{REF}}},"n":1.0}}', f'{{{REF}{URL}}},"n":1.0}}'),
        (f'{{"a":[{{{REF}}}}},{{{REF}}}}}]}}', f'{{"a":[{{{REF}{URL}}}}},{{{REF}{URL}}}}}]}}'),
        (f'{{"blob_ref":{{"blob_id":"{"b" * 64}"}}}}', None),
    ],
)
def test_each_reference_gets_its_address(text: str, expected: str | None) -> None:
    added = with_fetch_urls(text)
    json.loads(added)
    assert added == (expected or text.replace('"}}', f'","fetch_url":"/v1/blobs/{"b" * 64}"}}}}'))


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"blob_ref":{}}',
        '{"blob_ref":{"blob_id":"other"}}',
        '{"blob_ref":{"blob_id":5}}',
        '{"blob_ref":"x"}',
        f'{{"blob_ref":{{"blob_id":"{ID}","fetch_url":"here"}}}}',
        json.dumps({"text": f'{{"blob_ref":{{"blob_id":"{ID}"}}}}'}, separators=(",", ":")),
        json.dumps(
            {f'x"blob_ref":{{"blob_id":"{ID}"}}': 1, 'x"blob_ref': {"blob_id": ID}}, separators=(",", ":")
        ),
    ],
)
def test_nothing_else_is_changed(text: str) -> None:
    assert with_fetch_urls(text) == text
