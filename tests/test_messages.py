"""Lines in, changes out: both dialects, canonical text, and a reason for everything refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdpp_ref.services.messages import (
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
    ("received", "kept"),
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
def test_data_is_kept_as_canonical_text(received: str, kept: str) -> None:
    assert change(record(received)).data == kept


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda children: (
        st.lists(children) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), children)
    ),
    max_leaves=20,
)


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
    ("key", "kept"),
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
def test_a_key_is_a_string_or_an_array_in_canonical_form(key: str, kept: str) -> None:
    assert change(record(key=key)).key == kept


def test_an_op_may_be_left_out_or_null() -> None:
    assert read(record()) == read(record(more=',"op":null')) == read(record(more=',"op":"upsert"'))


def test_a_delete_has_no_data() -> None:
    assert read('{"type":"RECORD","stream":"s","key":"k","op":"delete"}') == Change("s", "k", None)


@pytest.mark.parametrize(
    ("received", "kept"),
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
def test_times_are_stored_in_utc(received: str, kept: str | None) -> None:
    assert change(record(more=f',"emitted_at":{received}')).emitted_at == kept


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
        (record() + "x", "not JSON: something follows the end at character 51"),
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


@pytest.mark.parametrize("part", ["{},", "[],", '"",', "1.5,", '{"a":1},', "-0,"])
def test_a_line_of_more_values_than_memory_is_meant_for_is_refused(part: str) -> None:
    with pytest.raises(Rejected, match="more than 500,000 values"):
        read(record(f'{{"a":[{part * (MAX_VALUES + 1)}0]}}'))


@pytest.mark.parametrize(
    "value",
    [
        f"[{'1,' * (MAX_VALUES - 10)}1]",
        f'"{"a, [b], {c}. " * 1_000_000}"',
        f'"{chr(92)}"{f"{chr(92)}{chr(92)},{chr(92)}{chr(34)}," * 500_000}"',
    ],
    ids=["numbers", "text", "escaped"],
)
def test_a_large_line_of_fewer_is_kept(value: str) -> None:
    assert change(record(f'{{"a":{value}}}')).data == f'{{"a":{value}}}'
