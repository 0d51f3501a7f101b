"""Files that are prepared in the background: who may have them, how long, and what if the disk is full."""

import errno
import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import peewee
import pytest
from flask import Flask

from pdpp_ref.services import prepared_files
from pdpp_ref.services.prepared_files import DiskFull, Job, PreparedFiles, Progress, TooManyFiles
from tests.support.factories import Clock

Write = Callable[[IO[bytes], Progress], Any]
ME, OTHER = "the session of the owner", "another session"
pytestmark = [pytest.mark.only("sqlite"), pytest.mark.usefixtures("app")]


@pytest.fixture
def files(tmp_path: Path, clock: Clock) -> PreparedFiles:
    return PreparedFiles(tmp_path, clock)


def job(
    write: Callable[[IO[bytes], Progress], Any] = lambda out, _: out.write(b"text"), **more: Any
) -> Job:
    def complete(out: IO[bytes], progress: Progress) -> tuple[str, ...]:
        write(out, progress)
        return ()

    return Job(
        **({"content": object(), "name": "lines", "records": 1, "size": 4, "write": complete} | more)
    )


def raises(error: Exception) -> Write:
    def write(out: IO[bytes], _: Progress) -> None:
        out.write(b"a part")
        raise error

    return write


def prepared(files: PreparedFiles, wanted: Job) -> prepared_files.PreparedFile:
    file_id = files.request(wanted, ME)
    files.wait()
    found = files.find(file_id, ME)
    assert found
    return found


def size_on_disk(files: PreparedFiles, found: prepared_files.PreparedFile) -> int:
    return os.fstat(files._slots[found.slot]).st_size


def test_a_file_is_written_and_read_from_any_position_by_several(files: PreparedFiles) -> None:
    found = prepared(files, job())
    assert (found.state, found.size, found.problem) == ("ready", 4, None)
    readers = [files.open(found, 0, 4) for _ in range(2)]
    for reader in readers:
        assert reader
        reader.seek(2)
        assert (reader.read(1), reader.tell()) == (b"x", 3)
        assert reader.read(9) == b"t"
        assert reader.read(9) == b""
        reader.close()


def test_a_part_is_read_as_if_it_were_a_file(files: PreparedFiles) -> None:
    reader = files.open(prepared(files, job()), 1, 3)
    assert reader
    assert (reader.seek(0, os.SEEK_END), reader.seek(0), reader.read()) == (2, 0, b"ex")


def test_a_file_has_no_name(files: PreparedFiles, tmp_path: Path) -> None:
    """So a server that is killed leaves none."""
    before = sorted(tmp_path.iterdir())
    found = prepared(files, job())
    assert size_on_disk(files, found) == 4
    assert sorted(tmp_path.iterdir()) == before
    assert os.fstat(files._slots[found.slot]).st_nlink == 0


def test_only_the_session_that_asked_for_a_file_finds_it(files: PreparedFiles) -> None:
    found = prepared(files, job())
    assert files.find(found.id, ME) == found
    assert files.find(found.id, OTHER) is None
    assert files.find("another", ME) is None
    assert len(found.id) >= 32


def test_a_file_is_removed_when_its_time_is_up(files: PreparedFiles, clock: Clock) -> None:
    found = prepared(files, job())
    clock.advance(prepared_files.LIFETIME_SECONDS - 1)
    assert files.find(found.id, ME)
    clock.advance(1)
    assert files.find(found.id, ME) is None
    assert files.open(found, 0, 4) is None
    assert size_on_disk(files, found) == 0


def test_a_transfer_ends_as_it_would_have_and_its_file_is_removed_then(
    files: PreparedFiles, clock: Clock
) -> None:
    found = prepared(files, job())
    clock.advance(prepared_files.LIFETIME_SECONDS - 1)
    taken = files.open(found, 0, 4)
    clock.advance(1)
    assert files.find(found.id, ME) is None, "nobody new gets it"
    assert taken
    assert taken.read(4) == b"text"
    clock.advance(prepared_files.IN_USE_SECONDS)
    files.remove_expired()
    assert size_on_disk(files, found) == 0


def test_a_reader_never_gets_the_bytes_of_another_file(
    files: PreparedFiles, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared_files, "MAX_FILES", 1)
    reader = files.open(prepared(files, job()), 0, 4)
    with pytest.raises(TooManyFiles):
        files.request(job(), OTHER)
    clock.advance(prepared_files.IN_USE_SECONDS)  # the client took nothing for so long
    files.request(job(lambda out, _: out.write(b"secret") and ()), OTHER)
    files.wait()
    assert reader
    with pytest.raises(OSError, match="lost bytes"):
        reader.read(4)


def test_a_file_is_removed_though_nobody_asks(app: Flask, clock: Clock) -> None:
    files = app.extensions["prepared_files"]
    found = prepared(files, job())
    clock.advance(prepared_files.LIFETIME_SECONDS)
    assert size_on_disk(files, found) == 4
    app.extensions["housekeeping"].run_round()
    assert size_on_disk(files, found) == 0


