"""Files that are uploaded before their records: waiting, claimed, or removed."""

import hashlib
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from pdpp_ref import database
from pdpp_ref.canonical import blobs, cleanup, deletion, records, retention
from pdpp_ref.canonical.blobs import Reference
from pdpp_ref.canonical.cleanup import Cleanup
from pdpp_ref.canonical.records import Target
from pdpp_ref.database import Busy, db
from pdpp_ref.operations import transfer, verify
from pdpp_ref.services import reconcile
from tests.conftest import Backend
from tests.integration.test_locks import await_waiting_session
from tests.support.factories import (
    TOKEN,
    Clock,
    DatabaseProbe,
    assert_sized_and_ranked,
    delete,
    ids,
    mark,
    remove_deleted,
    statements,
    upsert,
    write,
)

pytestmark = pytest.mark.usefixtures("app")

LAPTOP = Target("laptop", "files")
HOUR = 3600.0
UPLOADS = 10_000 if os.environ.get("PDPP_TEST_LONG") == "1" else 60


def upload(
    key: str = "a", content: bytes = b"a file", stream: str = "notes", target: Target = LAPTOP, **said: str
) -> blobs.Stored:
    return blobs.store_early(target, stream, key, iter([content]), reference=Reference(**said))


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def bound(probe: DatabaseProbe) -> list[tuple[Any, ...]]:
    return probe("SELECT key, byte_length FROM blob_bindings ORDER BY key, byte_length")


def waiting(probe: DatabaseProbe) -> list[str]:
    return [key for (key,) in probe("SELECT key FROM unclaimed_files ORDER BY key")]


def counted(probe: DatabaseProbe) -> tuple[int, int]:
    return probe("SELECT blob_count, blob_bytes FROM retained_size_global")[0]  # type: ignore[return-value]


def check(probe: DatabaseProbe) -> None:
    assert probe.wrong_but_clean() == []
    assert probe.dirty() == (0, 0, 0)
    assert list(verify.differences()) == []
    assert_sized_and_ranked(probe)


# ---- claiming ------------------------------------------------------------------------------------


def test_a_file_waits_uncounted_and_is_bound_with_its_record(probe: DatabaseProbe) -> None:
    upload(mime_type="image/png", json_path="/image")
    assert (waiting(probe), bound(probe), counted(probe)) == (["a"], [], (0, 0))
    check(probe)
    write(upsert("b"))
    assert waiting(probe) == ["a"]
    write(upsert("a"))
    assert (waiting(probe), bound(probe), counted(probe)) == ([], [("a", 6)], (1, 6))
    assert probe("SELECT mime_type, json_path, version FROM blob_bindings") == [("image/png", "/image", 2)]
    check(probe)


@pytest.mark.parametrize("first", [True, False])
def test_any_accepted_upsert_claims(probe: DatabaseProbe, first: bool) -> None:
    """One that changes nothing too, as of a record that was stored while nobody looked."""
    write(upsert("a"), upsert("b"), upsert("b", "changed"))
    stream = ids("laptop", "notes")
    for key in "ab":
        upload(key)  # bound at once: the records live
    assert bound(probe) == [("a", 6), ("b", 6)]
    probe("DELETE FROM blob_bindings")
    for key in "ab":
        probe(
            "INSERT INTO unclaimed_files (connection_id, stream_name, key, sha256, byte_length, uploaded_at) "
            "VALUES (?, 'notes', ?, ?, 6, '')",
            stream["connection"],
            key,
            digest(b"a file"),
        )
    reconcile.begin_rebuild()
    reconcile.finish_rebuild()
    check(probe)
    counts = write(*([upsert("a")] if first else []), upsert("b", "changed"))
    assert counts.unchanged == 1 + first
    assert (waiting(probe), counted(probe)) == ([] if first else ["a"], (1 + first, 6 * (1 + first)))
    check(probe)


def test_a_file_for_a_live_record_is_bound_at_once(probe: DatabaseProbe) -> None:
    write(upsert("a"))
    assert upload(mime_type="image/png").created
    assert not upload(json_path="/x").created
    assert (waiting(probe), counted(probe)) == ([], (1, 6))
    assert probe("SELECT mime_type, json_path FROM blob_bindings") == [("image/png", "/x")]
    check(probe)


