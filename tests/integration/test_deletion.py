"""Deleting streams and connections: at once for everybody, and their rows in bounded steps."""

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pdpp_ref import database
from pdpp_ref.canonical import blobs, deletion, removal, retention
from pdpp_ref.canonical.errors import NotFound, StreamNotFound
from pdpp_ref.canonical.removal import Removal
from pdpp_ref.database import Busy, db, step_transaction, write_transaction
from pdpp_ref.models import locking
from pdpp_ref.operations import transfer, verify
from pdpp_ref.queries import listings
from pdpp_ref.services import reconcile
from pdpp_ref.services.housekeeping import Housekeeping
from tests.conftest import Backend
from tests.integration.test_locks import await_waiting_session
from tests.support.factories import (
    DatabaseProbe,
    assert_sized_and_ranked,
    delete,
    fill,
    ids,
    mark,
    remove_deleted,
    statements,
    upsert,
    write,
)

pytestmark = pytest.mark.usefixtures("app")

OF_STREAMS = (
    "records",
    "record_changes",
    "key_spellings",
    "blob_bindings",
    "retained_size_record",
    "retained_size_record_counts",
    "retained_size_stream",
    "retained_size_stream_days",
    "retained_size_recounts",
)


@pytest.fixture
def _of_everything(probe: DatabaseProbe) -> None:
    """Two connections; of each kind of row some are in the stream that is deleted."""
    write(upsert("a"), upsert("b"), upsert("a", "again"), upsert("gone"), delete("gone"))
    write(upsert("p", stream="photos"), upsert("q", "longer", stream="photos"))
    write(upsert("c"), connection="phone")
    blobs.store("laptop", "notes", "a", iter([b"a file"]))
    blobs.store("laptop", "notes", "b", iter([b"another"]))
    blobs.store("phone", "notes", "c", iter([b"a file"]))
    probe("INSERT INTO key_spellings VALUES (?, '1', '1.0')", ids("laptop", "notes")["id"])


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """How far a step gets in its time is the machine's affair."""
    monkeypatch.setattr(removal, "SECONDS_PER_STEP", 60)


@pytest.fixture
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "ROWS_PER_STEP", 1)
    monkeypatch.setattr(removal, "FILES_PER_STEP", 1)


def test_a_step_ends_when_its_time_is_over(probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "SECONDS_PER_STEP", 0)
    monkeypatch.setattr(removal, "ROWS_AT_ONCE", 3)
    fill(8)
    deletion.delete_stream("laptop", "notes")
    work = removal.Removal()
    assert work.step()
    assert work.rows == 3
    while work.step():
        pass
    assert probe("SELECT COUNT(*) FROM record_changes") == [(0,)]
    assert probe("SELECT COUNT(*) FROM streams") == [(0,)]


def whole(connection: bool) -> None:
    if connection:
        deletion.delete_connection("laptop")
    else:
        deletion.delete_stream("laptop", "notes")


def check(probe: DatabaseProbe) -> None:
    """Everything that can be asked has the right answer."""
    assert probe.wrong_but_clean() == []
    assert probe.dirty() == (0, 0, 0)
    assert list(verify.differences()) == []
    assert_sized_and_ranked(probe)


@pytest.mark.usefixtures("_of_everything", "_small_steps")
@pytest.mark.parametrize("connection", [True, False])
def test_totals_are_exact_at_once_and_after_every_step(probe: DatabaseProbe, connection: bool) -> None:
    whole(connection)
    check(probe)
    steps = 0
    while Removal().step():  # each by a process that knows nothing of the steps before
        check(probe)
        steps += 1
    check(probe)
    assert steps > 10
    left = {"laptop", "phone"} - ({"laptop"} if connection else set())
    assert {name for (name,) in probe("SELECT connector_instance_id FROM connections")} == left
    streams = [stream for (stream,) in probe("SELECT id FROM streams")]
    assert len(streams) == (1 if connection else 2)
    for table in OF_STREAMS:
        assert {stream for (stream,) in probe(f"SELECT stream_id FROM {table}")} <= {*streams}
    assert probe("SELECT byte_length FROM blobs") == [(6,)]


