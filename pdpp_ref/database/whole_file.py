"""Work on an SQLite file as a whole: its log, its free space, and what was erased."""

from contextlib import AbstractContextManager

import apsw

from . import unused_space
from .checkpoints import LONG_LOG_PAGES, LONG_LOG_WAIT_MS, PAGE_BYTES


class WholeFile:
    """The part of a database object that does it, on connections of its own."""

    database: str

    def _another_connection(self) -> AbstractContextManager[apsw.Connection]:
        raise NotImplementedError

    def shorten_log(self) -> None:
        """Empty the log if it is long and nobody is using it."""
        if unused_space.log_bytes(self.database) > LONG_LOG_PAGES * PAGE_BYTES:
            with self._another_connection() as connection:
                connection.set_busy_timeout(0)
                unused_space.clear_log(connection)

    def clean_pages(self, most: int) -> bool:
        """Overwrite what erased records left in so many pages; see `unused_space.py`.

        Returns whether nothing is left.  Raises a busy error while a reader or writer is at work.
        """
        with self._another_connection() as connection:
            connection.set_busy_timeout(LONG_LOG_WAIT_MS)
            return unused_space.clean_pages(connection, most)

    def compact(self) -> tuple[int, int]:
        """Rewrite the file without its free space.  Returns its bytes before and after.

        Raises DiskTooFull, or a busy error, and changes nothing then.
        """
        with self._another_connection() as connection:
            return unused_space.compact(connection)
