"""On SQLite, a rebuild counts streams before it locks the file."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import apsw
import pytest

from pdpp_ref.canonical import records
from pdpp_ref.database import db
from pdpp_ref.operations import verify
from pdpp_ref.projection import counting
from pdpp_ref.services import reconcile
from tests.support.factories import DatabaseProbe, traced, upsert, write

pytestmark = [pytest.mark.usefixtures("app"), pytest.mark.only("sqlite")]

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


def test_a_rebuild_counts_once_if_nobody_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    write(*SMALL_STREAMS)
    count, in_write = counting._count_streams, []

    def watched(*arguments: Any) -> Any:
        in_write.append(db.connection().txn_state() == apsw.SQLITE_TXN_WRITE)
        return count(*arguments)

    monkeypatch.setattr(counting, "_count_streams", watched)
    reconcile.begin_rebuild()
    assert reconcile.finish_rebuild().fresh
    assert in_write == [False]


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


def test_behind_a_large_stream_others_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes several passes, in which the others' turn does not come."""
    monkeypatch.setattr("pdpp_ref.projection.record_rollups.CHUNK_VERSIONS", 2)
    monkeypatch.setattr("pdpp_ref.projection.record_rollups.CHUNK_ROWS", 2)
    write(*(upsert(f"key {number}", version, "large") for version in range(2) for number in range(9)))
    write(*SMALL_STREAMS)
    count, counted, passes = counting._count_streams, Counter[int](), []

    def watched(stream_ids: Any, through: int) -> Any:
        counted.update(stream_ids)
        return count(stream_ids, through)

    monkeypatch.setattr(counting, "_count_streams", watched)
    reconcile.begin_rebuild()
    done = reconcile.run_until_fresh(reconcile.Limits(rows=100, seconds=0), passes.append)
    assert done.fresh
    assert len(passes) > 3
    assert set(counted.values()) == {1}
    assert list(verify.differences()) == []