@pytest.mark.usefixtures("_of_everything")
@pytest.mark.parametrize("connection", [True, False])
def test_one_process_removes_all_in_few_steps(probe: DatabaseProbe, connection: bool) -> None:
    whole(connection)
    one = Removal()
    assert not one.step()
    assert one.rows >= 14
    assert not probe("SELECT 1 FROM streams WHERE connection_id IS NULL")


@pytest.mark.usefixtures("_of_everything", "_small_steps")
@pytest.mark.parametrize("steps", [0, 4])
def test_a_new_stream_of_the_name_can_come_at_any_time(probe: DatabaseProbe, steps: int) -> None:
    before = probe("SELECT incarnation FROM streams WHERE id = ?", ids("laptop", "notes")["id"])
    deletion.delete_stream("laptop", "notes")
    one = Removal()
    for _ in range(steps):
        one.step()
    write(upsert("a"), upsert("new"))
    blobs.store("laptop", "notes", "a", iter([b"a file"]))
    check(probe)
    while one.step():
        assert probe.wrong_but_clean() == []
        assert probe.dirty() == (0, 0, 0)
    new = ids("laptop", "notes")["id"]
    assert probe("SELECT incarnation FROM streams WHERE id = ?", new) != before
    assert probe("SELECT key, version FROM records WHERE stream_id = ? ORDER BY key", new) == [
        ("a", 1),
        ("new", 2),
    ]
    assert probe("SELECT COUNT(*) FROM blob_bindings WHERE stream_id = ?", new) == [(1,)]
    check(probe)


@pytest.mark.usefixtures("_of_everything")
@pytest.mark.parametrize("place", [("laptop", "notes"), ("laptop",), ()])
def test_after_a_mark_the_rows_above_are_marked(probe: DatabaseProbe, place: tuple[str, ...]) -> None:
    mark(*place)
    deletion.delete_stream("laptop", "notes")
    assert probe("SELECT dirty FROM retained_size_global") == [(1,)]
    assert reconcile.run_until_fresh().fresh
    check(probe)


@pytest.mark.usefixtures("_of_everything")
@pytest.mark.parametrize("connection", [True, False])
@pytest.mark.parametrize("grain", ["connection", "global"])
def test_if_it_cannot_be_subtracted_the_rows_above_are_marked(
    probe: DatabaseProbe, connection: bool, grain: str
) -> None:
    probe.fail(f"UPDATE OF record_count ON retained_size_{grain}")
    whole(connection)
    probe.restore()
    assert probe.dirty()[2] == int(grain == "global" or not connection)
    assert probe.wrong_but_clean() == []
    reconcile.run_until_fresh()
    check(probe)


@pytest.mark.usefixtures("_of_everything")
@pytest.mark.parametrize("grain", ["stream", "connection"])
def test_a_lost_row_is_not_missed(probe: DatabaseProbe, grain: str) -> None:
    connection = ids("laptop")["connection"]
    probe(f"DELETE FROM retained_size_{grain} WHERE connection_id = ?", connection)
    mark()
    deletion.delete_stream("laptop", "notes")
    reconcile.run_until_fresh()
    check(probe)
    probe("DELETE FROM retained_size_connection WHERE connection_id = ?", connection)
    mark()
    deletion.delete_connection("laptop")
    reconcile.run_until_fresh()
    check(probe)


def test_the_lost_row_of_the_stream_itself_is_not_missed(probe: DatabaseProbe) -> None:
    write(upsert("a"), upsert("b", stream="photos"))
    probe("DELETE FROM retained_size_stream WHERE stream_id = ?", ids("laptop", "notes")["id"])
    deletion.delete_stream("laptop", "notes")
    assert probe.wrong_but_clean() == []
    reconcile.run_until_fresh()
    check(probe)


