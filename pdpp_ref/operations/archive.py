"""A zip of lines and files, written in one go.  The same content gives the same bytes.

Files are named by digest, so that no name depends on a sender, or on a file system's case.
"""

import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import IO

LINES_NAME, FILES_FOLDER = "records.jsonl", "files"
_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can hold
_MODE = 0o600 << 16
_LEVEL = 1  # lines shrink to a fifth, at nearly the speed of a disk


class Archive:
    """Entries of any number and size: Zip64 from the first one on."""

    def __init__(self, out: IO[bytes]) -> None:
        self._zip = zipfile.ZipFile(out, "w", allowZip64=True)

    def __enter__(self) -> "Archive":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:  # otherwise nobody reads it, and its end may not fit the disk
            self._zip.close()

    @contextmanager
    def lines(self) -> Iterator[Callable[[bytes], object]]:
        """Yield the function that adds to the lines."""
        with self._entry(LINES_NAME, zipfile.ZIP_DEFLATED) as entry:
            yield entry.write

    def add_file(self, sha256: str, parts: Iterator[bytes]) -> None:
        """Most files are compressed already, and are stored as they are."""
        with self._entry(f"{FILES_FOLDER}/{sha256}", zipfile.ZIP_STORED) as entry:
            for part in parts:
                entry.write(part)

    def _entry(self, name: str, method: int) -> IO[bytes]:
        about = zipfile.ZipInfo(name, _TIME)
        about.compress_type, about.external_attr = method, _MODE
        about.create_system = 3  # Unix, whatever this is
        about._compresslevel = _LEVEL  # type: ignore[attr-defined]
        return self._zip.open(about, "w", force_zip64=True)
