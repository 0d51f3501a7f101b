"""What was erased stays erased after a backup is restored or everything is copied."""

import logging
import os
import shutil
import stat
from pathlib import Path

import pytest

from pdpp_ref import database, migrations
from pdpp_ref.canonical import blobs, erased, erasure, erasure_file
from pdpp_ref.canonical.erased import Names
from pdpp_ref.database import db
from pdpp_ref.operations import transfer, verify
from tests.support.factories import DatabaseProbe, delete, upsert, write

pytestmark = [pytest.mark.only("sqlite"), pytest.mark.usefixtures("app")]

A, B = Names("laptop", "notes", "a"), Names("laptop", "notes", "b")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "instance"


def list_file(folder: Path) -> Path:
    (found,) = folder.glob("erasures-*.list")
    return found


def lines(folder: Path) -> list[str]:
    return [line.rsplit(" ", 1)[0] for line in list_file(folder).read_text().split("\n") if line]


def restore(backup: Path) -> None:
    """Put a backup in the database's place."""
    file = Path(db.database)
    db.close()
    for suffix in ("-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
    shutil.move(backup, file)
    database.connect(f"sqlite:///{file}", Path())
    migrations.prepare()


def test_each_change_is_a_line(folder: Path) -> None:
    write(upsert("a"), upsert("b"))
    for change in (erasure.erase, erasure.allow, erasure.erase):
        change(A)
        erasure_file.add_missing_lines(folder)
    assert lines(folder) == ["1 erase", "2 allow", "3 erase"]
    assert stat.S_IMODE(list_file(folder).stat().st_mode) == 0o600
    assert "laptop" not in list_file(folder).read_text()


def test_a_restored_backup_erases_again(
    folder: Path, tmp_path: Path, probe: DatabaseProbe, caplog: pytest.LogCaptureFixture
) -> None:
    write(upsert("a", 1), upsert("a", 2), upsert("b"), delete("gone-and-personal"), upsert("c"))
    write(upsert("gone-and-personal"), delete("gone-and-personal"))
    blobs.store("laptop", "notes", "c", iter([b"file"]))
    digest = probe("SELECT sha256 FROM blobs")[0][0]
    probe.close()
    backup = tmp_path / "backup"
    db.back_up(str(backup))
    for names in (A, Names("laptop", "notes", "gone-and-personal"), Names("laptop", "notes", "c", digest)):
        erasure.erase(names)
    erasure_file.add_missing_lines(folder)
    restore(backup)
    with caplog.at_level(logging.WARNING):
        erasure_file.follow(folder)
    assert "3 are carried out again" in caplog.text
    assert "personal" not in caplog.text
    with DatabaseProbe(Path(db.database)) as restored:
        assert restored("SELECT DISTINCT key FROM record_changes ORDER BY key") == [("b",), ("c",)]
        assert restored("SELECT 1 FROM blob_bindings") == restored("SELECT 1 FROM blobs") == []
        assert restored("SELECT last_erasure FROM pdpp_ref_schema") == [(3,)]
        assert restored("SELECT last_version = removed_through FROM streams") == [(1,)]
    assert list(verify.differences()) == []
    assert write(upsert("a")).erased == 1


def test_one_that_was_interrupted_begins_again(
    folder: Path, tmp_path: Path, probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(upsert("a"), upsert("b"))
    probe.close()
    db.back_up(str(tmp_path / "backup"))
    for names in (A, B):
        erasure.erase(names)
    erasure_file.add_missing_lines(folder)
    restore(tmp_path / "backup")
    with monkeypatch.context() as broken:
        broken.setattr(erasure, "erase_again", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            erasure_file.follow(folder)
    assert write(upsert("a", 2)).erased == 1
    erasure_file.follow(folder)
    assert database.fetch_all("SELECT key FROM records") == []


def test_an_erasure_that_was_allowed_again_is_not_repeated(folder: Path, tmp_path: Path) -> None:
    write(upsert("a"))
    db.back_up(str(tmp_path / "backup"))
    erasure.erase(A)
    erasure_file.add_missing_lines(folder)
    erasure.allow(A)
    erasure_file.add_missing_lines(folder)
    restore(tmp_path / "backup")
    erasure_file.follow(folder)
    assert database.fetch_all("SELECT key FROM records") == [("a",)]
    assert write(upsert("a", 2)).updated == 1


def test_a_file_that_is_behind_is_completed(folder: Path) -> None:
    write(upsert("a"))
    erasure.erase(A)
    erasure_file.follow(folder)
    assert lines(folder) == ["1 erase"]
    erasure_file.follow(folder)
    assert lines(folder) == ["1 erase"]
    list_file(folder).unlink()
    erasure_file.follow(folder)
    assert lines(folder) == ["1 erase"]


def test_a_line_that_was_cut_off_is_written_again(folder: Path) -> None:
    write(upsert("a"))
    for names in (A, B):
        erasure.erase(names)
    erasure_file.add_missing_lines(folder)
    file = list_file(folder)
    os.truncate(file, file.stat().st_size - 10)
    erasure_file.follow(folder)
    entries = erasure_file._entries(file)
    assert [each.number for each in entries] == [1, 2]
    assert entries == erased.entries_after(0)


def test_another_database_has_another_file(folder: Path, tmp_path: Path) -> None:
    write(upsert("a"))
    erasure.erase(A)
    erasure_file.add_missing_lines(folder)
    with database.using(database.from_url(f"sqlite:///{tmp_path}/other.sqlite3", Path())):
        migrations.prepare()
        erasure_file.follow(folder)
        assert database.fetch_all("SELECT 1 FROM erasures") == []
        db.close()


def test_nothing_is_written_before_the_first_erasure(folder: Path) -> None:
    write(upsert("a"))
    erasure_file.follow(folder)
    assert not list(folder.glob("erasures*"))


def test_a_copy_has_the_list_and_its_key(folder: Path, tmp_path: Path) -> None:
    write(upsert("a"), upsert("b"))
    erasure.erase(A)
    target = database.from_url(f"sqlite:///{tmp_path}/copy.sqlite3", Path())
    transfer.copy(target)
    with database.using(target):
        assert write(upsert("a"), upsert("b")).erased == 1
        erasure_file.follow(folder)
        erasure.erase(B)
        assert write(upsert("b")).erased == 1
        db.close()
