"""Lines in, changes out: both dialects, canonical text, and a reason for everything refused."""

import json
import re
from contextlib import nullcontext
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdpp_ref.parsing import json_lines
from pdpp_ref.parsing.keys import canonical_number
from pdpp_ref.parsing.messages import (
    MAX_NAME_BYTES,
    MAX_VALUES,
    ActivateVersion,
    Change,
    Ignored,
    Message,
    Reader,
    Rejected,
    Schema,
    State,
)


def read(line: str | bytes, reader: Reader | None = None) -> Message:
    return (reader or Reader()).read(line if isinstance(line, bytes) else line.encode())


def change(line: str | bytes, reader: Reader | None = None) -> Change:
    found = read(line, reader)
    assert isinstance(found, Change)
    return found


def refused(line: str | bytes, reader: Reader | None = None) -> Rejected:
    with pytest.raises(Rejected) as raised:
        read(line, reader)
    return raised.value


def record(data: str = "{}", key: str = '"k"', more: str = "") -> str:
    return f'{{"type":"RECORD","stream":"s","key":{key},"data":{data}{more}}}'


def schema(properties: str = '["id"]', stream: str = "s", more: str = "") -> str:
    return f'{{"type":"SCHEMA","stream":"{stream}","schema":{{}},"key_properties":{properties}{more}}}'


def row(data: str, stream: str = "s", more: str = "") -> str:
    return f'{{"type":"RECORD","stream":"{stream}","record":{data}{more}}}'


def singer(properties: str, data: str) -> Change:
    reader = Reader()
    assert read(schema(properties), reader) == Schema("s")
    return change(row(data), reader)


@pytest.mark.parametrize(
    ("received", "stored"),
    [
        ('{ "b" : 1 ,\t"a" : [ 1 , 2 ] }', '{"b":1,"a":[1,2]}'),
        ('{"a":"\\u00e9\\u4e2d\\ud83d\\ude00\\/"}', '{"a":"é中😀/"}'),
        ('{"a":"\\u0000\\n\\u001f"}', '{"a":"\\u0000\\n\\u001f"}'),
        ('{"a":1.0,"b":1e5,"c":1E400,"d":0.10,"e":-0.0}', '{"a":1.0,"b":1e5,"c":1E400,"d":0.10,"e":-0.0}'),
        ('{"a":-0,"b":[-0],"c":-0 }', '{"a":-0,"b":[-0],"c":-0}'),
        ('{"a":18446744073709551616}', '{"a":18446744073709551616}'),
        ('{"a":' + "7" * 10_000 + "}", '{"a":' + "7" * 10_000 + "}"),
        ('{"a":1,"b":2,"a":3}', '{"a":3,"b":2}'),
        ("{}", "{}"),
    ],
)
def test_data_is_stored_as_canonical_text(received: str, stored: str) -> None:
    assert change(record(received)).data == stored


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda children: (
        st.lists(children) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), children)
    ),
    max_leaves=20,
)


@pytest.mark.slow
@settings(max_examples=40)
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), _json), st.booleans())
def test_canonical_text_is_what_pythons_own_encoder_writes(
    data: dict[str, object], ascii_only: bool
) -> None:
    found = change(record(json.dumps(data, ensure_ascii=ascii_only)))
    assert found.data == json.dumps(data, ensure_ascii=False, separators=(",", ":"))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(line: bytes) -> None:
    try:
        read(line)
    except Rejected as reason:
        assert str(reason)


@pytest.mark.parametrize(
    ("key", "stored"),
    [
        ('"a b"', "a b"),
        ('["a","é"]', '["a","é"]'),
        ('[ "a" ]', '["a"]'),
        ('"\\ud83d\\ude00"', "😀"),
        ('["a","",null]', '["a","",null]'),
        ('[""]', '[""]'),
        ("[null]", "[null]"),
    ],
)
def test_a_key_is_a_string_or_an_array_in_canonical_form(key: str, stored: str) -> None:
    assert change(record(key=key)).key == stored


def test_an_op_may_be_left_out_or_null() -> None:
    assert read(record()) == read(record(more=',"op":null')) == read(record(more=',"op":"upsert"'))