@pytest.mark.usefixtures("_of_everything", "_small_steps")
def test_a_rebuild_and_passes_know_nothing_of_deleted_streams(probe: DatabaseProbe) -> None:
    deletion.delete_stream("laptop", "notes")
    reconcile.begin_rebuild()
    assert probe("SELECT rebuild_total FROM retained_size_global") == [(3,)]
    assert reconcile.finish_rebuild().fresh
    probe("DELETE FROM retained_size_stream")
    mark()
    assert reconcile.run_until_fresh().fresh
    assert probe("SELECT COUNT(*) FROM retained_size_stream") == [(2,)]
    check(probe)


@pytest.mark.usefixtures("_of_everything")
@pytest.mark.parametrize(
    "act",
    [
        lambda: deletion.delete_stream("laptop", "notes"),
        lambda: deletion.delete_record("laptop", "notes", "a"),
        lambda: blobs.store("laptop", "notes", "a", iter([b"late"])),
    ],
)
def test_what_is_deleted_is_not_found(act: Callable[[], Any]) -> None:
    deletion.delete_stream("laptop", "notes")
    with pytest.raises(NotFound):
        act()
    assert listings.stream("laptop", "notes", 30) is None
    assert retention.prune(1, "laptop", "notes") == retention.Pruned()
    with write_transaction():
        assert len(locking.lock_all_streams()) == 2


def test_deleting_takes_few_statements_however_much_is_stored() -> None:
    fill(50)
    fill(3000, "photos")
    counts = []
    for stream in ("notes", "photos"):
        with statements() as seen:
            deletion.delete_stream("laptop", stream)
        counts.append(len(seen))
    assert counts[0] == counts[1] < 30


