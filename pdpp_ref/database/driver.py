"""What psycopg lacks for `postgres.py`."""

import select
from typing import Any

import peewee
import psycopg
from psycopg.adapt import Loader
from psycopg.pq import Ping, TransactionStatus

from . import engines
from .errors import DatabaseUnavailable, DatabaseUnusable, of_driver, problem


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


def is_dead(connection: Any) -> bool:
    """Whether the server is gone, or has sent an idle connection something: that it is closing it."""
    if connection.closed or connection.info.transaction_status != TransactionStatus.IDLE:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


# English texts of the server, libpq and pgbouncer; the driver has no error code for a failed connection.
_NO_ROOM = ("connection slots", "too many clients", "too many connections", "no more connections")
_NO_PRIMARY = ("session is read-only", "server is in hot standby mode")
_NO_SERVER = ("server login", "server_login_retry", "cannot connect to server", "query_wait_timeout")


def has_no_room(error: BaseException) -> bool:
    return any(part in str(error) for part in _NO_ROOM)


def why_unusable(error: BaseException, connection: Any, settings: dict[str, Any]) -> DatabaseUnusable:
    """For the operator, with a fixed text: the driver's own names hosts and users.

    `connection` is None if none could be made with the settings.
    """
    if connection is None:
        return _why_no_connection(of_driver(error), settings)
    if engines.pools_statements(error):
        return DatabaseUnusable(engines.POOLS_STATEMENTS)
    kind = problem(error)
    why = DatabaseUnavailable if kind in ("unreachable", "no_room") else DatabaseUnusable
    return why(_WHY.get(kind, "the database can't be used; check PDPP_DATABASE_URL"))


_WHY = {
    "forbidden": "the database's user may not create tables there; grant it CREATE on the schema",
    "read_only": "the database is read-only; point PDPP_DATABASE_URL at one that can be written to",
    "full": "the database's disk is full; free some space and try again",
    "unreachable": "the connection to the PostgreSQL server was lost; try again",
    "no_room": "the PostgreSQL server accepts no more connections; try again",
}


def _why_no_connection(error: BaseException, settings: dict[str, Any]) -> DatabaseUnusable:
    if has_no_room(error):
        return DatabaseUnavailable("the PostgreSQL server accepts no more connections; try again")
    answer = psycopg.pq.PGconn.ping(psycopg.conninfo.make_conninfo(**settings).encode())
    if answer == Ping.REJECT:
        return DatabaseUnavailable("the PostgreSQL server is starting; try again")
    if any(part in str(error) for part in _NO_PRIMARY):
        return DatabaseUnavailable("none of the hosts in PDPP_DATABASE_URL is a primary now; try again")
    if any(part in str(error) for part in _NO_SERVER):
        return DatabaseUnavailable("the pooler reaches no PostgreSQL server; try again")
    if answer != Ping.OK:
        return DatabaseUnavailable(
            "no PostgreSQL server answers; check the host and port in PDPP_DATABASE_URL"
        )
    connection = getattr(error, "pgconn", None)
    if connection is not None and (connection.used_password or connection.needs_password):
        return DatabaseUnusable(
            "the PostgreSQL server refuses the user or the password in PDPP_DATABASE_URL"
        )
    return DatabaseUnusable(
        "the PostgreSQL server refuses the user or the database in PDPP_DATABASE_URL, or is full"
    )