def test_a_delete_has_no_data() -> None:
    assert read('{"type":"RECORD","stream":"s","key":"k","op":"delete"}') == Change("s", "k", None)


@pytest.mark.parametrize(
    ("received", "stored"),
    [
        ('"2024-05-01T10:00:00+02:00"', "2024-05-01T08:00:00.000Z"),
        ('"2024-05-01t08:00:00.1239z"', "2024-05-01T08:00:00.123Z"),
        ('"2024-05-01"', "2024-05-01T00:00:00.000Z"),
        ('"1990-12-31T23:59:60Z"', "1991-01-01T00:00:00.000Z"),
        ('"2024-05-01T24:00:00Z"', "2024-05-02T00:00:00.000Z"),
        ("1714550400123", "2024-05-01T08:00:00.123Z"),
        ("1714550400123.9", "2024-05-01T08:00:00.123Z"),
        ("1.714550400123e12", "2024-05-01T08:00:00.123Z"),
        ('"1714550400123"', "2024-05-01T08:00:00.123Z"),
        ("null", None),
    ],
)
def test_times_are_stored_in_utc(received: str, stored: str | None) -> None:
    assert change(record(more=f',"emitted_at":{received}')).emitted_at == stored


def test_a_line_without_a_type_is_a_record_of_the_known_stream() -> None:
    assert Reader("s").read(b'{"key":"k","data":{"a":1}}') == Change("s", "k", '{"a":1}')


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "the line must be a JSON object"),
        (record(key='"\\ud800"'), "surrogate"),
        (record('{"n":-0}', key='"\\ud800"'), "surrogate"),
        ('{"stream":"\\ud800","key":"k","data":{"n":-0}}', "surrogate"),
        (
            '{"type":"ACTIVATE_VERSION","stream":"s","version":9223372036854775808}',
            "version must be a whole number",
        ),
        (record(more=f',"version":{10**30}'), "version must be a whole number"),
        (record() + "x", "not JSON: there is more after the end at character 51"),
        (record("[1]"), "data must be an object"),
        (record("null"), "RECORD has no data"),
        (record('{"a":NaN}'), "NaN is not JSON"),
        (record('{"a":Infinity}'), "Infinity is not JSON"),
        (record('{"a":' + "[" * 100_000 + "]" * 100_000 + "}"), "nested too deeply"),
        (record('{"a":' + "[" * 100_000 + "-0 " + "]" * 100_000 + "}"), "nested too deeply"),
        (record(key="7"), "key must be a string or an array of strings"),
        (record(key="[7]"), "key must be a string or an array of strings"),
        (record(key='""'), "key is empty"),
        (record(key="[]"), "key is empty"),
        (record(key='"a\\u0000"'), "key holds a NUL"),
        (record(key=f'"{"k" * (MAX_NAME_BYTES + 1)}"'), "key is longer than 2,048 bytes"),
        (record(key=f'"{"é" * (MAX_NAME_BYTES // 2 + 1)}"'), "key is longer than 2,048 bytes"),
        ('{"type":"RECORD","stream":"s","data":{}}', "RECORD has no key"),
        ('{"type":"RECORD","key":"k","data":{}}', "names no stream"),
        ('{"type":"RECORD","stream":"","key":"k","data":{}}', "stream is empty"),
        (record(more=',"op":"replace"'), 'op must be "upsert" or "delete"'),
        (record(more=',"emitted_at":"yesterday"'), "emitted_at is not an ISO 8601 time"),
        (record(more=',"emitted_at":"0001-01-01T00:00:00+23:59"'), "emitted_at is not an ISO 8601 time"),
        (record(more=',"emitted_at":5'), "emitted_at is not an ISO 8601 time"),
        ('{"type":"RECORD","stream":"s","record":{"id":1}}', "no SCHEMA of its stream comes before"),
        ('{"type":"BATCH","stream":"s"}', "BATCH points to files"),
        ('{"type":"ACTIVATE_VERSION","stream":"s"}', "no version"),
        ('{"type":7}', "type must be a string"),
    ],
)
def test_a_bad_line_is_refused_with_a_reason(line: str, reason: str) -> None:
    with pytest.raises(Rejected, match=reason):
        read(line)