def test_a_deleted_record_claims_nothing_until_it_lives_again(probe: DatabaseProbe) -> None:
    write(upsert("a"), delete("a"))
    upload()
    write(delete("a"), upsert("a", "x"), delete("a"))
    assert (waiting(probe), counted(probe)) == (["a"], (0, 0))
    write(upsert("a"))
    assert (waiting(probe), counted(probe)) == ([], (1, 6))
    check(probe)


def test_a_record_claims_all_its_files_and_others_keep_theirs(probe: DatabaseProbe) -> None:
    for content in (b"one", b"two", b"three"):
        upload(content=content)
    upload("b")
    upload("a", stream="photos")
    upload("a", target=Target("phone", "files"))
    write(upsert("a"), upsert("a", "again"), upsert("c"))
    assert bound(probe) == [("a", 3), ("a", 3), ("a", 5)]
    assert waiting(probe) == ["a", "a", "b"]
    assert counted(probe) == (3, 11)
    check(probe)
    write(upsert("a", "more"))
    write(upsert("a", stream="photos"), upsert("b"))
    assert (waiting(probe), counted(probe)) == (["a"], (5, 23))
    check(probe)


def test_a_file_of_two_types_has_a_type_for_each_record(probe: DatabaseProbe) -> None:
    upload("a", mime_type="text/plain")
    upload("b", mime_type="text/html; charset=utf-8")
    write(upsert("a"), upsert("b"))
    assert probe("SELECT COUNT(*) FROM blobs") == [(1,)]
    assert probe("SELECT key, mime_type FROM blob_bindings ORDER BY key") == [
        ("a", "text/plain"),
        ("b", "text/html; charset=utf-8"),
    ]


def naming(key: str, content: bytes) -> Any:
    return upsert(key, {"id": key, "blob_ref": {"blob_id": f"blob_sha256_{digest(content)}"}})


def test_another_record_that_names_a_waiting_file_gets_it_too(probe: DatabaseProbe) -> None:
    upload("a")
    write(naming("b", b"a file"), naming("c", b"unknown"), upsert("d", {"blob_ref": 5}))
    assert (waiting(probe), bound(probe)) == (["a"], [("b", 6)])
    write(naming("a", b"a file"))
    assert (waiting(probe), bound(probe)) == ([], [("a", 6), ("b", 6)])
    check(probe)


@pytest.mark.parametrize("dirty", ["stream", "rollups", "lost"])
def test_claims_are_exact_while_rows_are_dirty(probe: DatabaseProbe, dirty: str) -> None:
    write(upsert("a"), upsert("b"), upsert("b", 2))
    upload("c")
    probe("UPDATE unclaimed_files SET key = 'b'")
    if dirty == "stream":
        mark("laptop", "notes")
    elif dirty == "rollups":
        reconcile.begin_rebuild()
    else:
        probe("DELETE FROM retained_size_record")
    write(upsert("b", 2))
    assert probe.wrong_but_clean() == []
    reconcile.run_until_fresh()
    assert counted(probe) == (1, 6)
    check(probe)


def test_a_failed_delta_marks_and_keeps_the_claim(probe: DatabaseProbe) -> None:
    upload()
    probe.fail("UPDATE OF blob_count ON retained_size_stream", "NEW.blob_count > 0")
    write(upsert("a"))
    assert (waiting(probe), bound(probe)) == ([], [("a", 6)])
    probe.restore()
    reconcile.run_until_fresh()
    check(probe)


def test_without_waiting_files_a_write_pays_for_one_look_up(probe: DatabaseProbe) -> None:
    upload(target=Target("phone", "files"))
    write(upsert("x"))
    with statements() as seen:
        write(*(upsert(str(number)) for number in range(500)))
    assert len([sql for sql in seen if "unclaimed_files" in sql]) == 1


# ---- removing ------------------------------------------------------------------------------------


def test_the_second_cleanup_that_is_late_enough_removes_it(probe: DatabaseProbe, clock: Clock) -> None:
    one = Cleanup(24 * HOUR, clock)
    upload()
    one.step()
    for _ in range(23):
        clock.advance(HOUR)
        assert not one.step()
    assert waiting(probe) == ["a"]
    clock.advance(HOUR)
    assert one.step()
    assert waiting(probe) == []
    assert probe("SELECT (SELECT COUNT(*) FROM blobs), (SELECT COUNT(*) FROM blob_chunks)") == [(0, 0)]
    write(upsert("a"))
    assert counted(probe) == (0, 0)


