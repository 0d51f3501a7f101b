"""The files that this program creates: private to their owner, whatever the umask, and durable."""

import ctypes
import errno
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # on a system without it, files of a killed program stay
    fcntl = None  # type: ignore[assignment]

OTHERS = 0o077
# The errors of a file system that has no hard links, or forbids this one.
_NO_LINK = {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_HERE, _NO_REPLACE = -100, 1  # AT_FDCWD and RENAME_NOREPLACE of Linux


def create(path: str | Path) -> int:
    """A descriptor of a new file that only its owner can use.  Raises FileExistsError or OSError."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def make_folder(folder: Path) -> None:
    """Create a folder and those above it, if they don't exist, for their owner alone.  Raises OSError."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)  # another program may have just created it
    sync_folder(folder.parent)


def is_open_to_others(path: str | Path) -> bool:
    """Whether anybody but its owner can read, write or enter it."""
    return bool(Path(path).stat().st_mode & OTHERS)


def close_to_others(path: str | Path) -> bool:
    """Remove all permissions of others; False if that is not possible.

    It uses the name: opening and closing a database's file would release this process's locks on it.
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
    """Make the names in a folder survive a power cut, if the system can promise that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# ---- files that appear complete or not at all ---------------------------------------------------


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield the name of a part to write; it is renamed to `path` at the end, and not before.

    It replaces nothing, and is on disk when this ends.  Raises FileExistsError and OSError, and leaves
    no part then.  Parts that a killed program left are removed.
    """
    with _at_work(path.parent, re.escape(path.name)), _new_part(path) as part:
        yield part
    sync_folder(path.parent)


def replace(path: Path, text: str) -> None:
    """Write a file; its name has the old content until the new one is on disk.  Raises OSError."""
    with _at_work(path.parent, re.escape(path.name)), _part(path, os.replace) as part:
        part.write_text(text)
    sync_folder(path.parent)


@contextmanager
def whole_files(folder: Path, names: str) -> Iterator[Callable[[Path], AbstractContextManager[Path]]]:
    """The same for many files in one folder: yields a function that yields the name of a file's part.

    `names` is a pattern of their names.
    """
    with _at_work(folder, names):
        yield _new_part
    sync_folder(folder)


@contextmanager
def _new_part(path: Path) -> Iterator[Path]:
    if os.path.lexists(path):
        raise FileExistsError
    with _part(path, _give_name) as part:
        yield part


@contextmanager
def _part(path: Path, publish: Callable[[Path, Path], None]) -> Iterator[Path]:
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    descriptor = create(part)
    try:
        yield part
        os.fsync(descriptor)
        publish(part, path)
    finally:
        os.close(descriptor)
        _remove(part)


@contextmanager
def _at_work(folder: Path, names: str) -> Iterator[None]:
    """Show others, by a lock, that files are being created in this folder.

    A part without such a lock was left by a program that was killed.  A process number would not show
    that: in a container the next program has the same one.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if fcntl:
            with suppress(OSError):  # another program holds the lock, or the system has none
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove_parts(folder, names)
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def _remove_parts(folder: Path, names: str) -> None:
    name = re.compile(rf"\.{names}\.[0-9a-f]{{16}}\.part")
    for part in [found for found in folder.iterdir() if name.fullmatch(found.name)]:
        _remove(part)


def _remove(part: Path) -> None:
    """Remove a part, with files that SQLite may have created next to it."""
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
    """Without hard links: in one step if the system has such a rename, otherwise in two."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        rename = None
    if rename and not rename(_HERE, os.fsencode(part), _HERE, os.fsencode(path), _NO_REPLACE):
        return
    if (rename and ctypes.get_errno() == errno.EEXIST) or os.path.lexists(path):
        raise FileExistsError
    part.rename(path)


def identity_of(file: Path) -> tuple[int, int] | None:
    """The device and inode of a file; None if it can't be read."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
