"""The rows of single records: derived again from versions and files, in steps, while others write.

Random histories of damage, writes and steps are in `test_properties.py`.
"""

from collections.abc import Mapping
from typing import Any

import pytest

from pdpp_ref.canonical import blobs, deletion, retention
from pdpp_ref.database import write_transaction
from pdpp_ref.operations import verify
from pdpp_ref.projection import dirty_rows, marks, record_rollups
from pdpp_ref.projection.counting import StreamCounts
from pdpp_ref.queries import rankings
from pdpp_ref.services import ranking, reconcile
from pdpp_ref.services.reconcile import Limits, run_pass, run_until_fresh
from tests.support.factories import MEASURES, DatabaseProbe, delete, mark, remove_deleted, upsert, write

pytestmark = pytest.mark.usefixtures("app")

ALL = f"SELECT key, version, {', '.join(MEASURES)} FROM retained_size_record ORDER BY stream_id, key"
LINKS = "SELECT version, previous_version FROM record_changes ORDER BY stream_id, version"


def rebuild() -> None:
    reconcile.begin_rebuild()
    reconcile.finish_rebuild()


def one_step() -> reconcile.Pass:
    return run_pass(Limits(seconds=-1))


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CHUNK_VERSIONS", "CHUNK_ROWS", "CHUNK_KEYS"):
        monkeypatch.setattr(record_rollups, name, 1)


@pytest.fixture
def stored(probe: DatabaseProbe) -> list[tuple[Any, ...]]:
    """The rows of a record that was changed, one that was deleted, and one that has a file."""
    write(upsert("changed", 1), upsert("deleted", 22), upsert("file", 333), upsert("single", 4444))
    write(upsert("changed", 55), delete("deleted"))
    blobs.store("laptop", "notes", "file", iter([b"a file"]))
    write(upsert("changed", 666))
    rows = probe(ALL)
    assert rows == [
        ("changed", 7, 1, 3, 3, 6, 0, 0),
        ("deleted", 6, 0, 0, 2, 2, 0, 0),
        ("file", 3, 1, 3, 1, 3, 1, 6),
    ]
    return rows


def test_a_rebuild_derives_lost_rows(stored: list[Any], probe: DatabaseProbe) -> None:
    probe("DELETE FROM retained_size_record")
    rebuild()
    assert probe(ALL) == stored
    assert list(verify.differences()) == []


def test_a_rebuild_of_what_is_right_changes_no_row(stored: list[Any], probe: DatabaseProbe) -> None:
    before = probe("SELECT * FROM retained_size_record ORDER BY key"), probe(LINKS)
    probe.fail("UPDATE ON retained_size_record")
    probe.fail("DELETE ON retained_size_record", name="broken_too")
    rebuild()
    assert (probe("SELECT * FROM retained_size_record ORDER BY key"), probe(LINKS)) == before


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE retained_size_record SET record_history_count = 9, record_history_json_bytes = 0",
        "UPDATE retained_size_record SET record_count = 0, version = 1, changed_at = 'x', blob_count = 2",
        "INSERT INTO retained_size_record (stream_id, key, version, changed_at) "
        "SELECT id, 'unknown', 3, 'x' FROM streams",
        "INSERT INTO retained_size_record (stream_id, key, version, changed_at) "
        "SELECT id, 'single', 4, 'x' FROM streams",
        "UPDATE records SET has_rollup = NOT has_rollup",
        "UPDATE records SET has_rollup = TRUE",
        "UPDATE record_changes SET previous_version = NULL",
        "UPDATE record_changes SET previous_version = 1 WHERE version > 1",
        "UPDATE record_changes SET previous_version = 999",
    ],
)
@pytest.mark.parametrize("steps", ["small", "large", "of several streams"])
def test_a_rebuild_puts_wrong_rows_flags_and_links_right(
    damage: str, steps: str, stored: list[Any], probe: DatabaseProbe, request: pytest.FixtureRequest
) -> None:
    if steps == "of several streams":
        write(upsert("other", 1, "photos"))
    links = probe(LINKS)
    probe(damage)
    assert list(verify.differences()) != []
    if steps == "small":
        request.getfixturevalue("small_steps")
    rebuild()
    assert probe(ALL) == stored
    assert probe(LINKS) == links
    assert probe("SELECT key FROM records WHERE has_rollup ORDER BY key") == [("changed",), ("file",)]
    assert list(verify.differences()) == []


