"""What psycopg lacks for `postgres.py`."""

import select
import time
from collections.abc import Generator
from typing import Any

import peewee
import psycopg
from psycopg.adapt import Loader
from psycopg.errors import ConnectionTimeout
from psycopg.pq import Ping, TransactionStatus

from . import patience
from .watch import Watch

SUSPICIOUS_SECONDS = 1.0


class Adapter(peewee.Psycopg3Adapter):
    """Like peewee's own, which works only if peewee found psycopg when it was imported."""

    txn_idle = TransactionStatus.IDLE
    txn_inerror = TransactionStatus.INERROR
    txn_unknown = TransactionStatus.UNKNOWN

    def get_binary_type(self) -> Any:
        return psycopg.Binary


class WholeNumber(Loader):
    def load(self, data: Any) -> int:
        return int(bytes(data))


class Connection(psycopg.Connection[Any]):
    """Waits for an answer no longer than its thread's patience, and not for a server that is gone.

    TCP alone would wait for minutes, and for a process that hangs for ever.
    """

    watch: Watch | None = None
    outages = 0  # how many the watch had seen when this was opened

    def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
        began = time.monotonic()
        limit = patience.answer_seconds()
        try:
            return super().wait(gen if limit is None else self._limited(gen, limit), *arguments, **options)
        finally:
            patience.has_waited(time.monotonic() - began)

    def _limited(self, gen: Any, limit: float) -> Generator[Any, Any, Any]:
        """The same, with a look at the clock ten times a second.  Raises ConnectionTimeout."""
        began = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready:
                    self._check(time.monotonic() - began, limit)
                wanted = gen.send(ready)
        except StopIteration as done:
            return done.value

    def _check(self, waited: float, limit: float) -> None:
        if waited > SUSPICIOUS_SECONDS and self.watch:
            self.watch.suspect()
        if waited > limit or (self.watch and self.watch.is_down):
            self.close()
            raise ConnectionTimeout("no answer")


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


def is_dead(connection: Any) -> bool:
    """Whether the server is gone, or has sent an idle connection something: that it is closing it."""
    if connection.closed or connection.info.transaction_status != TransactionStatus.IDLE:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


# The server's English texts; the driver has no error code for a failed connection.
_NO_ROOM = ("connection slots", "too many clients", "too many connections", "no more connections")


def why_no_connection(error: BaseException, settings: dict[str, Any]) -> str:
    """For the operator: why no connection could be made with the settings."""
    if any(part in str(error) for part in _NO_ROOM):
        return "the PostgreSQL server accepts no more connections; try again"
    answer = psycopg.pq.PGconn.ping(psycopg.conninfo.make_conninfo(**settings).encode())
    if answer == Ping.REJECT:
        return "the PostgreSQL server is starting; try again"
    if answer != Ping.OK:
        return "no PostgreSQL server answers; check the host and port in PDPP_DATABASE_URL"
    connection = getattr(error, "pgconn", None)
    if connection is not None and (connection.used_password or connection.needs_password):
        return "the PostgreSQL server refuses the user or the password in PDPP_DATABASE_URL"
    return "the PostgreSQL server refuses the user or the database in PDPP_DATABASE_URL, or is full"
