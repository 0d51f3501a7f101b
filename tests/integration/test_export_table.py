"""Tables of one stream: columns and types from all records, nothing lost, nothing run."""

import csv
import io
import json
import sys
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from pdpp_ref.operations import export_columns, export_pages, export_table
from pdpp_ref.operations.export import Selection
from pdpp_ref.parsing.messages import Change
from tests.support.factories import delete, upsert, write

pytestmark = pytest.mark.usefixtures("app")
NOTES = Selection("laptop", "notes")


def table(kind: export_table.Format, selection: Selection = NOTES) -> bytes:
    parts: list[bytes] = []
    export_table.write(kind, selection, parts.append)
    return b"".join(parts)


def cells() -> list[list[str]]:
    return list(csv.reader(io.StringIO(table("csv").decode(), newline="")))


def columns() -> dict[str, tuple[Any, list[Any]]]:
    """The type and the values of each Parquet column."""
    read = pyarrow.parquet.read_table(io.BytesIO(table("parquet")))
    return {name: (read.schema.field(name).type, read[name].to_pylist()) for name in read.column_names}


def test_columns_come_from_all_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_pages, "PAGE_ROWS", 1)
    write(upsert("1", {"a": 1}), upsert("2", {"b": "x"}), upsert("3", {"a": None, "c": True}))
    assert cells() == [
        ["key", "emitted_at", "a", "b", "c"],
        ["1", "", "1", "", ""],
        ["2", "", "", "x", ""],
        ["3", "", "", "", "true"],
    ]


def test_only_live_records_are_in_a_table() -> None:
    write(upsert("gone"), upsert("old", {"n": 1}), upsert("old", {"n": 2}), delete("gone"))
    write(upsert("other", stream="photos"))
    assert cells() == [["key", "emitted_at", "n"], ["old", "", "2"]]


def test_types_come_from_all_records() -> None:
    rows = [
        '{"whole":1,"number":1,"text":"a","flag":true,"mixed":1,"list":[1],"none":null,"long":9223372036854775807}',
        '{"whole":-2,"number":2.5,"text":"","flag":false,"mixed":"1","list":[],"none":null,"long":1}',
        '{"whole":null,"number":1e3,"mixed":null}',
    ]
    write(*(Change("notes", str(place), data) for place, data in enumerate(rows)))
    found = columns()
    assert found["whole"] == (pyarrow.int64(), [1, -2, None])
    assert found["number"] == (pyarrow.float64(), [1.0, 2.5, 1000.0])
    assert found["text"] == (pyarrow.string(), ["a", "", None])
    assert found["flag"] == (pyarrow.bool_(), [True, False, None])
    assert found["mixed"] == (pyarrow.string(), ["1", '"1"', None])
    assert found["list"] == (pyarrow.string(), ["[1]", "[]", None])
    assert found["none"] == (pyarrow.string(), [None, None, None])
    assert found["long"] == (pyarrow.int64(), [2**63 - 1, 1, None])


@pytest.mark.only("sqlite")
@pytest.mark.parametrize(
    "values",
    [
        "0.1234567890123456789,1",  # more digits than a double has
        "9007199254740993,0.5",  # a whole number that no double holds
        "9223372036854775808,1",  # more than 64 bits
        "1e400,1",
        "1" + "0" * 400 + ",1",
    ],
)
def test_a_number_that_would_lose_digits_stays_json(values: str) -> None:
    numbers = [f'{{"n":{value}}}' for value in values.split(",")]
    write(*(Change("notes", str(place), data) for place, data in enumerate(numbers)))
    assert columns()["n"] == (pyarrow.string(), values.split(","))
    assert [row[2] for row in cells()[1:]] == values.split(",")


def test_numbers_keep_their_spelling_in_csv() -> None:
    for place, number in enumerate(("1.50", "-0", "1E5", "-7")):
        write(Change("notes", str(place), f'{{"n":{number}}}'))
    assert table("csv").decode().splitlines()[1:] == ["0,,1.50", "1,,-0", "2,,1E5", "3,,-7"]


def test_null_and_an_empty_text_differ_in_csv() -> None:
    write(upsert("a", {"t": None}), upsert("b", {"t": ""}), upsert("c", {"t": "x"}))
    assert table("csv").decode().splitlines()[1:] == ["a,,", 'b,,""', "c,,x"]


def test_no_cell_is_a_formula_but_numbers_stay_numbers() -> None:
    write(upsert("=1+1", {"=cmd": "@x", "'": "'y", "-1": -1, "+": "+z"}))
    header, row = cells()
    assert header == ["key", "emitted_at", "'=cmd", "''", "'-1", "'+"]
    assert row == ["'=1+1", "", "'@x", "''y", "-1", "'+z"]


def test_a_field_with_the_name_of_our_column_is_another_column() -> None:
    write(upsert("k", {"key": "theirs", "_key": "too"}))
    assert cells() == [["__key", "emitted_at", "key", "_key"], ["k", "", "theirs", "too"]]


def test_hostile_texts_survive() -> None:
    text = 'a"b\r\n,\u2028\u0085\v😀'
    write(upsert("k", {"t": text}), Change("notes", "h", '{"t":"\\ud800","\\udc00":1}'))
    assert cells()[1][2] == text
    assert columns()["t"][1] == [text, "\\ud800"]
    assert columns()["\\udc00"][1] == [None, 1]


def test_a_table_is_written_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    from pdpp_ref.operations import parquet

    write(*(upsert(f"{number}", {"n": number}) for number in range(10)))
    monkeypatch.setattr(export_pages, "PAGE_ROWS", 2)
    monkeypatch.setattr(parquet, "ROWS_PER_GROUP", 4)
    read = pyarrow.parquet.ParquetFile(io.BytesIO(table("parquet")))
    assert [read.metadata.row_group(place).num_rows for place in range(read.num_row_groups)] == [4, 4, 2]


def test_an_empty_stream_has_a_header() -> None:
    write(upsert("a"), delete("a"))
    assert cells() == [["key", "emitted_at"]]
    assert list(columns()) == ["key", "emitted_at"]


def test_too_many_columns_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_columns, "MAX_COLUMNS", 3)
    write(upsert("a", dict.fromkeys("abcd", 1)))
    with pytest.raises(export_columns.TooManyColumns):
        table("csv")


def test_without_pyarrow_parquet_is_refused_and_csv_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pdpp_ref.operations.parquet", raising=False)
    write(upsert("a"))
    with pytest.raises(export_table.MissingLibrary):
        table("parquet")
    assert json.dumps(cells()[0]) == '["key", "emitted_at", "id"]'