# Of the records of `stored`: "changed" has the versions 1, 5 and 7, "deleted" 2 and 6, "file" 3 and "single" 4.
ONE_WRONG = {
    "rollup lost": "DELETE FROM retained_size_record WHERE key = 'changed'",
    "rollup of a deleted record lost": "DELETE FROM retained_size_record WHERE key = 'deleted'",
    "rollup with a file lost": "DELETE FROM retained_size_record WHERE key = 'file'",
    "rollup of no record": "INSERT INTO retained_size_record (stream_id, key, version, changed_at) "
    "SELECT id, 'unknown', 4, 'x' FROM streams WHERE name = 'notes'",
    "time": "UPDATE retained_size_record SET changed_at = 'x' WHERE key = 'changed'",
    "files": "UPDATE retained_size_record SET blob_count = 2 WHERE key = 'file'",
    "file bytes": "UPDATE retained_size_record SET blob_bytes = 2 WHERE key = 'file'",
    "file of another": "UPDATE blob_bindings SET key = 'changed'",
    "current bytes": "UPDATE retained_size_record SET current_record_json_bytes = 9 WHERE key = 'changed'",
    "history bytes": "UPDATE retained_size_record SET record_history_json_bytes = 9 WHERE key = 'deleted'",
    "live": "UPDATE retained_size_record SET record_count = 1 WHERE key = 'deleted'",
    "older version": "UPDATE retained_size_record SET version = 5, record_history_count = 2, "
    "record_history_json_bytes = 3, changed_at = (SELECT ingested_at FROM record_changes WHERE version = 5) "
    "WHERE key = 'changed'",
    "older version of a deleted record": "UPDATE retained_size_record SET version = 2, "
    "record_history_count = 1, changed_at = (SELECT ingested_at FROM record_changes "
    "WHERE version = 2 AND key = 'deleted') WHERE key = 'deleted'",
    "flag lost": "UPDATE records SET has_rollup = FALSE WHERE key = 'changed'",
    "flag of another": "UPDATE records SET has_rollup = TRUE WHERE key = 'single'",
    "flag in the place of another": "UPDATE records SET has_rollup = NOT has_rollup WHERE key <> 'file'",
    "link lost": "UPDATE record_changes SET previous_version = NULL WHERE version = 7",
    "older link lost": "UPDATE record_changes SET previous_version = NULL WHERE version = 5",
    "link leaves one out": "UPDATE record_changes SET previous_version = 1 WHERE version = 7",
    "link to another key": "UPDATE record_changes SET previous_version = 2 WHERE version = 5",
    "link of a single version": "UPDATE record_changes SET previous_version = 3 WHERE version = 4",
    "link to nothing": "UPDATE record_changes SET previous_version = 0 WHERE version = 1 AND key = 'changed'",
    "link to a later one": "UPDATE record_changes SET previous_version = 9 WHERE version = 7",
    "link of a version with a file to a later one": "UPDATE record_changes SET previous_version = 9 "
    "WHERE version = 3",
    "file without a rollup": "INSERT INTO blob_bindings (stream_id, key, sha256, version, byte_length, bound_at) "
    "SELECT stream_id, 'single', sha256, 4, byte_length, bound_at FROM blob_bindings",
    "link to itself": "UPDATE record_changes SET previous_version = 5 WHERE version = 5",
    "a derivation has begun": "INSERT INTO retained_size_record_counts "
    "(stream_id, key, version, versions, json_bytes) SELECT id, 'changed', 1, 1, 1 FROM streams",
}


