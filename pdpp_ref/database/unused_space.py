"""What is left of deleted rows in an SQLite file and its log.

With `secure_delete` SQLite overwrites what it deletes.  But when rows move to another page, copies stay in
the unused part of the page that they came from; if such a row is deleted later, its copy stays.  So after
an erasure the unused parts of all pages are overwritten, in steps.  Nobody reads these parts, so no reader
has to wait.  Other connections may have cached a page as it was, and would write it back: each step ends
with a commit, after which they read their pages again.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from .errors import DiskTooFull

# The types of pages that have rows or keys, by their first byte, and the length of their header.
_HEADERS = {2: 12, 5: 12, 10: 8, 13: 8}
_FIRST_PAGE_STARTS_AT = 100
# A page with a part of a long text begins with the number of the next one.  In a larger file, its first
# byte could look like one of those types.
_MOST_PAGES = 2 * 256**3
# Where SQLite puts temporary files: the first of these that it can write to.
_TEMPORARY = ("/var/tmp", "/usr/tmp", "/tmp", ".")  # noqa: S108


# ---- the log -----------------------------------------------------------------------------------


def log_bytes(path: str) -> int:
    """The size of the write-ahead log of a database."""
    try:
        return Path(os.path.realpath(path) + "-wal").stat().st_size
    except OSError:
        return 0


def clear_log(connection: apsw.Connection) -> bool:
    """Copy the log into the file and empty it.  False if somebody is using it."""
    try:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except apsw.BusyError:
        return False
    return True


@contextmanager
def _without_log(connection: apsw.Connection) -> Iterator[None]:
    """A write transaction with an empty log, so that all pages are in the file.  Raises apsw.BusyError."""
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    connection.execute("BEGIN IMMEDIATE")
    try:
        if log_bytes(connection.filename):
            raise apsw.BusyError("another writer came first")
        yield
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


# ---- pages -------------------------------------------------------------------------------------


def clean_pages(connection: apsw.Connection, most: int) -> bool:
    """Overwrite the unused parts of the next pages, at most so many.  Returns whether that was all.

    An erasure sets `cleaned_pages` to 0, so that cleaning begins again.
    """
    ((last, cleaned),) = connection.execute("SELECT last_erasure, cleaned_erasure FROM pdpp_ref_schema")
    if cleaned >= last:
        return True
    with _without_log(connection):
        pages, size = connection.pragma("page_count"), connection.pragma("page_size")
        if pages >= _MOST_PAGES:
            connection.execute(
                "UPDATE pdpp_ref_schema SET cleaned_erasure = last_erasure, has_remnants = 1"
            )
            return True
        ((position,),) = connection.execute("SELECT cleaned_pages FROM pdpp_ref_schema")
        end = min(position + most, pages)
        _overwrite(connection.filename, range(position, end), size)
        if end < pages:
            connection.execute("UPDATE pdpp_ref_schema SET cleaned_pages = ?", [end])
        else:
            connection.execute(
                "UPDATE pdpp_ref_schema SET cleaned_erasure = last_erasure, cleaned_pages = 0"
            )
    return bool(end == pages)


def _overwrite(path: str, pages: range, size: int) -> None:
    """Through SQLite's own functions: closing the file otherwise would release this process's locks."""
    flags = apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READWRITE
    file = apsw.VFSFile("", path, [flags, 0])
    try:
        for page in pages:
            content = file.xRead(size, page * size)
            unused = _unused(content, _FIRST_PAGE_STARTS_AT if page == 0 else 0)
            if content[unused].strip(b"\0"):
                file.xWrite(bytes(unused.stop - unused.start), page * size + unused.start)
        file.xSync(apsw.SQLITE_SYNC_FULL)
    finally:
        file.xClose()


def _unused(page: bytes, header: int) -> slice:
    """The part between the list of a page's cells and the first of them; empty for other pages."""
    length = _HEADERS.get(page[header])
    if length is None:
        return slice(0, 0)
    cells = int.from_bytes(page[header + 3 : header + 5], "big")
    first = int.from_bytes(page[header + 5 : header + 7], "big") or 65536
    return slice(header + length + 2 * cells, first)


# ---- compacting --------------------------------------------------------------------------------


def compact(connection: apsw.Connection) -> tuple[int, int]:
    """See `Sqlite.compact`.  Temporary data is on disk: that is the default of a connection."""
    path = os.path.realpath(connection.filename)
    before = _bytes(path)
    _check_room(connection, Path(path).parent)
    ((last,),) = connection.execute("SELECT last_erasure FROM pdpp_ref_schema")
    connection.execute("VACUUM")
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    connection.execute(
        """
        UPDATE pdpp_ref_schema
        SET has_remnants = 0, cleaned_erasure = MAX(cleaned_erasure, ?)
        """,
        [last],
    )
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    return before, _bytes(path)


def _bytes(path: str) -> int:
    return Path(path).stat().st_size + log_bytes(path)


def _check_room(connection: apsw.Connection, folder: Path) -> None:
    """The new file is written to the temporary folder first, and from there through the log."""
    pages = connection.pragma("page_count") - connection.pragma("freelist_count")
    needed = pages * connection.pragma("page_size")
    temporary = _temporary_folder()
    if temporary.stat().st_dev == folder.stat().st_dev:
        _check(folder, 2 * needed, "the database's disk, which has the temporary folder too,")
        return
    _check(temporary, needed, "the temporary folder")
    _check(folder, needed, "the database's disk")


def _temporary_folder() -> Path:
    named = [os.environ[name] for name in ("SQLITE_TMPDIR", "TMPDIR") if os.environ.get(name)]
    usable = (each for each in (*named, *_TEMPORARY) if os.path.isdir(each))
    return Path(next(each for each in usable if os.access(each, os.W_OK | os.X_OK)))


def _check(folder: Path, needed: int, what: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DiskTooFull(f"{what} needs {needed:,} free bytes and has {free:,}")
