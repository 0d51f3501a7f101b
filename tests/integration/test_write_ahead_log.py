"""SQLite's write-ahead log: it does not grow without end, however many readers there are."""

import os
import threading
from pathlib import Path

import pytest

from pdpp_ref.database import (
    checkpoints,
    db,
    fetch_all,
    read_snapshot,
)
from tests.conftest import Backend
from tests.support.factories import fill, upsert, write

pytestmark = [pytest.mark.only("sqlite"), pytest.mark.usefixtures("app"), pytest.mark.slow]


def test_the_log_stays_bounded_while_some_reader_is_always_at_work(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "LOG_PAGES", 1_000)
    monkeypatch.setattr(checkpoints, "LONG_LOG_PAGES", 1_000)
    monkeypatch.setattr(checkpoints, "LONG_LOG_SECONDS", 0.05)
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            with read_snapshot():
                fetch_all("SELECT * FROM retained_size_global")
                fetch_all("SELECT COUNT(*) FROM records")
        db.close()

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    try:
        fill(16_000, size=2_000)  # 70 MB of log, were it not begun anew
    finally:
        ended.set()
        for reader in readers:
            reader.join()
    assert os.path.getsize(tmp_path / "test.sqlite3-wal") < 40_000_000


def test_a_reader_that_stays_holds_up_no_writer_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "LOG_PAGES", 1)
    monkeypatch.setattr(checkpoints, "LONG_LOG_PAGES", 1)
    monkeypatch.setattr(checkpoints, "LONG_LOG_SECONDS", 0)
    began, ended = threading.Event(), threading.Event()

    def stay() -> None:
        with read_snapshot():
            fetch_all("SELECT COUNT(*) FROM records")
            began.set()
            ended.wait(20)
        db.close()

    reader = threading.Thread(target=stay)
    reader.start()
    began.wait(20)
    try:
        for number in range(5):
            assert write(upsert(f"{number}")).created == 1
    finally:
        ended.set()
        reader.join()
    assert fetch_all("PRAGMA busy_timeout") == [(5000,)]