def test_a_reason_quotes_nothing_of_the_line() -> None:
    for line in (record('{"iban":"GB33BUKB","x":}'), record('["GB33BUKB"]'), b'\xff {"iban":"GB33BUKB"}'):
        with pytest.raises(Rejected) as refused:
            read(line)
        assert "GB33BUKB" not in str(refused.value)


def test_bytes_that_are_not_utf8_are_refused() -> None:
    with pytest.raises(Rejected, match="not UTF-8 text at byte 6"):
        read(b'{"a":\xff}')
    for state in (
        b'{"type":"STATE","value":"\xff"}',
        b'{"type":"STATE","value":{"a":-0,"b":"\xed\xa0\x80"}}',
    ):
        with pytest.raises(Rejected, match="not UTF-8 text"):
            read(state)


@pytest.mark.parametrize("kind", ["PROGRESS", "DONE", "START", "LOG"])
def test_other_types_are_ignored_by_name_whatever_they_hold(kind: str) -> None:
    assert read(f'{{"type":"{kind}","data":"text","version":"x","key":{{}}}}') == Ignored(kind)


def test_a_state_is_handed_on_as_received() -> None:
    line = '{"type": "STATE",  "value": {"bookmark": 1.50}}'
    assert read(f" {line}\r") == State(line)
    line = '{"type":"STATE","stream":"s","data":"x"}'
    assert read(line) == State(line, "s")
    line = '{"type":"STATE","stream":"","value":"\\ud800"}'
    assert read(line) == State(line, None)


@pytest.mark.parametrize(
    ("properties", "data", "key"),
    [
        ('["id"]', '{"id":"x"}', "x"),
        ('["id"]', '{"id":17}', "17"),
        ('["id"]', '{"id":1.50}', "1.5"),
        ('["id"]', '{"id":false}', "false"),
        ('["id","day"]', '{"day":"mon","id":true}', '["true","mon"]'),
        ('["id","day"]', '{"day":"","id":-0}', '["0",""]'),
        ('["id","day"]', '{"id":"1","day":null}', '["1",null]'),
        ('["id","day"]', '{"id":1.0}', '["1",null]'),
    ],
)
def test_singer_keys_come_from_the_schema(properties: str, data: str, key: str) -> None:
    assert singer(properties, data).key == key


def test_singer_records_without_key_properties_are_keyed_by_content() -> None:
    assert singer("[]", '{"a":1}').key == singer("null", '{ "a": 1 }').key
    assert singer("[]", '{"a":1}').key != singer("[]", '{"a":2}').key


@pytest.mark.parametrize("data", ['{"x":1}', '{"id":null}', '{"id":""}', '{"id":[1]}', '{"id":{"a":1}}'])
def test_singer_records_without_a_value_for_the_key_are_refused(data: str) -> None:
    with pytest.raises(Rejected, match="key property 'id'"):
        singer('["id"]', data)


def test_a_compound_key_has_some_value() -> None:
    with pytest.raises(Rejected, match="no key property has a value"):
        singer('["id","day"]', '{"ID":1,"day":null}')
    with pytest.raises(Rejected, match="key property 'day'"):
        singer('["id","day"]', '{"id":1,"day":[]}')


def test_singer_table_versions_are_read() -> None:
    assert read('{"type":"ACTIVATE_VERSION","stream":"s","version":3}') == ActivateVersion("s", 3)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["{},", "[],", '"",', "1.5,", '{"a":1},', "-0,"])
def test_a_line_of_more_values_than_memory_is_meant_for_is_refused(part: str) -> None:
    with pytest.raises(Rejected, match="more than 500,000 values"):
        read(record(f'{{"a":[{part * (MAX_VALUES + 1)}0]}}'))


def test_exactly_the_limit_of_values_is_read() -> None:
    # The line, its four members, `a`, and the numbers.
    assert change(record(f'{{"a":[{"1," * (MAX_VALUES - 7)}1]}}'))
    assert "more than 500,000 values" in str(refused(record(f'{{"a":[{"1," * (MAX_VALUES - 6)}1]}}')))


def test_commas_inside_strings_are_no_values() -> None:
    members = ",".join(f'"m{number}":"a,b"' for number in range(252_000))
    assert change(record(f"{{{members}}}")).data == f"{{{members}}}"


