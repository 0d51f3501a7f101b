"""A zip of lines and files: its names, its times, its size."""

import hashlib
import io
import os
import zipfile
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import pytest

from pdpp_ref.operations.archive import Archive

LONG = os.environ.get("PDPP_TEST_LONG") == "1"
# The long run passes the limits of a zip without Zip64: 65,535 entries, and 4 GiB in one of them.
ENTRIES, BLOCKS = (70_000, 4 * 1024 + 100) if LONG else (700, 20)
FILES = [b"", b"one", b"two" * 1_000_000]


def archive(*files: bytes) -> bytes:
    out = io.BytesIO()
    with Archive(out) as made:
        with made.lines() as write:
            write(b'{"a":1}\n')
            write(b'{"b":2}\n')
        for data in files:
            made.add_file(hashlib.sha256(data).hexdigest(), iter((data[:10], data[10:])))
    return out.getvalue()


def test_an_archive_has_the_lines_and_each_file_by_its_digest() -> None:
    with zipfile.ZipFile(io.BytesIO(archive(*FILES))) as found:
        assert found.testzip() is None
        assert found.read("records.jsonl") == b'{"a":1}\n{"b":2}\n'
        names = {f"files/{hashlib.sha256(data).hexdigest()}": data for data in FILES}
        assert set(found.namelist()) == {"records.jsonl", *names}
        for name, data in names.items():
            assert found.read(name) == data


def test_the_same_content_gives_the_same_bytes() -> None:
    made = archive(*FILES)
    assert made == archive(*FILES)
    with zipfile.ZipFile(io.BytesIO(made)) as found:
        assert {entry.date_time for entry in found.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_every_entry_is_ready_for_more_than_four_gigabytes() -> None:
    """A size that turns out too large can't be written into a header that has no place for it."""
    made = archive(b"small")
    with zipfile.ZipFile(io.BytesIO(made)) as found:
        for entry in found.infolist():
            extra = made[entry.header_offset + 30 + len(entry.filename) :][:2]
            assert extra == b"\x01\x00", entry.filename  # the id of the Zip64 field


def test_an_archive_that_fails_has_no_end() -> None:
    out = io.BytesIO()
    with pytest.raises(OSError, match="full"), Archive(out) as made, made.lines():
        raise OSError("full")
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(out)


def test_an_archive_holds_many_entries_and_large_ones(tmp_path: Path) -> None:
    block = bytes(2**20)

    def large() -> Iterator[bytes]:
        yield from repeat(block, BLOCKS)

    with (tmp_path / "large.zip").open("wb") as out, Archive(out) as made:
        with made.lines() as write:
            for _ in range(BLOCKS):
                write(block)
        for number in range(ENTRIES):
            made.add_file(f"{number:064x}", iter((b"%d" % number,)))
        made.add_file("f" * 64, large())
    with zipfile.ZipFile(tmp_path / "large.zip") as found:
        entries = found.infolist()
        assert len(entries) == ENTRIES + 2
        assert found.read(f"files/{ENTRIES - 1:064x}") == b"%d" % (ENTRIES - 1)
        for entry in (entries[0], entries[-1]):
            assert entry.file_size == BLOCKS * len(block)
            with found.open(entry) as read:
                assert sum(map(len, iter(lambda: read.read(2**22), b""))) == entry.file_size
