"""Erasing: nothing of it stays, the totals are exact, and it does not come back."""

import hashlib
import threading

import peewee
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pdpp_ref.canonical import blobs, deletion, erased, erasure, records
from pdpp_ref.canonical.erased import Names
from pdpp_ref.canonical.erasure import Erased
from pdpp_ref.canonical.errors import RecordNotFound, StreamNotFound
from pdpp_ref.canonical.records import Target
from pdpp_ref.database import db
from pdpp_ref.operations import verify
from pdpp_ref.parsing.messages import Change
from pdpp_ref.services import reconcile
from tests.support.factories import DatabaseProbe, delete, mark, statements, upsert, write

pytestmark = pytest.mark.usefixtures("app")

A = Names("laptop", "notes", "a")
FILE = b"a file of the record"
DIGEST = hashlib.sha256(FILE).hexdigest()


def file(names: Names = A, content: bytes = FILE) -> blobs.Stored:
    return blobs.store(names.connection, names.stream, names.key, iter([content]))


def rows_of(probe: DatabaseProbe, key: str) -> list[str]:
    """The tables that have the key."""
    tables = [table for table, columns in probe.columns().items() if "key" in columns]
    assert len(tables) >= 6
    return [table for table in tables if probe(f"SELECT 1 FROM {table} WHERE key = ?", key)]


def assert_exact(probe: DatabaseProbe) -> None:
    assert probe.dirty() == (0, 0, 0)
    assert probe.wrong_but_clean() == []
    assert list(verify.differences()) == []


def test_a_record_is_removed_with_its_versions_and_files(probe: DatabaseProbe) -> None:
    write(upsert("a", 1), upsert("b", 1), upsert("a", 22), delete("a"), upsert("a", 333))
    file()
    file(Names("laptop", "notes", "b"), b"another")
    assert erasure.erase(A) == Erased(versions=4, files=1)
    assert rows_of(probe, "a") == []
    assert probe("SELECT sha256 FROM blobs") == [(hashlib.sha256(b"another").hexdigest(),)]
    assert probe("SELECT record_count, record_history_count, blob_count FROM retained_size_global") == [
        (1, 1, 1)
    ]
    assert_exact(probe)


def test_a_record_of_one_version_is_removed(probe: DatabaseProbe) -> None:
    write(upsert("a"), upsert("b"))
    assert erasure.erase(A) == Erased(versions=1)
    assert rows_of(probe, "a") == []
    assert_exact(probe)


def test_a_deleted_record_is_removed_with_its_tombstone(probe: DatabaseProbe) -> None:
    write(upsert("a", 1), delete("a"))
    assert erasure.erase(A) == Erased(versions=2)
    assert rows_of(probe, "a") == []
    assert_exact(probe)


def test_a_key_that_was_never_there_stays_away(probe: DatabaseProbe) -> None:
    write(upsert("b"))
    assert erasure.erase(A) == Erased()
    assert write(upsert("a")).erased == 1
    assert rows_of(probe, "a") == []


def test_erasing_again_changes_nothing(probe: DatabaseProbe) -> None:
    write(upsert("a"), upsert("b"))
    erasure.erase(A)
    before = probe("SELECT last_version, removed_through FROM streams"), probe("SELECT * FROM erasures")
    assert erasure.erase(A) == Erased()
    after = probe("SELECT last_version, removed_through FROM streams"), probe("SELECT * FROM erasures")
    assert after == before


def test_an_unknown_stream_is_refused(probe: DatabaseProbe) -> None:
    write(upsert("a"))
    for names in (A._replace(stream="nots"), A._replace(connection="desktop")):
        with pytest.raises(StreamNotFound):
            erasure.erase(names)
    assert probe("SELECT 1 FROM erasures") == []


def test_what_is_sent_again_is_accepted_and_not_stored(probe: DatabaseProbe) -> None:
    write(upsert("a"), upsert("b"))
    erasure.erase(A)
    counts = write(upsert("a"), upsert("b"), delete("a"), upsert("c"))
    assert (counts.erased, counts.unchanged, counts.created, counts.accepted) == (2, 1, 1, 4)
    assert rows_of(probe, "a") == []
    assert_exact(probe)


