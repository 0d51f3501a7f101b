"""The files that this program makes: their owner's alone, whatever the umask, and safe on the disk."""

import ctypes
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # a system without it keeps what a killed program left behind
    fcntl = None  # type: ignore[assignment]

OTHERS = 0o077
# What a file system says that has no hard links, or forbids this one.
_NO_LINK = {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_HERE, _NO_REPLACE = -100, 1  # AT_FDCWD and RENAME_NOREPLACE of Linux


def create(path: str | Path) -> int:
    """A descriptor of a new file that its owner alone may use.  Raises FileExistsError or OSError."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def make_folder(folder: Path) -> None:
    """Make it where it is not there, and those above it, for their owner alone.  Raises OSError."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)  # another program may have made it this moment
    sync_folder(folder.parent)


def is_open_to_others(path: str | Path) -> bool:
    """Whether anybody but its owner may read, write or enter it."""
    return bool(Path(path).stat().st_mode & OTHERS)


def close_to_others(path: str | Path) -> bool:
    """Take from others what they may do with it; False where that can't be done.

    By its name: to open and close a database's file would end the locks that this process holds on it.
    """
    try:
        mode = stat.S_IMODE(Path(path).stat().st_mode)
        if mode & OTHERS:
            Path(path).chmod(mode & ~OTHERS)
        return not is_open_to_others(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False


def sync_folder(folder: Path) -> None:
    """The names in it survive a power cut from here on, where the system can promise that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# ---- a file that appears whole or not at all ---------------------------------------------------


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """The name to write a file under that gets its own name, `path`, at the end, and nothing before.

    It replaces nothing, and is on the disk when this ends.  Raises FileExistsError and OSError; no
    part of it stays then.  What a killed program left of it is removed.
    """
    if os.path.lexists(path):
        raise FileExistsError
    with _at_work(path):
        part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
        descriptor = create(part)
        try:
            yield part
            os.fsync(descriptor)
            _give_name(part, path)
        finally:
            os.close(descriptor)
            _remove(part)
    sync_folder(path.parent)


@contextmanager
def _at_work(path: Path) -> Iterator[None]:
    """While others see that somebody makes a file in this folder.

    Parts of a file that nobody makes are of a program that was killed.  Its process number tells
    nothing: in a container the next one has the same.
    """
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        if fcntl:
            with suppress(OSError):  # somebody is at work, or there are no such locks here
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove_parts(path)
            with suppress(OSError):
                fcntl.flock(folder, fcntl.LOCK_SH)
        yield
    finally:
        os.close(folder)


def _remove_parts(path: Path) -> None:
    name = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{16}}\.part")
    for part in [found for found in path.parent.iterdir() if name.fullmatch(found.name)]:
        _remove(part)


def _remove(part: Path) -> None:
    """A part, with what SQLite may have put beside it."""
    part.with_name(f"{part.name}-journal").unlink(missing_ok=True)
    part.unlink(missing_ok=True)


def _give_name(part: Path, path: Path) -> None:
    """Unlike a rename, this replaces nothing.  Raises FileExistsError."""
    try:
        os.link(part, path)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        _rename(part, path)


def _rename(part: Path, path: Path) -> None:
    """Where there are no hard links: in one step where the system has such a rename, else in two."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        rename = None
    if rename and not rename(_HERE, os.fsencode(part), _HERE, os.fsencode(path), _NO_REPLACE):
        return
    if (rename and ctypes.get_errno() == errno.EEXIST) or os.path.lexists(path):
        raise FileExistsError
    part.rename(path)