def test_a_step_is_bounded_in_rows_and_bytes(probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(30, size=100)
    monkeypatch.setattr(removal, "BYTES_PER_STEP", 1000)
    deletion.delete_stream("laptop", "notes")
    one, before = Removal(), 0
    while one.step():
        assert 0 < one.rows - before <= 10
        before = one.rows
    assert one.rows == 30 + 30 + 1 + 1


def test_large_files_go_one_by_one(probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch) -> None:
    write(upsert("a"))
    for content in (b"one", b"two", b"six"):
        blobs.store("laptop", "notes", "a", iter([content]))
    monkeypatch.setattr(removal, "BYTES_PER_STEP", 2)
    deletion.delete_stream("laptop", "notes")
    one = Removal()
    for left in (2, 1, 0):
        assert one.step()
        assert probe("SELECT COUNT(*) FROM blobs") == [(left,)]


def test_an_id_that_is_given_again_does_not_confuse_another_process(probe: DatabaseProbe) -> None:
    """SQLite gives the id of the last stream again."""
    fill(5)
    other, one = Removal(), Removal()
    deletion.delete_stream("laptop", "notes")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(removal, "ROWS_PER_STEP", 4)
        other.step()
    while one.step():
        pass
    fill(5)
    deletion.delete_stream("laptop", "notes")
    other.step()
    assert other.rows == 4 + 5 + 5 + 2
    assert probe("SELECT COUNT(*) FROM streams") == [(0,)]


def test_one_process_at_a_time_does_a_step() -> None:
    fill(3)
    deletion.delete_stream("laptop", "notes")
    outcome: list[object] = []

    def other() -> None:
        try:
            outcome.append(Removal().step())
        except Busy:
            outcome.append("busy")
        finally:
            db.close()

    with step_transaction(wait=True):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert outcome == ["busy"]


@pytest.mark.slow
def test_readers_and_writers_continue_while_it_is_removed(probe: DatabaseProbe) -> None:
    """The stream is deleted again and again, while others write to it, and removal never stops."""
    stopped = threading.Event()
    errors: list[BaseException] = []

    def repeatedly(work: Callable[[int], object]) -> threading.Thread:
        def run() -> None:
            number = 0
            try:
                while not stopped.is_set():
                    number += 1
                    try:
                        work(number)
                    except Busy:  # an answer to try again, which a slow machine gives more often
                        stopped.wait(0.002)
            except BaseException as error:
                errors.append(error)
                stopped.set()
            finally:
                db.close()

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def read(number: int) -> None:
        assert [each for each in verify.differences() if not each.dirty] == []
        stopped.wait(0.01)

    threads = [
        repeatedly(lambda number: write(upsert(str(number % 7), number), upsert(f"x{number}"))),
        repeatedly(lambda number: write(upsert(f"p{number}", number), connection="phone")),
        repeatedly(lambda _: Removal().step()),
        repeatedly(read),
    ]
    for _ in range(15):
        stopped.wait(0.02)
        with contextlib.suppress(StreamNotFound, Busy):
            deletion.delete_stream("laptop", "notes")
    stopped.set()
    for thread in threads:
        thread.join(60)
    assert not errors, errors
    remove_deleted()
    reconcile.run_until_fresh()
    check(probe)


@pytest.mark.only("postgres")
def test_a_writer_that_waited_for_a_deletion_finds_nothing(probe: DatabaseProbe, backend: Backend) -> None:
    write(upsert("a"))
    outcome: list[str] = []

    def upload() -> None:
        try:
            blobs.store("laptop", "notes", "a", iter([b"late"]))
        except NotFound:
            outcome.append("not found")
        finally:
            db.close()

    with backend.probe() as other:
        other("BEGIN")
        other("UPDATE streams SET connection_id = NULL")
        thread = threading.Thread(target=upload)
        thread.start()
        await_waiting_session(probe)
        other("COMMIT")
        thread.join(30)
    assert outcome == ["not found"]


@pytest.mark.only("sqlite")
@pytest.mark.usefixtures("_of_everything")
def test_a_copy_continues_removing(tmp_path: Path) -> None:
    deletion.delete_stream("laptop", "notes")
    target = database.from_url(f"sqlite:///{tmp_path}/copy.sqlite3", tmp_path)
    transfer.copy(target)
    with database.using(target), DatabaseProbe(tmp_path / "copy.sqlite3") as copied:
        check(copied)
        assert removal.remove_all() >= 14
        check(copied)
    target.close()


# ---- housekeeping --------------------------------------------------------------------------------


def test_the_server_removes_what_was_deleted(probe: DatabaseProbe) -> None:
    fill(5)
    deletion.delete_stream("laptop", "notes")
    done = threading.Event()
    keeping = Housekeeping([Removal().step, lambda: bool(done.set())])
    keeping.start()
    assert done.wait(10)
    keeping.stop()
    assert probe("SELECT COUNT(*) FROM records") == [(0,)]
    assert probe("SELECT COUNT(*) FROM streams") == [(0,)]


def test_a_failed_step_is_logged_and_tried_again_later(
    probe: DatabaseProbe, caplog: pytest.LogCaptureFixture
) -> None:
    fill(5)
    deletion.delete_stream("laptop", "notes")
    probe.fail("DELETE ON records")
    keeping = Housekeeping([Removal().step])
    assert 25 < keeping.run_round() <= 30
    assert caplog.messages == ["housekeeping failed: the database refused a value"]
    probe.restore()
    keeping.run_round()
    assert probe("SELECT COUNT(*) FROM records") == [(5,)], "it waits"


def test_housekeeping_waits_between_steps_and_when_others_work() -> None:
    more = [True, True, False]
    keeping = Housekeeping([lambda: more.pop(0)])
    assert keeping.run_round() < 1
    assert keeping.run_round() < 1
    assert keeping.run_round() > 5

    def busy() -> bool:
        raise Busy

    assert 0.05 < Housekeeping([busy]).run_round() <= 0.1
    assert Housekeeping([]).run_round() > 5