@pytest.mark.slow
@pytest.mark.parametrize("ending", ['"', "\\", ',"', '{"a":"\\"'])
def test_a_large_line_that_is_no_json_is_refused_whatever_its_strings_look_like(ending: str) -> None:
    for part in ('"', "\\", '\\"', ',"', "[ ", "{}"):
        assert str(refused(part * 1_000_000 + ending))


@pytest.mark.parametrize(
    "value",
    [
        f"[{'1,' * (MAX_VALUES - 10)}1]",
        f'"{"a, [b], {c}. " * 1_000_000}"',
        f'"{chr(92)}"{f"{chr(92)}{chr(92)},{chr(92)}{chr(34)}," * 500_000}"',
    ],
    ids=["numbers", "text", "escaped"],
)
def test_a_large_line_of_fewer_is_stored(value: str) -> None:
    assert change(record(f'{{"a":{value}}}')).data == f'{{"a":{value}}}'


# ---- what a refusal says ---------------------------------------------------------------------

JARGON = re.compile(
    r"got |expected|\braw\b|\bstr\b|\bint\b|\bdict\b|array \||utf-8-sig|at at|[`$|]|msgspec|None|delim"
)
FIELDS = {
    "RECORD": ["stream", "key", "data", "record", "emitted_at", "time_extracted", "op", "version"],
    "SCHEMA": ["stream", "key_properties", "bookmark_properties", "schema"],
    "STREAM": ["stream", "record_time_field"],
    "ACTIVATE_VERSION": ["stream", "version"],
    "STATE": ["stream", "value"],
    "PROGRESS": ["type", "stream", "data"],
}
VALUES = [
    "7",
    "-0",
    "1.5",
    "9" * 5_000,
    "true",
    "null",
    '"x"',
    '"\\ud800"',
    "[]",
    "[7]",
    "[null]",
    "{}",
    '{"a":{}}',
]


@pytest.mark.parametrize("kind", FIELDS)
def test_no_programmers_words_reach_people(kind: str) -> None:
    for field in FIELDS[kind]:
        for value in VALUES:
            line = json.dumps(
                {"type": kind, "stream": "s", "key": "k", "data": {}, "version": 1, field: "?"}
            )
            try:
                read(line.replace('"?"', value))
            except Rejected as reason:
                assert not JARGON.search(str(reason)), (field, value, reason)
    for line in (
        "[]",
        "7",
        "null",
        "nonsense",
        '{"a" 1}',
        "{'a':1}",
        '{"a":1,}',
        '{"a":"\n"}',
        '{"a":"',
        '{"a":"\\q"}',
    ):
        assert not JARGON.search(str(refused(line)))


def test_a_byte_order_mark_is_no_reason_to_refuse_a_line() -> None:
    assert change("\ufeff" + record('{"a":1}')) == change(record('{"a":1}'))
    assert read('\ufeff{"type":"STATE","value":1}') == State('{"type":"STATE","value":1}')
    assert str(refused('{"a":\ufeff1}')) == "not JSON: a value is missing at character 6"
    assert str(refused("\ufeff\ufeff{}")) == "not JSON: a second byte order mark at character 1"


def test_records_after_a_refused_schema_are_refused_for_its_reason() -> None:
    reader = Reader()
    assert read(schema(), reader)
    assert str(refused(schema('["id","id"]'), reader)) == "key_properties has a name twice"
    reason = str(refused(row('{"id":1}'), reader))
    assert reason == "the SCHEMA of its stream was refused: key_properties has a name twice"
    assert "no SCHEMA of its stream comes before" in str(refused(row("{}", "another"), reader))
    assert read(schema(), reader)
    assert change(row('{"id":1}'), reader).key == "1"


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        ('"id"', "key_properties must be an array of strings"),
        ('["id",7]', "key_properties must be an array of strings"),
        ('["id",null]', "key_properties must be an array of strings"),
        ('{"id":1}', "key_properties must be an array of strings"),
        ('[""]', "a name in key_properties is empty"),
        ('["a\\u0000"]', "a name in key_properties holds a NUL character"),
        ('["\\ud800"]', "a name in key_properties holds half of a surrogate pair, which is not text"),
        ('["a","b","a"]', "key_properties has a name twice"),
    ],
)
def test_key_properties_are_distinct_names(properties: str, reason: str) -> None:
    assert str(refused(schema(properties))) == reason


