"""Exports: what their lines hold, and what an import makes of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pdpp_ref.canonical import blobs, importer, records, retention
from pdpp_ref.canonical.export_progress import SeveralConnections
from pdpp_ref.database import execute, fetch_all
from pdpp_ref.operations import export, export_pages, verify
from pdpp_ref.operations.export import Selection
from pdpp_ref.parsing import exports, json_lines
from pdpp_ref.parsing.json_lines import MAX_LINE_BYTES
from pdpp_ref.parsing.messages import Change
from tests.conftest import Backend
from tests.support.exports import contents, emptied, lines, read, written
from tests.support.factories import DatabaseProbe, delete, ids, statements, upsert, write

pytestmark = pytest.mark.usefixtures("app")

LATER = "2020-01-01T00:00:00.000Z"


@pytest.fixture
def empty(backend: Backend, prepared_file: Path, request: pytest.FixtureRequest) -> Callable[[], None]:
    """Replaces the database by an empty one."""
    reused = request.getfixturevalue("reused") if backend.kind == "postgres" else None
    return lambda: emptied(backend, prepared_file, reused.reset if reused else lambda: None)


def versions() -> list[tuple[Any, ...]]:
    return fetch_all("SELECT version, key, data FROM record_changes ORDER BY stream_id, version")


def objects(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def of_type(data: bytes, kind: str) -> list[dict[str, Any]]:
    return [line for line in objects(data) if line["type"] == kind]


# ---- what is written -----------------------------------------------------------------------------


def test_the_first_and_the_last_line_frame_an_export_and_hold_no_time() -> None:
    write(upsert("a"), upsert("b", stream="photos"))
    first, *_, last = objects(written(Selection(), files=False).data)
    assert first == {"type": "EXPORT", "format": 1, "history": False, "scope": {}, "connections": 1}
    assert last == {
        "type": "EXPORT_END",
        "streams": [
            {"connector_instance_id": "laptop", "stream": name, "records": 1}
            for name in ("notes", "photos")
        ],
        "left_out": [
            "arrival_times",
            "connector_state",
            "files",
            "history",
            "tokens",
            "unclaimed_files",
        ],
    }


def test_two_exports_of_the_same_data_are_identical(monkeypatch: pytest.MonkeyPatch) -> None:
    for connection in ("phone", "laptop"):
        write(*(upsert(key) for key in "cab"), delete("a"), connection=connection)
    first = written()
    monkeypatch.setattr(export_pages, "PAGE_ROWS", 1)
    assert written() == first
    named = [line["connector_instance_id"] for line in of_type(first.data, "STREAM")]
    assert named == ["laptop", "phone"]


def test_data_is_written_byte_for_byte_as_it_is_stored() -> None:
    data = '{"a":1.0,"b":-0,"c":1E5,"d":"\\ud800\u2028é","e":[100000000000000000000000]}'
    write(Change("notes", "k", data))
    (line,) = [line for line in written().data.split(b"\n") if b'"RECORD"' in line]
    assert line.endswith(b',"data":' + data.encode() + b"}")


def test_without_history_there_are_only_live_records() -> None:
    write(upsert("a", {"n": 1}), upsert("a", {"n": 2}), upsert("b"), delete("b"))
    (only,) = of_type(written(Selection()).data, "RECORD")
    assert (only["key"], only["data"]) == ("a", {"n": 2})
    assert "history_version" not in only


def test_only_what_is_named_is_exported() -> None:
    write(upsert("a"), upsert("p", stream="photos"))
    write(upsert("c"), connection="phone")
    of_connection = of_type(written(Selection("laptop")).data, "RECORD")
    assert [line["key"] for line in of_connection] == ["a", "p"]
    of_stream = written(Selection("laptop", "photos")).data
    assert [line["key"] for line in of_type(of_stream, "RECORD")] == ["p"]
    assert objects(of_stream)[0]["scope"] == {"connection": "laptop", "stream": "photos"}


def test_since_goes_by_arrival_and_has_tombstones() -> None:
    write(upsert("old"), upsert("gone"), upsert("twice"), delete("twice"), upsert("twice"))
    execute("UPDATE records SET ingested_at = '2019-12-31T00:00:00.000Z'")
    execute("UPDATE record_changes SET ingested_at = '2019-12-31T00:00:00.000Z'")
    write(upsert("new"), delete("gone"), delete("twice"))
    found = of_type(written(Selection(since=LATER)).data, "RECORD")
    assert [(line["key"], line.get("op")) for line in found] == [
        ("new", None),
        ("gone", "delete"),
        ("twice", "delete"),
    ]
    assert len(of_type(written(Selection(since=LATER, history=True)).data, "RECORD")) == 3


def test_a_deleted_stream_is_not_exported() -> None:
    write(upsert("a"), upsert("p", stream="photos"))
    execute("UPDATE streams SET connection_id = NULL WHERE name = 'photos'")
    assert [line["stream"] for line in of_type(written().data, "STREAM")] == ["notes"]


def test_a_page_holds_few_bytes_or_one_record(monkeypatch: pytest.MonkeyPatch) -> None:
    write(*(upsert(str(number), "x" * 100) for number in range(10)), upsert("large", "y" * 2_000))
    monkeypatch.setattr(export_pages, "PAGE_BYTES", 350)
    pages = list(export_pages.pages(ids("laptop", "notes")["id"], True, None))
    assert all(len(page) == 1 or sum(len(row.data or "") for row in page) <= 350 for page in pages)
    assert [row.key for page in pages for row in page] == [*map(str, range(10)), "large"]


def test_a_large_record_is_written_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    write(upsert("a", "x" * 50), upsert("b"))
    usual = written()
    monkeypatch.setattr(export, "LARGE", 10)
    assert written() == usual


def test_an_export_is_read_in_few_statements() -> None:
    write(*(upsert(f"{number:04}") for number in range(4_000)))
    with statements() as seen:
        written()
    assert len(seen) < 15


@pytest.mark.only("sqlite")
def test_counts_of_many_streams_are_spread_over_lines(monkeypatch: pytest.MonkeyPatch, empty: Any) -> None:
    write(*(upsert("a", stream=f"s{number}") for number in range(5)))
    monkeypatch.setattr(export, "COUNTS_PER_LINE", 2)
    data = written().data
    assert [len(line["streams"]) for line in of_type(data, "EXPORT_COUNTS")] == [2, 2]
    empty()
    assert read(data).notes == []


@pytest.mark.only("sqlite")
def test_the_documented_export_is_a_real_one() -> None:
    format_text = (Path(__file__).parents[2] / "docs/export-format.md").read_text()
    documented = format_text.split("```json\n")[1].split("```")[0]
    write(upsert("n1", {"text": "hello"}), upsert("n2", {"text": "again"}), delete("n1"))
    assert written(files=False).data.decode() == documented


# ---- a gap is visible ----------------------------------------------------------------------------


def test_a_file_that_is_damaged_in_the_database_is_a_gap(probe: DatabaseProbe) -> None:
    write(upsert("a"))
    whole = blobs.store("laptop", "notes", "a", iter([b"whole"])).sha256
    damaged = blobs.store("laptop", "notes", "a", iter([b"damaged"])).sha256
    probe("DELETE FROM blob_chunks WHERE sha256 = ?", damaged)
    parts: dict[str, bytes] = {}
    report = export.write(
        Selection(), lambda _: None, lambda digest, _, blocks: parts.update({digest: b"".join(blocks)})
    )
    assert parts == {whole: b"whole"}
    assert report.files == 1
    (gap,) = report.gaps
    assert damaged in gap


def test_an_export_that_read_less_than_there_is_names_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    write(upsert("a"), upsert("b"))
    monkeypatch.setattr(export_pages, "pages", lambda *_, **__: iter(()))
    exported = written()
    (gap,) = exported.gaps
    assert "stream 'notes' of connection 'laptop' holds 2 records" in gap
    assert any("announces 2 records" in note for note in read(exported.data).notes)


# ---- rule 1: the history comes back --------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 2_000])
def test_a_b_a_b_without_times_comes_back_at_every_batch_size(
    size: int, empty: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 1, 2):
        write(upsert("k", {"n": number}))
    before, exported = contents(), written()
    empty()
    monkeypatch.setattr(importer, "BATCH_LINES", size)
    done = read(exported.data)
    assert (done.report.counts.created, done.report.counts.updated) == (1, 3)
    assert contents() == before
    assert read(exported.data).report.counts.unchanged == 4
    assert written() == exported


def test_a_key_whose_only_line_is_a_tombstone_comes_back(empty: Any) -> None:
    write(upsert("k"), delete("k"))
    retention.prune(1)
    before, exported = contents(), written()
    assert len(of_type(exported.data, "RECORD")) == 1
    empty()
    read(exported.data)
    assert contents() == before
    assert list(verify.differences()) == []


def test_numbers_keep_their_gaps_and_continue_after_the_last(empty: Any) -> None:
    write(upsert("a", {"n": 1}), upsert("a", {"n": 2}), upsert("b", {"n": 1}), upsert("a", {"n": 3}))
    retention.prune(1)
    execute("UPDATE streams SET last_version = 9")
    exported = written()
    empty()
    read(exported.data)
    assert [row[:2] for row in versions()] == [(3, "b"), (4, "a")]
    write(upsert("c"))
    assert versions()[-1][:2] == (10, "c")


def test_what_pruning_has_noted_still_decides_after_an_import(empty: Any) -> None:
    """Rule 5 of sending again."""
    events = [
        Change("notes", "k", f'{{"n":{day}}}', f"2020-01-0{day}T00:00:00.000Z") for day in range(1, 5)
    ]
    for event in events:
        write(event)
    retention.prune(1)
    exported = written()
    empty()
    read(exported.data)
    assert write(*events[:3]).unchanged == 3


SINGER = lines(
    '{"type":"SCHEMA","stream":"rows","key_properties":["id"],"schema":{}}',
    '{"type":"RECORD","stream":"rows","record":{"id":1},"version":1}',
    '{"type":"RECORD","stream":"rows","record":{"id":2},"version":2}',
)


@pytest.mark.parametrize("history", [True, False])
def test_a_singer_stream_continues_where_it_was(history: bool, empty: Any) -> None:
    read(SINGER, target="tap")
    exported = written(Selection(history=history))
    empty()
    read(exported.data)
    assert read(SINGER, target="tap").report.counts.unchanged == 2
    other = b'{"type":"SCHEMA","stream":"rows","key_properties":["id"],"schema":{}}\n'
    read(other + b'{"type":"ACTIVATE_VERSION","stream":"rows","version":2}', target="tap")
    assert fetch_all("SELECT key FROM records") == [("2",)]
    text = read(other + b'{"type":"RECORD","stream":"rows","record":{"id":"1"}}', target="tap")
    assert "is a string here, and a number in the stream's other records" in text.rejected[0]


def test_a_rejected_table_version_is_not_activated_after_an_import(empty: Any) -> None:
    read(SINGER + b'{"type":"RECORD","stream":"rows","record":{},"version":2}', target="tap")
    exported = written()
    empty()
    read(exported.data)
    schema = b'{"type":"SCHEMA","stream":"rows","key_properties":["id"],"schema":{}}\n'
    read(schema + b'{"type":"ACTIVATE_VERSION","stream":"rows","version":2}', target="tap")
    assert len(fetch_all("SELECT key FROM records")) == 2


def test_undated_records_stay_undated(empty: Any) -> None:
    write(
        upsert("old", {"at": "2020-01-01"}),
        upsert("again", {"x": 1}),
        upsert("dated", {"at": "2020-05-05"}),
    )
    declared = '{"type":"STREAM","stream":"notes","record_time_field":"at"}'
    sent = [
        '{"type":"RECORD","stream":"notes","key":"again","data":{"x":1}}',
        '{"type":"RECORD","stream":"notes","key":"dated","data":{"at":"2020-05-05"}}',
        '{"type":"RECORD","stream":"notes","key":"new","data":{"at":"2021-01-01"}}',
    ]
    importer.Importer(records.Target("laptop", "files"), print, print).run(
        lines(declared, *sent).splitlines()
    )
    before, exported = contents(), written()
    assert before["streams"][0][5] == 1
    empty()
    for _ in range(2):
        read(exported.data)
        assert contents() == before


def test_spellings_of_keys_come_back(empty: Any) -> None:
    write(upsert("1.0", {"id": 1.0}), upsert("2", {"id": 2}))
    execute("UPDATE streams SET key_schema = 'null'")
    read(
        SINGER.replace(b'"stream":"rows"', b'"stream":"notes"'), connector="files", target=None
    ) if False else None
    importer.Importer(records.Target("laptop", "files"), print, print).run(
        [
            b'{"type":"SCHEMA","stream":"notes","key_properties":["id"],"schema":{}}',
            b'{"type":"RECORD","stream":"notes","record":{"id":2}}',
        ]
    )
    before, exported = contents(), written()
    assert before["spellings"] == [("laptop", "notes", "1", "1.0")]
    empty()
    read(exported.data)
    assert contents() == before
    assert written() == exported


# ---- an import that is not the first -------------------------------------------------------------


def test_an_interrupted_import_continues_with_the_same_numbers(
    empty: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 1, 2):
        write(upsert("k", {"n": number}), upsert("other", {"n": number}))
    before, exported = contents(), written()
    monkeypatch.setattr(importer, "BATCH_LINES", 2)
    for cut in (2, 5, 9):
        empty()
        partly = read(lines(*exported.lines[:cut]))
        assert "has no EXPORT_END" in partly.notes[-1]
        assert read(exported.data).notes == []
        assert contents() == before


def test_a_later_export_adds_what_is_new_with_its_numbers(empty: Any) -> None:
    write(upsert("k", {"n": 1}), upsert("k", {"n": 2}))
    earlier = written()
    write(upsert("k", {"n": 1}), upsert("other"), delete("k"))
    before, later = contents(), written()
    empty()
    read(earlier.data)
    assert read(later.data).report.counts.unchanged == 2
    assert contents() == before


def test_a_stream_with_versions_of_its_own_gets_events_like_any_others(empty: Any) -> None:
    write(Change("notes", "k", '{"n":1}', "2020-01-01T00:00:00.000Z"))
    write(Change("notes", "k", '{"n":2}', "2020-01-02T00:00:00.000Z"))
    exported = written()
    empty()
    write(upsert("mine"), Change("notes", "k", '{"n":2}', "2020-01-02T00:00:00.000Z"))
    done = read(exported.data)
    assert done.report.counts.accepted == 2
    assert versions()[:2] == [(1, "mine", '{"id":"mine"}'), (2, "k", '{"n":2}')]
    assert len(versions()) == 2 + done.report.counts.updated
    assert fetch_all("SELECT data FROM records WHERE key = 'k'") == [('{"n":2}',)]
    assert list(verify.differences()) == []


def test_versions_written_meanwhile_get_no_number_of_the_export(
    empty: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(upsert("a", {"n": 1}), upsert("b", {"n": 1}), upsert("c", {"n": 1}))
    exported = written()
    empty()
    monkeypatch.setattr(importer, "BATCH_LINES", 1)
    usual = records.write

    def busy(*given: Any) -> records.Written:
        done = usual(*given)
        if len(versions()) == 2:
            write(upsert("mine"))
        return done

    monkeypatch.setattr(records, "write", busy)
    assert read(exported.data).rejected == []
    assert [key for _, key, _ in versions()] == ["a", "b", "mine", "c"]
    assert list(verify.differences()) == []


def test_a_number_counts_only_inside_an_export() -> None:
    line = '{"type":"RECORD","stream":"notes","key":"a","data":{},"history_version":7}'
    read(lines(line), target="laptop")
    assert versions() == [(1, "a", "{}")]


@pytest.mark.only("sqlite")
def test_no_number_is_out_of_all_bounds() -> None:
    write(upsert("a"))
    data = written().data.replace(b'"history_version":1', b'"history_version":10000000001')
    assert "history_version" in read(data).rejected[0]


# ---- names ---------------------------------------------------------------------------------------


def test_an_export_of_one_connection_can_be_renamed(empty: Any) -> None:
    write(upsert("a"))
    exported = written()
    empty()
    assert read(exported.data, connection="new").rejected == []
    assert fetch_all("SELECT connector_instance_id, connector_id FROM connections") == [("new", "files")]
    assert [line["connector_instance_id"] for line in of_type(written().data, "RECORD")] == ["new"]


def test_an_export_of_several_connections_can_not(empty: Any) -> None:
    write(upsert("a"))
    write(upsert("a"), connection="phone")
    exported = written()
    empty()
    with pytest.raises(SeveralConnections):
        read(exported.data, connection="new")
    assert fetch_all("SELECT * FROM connections") == []


def test_several_exports_may_follow_each_other(empty: Any) -> None:
    write(upsert("a"))
    write(upsert("b"), connection="phone")
    before = contents()
    both = written(Selection("laptop", history=True)).data + written(Selection("phone", history=True)).data
    empty()
    done = read(both)
    assert (done.report.exports, done.notes) == (2, [])
    assert contents() == before


@pytest.mark.only("sqlite")
def test_lines_after_an_export_need_a_connection_of_their_own(empty: Any) -> None:
    write(upsert("a"))
    data = written().data + lines('{"type":"RECORD","stream":"notes","key":"b","data":{}}')
    empty()
    done = read(data)
    assert "is outside of an export" in done.rejected[0]
    assert read(data, target="other").rejected == []
    assert fetch_all("SELECT key FROM records ORDER BY key") == [("a",), ("b",)]


@pytest.mark.only("sqlite")
def test_lines_without_a_connection_are_refused_before_anything_is_stored() -> None:
    with pytest.raises(importer.NoConnection):
        read(lines('{"type":"RECORD","stream":"notes","key":"b","data":{}}'))


# ---- what is missing -----------------------------------------------------------------------------


def test_an_export_without_its_end_is_reported(empty: Any) -> None:
    write(upsert("a"), upsert("b"))
    exported = written()
    empty()
    done = read(lines(*exported.lines[:-1]))
    assert done.notes == [
        "line 4: the export that begins at line 1 has no EXPORT_END: what follows is missing"
    ]
    assert (done.report.gaps, done.report.counts.created) == (1, 2)
    twice = read(lines(*exported.lines[:-1]) + exported.data)
    assert len(twice.notes) == 1


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("gone", [2, 3])
def test_a_missing_line_is_named(gone: int, empty: Any) -> None:
    write(upsert("a"), upsert("b"))
    found = written().lines
    empty()
    (note,) = read(lines(*found[:gone], *found[gone + 1 :])).notes
    assert "announces 2 records of stream 'notes' in connection 'laptop', and 1 were read" in note


@pytest.mark.only("sqlite")
def test_a_missing_stream_line_is_named(empty: Any) -> None:
    write(upsert("a"))
    found = written().lines
    empty()
    done = read(lines(found[0], *found[2:]))
    assert "STREAM line before this RECORD is missing" in done.rejected[0]
    assert "announces 1 records" in done.notes[0]


@pytest.mark.only("sqlite")
def test_an_export_of_a_newer_format_is_refused() -> None:
    with pytest.raises(exports.Unsupported, match="format 2"):
        read(lines('{"type":"EXPORT","format":2,"history":true,"connections":1}'), target="laptop")


# ---- limits and line ends ------------------------------------------------------------------------


ENVELOPE = '{"type":"RECORD","stream":%s,"key":%s,"data":%s}'
LONG_NAME = "\x01" * 2048  # six times as long in a line


@pytest.mark.only("sqlite")
def test_a_record_at_each_limit_survives(empty: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("messages", "exports"):
        monkeypatch.setattr(f"pdpp_ref.parsing.{module}.MAX_LINE_BYTES", 50_000)
    envelope = len(ENVELOPE % ('"s"', '"k"', '{"t":""}'))
    size = 50_000 - envelope
    sent = [
        ENVELOPE % ('"s"', '"k"', json.dumps({"t": "x" * size}, separators=(",", ":"))),
        ENVELOPE % (json.dumps(LONG_NAME), json.dumps(LONG_NAME), "{}"),
    ]
    assert max(map(len, sent)) == 50_000
    assert read(lines(*sent), target=LONG_NAME).rejected == []
    before, exported = contents(), written()
    assert max(map(len, exported.data.split(b"\n"))) > 50_000
    empty()
    done = read(exported.data)
    assert (done.rejected, done.notes) == ([], [])
    assert contents() == before


@pytest.mark.only("sqlite")
def test_a_record_with_the_most_values_survives(empty: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("json_lines", "messages", "exports"):
        monkeypatch.setattr(f"pdpp_ref.parsing.{module}.MAX_VALUES", 1_000)
    data = '{"v":[' + ",".join(["1"] * 994) + "]}"
    assert read(lines(ENVELOPE % ('"s"', '"k"', data)), target="laptop").rejected == []
    refused = ENVELOPE % ('"s"', '"k"', data.replace("[1", "[1,1"))
    assert "more than 1,000 values" in read(lines(refused), target="laptop").rejected[0]
    before, exported = contents(), written()
    empty()
    assert read(exported.data).rejected == []
    assert contents() == before


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_the_deepest_record_survives_whoever_reads_it(brackets: str, empty: Any) -> None:
    opened, closed = ('{"v":', "}") if brackets == "{}" else ("[", "]")
    depth = json_lines.MAX_DEPTH - 2
    for depth_, is_refused in ((depth, False), (depth + 1, True)):
        data = '{"v":' + opened * depth_ + '"\\"[{"' + closed * depth_ + "}"
        done = read(lines(ENVELOPE % ('"s"', '"k"', data)), target="laptop")
        assert done.rejected == (["line 1: nested too deeply"] if is_refused else [])
    before, exported = contents(), written()
    empty()

    def from_far_away(calls: int) -> list[str]:
        return from_far_away(calls - 1) if calls else read(exported.data).rejected

    assert from_far_away(200) == []
    assert contents() == before


@pytest.mark.only("sqlite")
def test_a_longer_line_counts_as_too_long_outside_of_an_export() -> None:
    long = lines(ENVELOPE % ('"s"', '"k"', json.dumps({"t": "x" * MAX_LINE_BYTES})))
    assert "longer than 16,777,216 bytes" in read(long, target="laptop").rejected[0]


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("end", ["\u0085", "\u2028", "\u2029", "\v", "\f", "\r"])
def test_lines_end_only_at_a_newline(end: str, empty: Any) -> None:
    write(upsert(f"k{end}", {"v": f"a{end}b"}, stream=f"s{end}"), connection=f"c{end}")
    before, exported = contents(), written()
    empty()
    assert read(exported.data).rejected == []
    assert contents() == before


# ---- files ---------------------------------------------------------------------------------------


def with_files() -> tuple[str, str]:
    """A live record and a deleted one with files, one of them the same."""
    write(upsert("live", {"n": 1}), upsert("gone", {"n": 1}))
    one = blobs.store("laptop", "notes", "live", iter([b"one"])).sha256
    two = blobs.store("laptop", "notes", "gone", iter([b"one"])).sha256
    assert one == two
    two = blobs.store("laptop", "notes", "live", iter([b"two"])).sha256
    execute("UPDATE blob_bindings SET mime_type = 'text/plain', json_path = '/a' WHERE key = 'live'")
    execute("UPDATE blob_bindings SET mime_type = 'image/png' WHERE key = 'gone'")
    write(upsert("live", {"n": 2}), delete("gone"))
    return one, two


def test_files_come_back_with_their_types_and_those_of_deleted_records_too(empty: Any) -> None:
    one, two = with_files()
    before, exported = contents(), written()
    assert exported.files == {one: b"one", two: b"two"}
    empty()
    done = read(exported.data, exported.files)
    assert (done.notes, done.report.files) == ([], 3)
    assert contents() == before
    assert list(verify.differences()) == []
    assert read(exported.data, exported.files).report.files == 0


def test_a_missing_or_damaged_file_is_reported_and_comes_with_the_next_import(empty: Any) -> None:
    one, two = with_files()
    before, exported = contents(), written()
    empty()
    done = read(exported.data, {one: b"other"})
    assert done.report.missing_files == 3
    assert f"line 5: file {two} is missing" in "\n".join(done.notes)
    assert f"file {one} is damaged: its bytes have another digest" in "\n".join(done.notes)
    assert len(fetch_all("SELECT key FROM records")) == 1
    assert read(exported.data, exported.files).notes == []
    assert contents() == before


def test_without_files_an_export_names_none(empty: Any) -> None:
    with_files()
    exported = written(files=False)
    assert "files" in objects(exported.data)[-1]["left_out"]
    empty()
    assert read(exported.data).notes == []
    assert fetch_all("SELECT * FROM blob_bindings") == []


def test_a_record_with_many_files_takes_several_lines(empty: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdpp_ref.operations.export_files.FILES_PER_LINE", 2)
    write(upsert("a"))
    for number in range(5):
        blobs.store("laptop", "notes", "a", iter([b"%d" % number]))
    before, exported = contents(), written()
    assert [len(line["files"]) for line in of_type(exported.data, "RECORD")] == [2, 2, 1]
    empty()
    done = read(exported.data, exported.files)
    assert (done.notes, done.rejected) == ([], [])
    assert contents() == before
    assert written() == exported