def test_a_cleanup_that_finds_nothing_deleted_any_more_waits_too(
    probe: DatabaseProbe, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Cleanup(24 * HOUR, clock)
    upload()
    one.step()
    monkeypatch.setattr(cleanup, "_is_needed", lambda **_: True)  # another process has removed it meanwhile
    clock.advance(HOUR)
    assert not one.step()
    assert waiting(probe) == ["a"]


def test_uploading_again_starts_the_wait_over(probe: DatabaseProbe, clock: Clock) -> None:
    one = Cleanup(24 * HOUR, clock)
    upload()
    one.step()
    clock.advance(20 * HOUR)
    upload()
    for _ in range(2):
        clock.advance(13 * HOUR)
        one.step()
        assert waiting(probe) == ["a"]
    clock.advance(24 * HOUR)
    one.step()
    assert waiting(probe) == []


def test_restarts_and_other_processes_make_no_wait_shorter(probe: DatabaseProbe, clock: Clock) -> None:
    upload()
    for _ in range(5):
        Cleanup(24 * HOUR, clock).step()  # each is the first one of its process
        clock.advance(10 * HOUR)
    assert waiting(probe) == ["a"]
    one = Cleanup(24 * HOUR, clock)
    one.step()
    clock.advance(24 * HOUR)
    Cleanup(24 * HOUR, clock).step()
    one.step()
    assert waiting(probe) == [], "marks of a process that has ended do not last"


def test_a_wall_clock_that_jumps_removes_nothing(probe: DatabaseProbe, clock: Clock, calendar: Any) -> None:
    one = Cleanup(24 * HOUR, clock)
    upload()
    one.step()
    calendar.moment = calendar.moment.replace(year=2036)
    clock.advance(HOUR)
    one.step()
    assert waiting(probe) == ["a"]


def test_a_file_that_another_record_has_stays(probe: DatabaseProbe) -> None:
    write(upsert("a"))
    upload("a")
    upload("late")
    one = Cleanup(0)
    while waiting(probe):
        one.step()
    assert (bound(probe), probe("SELECT COUNT(*) FROM blob_chunks")) == ([("a", 6)], [(1,)])
    check(probe)


def test_a_file_that_still_waits_stays_when_a_record_loses_it(probe: DatabaseProbe) -> None:
    write(upsert("a"))
    upload("a")
    upload("late")
    deletion.delete_stream("laptop", "notes")
    remove_deleted()
    assert probe("SELECT COUNT(*) FROM blobs") == [(1,)]
    write(upsert("late"))
    assert bound(probe) == [("late", 6)]
    check(probe)


def test_a_cleanup_goes_in_steps(probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup, "MARKS_PER_STEP", 2)
    monkeypatch.setattr(cleanup, "FILES_PER_STEP", 2)
    for number in range(5):
        upload(str(number), str(number).encode())
    one = Cleanup(0)
    assert [one.step() for _ in range(3)] == [True, True, False]
    left = []
    while True:
        is_unfinished = one.step()
        left.append(len(waiting(probe)))
        if not is_unfinished:
            break
    assert left == [3, 1, 0, 0]


def test_a_deleted_connection_loses_its_files_at_once(probe: DatabaseProbe, clock: Clock) -> None:
    one = Cleanup(24 * HOUR, clock)
    upload()
    one.step()
    deletion.delete_connection("laptop")
    write(upsert("a"))
    assert (bound(probe), counted(probe)) == ([], (0, 0))
    assert one.step()
    assert probe("SELECT COUNT(*) FROM blobs") == [(0,)]


# ---- when a reference ends -----------------------------------------------------------------------


def test_a_reference_ends_with_the_last_version_that_names_the_file(probe: DatabaseProbe) -> None:
    upload("a", b"first")
    write(naming("a", b"first"))
    upload("a", b"second")
    write(naming("a", b"second"))
    blobs.store("laptop", "notes", "a", iter([b"of the record"]))
    assert len(bound(probe)) == 3
    retention.prune(2)
    assert len(bound(probe)) == 3
    retention.prune(1)
    assert bound(probe) == [("a", 6), ("a", 13)]
    assert probe("SELECT COUNT(*) FROM blobs") == [(2,)]
    check(probe)


@pytest.mark.parametrize("most", [1, 2, 2000])
def test_a_file_that_a_newer_version_names_again_stays(
    probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(retention, "VERSIONS_PER_TRANSACTION", most)
    upload("a", b"first")
    write(naming("a", b"first"))
    write(upsert("a"))
    write(naming("a", b"first"))
    write(upsert("a", "x"))
    retention.prune(2)
    assert bound(probe) == [("a", 5)]
    retention.prune(1)
    assert bound(probe) == []
    assert probe("SELECT COUNT(*) FROM blobs") == [(0,)]
    check(probe)


def test_a_file_that_no_version_names_belongs_to_the_record(probe: DatabaseProbe) -> None:
    write(upsert("a"))
    upload("a")
    write(upsert("a", 2), upsert("a", 3))
    retention.prune(1)
    assert bound(probe) == [("a", 6)]
    check(probe)


# ---- with others ---------------------------------------------------------------------------------


def test_no_record_lacks_its_file() -> None:
    """Uploads and claims next to cleanups that wait for nothing."""
    try_uploads(UPLOADS)


class Errors(list[BaseException]):
    """What threads have raised; `started` is one that does the work with a connection of its own."""

    def started(self, work: Callable[[], object]) -> threading.Thread:
        def guarded() -> None:
            try:
                work()
            except BaseException as error:
                self.append(error)
            finally:
                db.close()

        thread = threading.Thread(target=guarded)
        thread.start()
        return thread


def clean_until(stopped: threading.Event) -> None:
    one = Cleanup(0)
    while not stopped.is_set():
        with suppress(Busy):
            one.step()
        stopped.wait(0.001)


def send_until_claimed(key: str, content: bytes) -> None:
    """If two cleanups came before the record, it is uploaded again, as by the connector's next run."""
    for _ in range(50):
        upload(key, content)
        write(upsert(key))
        held = database.fetch_all(
            "SELECT data FROM blob_bindings JOIN blob_chunks USING (sha256) WHERE key = ?", [key]
        )
        if held:
            assert held == [(content,)]
            return
    raise AssertionError("a live record does not get its file")


def try_uploads(number: int) -> None:
    stopped, errors = threading.Event(), Errors()

    def send(part: int) -> None:
        for each in range(part, number, 3):
            send_until_claimed(str(each), str(each % 7).encode())  # the same few files, again and again

    cleaner = errors.started(lambda: clean_until(stopped))
    for thread in [errors.started(partial(send, part)) for part in range(3)]:
        thread.join(1200)
    stopped.set()
    cleaner.join(60)
    assert not errors, errors
    reconcile.run_until_fresh()
    assert database.fetch_all("SELECT blob_count FROM retained_size_global") == [(number,)]
    assert list(verify.differences()) == []
    unused = "SELECT 1 FROM blobs WHERE sha256 NOT IN (SELECT sha256 FROM blob_bindings)"
    assert not database.fetch_all(f"{unused} AND sha256 NOT IN (SELECT sha256 FROM unclaimed_files)")


@pytest.mark.parametrize("first", ["upload", "write"])
def test_an_upload_and_its_record_at_the_same_time_find_each_other(
    probe: DatabaseProbe, first: str
) -> None:
    """Whichever is first, the file is bound."""
    barrier, errors = threading.Barrier(2), Errors()

    def together(work: Callable[[], object]) -> None:
        barrier.wait(10)
        work()

    for number in range(10):
        key, stream = f"{first}{number}", f"s{number % 3}{first}"
        works = (partial(upload, key, stream=stream), partial(write, upsert(key, stream=stream)))
        for thread in [errors.started(partial(together, work)) for work in works]:
            thread.join(30)
    assert not errors
    assert (waiting(probe), len(bound(probe))) == ([], 10)
    check(probe)


@pytest.mark.only("postgres")
def test_an_upload_waits_for_whoever_creates_streams(probe: DatabaseProbe, backend: Backend) -> None:
    write(upsert("a", stream="other"))
    errors = Errors()
    with backend.probe() as creator:
        creator("BEGIN")
        creator("SELECT id FROM connections FOR NO KEY UPDATE")
        thread = errors.started(upload)
        await_waiting_session(probe)
        creator("COMMIT")
        thread.join(30)
    assert not errors
    assert waiting(probe) == ["a"]


# ---- over HTTP -----------------------------------------------------------------------------------


@pytest.fixture
def connector(app: Flask) -> FlaskClient:
    found = app.test_client()
    found.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKEN}"
    return found


def send(connector: FlaskClient, **query: str) -> Any:
    names = {
        "connector_id": "files",
        "connector_instance_id": "laptop",
        "stream": "notes",
        "record_key": "a",
    }
    return connector.post("/v1/blobs", query_string=names | query, data=b"a file")


def test_a_connector_uploads_before_it_sends_the_record(
    connector: FlaskClient, probe: DatabaseProbe
) -> None:
    response = send(connector, mime_type="image/png", json_path="@record", run_id="7")
    assert (response.status_code, response.get_json()) == (
        200,
        {
            "object": "blob",
            "blob_id": f"blob_sha256_{digest(b'a file')}",
            "sha256": digest(b"a file"),
            "size_bytes": 6,
            "mime_type": "image/png",
        },
    )
    assert send(connector).get_json()["mime_type"] == "application/octet-stream"
    write(upsert("a"))
    assert bound(probe) == [("a", 6)]


@pytest.mark.only("sqlite")
@pytest.mark.parametrize(
    "query",
    [
        {"mime_type": ""},
        {"mime_type": "png"},
        {"mime_type": "image/png\r\nX: y"},
        {"mime_type": "image/\u00e9"},
        {"mime_type": "a/" + "b" * 300},
        {"json_path": "image"},
        {"json_path": ""},
        {"json_path": "/~2"},
        {"record_key": ""},
        {"record_key": "x" * 3000},
        {"key": "a"},
        {"connector_id": ""},
        {"bogus": "1"},
        {"sha256": "0" * 64},
    ],
)
def test_a_wrong_upload_is_refused(
    connector: FlaskClient, probe: DatabaseProbe, query: dict[str, str]
) -> None:
    response = send(connector, **query)
    assert response.status_code == 400
    assert probe("SELECT COUNT(*) FROM blobs") == probe("SELECT COUNT(*) FROM connections") == [(0,)]


@pytest.mark.only("sqlite")
@pytest.mark.parametrize(
    "query",
    [
        {"mime_type": "text/plain; charset=utf-8"},
        {"mime_type": 'a/b;x="y z"'},
        {"mime_type": "application/vnd.x+json"},
        {"json_path": "/a~1b/~0/0"},
        {"json_path": "/"},
    ],
)
def test_types_and_places_of_all_kinds(connector: FlaskClient, query: dict[str, str]) -> None:
    assert send(connector, **query).status_code == 200


def test_an_upload_to_another_connectors_connection_is_refused(connector: FlaskClient) -> None:
    write(upsert("a"))
    response = send(connector, connector_id="mail")
    assert (response.status_code, response.get_json()["error"]["code"]) == (409, "connector_mismatch")


# ---- copies --------------------------------------------------------------------------------------


@pytest.mark.only("sqlite")
def test_copies_and_backups_have_files_that_wait_and_state(
    probe: DatabaseProbe, backend: Backend, tmp_path: Any
) -> None:
    upload()
    write(upsert("b"))
    probe("INSERT INTO connector_states VALUES (1, 'notes', '{}', '')")
    transfer.copy(database.from_url(f"sqlite:///{tmp_path}/copy.sqlite3", tmp_path))
    db.back_up(str(tmp_path / "backup.sqlite3"))
    for name in ("copy", "backup"):
        with DatabaseProbe(tmp_path / f"{name}.sqlite3") as other:
            for table in ("unclaimed_files", "connector_states", "blobs", "blob_chunks"):
                assert other(f"SELECT * FROM {table}") == probe(f"SELECT * FROM {table}")
                assert len(other(f"SELECT * FROM {table}")) == 1
    assert records.known_stream("laptop", "notes")
