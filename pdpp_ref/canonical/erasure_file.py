"""The list of erasures in a file next to an SQLite database, so that a restored backup catches up with it.

Each change of the list is a line: its number, `erase` or `allow`, and the HMAC.  The file is named after
the key of the HMACs: databases with another key have another file, and copies share one.
"""

import hashlib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .. import private_files
from ..database import db, execute, fetch_all, fetch_as, write_transaction
from . import erased, erasure
from .erased import Entry, Names
from .errors import StreamNotFound
from .key_states import stored_keys

log = logging.getLogger(__name__)

FILES_PER_PAGE = 2_000
_LINE = re.compile(r"(\d{1,18}) (erase|allow) ([0-9a-f]{64})")


def follow(folder: Path) -> None:
    """Bring the database and its file in `folder` to the same state.

    If the file is ahead, the database is a restored backup: what was erased since is erased again.
    Otherwise the database is right, and lines that the file lacks are added.  Raises Busy, OSError or
    peewee.DatabaseError; the next call does the rest.
    """
    if not db.leaves_remnants:
        return  # PostgreSQL's backups are made and restored by other programs
    secret, number = _state()
    path = _path(folder, secret)
    missed = [each for each in _entries(path) if each.number > number]
    if missed:
        _erase_again(secret, missed)
    add_missing_lines(folder)


def add_missing_lines(folder: Path) -> None:
    """After a change of the list.  The lines are on disk when this returns.  Raises OSError."""
    if not db.leaves_remnants:
        return
    secret, number = _state()
    path = _path(folder, secret)
    last = max((each.number for each in _entries(path)), default=0)
    if last < number:
        _append(path, erased.entries_after(last))


def _state() -> tuple[str, int]:
    ((secret, number),) = fetch_all("SELECT erasure_key, last_erasure FROM pdpp_ref_schema")
    return secret, number


def _path(folder: Path, secret: str) -> Path:
    return folder / f"erasures-{hashlib.sha256(secret.encode()).hexdigest()[:16]}.list"


# ---- the file ----------------------------------------------------------------------------------


def _entries(path: Path) -> list[Entry]:
    """The lines of the file; one that a crash has cut off is left out."""
    try:
        lines = path.read_text("ascii", "replace").splitlines()
    except FileNotFoundError:
        return []
    found = [_LINE.fullmatch(line) for line in lines]
    return [Entry(int(line[1]), line[3], line[2] == "allow") for line in found if line]


def _append(path: Path, entries: list[Entry]) -> None:
    private_files.make_folder(path.parent)
    is_new = not path.exists()
    text = "".join(
        f"{each.number} {'allow' if each.allowed else 'erase'} {each.hmac}\n" for each in entries
    )
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        # An empty line before them ends one that was cut off.
        os.write(descriptor, b"\n" + text.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_new:
        private_files.sync_folder(path.parent)


# ---- a restored backup -------------------------------------------------------------------------


def _erase_again(secret: str, missed: list[Entry]) -> None:
    """The number is stored last, so that an interrupted run begins again."""
    log.warning("the database is older than its list of erasures: %d are carried out again", len(missed))
    latest = {each.hmac: each for each in sorted(missed)}
    with write_transaction():
        erased.store(latest.values())
    wanted = {each.hmac for each in latest.values() if not each.allowed}
    for names in _stored_names():
        if erased.hmac_of(secret, names) in wanted:
            try:
                erasure.erase_again(names)
            except StreamNotFound:
                continue
    with write_transaction():
        execute(
            """
            UPDATE pdpp_ref_schema
            SET last_erasure = CASE WHEN last_erasure < ? THEN ? ELSE last_erasure END,
                cleaned_pages = 0
            """,
            [max(each.number for each in missed)] * 2,
        )


class _Stream(NamedTuple):
    id: int
    name: str
    connection_id: int
    connection: str


def _stored_names() -> Iterator[Names]:
    """Every record that has a version or a file, and every file; read in pages, without a lock."""
    for stream in fetch_as(
        _Stream,
        """
        SELECT s.id, s.name, c.id, c.connector_instance_id
        FROM streams s
        JOIN connections c ON c.id = s.connection_id
        ORDER BY s.id
        """,
    ):
        for table in ("records", "retained_size_record"):
            for key in stored_keys(table, stream.id):
                yield Names(stream.connection, stream.name, key)
        for key, sha256 in (*_bound_files(stream.id), *_unclaimed_files(stream)):
            yield Names(stream.connection, stream.name, key)
            yield Names(stream.connection, stream.name, key, sha256)


def _bound_files(stream_id: int) -> Iterator[tuple[str, str]]:
    after = ("", "")
    while page := fetch_all(
        """
        SELECT key, sha256
        FROM blob_bindings
        WHERE stream_id = ? AND (key, sha256) > (?, ?)
        ORDER BY key, sha256
        LIMIT ?
        """,
        (stream_id, *after, FILES_PER_PAGE),
    ):
        yield from page
        after = page[-1]


def _unclaimed_files(stream: _Stream) -> list[tuple[str, str]]:
    return fetch_all(
        """
        SELECT key, sha256
        FROM unclaimed_files
        WHERE connection_id = ? AND stream_name = ?
        """,
        (stream.connection_id, stream.name),
    )
