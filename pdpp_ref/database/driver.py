"""What psycopg lacks for `postgres.py`."""

import select
from typing import Any

import peewee
import psycopg
from psycopg.adapt import Loader
from psycopg.pq import Ping, TransactionStatus


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