def test_rejections_have_the_places_of_their_lines() -> None:
    """Also if erased records come before them."""
    by_id = (("id", "string"),)
    write(Change("notes", "a", '{"id":"a"}', key_schema=by_id))
    erasure.erase(A)
    lines = [
        Change("notes", "a", '{"id":"a"}', key_schema=by_id),
        Change("notes", "b", '{"id":"b"}', key_schema=by_id),
        Change("notes", "1", '{"id":1}', key_schema=(("id", "number"),)),
    ]
    done = records.write(Target("laptop", "files"), lines)
    assert [place for place, _ in done.refused] == [2]
    assert (done.counts.erased, done.counts.created) == (1, 1)


def test_others_of_the_same_key_are_not_touched(probe: DatabaseProbe) -> None:
    write(upsert("a"), upsert("a", stream="photos"))
    write(upsert("a"), connection="phone")
    erasure.erase(A)
    assert probe("SELECT COUNT(*) FROM records") == [(2,)]
    assert write(upsert("a", 2, stream="photos")).updated == 1
    assert write(upsert("a", 2), connection="phone").updated == 1


def test_it_stays_erased_after_its_stream_and_connection_are_deleted(probe: DatabaseProbe) -> None:
    write(upsert("a"), upsert("b"))
    erasure.erase(A)
    deletion.delete_stream("laptop", "notes")
    assert write(upsert("a"), upsert("b")).erased == 1
    deletion.delete_connection("laptop")
    assert write(upsert("a"), upsert("b")).erased == 1
    assert probe(
        "SELECT key FROM records r JOIN streams s ON s.id = stream_id WHERE connection_id > 0"
    ) == [("b",)]


def test_it_can_be_allowed_again(probe: DatabaseProbe) -> None:
    write(upsert("a"))
    assert not erasure.allow(A)
    erasure.erase(A)
    assert erasure.allow(A)
    assert not erasure.allow(A)
    assert write(upsert("a")).created == 1
    assert_exact(probe)
    assert probe("SELECT number, allowed FROM erasures") == [(2, True)]
    erasure.erase(A)
    assert write(upsert("a")).erased == 1


def test_it_can_be_allowed_without_its_stream() -> None:
    write(upsert("a"))
    erasure.erase(A)
    deletion.delete_connection("laptop")
    assert erasure.allow(A)
    assert write(upsert("a")).created == 1


def test_the_list_has_no_names(probe: DatabaseProbe) -> None:
    write(upsert("a-personal-key"))
    erasure.erase(A._replace(key="a-personal-key"))
    everything = [probe(f"SELECT * FROM {table}") for table in probe.columns()]
    assert "a-personal-key" not in repr(everything)


# ---- files ---------------------------------------------------------------------------------------


def test_one_file_of_a_record_is_removed_and_the_record_stays(probe: DatabaseProbe) -> None:
    write(upsert("a"))
    file()
    file(content=b"another")
    assert erasure.erase(A._replace(sha256=DIGEST)) == Erased(files=1)
    assert probe("SELECT sha256 FROM blob_bindings") == probe("SELECT sha256 FROM blobs")
    assert probe("SELECT blob_count FROM retained_size_global") == [(1,)]
    assert not file().created
    assert probe("SELECT COUNT(*) FROM blobs") == [(1,)]
    assert write(upsert("a", 2)).updated == 1
    assert_exact(probe)


def test_a_file_that_others_have_stays_theirs(probe: DatabaseProbe) -> None:
    write(upsert("a"), upsert("b"))
    file()
    file(Names("laptop", "notes", "b"))
    assert erasure.erase(A) == Erased(versions=1, files=1, shared_files=1)
    assert probe("SELECT key FROM blob_bindings") == [("b",)]
    assert_exact(probe)


def test_an_upload_for_an_erased_record_is_accepted_and_not_stored(probe: DatabaseProbe) -> None:
    write(upsert("a"))
    erasure.erase(A)
    stored = file()
    assert (stored.sha256, stored.byte_length, stored.created) == (DIGEST, len(FILE), False)
    early = blobs.store_early(Target("laptop", "files"), "notes", "a", iter([FILE]))
    assert (early.sha256, early.created) == (DIGEST, False)
    assert probe("SELECT 1 FROM blobs") == []
    with pytest.raises(RecordNotFound):
        file(A._replace(key="b"))


