"""After an erasure no file of an SQLite database has the bytes, and space is given back."""

import random
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from pdpp_ref import database
from pdpp_ref.canonical import blobs, erasure, retention
from pdpp_ref.canonical.erased import Names
from pdpp_ref.database import DiskTooFull, db, unused_space
from pdpp_ref.services import cleaning
from tests.support.factories import DatabaseProbe, delete, fill, upsert, write

pytestmark = [pytest.mark.only("sqlite"), pytest.mark.usefixtures("app")]

A = Names("laptop", "notes", "a")
MARK = b"a very personal text"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def files_with(folder: Path, mark: bytes) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and mark in path.read_bytes()]


def erase(names: Names = A) -> list[str]:
    erasure.erase(names)
    return cleaning.clean(10)


def write_marked() -> None:
    write(upsert("a", MARK.decode()), upsert("b"))
    write(upsert("a", MARK.decode() * 1000))
    blobs.store("laptop", "notes", "a", iter([MARK * 100_000]))


def test_no_file_has_the_bytes(folder: Path) -> None:
    write_marked()
    assert files_with(folder, MARK)
    assert erase() == []
    assert files_with(folder, MARK) == []


def scatter(chance: random.Random) -> list[str]:
    """Write records of all lengths, in any order, so that SQLite moves them between pages.  Returns keys."""
    names = [f"{chance.randrange(10**9):09}-key" for _ in range(1_500)]
    for start in range(0, len(names), 10):
        part = names[start : start + 10]
        again = chance.choices(names[: start + 10], k=3)
        write(*(upsert(key, f"{key} {'x' * chance.choice((5, 60, 300, 900, 5_000))}") for key in part))
        write(*(upsert(key, f"{key} {'y' * chance.choice((5, 60, 300, 900, 5_000))}") for key in again))
    return names


def keys_in_files(folder: Path) -> set[str]:
    texts = [path.read_bytes() for path in folder.iterdir() if path.is_file()]
    return {each.decode() for text in texts for each in re.findall(rb"\d{9}-key", text)}


@pytest.mark.slow
def test_no_copy_stays_where_rows_have_moved(folder: Path, probe: DatabaseProbe) -> None:
    """Not even in pages that another connection has cached, and writes back."""
    chance = random.Random(7)
    names = scatter(chance)
    gone = chance.sample(names, 700)
    for key in gone:
        erasure.erase(Names("laptop", "notes", key))
    probe("PRAGMA cache_size = -100000")
    probe("SELECT SUM(LENGTH(data)) FROM record_changes")
    probe("PRAGMA wal_checkpoint(TRUNCATE)")
    assert keys_in_files(folder) & {*gone}, "this trial leaves no such copies, so it shows nothing"
    while not db.clean_pages(50):
        pass
    probe("UPDATE record_changes SET ingested_at = REPLACE(ingested_at, 'Z', 'z')")
    probe("PRAGMA wal_checkpoint(TRUNCATE)")
    assert keys_in_files(folder) == {*names} - {*gone}
    assert not probe.is_corrupt()


def test_a_reader_delays_cleaning_and_a_later_step_does_it(folder: Path, probe: DatabaseProbe) -> None:
    write_marked()
    probe("BEGIN")
    probe("SELECT COUNT(*) FROM records")
    erasure.erase(A)
    assert cleaning.clean(0.01) == ["unused_space"]
    assert files_with(folder, MARK)
    probe("COMMIT")
    while cleaning.step():
        pass
    assert files_with(folder, MARK) == []
    assert cleaning.clean(0) == []


def test_an_erasure_during_cleaning_begins_it_again(probe: DatabaseProbe) -> None:
    fill(2_000)
    erasure.erase(A._replace(key="0000001"))
    assert not db.clean_pages(3)
    assert probe("SELECT cleaned_pages FROM pdpp_ref_schema") == [(3,)]
    erasure.erase(A._replace(key="0000002"))
    assert probe("SELECT cleaned_pages, cleaned_erasure FROM pdpp_ref_schema") == [(0, 0)]
    assert cleaning.clean(10) == []
    assert probe("SELECT cleaned_pages, cleaned_erasure FROM pdpp_ref_schema") == [(0, 2)]


def test_pages_of_a_very_large_file_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, probe: DatabaseProbe
) -> None:
    """There a page of a long text could look like another one."""
    monkeypatch.setattr(unused_space, "_MOST_PAGES", 1)
    monkeypatch.setattr(unused_space, "_overwrite", None)
    write(upsert("a"))
    assert erase() == ["old_space"]


