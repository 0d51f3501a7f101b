"""When `pdpp-ref backup` last succeeded, in a file of the instance folder."""

import time
from contextlib import suppress
from pathlib import Path

from . import private_files

NAME = "last_backup"


def remember(folder: Path) -> None:
    """Now; not if the folder can't be written to."""
    with suppress(OSError):
        private_files.replace(folder / NAME, str(int(time.time())))


def read(folder: Path) -> int | None:
    """Seconds since 1970; None if it is not known."""
    try:
        return int((folder / NAME).read_text())
    except (OSError, ValueError):
        return None
