"""Files: stored once, counted where they are held, gone when nothing holds them."""

import hashlib
from collections.abc import Iterator
from typing import Any

import peewee
import pytest

from pdpp_ref.canonical import blobs, deletion, retention
from pdpp_ref.canonical.errors import BlobTooLarge, DigestMismatch, NotFound
from pdpp_ref.operations import verify
from pdpp_ref.services import reconcile
from tests.support.factories import DatabaseProbe, delete, mark, remove_deleted, stored, upsert, write

pytestmark = pytest.mark.usefixtures("app")


def store(key: str = "a", content: bytes = b"a file", **more: Any) -> blobs.Stored:
    return blobs.store("laptop", "notes", key, iter([content[:2], content[2:]]), **more)


def counted(probe: DatabaseProbe) -> tuple[Any, ...]:
    return probe("SELECT blob_count, blob_bytes, dirty FROM retained_size_global")[0]


def test_a_file_is_bound_and_counted(probe: DatabaseProbe) -> None:
    write(upsert("a"))
    digest = hashlib.sha256(b"a file").hexdigest()
    assert store() == blobs.Stored(digest, 6, created=True)
    assert counted(probe) == (1, 6, 0)
    assert list(verify.differences()) == []


def test_the_same_again_is_a_no_op(probe: DatabaseProbe) -> None:
    write(upsert("a"))
    store()
    before = stored()
    assert not store().created
    assert stored() == before


def test_two_records_hold_one_file(probe: DatabaseProbe) -> None:
    write(upsert("a"), upsert("b"))
    store("a")
    store("b")
    assert probe("SELECT COUNT(*) FROM blobs") == [(1,)]
    assert counted(probe) == (2, 12, 0)
    assert list(verify.differences()) == []


def test_a_large_file_is_stored_in_parts_and_whole(probe: DatabaseProbe) -> None:
    write(upsert("a"))
    content = bytes(range(256)) * 10_000
    store(content=content)
    parts = probe("SELECT data FROM blob_chunks ORDER BY number")
    assert len(parts) == 3
    assert b"".join(part for (part,) in parts) == content


def test_a_record_that_is_not_there_takes_no_file(probe: DatabaseProbe) -> None:
    for place in (("laptop", "notes"), ("laptop", "other"), ("nobody", "notes")):
        with pytest.raises(NotFound):
            blobs.store(*place, "a", iter([b"x"]))
        write(upsert("b"))
    assert probe("SELECT COUNT(*) FROM blobs") == [(0,)]


def test_what_is_too_large_or_not_as_announced_leaves_nothing(
    probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(upsert("a"))
    monkeypatch.setattr(blobs, "MAX_BYTES", 5)
    with pytest.raises(BlobTooLarge):
        store(content=b"123456")
    with pytest.raises(DigestMismatch):
        store(content=b"12345", sha256="0" * 64)
    assert store(content=b"12345", sha256=hashlib.sha256(b"12345").hexdigest().upper()).created
    assert probe("SELECT COUNT(*) FROM blobs") == [(1,)]


def test_a_sender_that_breaks_off_leaves_nothing(probe: DatabaseProbe) -> None:
    def broken() -> Iterator[bytes]:
        yield b"x" * 3_000_000
        raise ConnectionResetError

    write(upsert("a"))
    with pytest.raises(ConnectionResetError):
        blobs.store("laptop", "notes", "a", broken())
    assert probe("SELECT (SELECT COUNT(*) FROM blobs), (SELECT COUNT(*) FROM blob_chunks)") == [(0, 0)]


@pytest.mark.parametrize("place", ["blobs", "blob_chunks", "blob_bindings", "retained_size_record"])
def test_a_failure_at_any_step_leaves_nothing(probe: DatabaseProbe, place: str) -> None:
    write(upsert("a"))
    probe.fail(f"INSERT ON {place}")
    before = stored()
    with pytest.raises(peewee.DatabaseError):
        store()
    probe.restore()
    assert stored() == before
    assert probe("SELECT COUNT(*) FROM blobs") == [(0,)]
    assert store().created


def test_a_failed_delta_marks_and_keeps_the_file(probe: DatabaseProbe) -> None:
    write(upsert("a"))
    probe.fail("UPDATE OF blob_count ON retained_size_connection")
    assert store().created
    assert counted(probe) == (0, 0, 1)
    probe.restore()
    assert probe.wrong_but_clean() == []


def test_a_marked_stream_takes_a_file(probe: DatabaseProbe) -> None:
    write(upsert("a"))
    mark("laptop", "notes")
    store()
    assert probe.wrong_but_clean() == []


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM retained_size_record WHERE key = 'a'",
        "UPDATE records SET has_rollup = FALSE WHERE key = 'a'",
    ],
)
def test_a_record_whose_row_is_lost_takes_a_file_and_marks_its_stream(
    damage: str, probe: DatabaseProbe
) -> None:
    write(upsert("a", 1), upsert("a", 2), upsert("b"))
    probe(damage)
    assert store().created
    assert probe("SELECT dirty, rollups_dirty FROM retained_size_stream") == [(1, 1)]
    reconcile.run_until_fresh()
    assert probe("SELECT key, record_history_count, blob_count FROM retained_size_record") == [("a", 2, 1)]
    assert list(verify.differences()) == []


def test_a_deleted_record_keeps_its_file_until_only_its_tombstone_is_left(probe: DatabaseProbe) -> None:
    write(upsert("a"), upsert("b"))
    store("a")
    store("b")
    write(delete("a"))
    assert counted(probe) == (2, 12, 0)
    retention.prune(2)
    assert counted(probe) == (2, 12, 0)
    retention.prune(1)
    assert counted(probe) == (1, 6, 0)
    assert probe("SELECT COUNT(*) FROM blobs") == [(1,)], "the other record holds it"
    write(delete("b"))
    retention.prune(1)
    assert probe("SELECT (SELECT COUNT(*) FROM blobs), (SELECT COUNT(*) FROM blob_chunks)") == [(0, 0)]
    assert list(verify.differences()) == []


@pytest.mark.parametrize("whole", [True, False])
def test_files_go_with_what_held_them(probe: DatabaseProbe, whole: bool) -> None:
    write(upsert("a"))
    write(upsert("a"), connection="phone")
    store()
    blobs.store("laptop", "notes", "a", iter([b"another"]))
    blobs.store("phone", "notes", "a", iter([b"a file"]))
    if whole:
        deletion.delete_connection("laptop")
    else:
        deletion.delete_stream("laptop", "notes")
    remove_deleted()
    assert probe("SELECT byte_length FROM blobs") == [(6,)]
    assert probe("SELECT COUNT(*) FROM blob_chunks") == [(1,)]