# ---- where a refused line belongs ------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "stream", "version"),
    [
        (record("[]", more=',"version":3'), "s", 3),
        (record(key="[]"), "s", None),
        (record('{"a":[' + "1," * MAX_VALUES + "1]}", more=',"version":3'), "s", 3),
        (row("{}", more=',"version":-0'), "s", 0),
        (row("{}", more=',"version":3'), "s", 3),
        (row("{}", more=f',"version":{2**63}'), "s", None),
        (row("{}", more=',"version":"3"'), "s", None),
        (row('{"a":"\\ud800"}', more=',"version":3'), "s", 3),
        ("\ufeff" + row("{}", more=',"version":3'), "s", 3),
        (schema("7", more=',"version":3'), "s", 3),
        ('{"type":"BATCH","stream":"s"}', "s", None),
        ('{"type":"ACTIVATE_VERSION","stream":"s"}', "s", None),
        ('{"type":7,"stream":"s"}', "s", None),
        ('{"key":"k"}', None, None),
        ('{"stream":7}', None, None),
        ('{"stream":""}', None, None),
        ('{"stream":"a\\u0000"}', None, None),
        ('{"stream":"\\ud800"}', None, None),
        (f'{{"stream":"{"s" * 3_000}"}}', None, None),
        ("[]", None, None),
        ('{"stream":"s"', None, None),
        ('{"stream":"s","data":NaN}', None, None),
    ],
)
def test_a_refused_line_says_which_stream_and_version_it_is_of(
    line: str, stream: str | None, version: int | None
) -> None:
    reason = refused(line)
    assert (reason.stream, reason.table_version) == (stream, version)


def test_a_refused_line_without_a_stream_is_of_the_route_s() -> None:
    reader = Reader("notes")
    assert refused('{"key":7}', reader).stream == "notes"
    assert refused('{"stream":null,"key":7}', reader).stream == "notes"
    assert refused('{"stream":"other","key":"k","data":{}}', reader).stream == "other"
    assert refused('{"stream":7}', reader).stream is None
    assert refused("{", reader).stream is None


# ---- keys of Singer records ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spelt", "number"),
    [
        ("1", "1"),
        ("1.0", "1"),
        ("1e0", "1"),
        ("100e-2", "1"),
        ("0", "0"),
        ("-0", "0"),
        ("-0.0e999999999999999999", "0"),
        ("1.50", "1.5"),
        ("1e3", "1000"),
        ("1E+03", "1000"),
        ("1e-3", "0.001"),
        ("-12.5e-1", "-1.25"),
        ("12345678901234567890.10", "12345678901234567890.1"),
        ("0.1e1", "1"),
        ("1e2047", "1" + "0" * 2_047),
        ("1e-2046", "0." + "0" * 2_045 + "1"),
        ("0." + "1" * 2_046, "0." + "1" * 2_046),
    ],
)
def test_numbers_in_keys_are_equal_by_value(spelt: str, number: str) -> None:
    assert canonical_number(spelt) == number
    assert singer('["id"]', f'{{"id":{spelt}}}').key == number
    assert canonical_number(number) == number


@pytest.mark.parametrize(
    "spelt", ["1e2048", "-1e2047", "1e-2047", "1e999999999", "-1e-99999999999999999999"]
)
def test_a_number_too_long_for_a_key_is_refused_unbuilt(spelt: str) -> None:
    with pytest.raises(Rejected, match="number in the key has more than 2,048 digits"):
        singer('["id"]', f'{{"id":{spelt}}}')


@pytest.mark.parametrize("text", ["", "x", "01", "1.", ".5", "+1", "1e", "NaN", " 1", "\u0661"])
def test_what_is_no_number_has_no_canonical_form(text: str) -> None:
    with pytest.raises(ValueError, match="not a JSON number"):
        canonical_number(text)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=None))
def test_canonical_numbers_are_exact(number: Decimal) -> None:
    try:
        text = canonical_number(str(number).lower())
    except Rejected:
        assert abs(number.adjusted()) > 1_000
    else:
        assert Decimal(text) == number
        assert text == canonical_number(text)
        assert re.fullmatch(r"0|-?(0|[1-9]\d*)(\.\d*[1-9])?", text)


