"""On SQLite, a rebuild counts streams before it locks the file."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import apsw
import peewee
import pytest

from pdpp_ref.canonical import records
from pdpp_ref.database import db
from pdpp_ref.operations import verify
from pdpp_ref.projection import counting
from pdpp_ref.services import reconcile
from tests.support.factories import DatabaseProbe, traced, upsert, write

pytestmark = [pytest.mark.usefixtures("app"), pytest.mark.only("sqlite")]

MANY_STREAMS, HELPER = 12, "count_0"
SMALL_STREAMS = [upsert(f"key {number}", 1, f"stream {number}") for number in range(3)]


def write_elsewhere() -> records.Counts:
    """With another connection."""
    try:
        return write(upsert("new", 1, "stream 1"))
    finally:
        db.close()


@pytest.mark.parametrize("damage", ["", "UPDATE retained_size_stream SET record_count = 99"])
def test_others_write_while_a_rebuild_counts(
    damage: str, probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was counted before such a write is not used."""
    write(*SMALL_STREAMS)
    count, written = counting._count_streams, []

    def count_and_write(*arguments: Any) -> Any:
        found = count(*arguments)
        if not written:
            with ThreadPoolExecutor(1) as threads:
                written.append(threads.submit(write_elsewhere).result())
        return found

    monkeypatch.setattr(counting, "_count_streams", count_and_write)
    reconcile.begin_rebuild()
    if damage:
        probe(damage)
    assert reconcile.finish_rebuild().fresh
    assert len(written) == 1, "it was not locked"
    assert list(verify.differences()) == []


def test_a_rebuild_counts_once_if_nobody_writes(
    probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(*SMALL_STREAMS)
    count, in_write = counting._count_streams, []

    def watched(*arguments: Any) -> Any:
        in_write.append(db.connection().txn_state() == apsw.SQLITE_TXN_WRITE)
        return count(*arguments)

    monkeypatch.setattr(counting, "_count_streams", watched)
    reconcile.begin_rebuild()
    assert reconcile.finish_rebuild().fresh
    assert in_write == [False]
    assert probe("SELECT DISTINCT dirty, rollups_dirty FROM retained_size_stream") == [(False, False)]


def test_a_failure_while_counting_ahead_is_no_failure_of_the_pass(probe: DatabaseProbe) -> None:
    write(*SMALL_STREAMS)
    reconcile.begin_rebuild()
    seen: list[str] = []

    def fail(sql: str) -> None:
        if "SUM(version)" in sql and not seen:
            seen.append(sql)
            raise apsw.CorruptError("database disk image is malformed")

    with traced(fail):
        assert reconcile.finish_rebuild().fresh
    assert seen
    assert list(verify.differences()) == []


class Watched:
    """Counts of many streams, by two threads: which streams and threads, and what happens meanwhile."""

    def __init__(self) -> None:
        self.threads: set[str] = set()
        self.first: Sequence[int] = []
        self.counted = Counter[int]()
        self.meanwhile: Callable[[str], object] = lambda thread: None
        self._both_count = threading.Barrier(2, timeout=60)
        self._count = counting._count_streams

    def __call__(self, stream_ids: Sequence[int]) -> Any:
        thread = threading.current_thread().name
        if thread not in self.threads:
            self.threads.add(thread)
            self._both_count.wait()
        self.first = self.first or stream_ids
        self.counted.update(stream_ids)
        self.meanwhile(thread)
        return self._count(stream_ids)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    write(*(upsert(f"key {number}", 1, f"stream {number}") for number in range(MANY_STREAMS)))
    found = Watched()
    monkeypatch.setattr("pdpp_ref.projection.ahead.CHUNK_VERSIONS", 1)
    monkeypatch.setattr(counting, "_count_streams", found)
    return found


def test_two_threads_count_many_streams(watched: Watched) -> None:
    connections = len(apsw.connections())
    reconcile.begin_rebuild()
    assert reconcile.finish_rebuild().fresh
    assert watched.threads == {"MainThread", HELPER}
    assert list(watched.counted.values()) == [1] * MANY_STREAMS
    assert len(apsw.connections()) == connections, "the second thread has closed its own"
    assert list(verify.differences()) == []


@pytest.mark.parametrize("counting_thread", ["MainThread", HELPER])
def test_a_write_while_two_threads_count_is_noticed(watched: Watched, counting_thread: str) -> None:
    written: list[records.Counts] = []

    def write_once(thread: str) -> None:
        if thread == counting_thread and not written:
            with ThreadPoolExecutor(1) as threads:
                written.append(threads.submit(write_elsewhere).result())

    watched.meanwhile = write_once
    reconcile.begin_rebuild()
    assert reconcile.finish_rebuild().fresh
    assert written
    assert watched.counted[watched.first[0]] > 1, "what was counted before is not used"
    assert list(verify.differences()) == []


@pytest.mark.parametrize("counting_thread", ["MainThread", HELPER])
def test_a_failure_of_either_thread_is_none_of_the_pass(watched: Watched, counting_thread: str) -> None:
    failed: list[str] = []

    def fail_once(thread: str) -> None:
        if thread == counting_thread and not failed:
            failed.append(thread)
            raise peewee.DatabaseError("database disk image is malformed")

    watched.meanwhile = fail_once
    reconcile.begin_rebuild()
    assert reconcile.finish_rebuild().fresh
    assert failed
    assert list(verify.differences()) == []


def test_behind_a_large_stream_others_are_counted_once(
    probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes several passes, in which the others' turn does not come."""
    monkeypatch.setattr("pdpp_ref.projection.record_rollups.CHUNK_VERSIONS", 2)
    monkeypatch.setattr("pdpp_ref.projection.record_rollups.CHUNK_ROWS", 2)
    write(*(upsert(f"key {number}", version, "large") for version in range(2) for number in range(9)))
    write(*SMALL_STREAMS)
    probe("DELETE FROM retained_size_record")
    count, counted, passes = counting._count_streams, Counter[int](), []

    def watched(stream_ids: Any) -> Any:
        counted.update(stream_ids)
        return count(stream_ids)

    monkeypatch.setattr(counting, "_count_streams", watched)
    reconcile.begin_rebuild()
    done = reconcile.run_until_fresh(reconcile.Limits(rows=100, seconds=0), passes.append)
    assert done.fresh
    assert len(passes) > 3
    assert set(counted.values()) == {1}
    assert list(verify.differences()) == []