def test_a_file_that_waits_for_its_record_is_removed(probe: DatabaseProbe) -> None:
    write(upsert("b"))
    blobs.store_early(Target("laptop", "files"), "notes", "a", iter([FILE]))
    assert erasure.erase(A) == Erased(files=1)
    assert probe("SELECT 1 FROM unclaimed_files") == probe("SELECT 1 FROM blobs") == []


def test_an_erased_file_does_not_come_back_by_another_way(probe: DatabaseProbe) -> None:
    """It waits for another record, and the record that it was erased from names it."""
    write(upsert("a"))
    erasure.erase(A._replace(sha256=DIGEST))
    blobs.store_early(Target("laptop", "files"), "notes", "b", iter([FILE]))
    write(upsert("a", {"blob_ref": {"blob_id": f"blob_sha256_{DIGEST}"}}))
    assert probe("SELECT key FROM blob_bindings") == []


# ---- the history ---------------------------------------------------------------------------------


def test_an_erasure_takes_a_version_and_marks_it(probe: DatabaseProbe) -> None:
    """So a follower of the change feed, whatever it has read, learns that something is gone."""
    write(upsert("a"), upsert("b"))
    erasure.erase(A)
    assert probe("SELECT last_version, removed_through FROM streams") == [(3, 3)]
    assert write(upsert("b", 2)).updated == 1
    assert probe("SELECT MAX(version) FROM record_changes") == [(4,)]
    assert_exact(probe)


def test_the_history_of_a_record_whose_links_are_wrong_is_found(probe: DatabaseProbe) -> None:
    write(upsert("a", 1), upsert("a", 22), upsert("a", 333), upsert("b"))
    probe("UPDATE record_changes SET previous_version = NULL WHERE version = 3")
    assert erasure.erase(A).versions == 3
    assert rows_of(probe, "a") == []


def test_the_history_of_a_record_whose_rollup_is_lost_is_found(probe: DatabaseProbe) -> None:
    write(upsert("a", 1), delete("a"), upsert("b"))
    probe("DELETE FROM retained_size_record")
    assert erasure.erase(A).versions == 2
    assert rows_of(probe, "a") == []


def test_undated_records_are_counted_down(probe: DatabaseProbe) -> None:
    write(upsert("a"), upsert("b"))
    write(Change("notes", "c", '{"at":"2026-01-01T00:00:00Z"}', record_time_field="at"))
    assert probe("SELECT undated_records FROM streams") == [(2,)]
    erasure.erase(A)
    assert probe("SELECT undated_records FROM streams") == [(1,)]
    assert_exact(probe)


def test_other_spellings_of_a_key_stay_away(probe: DatabaseProbe) -> None:
    write(upsert("1.50"), upsert("2"))
    probe("INSERT INTO key_spellings (stream_id, key, spelling) SELECT id, '1.5', '1.50' FROM streams")
    probe("UPDATE streams SET respelled_keys = TRUE")
    erasure.erase(A._replace(key="1.5"))
    assert rows_of(probe, "1.50") == rows_of(probe, "1.5") == []
    assert write(upsert("1.5"), upsert("1.50")).erased == 2


def test_a_count_in_progress_stays_right(probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "CHUNK_VERSIONS", 1)
    write(upsert("a", 1), upsert("b", 1), upsert("a", 22), upsert("c", 1))
    file()
    mark("laptop", "notes")
    reconcile.run_pass(reconcile.Limits(seconds=-1))
    assert probe("SELECT COUNT(*) FROM retained_size_recounts") == [(1,)]
    erasure.erase(A)
    reconcile.run_until_fresh()
    assert_exact(probe)


KEYS = st.sampled_from("abc")
STEPS = st.one_of(
    st.tuples(st.just("write"), KEYS, st.integers(0, 3)),
    st.tuples(st.just("delete"), KEYS, st.just(0)),
    st.tuples(st.just("file"), KEYS, st.integers(0, 2)),
    st.tuples(st.just("erase"), KEYS, st.just(0)),
    st.tuples(st.just("erase file"), KEYS, st.integers(0, 2)),
    st.tuples(st.just("allow"), KEYS, st.just(0)),
    st.tuples(st.just("mark"), KEYS, st.just(0)),
    st.tuples(st.just("pass"), KEYS, st.just(0)),
)


