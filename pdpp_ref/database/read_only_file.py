"""Connections to an SQLite file that may not be written to, perhaps only for now.

The connections of a process share the memory next to the file, which the first of them opens.  If that was
read-only, it stays so until all are closed, even if the file can be written to again.  So such connections
are brief: each is closed once its thread rests, and so is every other one that is opened meanwhile.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw


class BriefConnections:
    """Those of one process that are to be closed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[apsw.Connection] = set()

    def __bool__(self) -> bool:
        return bool(self._open)

    def __contains__(self, connection: apsw.Connection) -> bool:
        return connection in self._open

    def opened_by(self, connect: Callable[[], apsw.Connection]) -> apsw.Connection:
        """A new connection, which is one of them if it or another one can't write."""
        with self._lock:
            connection = connect()
            if self._open or not _can_write(connection):
                self._open.add(connection)
        return connection

    @contextmanager
    def opened_for(self, connect: Callable[[], apsw.Connection]) -> Iterator[apsw.Connection]:
        """A new connection for a block."""
        connection = self.opened_by(connect)
        try:
            with closing(connection):
                yield connection
        finally:
            self.closed(connection)

    def closed(self, connection: apsw.Connection) -> None:
        self._open.discard(connection)


def _can_write(connection: apsw.Connection) -> bool:
    memory = Path(connection.filename + "-shm")
    return not connection.readonly("main") and (not memory.exists() or os.access(memory, os.W_OK))