def test_a_key_says_the_type_of_each_of_its_values() -> None:
    found = singer('["a","b","c","d"]', '{"a":"1","b":1.0,"c":true}')
    assert found.key_schema == (("a", "string"), ("b", "number"), ("c", "boolean"), ("d", None))
    for value, kind in [
        ('"1"', "string"),
        ("1", "number"),
        ("1.0", "number"),
        ("-0", "number"),
        ("true", "boolean"),
    ]:
        assert singer('["id"]', f'{{"id":{value}}}').key_schema == (("id", kind),)
    assert singer("[]", '{"id":1}').key_schema == ()
    assert change(record()).key_schema is None


@pytest.mark.parametrize("properties", ['["id"]', '["id","day"]', "[]"])
def test_key_schemas_are_made_once(properties: str) -> None:
    reader = Reader()
    read(schema(properties), reader)
    first, second = (change(row(f'{{"id":{number},"day":"x"}}'), reader).key_schema for number in (1, 2))
    assert first is second


def test_a_row_that_singer_says_is_deleted_is_a_delete() -> None:
    deleted = singer('["id"]', '{"id":1,"_sdc_deleted_at":"2026-01-31T08:00:00Z"}')
    assert (deleted.key, deleted.data, deleted.key_schema) == ("1", None, (("id", "number"),))
    assert singer('["id"]', '{"id":1,"_sdc_deleted_at":null}').data == '{"id":1,"_sdc_deleted_at":null}'
    without_key = '{"id":1,"_sdc_deleted_at":"2026-01-31T08:00:00Z"}'
    assert singer("[]", without_key).data == without_key, "nothing says which record it was"
    assert change(record('{"_sdc_deleted_at":1}')).data == '{"_sdc_deleted_at":1}'


# ---- halves of surrogate pairs ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("received", "stored"),
    [
        (r'{"a":"\uD800"}', r'{"a":"\ud800"}'),
        (r'{"a":"x\udfFFy"}', r'{"a":"x\udfffy"}'),
        (r'{"\uDFFF":1}', r'{"\udfff":1}'),
        (r'{"\uD800":1,"\ud800":2}', r'{"\ud800":2}'),
        (r'{"a":"\ud800\ud800\udc00\udc00"}', r'{"a":"\ud800' + "\U00010000" + r'\udc00"}'),
        (r'{"a":"\udc00\ud800"}', r'{"a":"\udc00\ud800"}'),
        (r'{"a":"\ud83d\ude00\ud800"}', r'{"a":"😀\ud800"}'),
        (r'{"a":"\\ud800\ud800"}', r'{"a":"\\ud800\ud800"}'),
        (r'{"a":"\\\ud800"}', r'{"a":"\\\ud800"}'),
        (r'{"a":"\\ud800"}', r'{"a":"\\ud800"}'),
        (r'{"a":"\ud800","b":[-0,1.50]}', r'{"a":"\ud800","b":[-0,1.50]}'),
        (r'{"a":["\ud800d800"]}', r'{"a":["\ud800d800"]}'),
    ],
)
def test_half_of_a_pair_in_data_is_stored_as_its_escape(received: str, stored: str) -> None:
    assert change(record(received)).data == stored
    assert change(record(stored)).data == stored
    keyed = singer('["id"]', '{"id":1,"x":' + received + "}")
    assert (keyed.key, keyed.data) == ("1", '{"id":1,"x":' + stored + "}")


@given(st.dictionaries(st.text(), st.text() | st.floats(allow_nan=False, allow_infinity=False)))
def test_any_python_text_comes_back(data: dict[str, object]) -> None:
    stored = change(record(json.dumps(data))).data
    assert stored is not None
    stored.encode()
    # Two halves beside each other are a pair once they are JSON.
    assert json.loads(stored) == json.loads(json.dumps(data))


