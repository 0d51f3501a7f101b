"""Where a figure is measured: a database, how much is stored, and a folder."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Literal

from pdpp_ref import database, migrations
from pdpp_ref.database import db
from tests.benchmarks import corpus
from tests.support import postgres
from tests.support.probe import DatabaseProbe

Kind = Literal["sqlite", "postgres"]
# Its usual settings: what is committed is on disk, and autovacuum works.
SETTINGS = {"autovacuum": "on", "shared_buffers": "128MB", "max_wal_size": "1GB"}


class Place:
    """A kind of database and a size, with a folder that is removed at the end.

    `repeat`: how often a figure is measured that takes seconds; those of milliseconds are measured more often.
    """

    def __init__(self, kind: Kind, records: int, repeat: int, server: str = "") -> None:
        self.kind, self.records, self.repeat = kind, records, repeat
        self._server = server
        self._numbers = count(1)
        self._opened = ExitStack()
        self.folder = Path(self._opened.enter_context(tempfile.TemporaryDirectory()))

    def __enter__(self) -> "Place":
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    @contextmanager
    def empty(self) -> Iterator[str]:
        """The URL of an empty database that nobody has opened."""
        number = next(self._numbers)
        if self.kind == "postgres":
            with postgres.new_database(self._server, f"bench_{number}") as url:
                yield url
        else:
            with tempfile.TemporaryDirectory(dir=self.folder) as folder:
                yield f"sqlite:///{folder}/bench.sqlite3"

    @contextmanager
    def opened(self) -> Iterator[DatabaseProbe]:
        """An empty database with our tables, open in this process, and a connection of the driver alone."""
        with self.empty() as url, in_process(url):
            migrations.prepare()
            with DatabaseProbe(url) as probe:
                yield probe

    @contextmanager
    def stored(self) -> Iterator[DatabaseProbe]:
        """The database of `stored_url`, open in this process, and a connection of the driver alone.

        Leave its records as they are.
        """
        with in_process(self.stored_url), DatabaseProbe(self.stored_url) as probe:
            yield probe

    @cached_property
    def stored_url(self) -> str:
        """The URL of a database with a corpus, which is written when it is first needed."""
        return self._opened.enter_context(self.loaded(self.records))

    @contextmanager
    def loaded(self, records: int) -> Iterator[str]:
        """The URL of a database with a corpus of so many records, which nobody has open."""
        with self.empty() as url:
            with in_process(url):
                migrations.prepare()
                corpus.load(records)
            yield url

    def environment(self, url: str) -> dict[str, str]:
        """That of a program of ours which uses the database, with an instance folder of its own."""
        folder = self.folder / f"instance-{next(self._numbers)}"
        folder.mkdir()
        # An installed program is compiled, whatever this shell says.
        left_out = ("PDPP_", "PYTHONDONTWRITEBYTECODE")
        others = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
        root = str(Path(__file__).parents[2])
        own = {"PDPP_DATABASE_URL": url, "PDPP_INSTANCE_PATH": str(folder), "PYTHONPATH": root}
        return others | own


@contextmanager
def in_process(url: str) -> Iterator[None]:
    database.connect(url, Path())
    try:
        yield
    finally:
        db.close()


@contextmanager
def servers_for(kinds: list[Kind]) -> Iterator[str]:
    """The URL of a PostgreSQL server, if one is needed: our own, or that of PDPP_TEST_POSTGRES_URL."""
    if "postgres" not in kinds:
        yield ""
    elif named := os.environ.get(postgres.NAMED):
        yield named
    else:
        try:
            server = postgres.Server(**SETTINGS)
        except RuntimeError as error:
            sys.exit(str(error))
        try:
            yield server.url
        finally:
            server.remove()