def test_nothing_waits_for_the_time_of_a_file(files: PreparedFiles) -> None:
    """A thread for each file that was ever prepared would keep all of them, for an hour."""
    before = threading.active_count()
    for _ in range(5):
        prepared(files, job())
    assert threading.active_count() <= before


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_all_processes_of_a_server_share_the_files(files: PreparedFiles) -> None:
    files.share()
    ready, signal_parent = os.pipe()
    child = os.fork()
    if not child:
        try:
            found = prepared(files, job())
            os.write(signal_parent, found.id.encode())
            threading.Event().wait(60)
        finally:
            os._exit(1)
    found = files.find(os.read(ready, 100).decode(), ME)
    assert found
    reader = files.open(found, 0, 4)
    assert reader
    assert reader.read(4) == b"text"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    reader = files.open(found, 0, 4)
    assert reader
    assert reader.read(4) == b"text", "it outlives the process that prepared it"


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_file_whose_process_ends_has_failed(files: PreparedFiles) -> None:
    files.share()
    ready, signal_parent = os.pipe()
    child = os.fork()
    if not child:
        file_id = files.request(job(lambda out, _: threading.Event().wait(60) and ()), ME)
        os.write(signal_parent, file_id.encode())
        threading.Event().wait(60)
        os._exit(1)
    file_id = os.read(ready, 100).decode()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    found = files.find(file_id, ME)
    assert found
    assert (found.state, found.problem) == ("failed", "other")


def test_what_is_being_prepared_is_not_prepared_twice(files: PreparedFiles) -> None:
    gate = threading.Event()
    same = job(lambda out, _: gate.wait(20) and (), content="same")
    first = files.request(same, ME)
    assert files.request(same, ME) == first
    assert files.request(same, OTHER) != first
    gate.set()
    files.wait()
    assert files.request(same, ME) != first


def test_a_bounded_number_is_prepared_at_once(files: PreparedFiles) -> None:
    gate, running, most = threading.Event(), [0], [0]

    def write(_: IO[bytes], progress: Progress) -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        gate.wait(0.05)
        running[0] -= 1

    for _ in range(6):
        files.request(job(write), ME)
    files.wait()
    assert most == [prepared_files.WORKERS]
    assert {file.state for file in files._files.read().values()} == {"ready"}


def test_the_oldest_finished_file_makes_room_and_none_that_is_being_prepared(
    files: PreparedFiles, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared_files, "MAX_FILES", 2)
    oldest = prepared(files, job())
    clock.advance(1)
    newer = prepared(files, job())
    gate = threading.Event()
    waiting = files.request(job(lambda out, _: gate.wait(20) and ()), ME)
    assert files.find(oldest.id, ME) is None
    assert files.find(newer.id, ME)
    also_waiting = files.request(job(lambda out, _: gate.wait(20) and ()), ME)
    with pytest.raises(TooManyFiles):
        files.request(job(), ME)
    gate.set()
    files.wait()
    assert all(files.find(each, ME) for each in (waiting, also_waiting))


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (OSError(errno.ENOSPC, "full"), "full"),
        (OSError(errno.EIO, "broken"), "other"),
        (peewee.OperationalError("/a/secret/path"), "storage"),
        (ValueError("a secret"), "other"),
    ],
)
def test_what_fails_is_removed_and_says_why_without_details(
    files: PreparedFiles, caplog: pytest.LogCaptureFixture, error: Exception, problem: str
) -> None:
    found = prepared(files, job(raises(error)))
    assert (found.state, found.problem, found.size) == ("failed", problem, 0)
    assert "secret" not in caplog.text
    assert "could not be prepared" in caplog.text


def free(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(size, 0, size))


def test_a_file_that_does_not_fit_is_refused_before_it_is_begun(
    files: PreparedFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    free(monkeypatch, prepared_files.RESERVED_BYTES + 1_000)
    files.request(job(size=1_000), ME)
    with pytest.raises(DiskFull):
        files.request(job(size=1_001), ME)


def test_a_file_that_grows_larger_than_the_disk_has_room_for_is_given_up(
    files: PreparedFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(out: IO[bytes], progress: Progress) -> None:
        progress(1)
        free(monkeypatch, prepared_files.RESERVED_BYTES - 1)
        progress(2)

    found = prepared(files, job(write))
    assert (found.state, found.problem, found.written) == ("failed", "full", 2)


def test_a_file_that_has_lost_bytes_is_not_read_as_a_shorter_one(files: PreparedFiles) -> None:
    found = prepared(files, job())
    os.ftruncate(files._slots[found.slot], 2)
    reader = files.open(found, 0, 4)
    assert reader
    assert reader.read(4) == b"te"
    with pytest.raises(OSError, match="lost bytes"):
        reader.read(4)
