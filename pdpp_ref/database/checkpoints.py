"""SQLite's write-ahead log: when a file gets one, and when it is copied into the file."""

import time
from collections.abc import Callable

import apsw
import peewee

from .errors import problem

# At this size (16 MiB) the write-ahead log is copied into the file.  SQLite itself does so at 1,000 pages,
# but writes with keys in no order change the same pages again and again, and each was copied each time.
LOG_PAGES = 4_000
# If some reader is always active, the log can never restart from its beginning, and grows without end.
# From this size on (32 MiB) a writer makes new readers wait for the old ones, briefly and rarely.
PAGE_BYTES = 4096
LONG_LOG_PAGES, LONG_LOG_SECONDS, LONG_LOG_WAIT_MS = 8_000, 1.0, 100

AGAIN_SECONDS = 0.01


def switch_to_wal(execute: Callable[[str], object], seconds: float) -> None:
    """Try for so long: SQLite does not wait by itself if another program switches the file."""
    until = time.monotonic() + seconds
    while True:
        try:
            execute("PRAGMA journal_mode = wal")
            return
        except peewee.OperationalError as error:
            if problem(error) != "busy" or time.monotonic() > until:
                raise
        time.sleep(AGAIN_SECONDS)


class Checkpoints:
    """Runs after each commit of a connection.  It never fails: the next commit tries again."""

    def __init__(self, busy_ms: int) -> None:
        self._busy_ms = busy_ms
        self._asked = 0.0

    def __call__(self, connection: apsw.Connection, _: str, pages: int) -> int:
        if pages < LOG_PAGES:
            return 0
        is_long = pages >= LONG_LOG_PAGES and time.monotonic() - self._asked > LONG_LOG_SECONDS
        mode = apsw.SQLITE_CHECKPOINT_PASSIVE
        try:
            if is_long:
                self._asked, mode = time.monotonic(), apsw.SQLITE_CHECKPOINT_RESTART
                connection.set_busy_timeout(LONG_LOG_WAIT_MS)
            connection.wal_checkpoint(mode=mode)
        except apsw.Error:
            pass
        finally:
            if is_long:
                connection.set_busy_timeout(self._busy_ms)
        return 0
