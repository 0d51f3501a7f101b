"""What is remembered of SCHEMA and STREAM lines, in bounded memory."""

import pytest

from pdpp_ref.parsing import declarations
from pdpp_ref.parsing.declarations import Declarations
from pdpp_ref.parsing.keys import MAX_KEY_PROPERTIES
from pdpp_ref.parsing.messages import Change, Reader, Rejected


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declarations, "MAX_BYTES", 10 * declarations.STREAM_BYTES)


def schema(stream: str, keys: str = '["id"]') -> bytes:
    return f'{{"type":"SCHEMA","stream":"{stream}","schema":{{}},"key_properties":{keys}}}'.encode()


def record(stream: str) -> bytes:
    return f'{{"type":"RECORD","stream":"{stream}","record":{{"id":1}}}}'.encode()


def fill(reader: Reader) -> int:
    """Declare streams until one is refused: its number."""
    for number in range(100):
        try:
            reader.read(schema(f"s{number}"))
        except Rejected as reason:
            assert str(reason) == declarations.FULL
            return number
    pytest.fail("there is no limit")


def test_streams_beyond_the_limit_are_rejected_and_those_before_are_not() -> None:
    reader = Reader()
    first = fill(reader)
    assert first == 7
    assert isinstance(reader.read(record("s0")), Change)
    with pytest.raises(Rejected, match="no SCHEMA of its stream"):
        reader.read(record(f"s{first}"))
    reader.read(schema("s0", "[]"))  # declared again
    with pytest.raises(Rejected):
        reader.read(b'{"type":"STREAM","stream":"another","record_time_field":"at"}')


def test_a_refused_schema_ends_the_one_before_even_without_room() -> None:
    reader = Reader()
    fill(reader)
    with pytest.raises(Rejected):
        reader.read(schema("s0", "5"))
    with pytest.raises(Rejected, match="the SCHEMA of its stream was refused"):
        reader.read(record("s0"))


def test_refusals_are_not_remembered_beyond_the_limit() -> None:
    reader, known = Reader(), Declarations({})
    for number in range(100):
        known.refuse_schema(f"s{number}", "reason")
    assert [known.keys(f"s{number}") for number in (0, 99)] == ["reason", None]
    with pytest.raises(Rejected):
        reader.read(schema("s", "5"))


def test_an_address_with_a_stream_remembers_no_others() -> None:
    reader = Reader("notes")
    for number in range(100):
        with pytest.raises(Rejected, match="names another stream"):
            reader.read(schema(f"s{number}"))
    reader.read(schema("notes"))
    assert isinstance(reader.read(record("notes")), Change)


def test_no_key_has_so_many_properties() -> None:
    names = [f'"{number}"' for number in range(MAX_KEY_PROPERTIES + 1)]
    with pytest.raises(Rejected, match="key_properties has more than 682 names"):
        Reader().read(schema("s", f"[{', '.join(names)}]"))


@pytest.mark.parametrize(("stream", "field"), [("a", "given"), ("b", "default"), ("c", "default")])
def test_time_fields_that_are_given_override_declarations(stream: str, field: str) -> None:
    known = Declarations({"a": "given", None: "default"})
    known.add_time_field("a", "declared")
    known.add_time_field("b", "declared")
    assert known.time_field(stream) == field
    assert Declarations({"a": "given"}).time_field("b") is None