@pytest.mark.parametrize("more", ["", ',"x":-0'])
@pytest.mark.parametrize(
    ("line", "what"),
    [
        (r'{"type":"RECORD","stream":"\ud800","key":"k","data":{}MORE}', "stream"),
        (r'{"type":"RECORD","stream":"s","key":"\ud800","data":{}MORE}', "key"),
        (r'{"type":"RECORD","stream":"s","key":["a","\ud800"],"data":{}MORE}', "key"),
        (r'{"type":"RECORD","stream":"known","record":{"id":"\ud800"MORE}}', "key"),
        (r'{"type":"RECORD","stream":"compound","record":{"id":1,"day":"\udc00"MORE}}', "key"),
        (r'{"type":"ACTIVATE_VERSION","stream":"\ud800","version":1MORE}', "stream"),
        (r'{"type":"SCHEMA","stream":"\ud800"MORE}', "stream"),
        (r'{"type":"STREAM","stream":"s","record_time_field":"\ud800"MORE}', "record_time_field"),
        (r'{"type":"\ud800"MORE}', "type"),
    ],
)
def test_half_of_a_pair_in_a_name_or_key_is_refused(line: str, what: str, more: str) -> None:
    reader = Reader()
    read(schema(stream="known"), reader)
    read(schema('["id","day"]', stream="compound"), reader)
    reason = str(refused(line.replace("MORE", more), reader))
    assert reason == f"{what} holds half of a surrogate pair, which is not text"


def test_half_of_a_pair_elsewhere_does_no_harm() -> None:
    state = r'{"type":"STATE","value":{"a":"\ud800","b":"\\\\"}}'
    assert read(state) == State(state)
    reader = Reader()
    pattern = r',"schema":{"properties":{"a":{"pattern":"[\ud800-\udfff]"}}}'
    assert read(schema(more=pattern), reader) == Schema("s")
    assert change(row('{"id":1}'), reader).key == "1"
    assert change(record(r'{"at":"\ud800"}'), Reader(time_fields={None: "at"})).record_time is None


# ---- record times ----------------------------------------------------------------------------


def times(line: str, reader: Reader) -> tuple[str | None, str | None]:
    found = change(line, reader)
    return found.record_time, found.record_time_field


@pytest.mark.parametrize(
    ("value", "time"),
    [
        ('"2020-01-01"', "2020-01-01T00:00:00.000Z"),
        ('"2020-01-01t00:00:00z"', "2020-01-01T00:00:00.000Z"),
        ('"20200101T000000Z"', "2020-01-01T00:00:00.000Z"),
        ("1577836800000", "2020-01-01T00:00:00.000Z"),
        ("1.5778368e12", "2020-01-01T00:00:00.000Z"),
        ('"1577836800000"', "2020-01-01T00:00:00.000Z"),
        ("1577836800", None),
        ('"20200101"', None),
        ("20200101", None),
        ("17", None),
        ("-0", None),
        ("1e99999999999", None),
        ("true", None),
        ("null", None),
        ('"2020-01-01x"', None),
        ('["2020-01-01"]', None),
    ],
)
def test_a_declared_field_holds_the_record_time(value: str, time: str | None) -> None:
    assert times(record(f'{{"at":{value}}}'), Reader(time_fields={"s": "at"})) == (time, "at")


def test_without_a_declaration_no_field_is_read() -> None:
    assert times(record('{"source_created_at":"2020-01-01"}'), Reader()) == (None, None)
    reader = Reader(time_fields={"another": "at"})
    assert times(record('{"at":"2020-01-01"}'), reader) == (None, None)


def test_a_declared_field_that_a_record_lacks_is_declared_all_the_same() -> None:
    reader = Reader(time_fields={"s": "at"})
    assert times(record("{}"), reader) == (None, "at")
    assert times('{"type":"RECORD","stream":"s","key":"k","op":"delete"}', reader) == (None, None)


def test_the_field_of_one_stream_wins_over_that_of_all() -> None:
    reader = Reader(time_fields={None: "at", "s": "seen"})
    data = '{"at":"2020-01-01","seen":"2021-01-01"}'
    assert times(record(data), reader) == ("2021-01-01T00:00:00.000Z", "seen")
    other = change(record(data).replace('"stream":"s"', '"stream":"t"'), reader)
    assert other.record_time == "2020-01-01T00:00:00.000Z"


