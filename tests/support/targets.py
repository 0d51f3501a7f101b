"""Where a trial happens: a file or a database that can be brought back to its beginning, again and again.

Both tell of each statement before it is carried out, so that it can be failed, or be the last.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol
from unittest import mock

import apsw
import psycopg
from psycopg.pq import PipelineStatus

from tests.support.postgres import Reused


class Statement(Protocol):
    """One that is about to be carried out."""

    def send(self) -> None:
        """It is on its way to a server, and nobody waits for it."""

    def fail(self, *, lasting: bool) -> NoReturn:
        """As a disk fails; or, `lasting`, as all do from now on."""


Before = Callable[[Statement], object]
Prepare = Callable[[str], object]


@dataclass(frozen=True)
class File:
    """An SQLite file, with what lies beside it."""

    path: Path
    kind = "sqlite"

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    @property
    def urls(self) -> list[str]:
        """And that of what it was copied to."""
        return [f"sqlite:///{file}" for file in (self.path, self._copy) if file.exists()]

    @property
    def _copy(self) -> Path:
        return self.path.with_name(f"{self.path.name}.copy")

    @property
    def _beginning(self) -> Path:
        return self.path.with_name("beginning")

    def begin(self, prepare: Prepare | None) -> None:
        """From nothing; what is there then is the beginning from here on."""
        restore(self.path, None)
        if prepare:
            prepare(self.url)
            self._beginning.write_bytes(self.path.read_bytes())

    def again(self) -> None:
        restore(self.path, self._beginning.read_bytes() if self._beginning.exists() else None)

    @contextmanager
    def watched(self, before: Before) -> Iterator[None]:
        """`before` each statement of all connections that are opened meanwhile."""

        def trace(*_: object) -> bool:
            before(_OfFile())
            return True

        def watch(connection: apsw.Connection) -> None:
            connection.exec_trace = trace

        apsw.connection_hooks.append(watch)
        try:
            yield
        finally:
            apsw.connection_hooks.remove(watch)


class _OfFile:
    def send(self) -> None:
        pass

    def fail(self, *, lasting: bool) -> NoReturn:
        raise apsw.IOError("disk I/O error")


def restore(path: Path, content: bytes | None) -> None:
    """The file as it was, and nothing beside it."""
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    if content is not None:
        path.write_bytes(content)


class Database:
    """A database of a PostgreSQL server, and the one that it is copied to."""

    kind = "postgres"

    def __init__(self, url: str, copy: str) -> None:
        self.url, self.urls = url, [url, copy]

    def begin(self, prepare: Prepare | None) -> None:
        self._reused = [Reused(self.url, prepare or _nothing), Reused(self.urls[1], _nothing)]

    def again(self) -> None:
        for reused in self._reused:
            reused.reset()

    @contextmanager
    def watched(self, before: Before) -> Iterator[None]:
        """`before` each round trip of all connections: a statement, or a part of what one needs."""
        wait = psycopg.Connection.wait

        def watch(connection: Any, steps: Any, *more: Any, **named: Any) -> Any:
            before(_OfServer(connection, steps))
            return wait(connection, steps, *more, **named)

        with mock.patch.object(psycopg.Connection, "wait", watch):
            yield


def _nothing(_: str) -> None:
    """An empty database is what it is."""


@dataclass
class _OfServer:
    connection: Any
    steps: Iterator[Any]

    def send(self) -> None:
        next(self.steps, None)

    def fail(self, *, lasting: bool) -> NoReturn:
        if lasting:
            self.connection.close()
            raise psycopg.OperationalError("the connection is closed")
        if self.connection.info.pipeline_status == PipelineStatus.OFF:
            self.connection.pgconn.exec_(b"SELECT 1 / 0")  # the server ends the transaction, or savepoint
        raise psycopg.errors.IoError("could not write")


Place = File | Database