@pytest.mark.parametrize("damage", ONE_WRONG.values(), ids=ONE_WRONG.keys())
def test_among_small_streams_one_wrong_row_is_found(
    damage: str, stored: list[Any], probe: DatabaseProbe
) -> None:
    write(upsert("other", 1, "photos"))
    probe(damage)
    rebuild()
    assert list(verify.differences()) == []
    assert probe("SELECT COUNT(*) FROM retained_size_record_counts") == [(0,)]


@pytest.mark.parametrize("is_pruned", [False, True])
def test_small_streams_that_are_right_are_not_derived(
    is_pruned: bool, stored: list[Any], probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(upsert("other", 1, "photos"))
    if is_pruned:
        assert retention.prune(1).versions == 3
        write(upsert("changed", 1), upsert("single", 2))

    def derived(derivation: Any, _: float) -> bool:
        raise AssertionError(derivation.id)

    monkeypatch.setattr(record_rollups._Derivation, "run", derived)
    rebuild()
    assert list(verify.differences()) == []


@pytest.mark.parametrize(("most", "checked_streams"), [(3, 1), (5, 1), (6, 2)])
def test_a_stream_of_many_old_versions_and_files_is_derived_in_steps(
    most: int,
    checked_streams: int,
    stored: list[Any],
    probe: DatabaseProbe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(record_rollups, "CHUNK_CHECKED", most)
    write(upsert("other", 1, "photos"), upsert("other", 2, "photos"))
    checked: list[int] = []
    check = record_rollups.right_streams

    def watched(streams: Mapping[int, int], counts: StreamCounts) -> list[int]:
        checked.extend(streams)
        return check(streams, counts)

    monkeypatch.setattr(record_rollups, "right_streams", watched)
    rebuild()
    ids = [each for (each,) in probe("SELECT id FROM streams ORDER BY id DESC")]
    # The first stream has four old versions and a file, the second one old version.
    assert sorted(checked, reverse=True) == ids[:checked_streams]
    assert probe(ALL)[:-1] == stored


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE records SET version = 4 WHERE key = 'changed' AND stream_id = 1",
        "UPDATE records SET version = 3 WHERE key = 'single'",
        "DELETE FROM records WHERE key = 'single'",
        "DELETE FROM record_changes WHERE version = 4",
    ],
)
@pytest.mark.parametrize("is_pruned", [False, True])
def test_small_streams_whose_versions_are_not_all_there_are_derived(
    is_pruned: bool,
    damage: str,
    stored: list[Any],
    probe: DatabaseProbe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(upsert("other", 1, "photos"))
    if is_pruned:
        retention.prune(2)
    probe(damage)
    derived: list[int] = []
    run = record_rollups._Derivation.run

    def watched(derivation: Any, deadline: float) -> bool:
        derived.append(derivation.id)
        return bool(run(derivation, deadline))

    monkeypatch.setattr(record_rollups._Derivation, "run", watched)
    rebuild()
    assert derived == [1]


def test_among_small_streams_a_version_that_is_not_live_gets_its_row(probe: DatabaseProbe) -> None:
    for stream in ("notes", "photos", "letters"):
        write(upsert("a", 1, stream), upsert("b", 22, stream))
    probe(
        "DELETE FROM records WHERE key = 'b' AND stream_id = (SELECT id FROM streams WHERE name = 'photos')"
    )
    rebuild()
    assert probe(ALL) == [("b", 2, 0, 0, 1, 2, 0, 0)]
    ranking.choose_again()  # the stream remembers the size of the record that is gone
    assert list(verify.differences()) == []


@pytest.mark.parametrize(
    "damage",
    [
        # As many versions as live records, but not the same ones.
        [
            "DELETE FROM records WHERE {} AND key = 'b'",
            "DELETE FROM record_changes WHERE {} AND version = 1",
        ],
        ["UPDATE records SET version = 1 WHERE {} AND key = 'b'"],
    ],
)
def test_among_small_streams_equal_counts_are_not_enough(damage: list[str], probe: DatabaseProbe) -> None:
    for stream in ("notes", "photos", "letters"):
        write(upsert("a", 1, stream), upsert("b", 22, stream))
    for sql in damage:
        probe(sql.format("stream_id = (SELECT id FROM streams WHERE name = 'photos')"))
    rebuild()
    assert [(key, version, versions) for key, version, _, _, versions, *_ in probe(ALL)] == [("b", 2, 1)]


@pytest.mark.usefixtures("small_steps")
def test_rows_are_derived_in_steps_and_nothing_is_fresh_before(
    stored: list[Any], probe: DatabaseProbe
) -> None:
    probe("DELETE FROM retained_size_record")
    reconcile.begin_rebuild()
    steps = 0
    while not one_step().fresh:
        steps += 1
        assert probe("SELECT dirty FROM retained_size_global") == [(1,)]
    assert steps >= 7 + 3, "one for each version and each row"
    assert probe(ALL) == stored
    assert probe("SELECT COUNT(*) FROM retained_size_record_counts") == [(0,)]
    assert probe("SELECT COUNT(*) FROM retained_size_record_recounts") == [(0,)]


def test_a_step_reads_no_more_bytes_than_it_may(
    stored: list[Any], probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_rollups, "FEW_VERSIONS", 1)
    monkeypatch.setattr(record_rollups, "CHUNK_BYTES", 4)
    reconcile.begin_rebuild()
    reach = []
    while not one_step().fresh:
        reach += probe("SELECT through_version FROM retained_size_record_recounts")
    assert reach == [(3,), (4,)], "their bytes are 1 2 3, 4, 2 0 3"
    assert probe(ALL) == stored


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("steps_before", range(12))
def test_what_is_written_between_the_steps_is_in_the_rows(
    steps_before: int, stored: list[Any], probe: DatabaseProbe
) -> None:
    probe("DELETE FROM retained_size_record")
    reconcile.begin_rebuild()
    for _ in range(steps_before):
        one_step()
    write(upsert("single", 1), upsert("changed", 7777), delete("file"))
    one_step()
    write(upsert("single", 2), upsert("deleted", 2), upsert("new", 1))
    blobs.store("laptop", "notes", "single", iter([b"another file"]))
    run_until_fresh()
    assert probe(ALL) == [
        ("changed", 9, 1, 4, 4, 10, 0, 0),
        ("deleted", 12, 1, 1, 3, 3, 0, 0),
        ("file", 10, 0, 0, 2, 3, 1, 6),
        ("single", 11, 1, 1, 3, 6, 1, 12),
    ]
    assert list(verify.differences()) == []


@pytest.mark.usefixtures("small_steps")
def test_a_mark_begins_a_derivation_again(stored: list[Any], probe: DatabaseProbe) -> None:
    reconcile.begin_rebuild()
    while probe("SELECT 1 FROM retained_size_record_recounts WHERE after_key >= 'deleted'") == []:
        one_step()
    probe("DELETE FROM retained_size_record WHERE key = 'changed'")
    ((stream, connection),) = probe("SELECT id, connection_id FROM streams")
    with write_transaction():
        marks.mark_rollups(stream, connection, "changed")
    run_until_fresh()
    assert probe(ALL) == stored
    assert list(verify.differences()) == []


def test_a_mark_of_a_stream_alone_derives_no_rows(stored: list[Any], probe: DatabaseProbe) -> None:
    mark("laptop", "notes")
    assert probe("SELECT rollups_dirty FROM retained_size_stream") == [(0,)]


@pytest.mark.parametrize("by_a_mark", [True, False])
def test_with_the_row_of_its_stream_a_records_are_derived_too(
    by_a_mark: bool, stored: list[Any], probe: DatabaseProbe
) -> None:
    probe("DELETE FROM retained_size_record")
    probe("DELETE FROM retained_size_stream")
    mark(*(("laptop", "notes") if by_a_mark else ()))
    run_until_fresh()
    assert probe(ALL) == stored


def test_a_stream_goes_with_its_half_derived_rows(probe: DatabaseProbe, small_steps: None) -> None:
    write(upsert("a", 1), upsert("a", 2), upsert("b", 1, "photos"))
    probe("DELETE FROM retained_size_record")
    reconcile.begin_rebuild()
    while not probe("SELECT 1 FROM retained_size_record_counts"):
        one_step()
    deletion.delete_stream("laptop", "notes")
    remove_deleted()
    assert probe("SELECT COUNT(*) FROM retained_size_record_counts") == [(0,)]
    assert run_until_fresh().fresh
    assert list(verify.differences()) == []


def test_a_ranked_record_says_that_its_row_may_be_wrong(stored: list[Any], probe: DatabaseProbe) -> None:
    write(upsert("other", stream="photos"))
    assert {row.dirty for row in rankings.rows("record", "total_retained_bytes", 9)} == {False}
    probe("UPDATE retained_size_stream SET rollups_dirty = TRUE, dirty = TRUE WHERE stream_id = 1")
    rows = rankings.rows("record", "total_retained_bytes", 9)
    assert {(row.stream, row.dirty) for row in rows} == {("notes", True), ("photos", False)}


@pytest.mark.usefixtures("small_steps")
def test_progress_of_a_rebuild_is_of_both_counts(stored: list[Any]) -> None:
    reconcile.begin_rebuild()
    left = [dirty_rows.versions_left()]
    while not one_step().fresh:
        left.append(dirty_rows.versions_left())
    assert left[0] == 7
    assert left == sorted(left, reverse=True)
    assert len(set(left)) > 4


@pytest.mark.parametrize("streams", [1, 2])
def test_rollups_are_derived_once_however_long_the_count_takes(
    streams: int, probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "CHUNK_VERSIONS", 2)
    for number in range(streams):
        write(*(upsert(key, version, f"stream {number}") for version in range(2) for key in "abc"))
    marks_of = "SELECT dirty, rollups_dirty FROM retained_size_stream ORDER BY stream_id"
    reconcile.begin_rebuild()
    assert probe(marks_of) == [(True, True)] * streams
    run_pass(Limits(seconds=0))
    assert probe(marks_of)[0] == (True, False)
    assert run_until_fresh(Limits(seconds=0)).fresh
    assert probe(marks_of) == [(False, False)] * streams
    assert list(verify.differences()) == []


@pytest.mark.only("postgres")
def test_a_stream_that_a_writer_holds_is_left_for_later(stored: list[Any], probe: DatabaseProbe) -> None:
    probe("DELETE FROM retained_size_record")
    reconcile.begin_rebuild()
    probe("BEGIN")
    probe("SELECT 1 FROM streams FOR NO KEY UPDATE")
    assert run_pass(Limits(), wait=False).fresh is False
    probe("COMMIT")
    assert probe("SELECT rollups_dirty FROM retained_size_stream") == [(True,)]
    assert run_pass(Limits(), wait=False).fresh
    assert probe(ALL) == stored


def test_pruning_derives_rows_first(stored: list[Any], probe: DatabaseProbe, small_steps: None) -> None:
    probe("DELETE FROM retained_size_record")
    reconcile.begin_rebuild()
    one_step()
    assert retention.prune(1) == retention.Pruned(3, 5)
    assert probe("SELECT key, record_history_count FROM retained_size_record ORDER BY key") == [
        ("changed", 1),
        ("deleted", 1),
        ("file", 1),
    ]
    run_until_fresh()
    assert list(verify.differences()) == []