@given(steps=st.lists(STEPS, max_size=12))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sequence_leaves_exact_totals_and_no_trace(
    probe: DatabaseProbe, steps: list[tuple[str, str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "CHUNK_VERSIONS", 2)
    connection = f"of {probe('SELECT COUNT(*) FROM connections')[0][0]}"
    write(upsert("other"), connection=connection)
    gone: set[str] = set()
    for act, key, number in steps:
        _take(act, Names(connection, "notes", key), number, gone)
    reconcile.run_until_fresh()
    assert_exact(probe)
    stored = (
        "SELECT t.key FROM record_changes t JOIN streams s ON s.id = t.stream_id "
        "JOIN connections c ON c.id = s.connection_id WHERE connector_instance_id = ?"
    )
    assert not gone & {key for (key,) in probe(stored, connection)}


def _take(act: str, names: Names, number: int, gone: set[str]) -> None:
    content = f"file {number}".encode()
    if act == "write":
        write(upsert(names.key, number), connection=names.connection)
    elif act == "delete":
        write(delete(names.key), connection=names.connection)
    elif act == "file":
        blobs.store_early(Target(names.connection, "files"), "notes", names.key, iter([content]))
    elif act == "erase":
        erasure.erase(names)
        gone.add(names.key)
    elif act == "erase file":
        erasure.erase(names._replace(sha256=hashlib.sha256(content).hexdigest()))
    elif act == "allow":
        erasure.allow(names)
        gone.discard(names.key)
    elif act == "mark":
        mark(names.connection, "notes")
    else:
        reconcile.run_pass(reconcile.Limits(seconds=-1))


# ---- beside others, and failures -----------------------------------------------------------------


def test_a_failure_changes_nothing(probe: DatabaseProbe) -> None:
    write(upsert("a", 1), upsert("a", 2), upsert("b"))
    file()
    probe.fail("DELETE ON record_changes")
    with pytest.raises(peewee.DatabaseError):
        erasure.erase(A)
    probe.restore()
    assert probe("SELECT 1 FROM erasures") == []
    assert probe("SELECT COUNT(*) FROM record_changes") == [(3,)]
    assert_exact(probe)
    assert write(upsert("a", 3)).updated == 1


def test_totals_that_cannot_be_changed_are_marked(probe: DatabaseProbe) -> None:
    write(upsert("a", 1), upsert("b"))
    probe.fail("UPDATE ON retained_size_global", "NEW.record_count <> OLD.record_count")
    erasure.erase(A)
    probe.restore()
    assert probe.dirty() == (1, 1, 1)
    reconcile.run_until_fresh()
    assert_exact(probe)


def test_a_record_that_arrives_meanwhile_does_not_stay(probe: DatabaseProbe) -> None:
    write(upsert("b"))
    begun = threading.Event()

    def send() -> None:
        try:
            for number in range(30):
                write(upsert("a", number), upsert("c", number))
                begun.set()
        finally:
            db.close()

    sender = threading.Thread(target=send)
    sender.start()
    begun.wait(10)
    erasure.erase(A)
    sender.join()
    assert rows_of(probe, "a") == []
    assert_exact(probe)


def test_erasures_of_several_streams_at_once_have_different_numbers(probe: DatabaseProbe) -> None:
    streams = [f"s{number}" for number in range(4)]
    write(*(upsert(key, stream=stream) for stream in streams for key in "abc"))

    def erase(stream: str) -> None:
        try:
            for key in "abc":
                erasure.erase(Names("laptop", stream, key))
        finally:
            db.close()

    threads = [threading.Thread(target=erase, args=[stream]) for stream in streams]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [number for (number,) in probe("SELECT number FROM erasures ORDER BY number")] == [*range(1, 13)]
    assert probe("SELECT last_erasure FROM pdpp_ref_schema") == [(12,)]
    assert_exact(probe)


def test_an_empty_list_costs_one_look_up() -> None:
    write(upsert("a"))
    with statements() as seen:
        write(upsert("b"), upsert("c"), upsert("d", stream="photos"))
    assert len([each for each in seen if "erasures" in each]) == 1


def test_two_names_never_have_the_same_text() -> None:
    names = [Names("a", "b", "c"), Names("ab", "", "c"), Names("a", "b", "c", "d"), Names("a", "bc", "")]
    assert len({erased.hmac_of("00" * 32, each) for each in names}) == len(names)