def test_a_long_text_that_looks_like_a_page_of_rows_is_not_touched(probe: DatabaseProbe) -> None:
    texts = ["\x02\x05\n\r" * 5_000, "\r" * 20_000]
    for number, text in enumerate(texts):
        write(upsert(str(number), text))
        blobs.store("laptop", "notes", str(number), iter([text.encode() * 100]))
    before = probe("SELECT data FROM records"), probe("SELECT data FROM blob_chunks")
    write(upsert("a"))
    erase()
    assert (probe("SELECT data FROM records"), probe("SELECT data FROM blob_chunks")) == before
    assert not probe.is_corrupt()


# ---- a database from before -----------------------------------------------------------------------


def of_before(folder: Path) -> DatabaseProbe:
    """Deleted bytes are in its free space."""
    probe = DatabaseProbe(folder / "test.sqlite3")
    probe("PRAGMA secure_delete = OFF")
    probe("CREATE TABLE old (data TEXT)")
    probe("INSERT INTO old VALUES (?)", MARK.decode() * 1_000)
    probe("DROP TABLE old")
    probe("UPDATE pdpp_ref_schema SET has_remnants = TRUE")
    return probe


def test_a_database_of_an_earlier_version_is_clean_once_compacted(folder: Path) -> None:
    write(upsert("a"))
    of_before(folder).close()
    assert erase() == ["old_space"]
    assert files_with(folder, MARK)
    db.compact()
    assert files_with(folder, MARK) == []
    assert cleaning.clean(0) == []


# ---- compacting ------------------------------------------------------------------------------------


def test_compacting_returns_space_and_changes_nothing_else(folder: Path, probe: DatabaseProbe) -> None:
    fill(1_500)
    columns = "key, version, data, json_bytes, ingested_at"
    stored = probe(f"SELECT {columns} FROM records WHERE key >= '0001400'")
    write(*(delete(f"{number:07}") for number in range(1_400)))
    retention.prune(1)
    before, after = db.compact()
    assert after < before / 2
    assert (folder / "test.sqlite3").stat().st_size == after
    assert unused_space.log_bytes(str(folder / "test.sqlite3")) == 0
    assert probe(f"SELECT {columns} FROM records") == stored
    assert probe.wrong_but_clean() == []


def test_compacting_waits_for_nobody_for_ever(
    folder: Path, probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(database.PRAGMAS, "busy_timeout", 50)
    write(upsert("a"))
    with probe.busy(), pytest.raises(Exception, match=r"[Bb]usy|locked"):
        db.compact()


@pytest.mark.parametrize("same_disk", [True, False])
def test_space_is_checked_first(folder: Path, monkeypatch: pytest.MonkeyPatch, same_disk: bool) -> None:
    fill(2_000)
    needed = (folder / "test.sqlite3").stat().st_size + unused_space.log_bytes(db.database)
    free = SimpleNamespace(free=needed // 3 if not same_disk else needed)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    other = SimpleNamespace(stat=lambda: SimpleNamespace(st_dev=-1))
    monkeypatch.setattr(unused_space, "_temporary_folder", lambda: folder if same_disk else other)
    with pytest.raises(DiskTooFull, match="temporary folder"):
        db.compact()


def test_temporary_data_is_on_disk_where_sqlite_puts_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQLITE_TMPDIR", str(folder / "missing"))
    monkeypatch.setenv("TMPDIR", str(folder))
    assert unused_space._temporary_folder() == folder
    with db._another_connection() as connection:
        assert connection.pragma("temp_store") == 0  # the default, which is a file


# ---- the log ---------------------------------------------------------------------------------------


def test_a_long_log_is_emptied_while_nobody_uses_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, probe: DatabaseProbe
) -> None:
    log = folder / "test.sqlite3-wal"
    monkeypatch.setattr("pdpp_ref.database.whole_file.LONG_LOG_PAGES", 1_000)
    probe("BEGIN")
    probe("SELECT COUNT(*) FROM records")
    blobs_size = 12 * 1024 * 1024
    write(upsert("a"))
    blobs.store("laptop", "notes", "a", iter([bytes(blobs_size)]))
    assert log.stat().st_size > blobs_size
    assert not cleaning.shorten_log()  # a reader holds it
    assert log.stat().st_size > blobs_size
    probe("COMMIT")
    assert not cleaning.shorten_log()
    assert log.stat().st_size == 0


def test_the_log_has_a_limit_for_every_connection() -> None:
    assert db.execute_sql("PRAGMA journal_size_limit").fetchone() == (32 * 1024 * 1024,)
    assert db.execute_sql("PRAGMA secure_delete").fetchone() == (1,)