@pytest.mark.parametrize("field", ["", "a\0", "\ud800", "x" * 3_000])
def test_a_field_is_named_like_a_stream(field: str) -> None:
    with pytest.raises(Rejected, match="field"):
        Reader(time_fields={"s": field})
    assert refused(json.dumps({"type": "STREAM", "stream": "s", "record_time_field": field}))


def test_a_stream_line_declares_the_field() -> None:
    reader = Reader()
    declaration = '{"type":"STREAM","stream":"s","record_time_field":FIELD,"more":1}'
    assert read(declaration.replace("FIELD", '"at"'), reader) == Schema("s")
    assert times(record('{"at":"2020-01-01"}'), reader) == ("2020-01-01T00:00:00.000Z", "at")
    assert read(declaration.replace("FIELD", "null"), reader) == Schema("s")
    assert times(record('{"at":"2020-01-01"}'), reader) == (None, None)
    given_too = Reader(time_fields={None: "seen"})
    assert read(declaration.replace("FIELD", '"at"'), given_too) == Schema("s")
    assert times(record('{"at":"2020-01-01"}'), given_too) == (None, "seen")
    assert refused(declaration.replace("FIELD", '"at"'), Reader("notes")).stream == "s"


@pytest.mark.parametrize(
    ("bookmark", "of", "field"),
    [
        ('["at"]', '{"type":"string","format":"date-time"}', "at"),
        ('["at"]', '{"format":"date"}', "at"),
        ('"at"', '{"format":"date"}', "at"),
        ('["at"]', '{"anyOf":[{"type":"null"},{"type":"string","format":"date-time"}]}', "at"),
        ('["at"]', '{"oneOf":[{"anyOf":[{"format":"date"}]},7]}', "at"),
        ('["at","b"]', '{"format":"date"}', "at"),
        ('["b","at"]', '{"format":"date"}', None),
        ('["at"]', '{"type":"string"}', None),
        ('["at"]', '{"format":"time"}', None),
        ('["at"]', '{"format":["date"]}', None),
        ('["at"]', "true", None),
        ('["at"]', '{"anyOf":{"format":"date"}}', None),
        ('["at"]', '{"anyOf":' * 400 + "7" + "}" * 400, None),
        ("[]", '{"format":"date"}', None),
        ("[null]", '{"format":"date"}', None),
        ("7", '{"format":"date"}', None),
        ("null", '{"format":"date"}', None),
    ],
)
def test_a_bookmark_declares_the_field_only_if_its_schema_says_it_is_a_time(
    bookmark: str, of: str, field: str | None
) -> None:
    declaration = f',"bookmark_properties":{bookmark},"schema":{{"properties":{{"b":{{}},"at":{of}}}}}'
    reader = Reader()
    assert read(schema(more=declaration), reader) == Schema("s")
    assert change(row('{"id":1,"at":"2020-01-01"}'), reader).record_time_field == field
    given_too = Reader(time_fields={None: "b"})
    assert read(schema(more=declaration), given_too) == Schema("s")
    assert change(row('{"id":1,"at":"2020-01-01"}'), given_too).record_time_field == "b"


@pytest.mark.parametrize("of", ["null", "7", "{}", '{"properties":null}', '{"properties":[]}'])
def test_a_bookmark_without_a_schema_declares_nothing(of: str) -> None:
    reader = Reader()
    assert read(schema(more=f',"bookmark_properties":["at"],"schema":{of}'), reader) == Schema("s")
    assert times(row('{"id":1,"at":"2020-01-01"}'), reader) == (None, None)


DEEPEST = json_lines.MAX_DEPTH


@pytest.mark.parametrize(
    ("line", "is_refused"),
    [
        (b"[" * DEEPEST + b"]" * DEEPEST, False),
        (b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1), True),
        (b"[" + b"[[]]," * 2_000 + b"1]", False),
        (b"[" + b"[[]]," * 2_000 + b"[" * DEEPEST + b"]" * DEEPEST + b"]", True),
        (b'["' + b"[" * 5_000 + b'\\"["]', False),
        (b"[" * 5_000, True),
        (b"[}" * 5_000, False),
    ],
)
def test_nesting_is_limited_exactly(line: bytes, is_refused: bool) -> None:
    with pytest.raises(Rejected, match="nested") if is_refused else nullcontext():
        json_lines.check_depth(line)
