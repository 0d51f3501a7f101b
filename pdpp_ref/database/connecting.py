"""Connections to a PostgreSQL server that may disappear: nobody impatient waits for it for long."""

import logging
import time
from collections.abc import Callable, Generator
from enum import Enum, auto
from typing import Any, NoReturn

import psycopg
from psycopg.errors import ConnectionTimeout

from . import patience
from .driver import WholeNumber, has_no_room, is_dead
from .watch import Watch

# Its warnings name the server, and are about connections whose errors are reported anyway.
logging.getLogger("psycopg").setLevel(logging.ERROR)

SUSPICIOUS_SECONDS = 1.0
PROBE_SECONDS = 3.0
# How often somebody who waits without a limit asks whether the server is still there, and for how long
# nobody may answer that.
CHECK_SECONDS = 10.0
SILENT_SECONDS = 60.0
# The URL may override these.  A host that vanishes is noticed within about ten seconds, even if it owes an
# acknowledgement, when TCP sends no keepalives.  `connect_timeout` is for each host of the URL.
CONNECT = {
    "application_name": "pdpp-ref",
    "connect_timeout": "3",
    "tcp_user_timeout": "10000",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "client_encoding": "UTF8",
}


# Instead of the number of a replica's process: replicas may be many, and nobody is asked which one it is.
OF_REPLICA = 0


class Whereabouts(Enum):
    """Where a server's process is, by what a new connection says."""

    HERE = auto()
    GONE = auto()  # another server is the primary now, or it has ended
    UNKNOWN = auto()


# In the database of a replica nothing can be said of a primary.
_FIND = """
    SELECT pg_is_in_recovery() OR EXISTS (
        SELECT 1
        FROM pg_stat_activity
        WHERE pid = %s
    )
    """


class Connection(psycopg.Connection[Any]):
    """Waits for an answer no longer than its thread's patience, and not for a server that is gone.

    TCP alone would wait for minutes, and for a process that hangs for ever.
    """

    watch: Watch | None = None
    outages = 0  # how many the watch had seen when this was opened
    # The server's process that runs our transaction, and how to ask for it.  None: not known yet.
    process: int | None = None
    whereabouts: Callable[[int], Whereabouts] | None = None

    def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
        began = time.monotonic()
        limit = patience.answer_seconds()
        try:
            bounded = self._checked(gen) if limit is None else self._limited(gen, limit)
            return super().wait(bounded, *arguments, **options)
        finally:
            patience.has_waited(time.monotonic() - began)

    def _limited(self, gen: Any, limit: float) -> Generator[Any, Any, Any]:
        """For the impatient.  Raises ConnectionTimeout."""
        began = time.monotonic()

        def check() -> None:
            waited = time.monotonic() - began
            if waited > SUSPICIOUS_SECONDS and self.watch:
                self.watch.suspect()
            if waited > limit or (self.watch and self.watch.is_down):
                self._give_up()

        return _checking(gen, check)

    def _checked(self, gen: Any) -> Generator[Any, Any, Any]:
        """For anybody else: a statement may take long, but not on a server that has been replaced.

        Raises ConnectionTimeout.
        """
        checked = answered = time.monotonic()

        def check() -> None:
            nonlocal checked, answered
            if time.monotonic() - checked < CHECK_SECONDS:
                return
            found = self._find()
            checked = time.monotonic()
            if found != Whereabouts.UNKNOWN:
                answered = checked
            if found == Whereabouts.GONE or checked - answered > SILENT_SECONDS:
                self._give_up()

        return _checking(gen, check)

    def _find(self) -> Whereabouts:
        if self.process is None or self.whereabouts is None:
            return Whereabouts.UNKNOWN
        return Whereabouts.HERE if self.process == OF_REPLICA else self.whereabouts(self.process)

    def _give_up(self) -> NoReturn:
        if self.watch:
            self.watch.distrust()
        self.close()
        raise ConnectionTimeout("no answer")


def _checking(gen: Any, check: Callable[[], None]) -> Generator[Any, Any, Any]:
    """The driver resumes it ten times a second even without an answer."""
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready:
                check()
            wanted = gen.send(ready)
    except StopIteration as done:
        return done.value


class Hosts:
    """The settings of a connection, of whose hosts the one that answered last comes first.

    One that drops packets would otherwise hold up each new connection.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        lists = {name: str(settings.get(name, "")).split(",") for name in ("host", "hostaddr", "port")}
        self._lists = {name: each for name, each in lists.items() if len(each) > 1}
        self._settings = settings
        self._first = 0

    def settings(self) -> dict[str, Any]:
        first = self._first
        ordered = {
            name: ",".join([each[first], *each[:first], *each[first + 1 :]])
            for name, each in self._lists.items()
        }
        return self._settings | ordered

    def answered(self, info: psycopg.ConnectionInfo) -> None:
        """The host of this connection."""
        found = {"host": info.host, "hostaddr": info.hostaddr, "port": str(info.port)}
        for number in range(len(next(iter(self._lists.values()), ()))):
            if all(each[number] in (found[name], "") for name, each in self._lists.items()):
                self._first = number
                return


class Connector:
    """Connects with the settings of a URL, on behalf of any thread."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._hosts = Hosts(settings)
        self._watch = Watch(self._answers)

    def connect(self) -> Connection:
        self.refuse_if_down()
        try:
            connection = self._new()
        except ConnectionTimeout:
            self._watch.suspect()
            raise
        connection.watch, connection.outages = self._watch, self._watch.outages
        connection.whereabouts = self._find
        self._hosts.answered(connection.info)
        # Sums of bigints are NUMERIC, and whole numbers: load them as ints, as on SQLite.
        connection.adapters.register_loader("numeric", WholeNumber)
        return connection

    def refuse_if_down(self) -> None:
        """Nobody impatient waits for a server that does not answer others."""
        if self._watch.is_down and patience.answer_seconds() is not None:
            raise ConnectionTimeout("no answer")

    def is_dead(self, connection: Connection) -> bool:
        """An outage may have ended a connection without a sign here."""
        return is_dead(connection) or connection.outages != self._watch.outages

    def _find(self, process: int) -> Whereabouts:
        try:
            with patience.impatient(PROBE_SECONDS), self._new() as connection:
                row = connection.execute(_FIND, [process]).fetchone()
        except psycopg.Error as error:
            return Whereabouts.HERE if has_no_room(error) else Whereabouts.UNKNOWN
        return Whereabouts.HERE if row and row[0] else Whereabouts.GONE

    def _new(self) -> Connection:
        return Connection.connect(**self._hosts.settings(), autocommit=True, prepare_threshold=None)

    def _answers(self) -> bool:
        """For the watch.  A refusal is an answer too."""
        try:
            with patience.impatient(PROBE_SECONDS), self._new() as connection:
                connection.execute("SELECT 1")
        except ConnectionTimeout:
            return False
        except psycopg.Error:
            pass
        return True
