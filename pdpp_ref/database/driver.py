"""What psycopg lacks for `postgres.py`."""

import select
from typing import Any

import peewee
import psycopg
from psycopg.adapt import Loader
from psycopg.pq import TransactionStatus


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
