"""Transactions, and checks inside one."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import peewee

from .errors import Busy, problem
from .patience import ANSWER_SECONDS, impatient
from .proxy import db

LEAST_PAUSE_SECONDS = 0.002


@contextmanager
def _translate_busy() -> Iterator[None]:
    """Translate lock timeouts and deadlocks into Busy.  The transaction has been rolled back."""
    try:
        yield
    except peewee.OperationalError as error:
        if problem(error) == "busy":
            raise Busy from error
        raise


@contextmanager
def write_transaction() -> Iterator[None]:
    """One transaction.  Raises Busy if other writers hold what it needs for longer than 5 s.

    On SQLite it has the right to write from its first statement; on PostgreSQL rows are locked one by
    one, in the order that `models/locking.py` states.
    """
    with _translate_busy(), db.write_transaction():
        yield


@contextmanager
def write_attempt() -> Iterator[None]:
    """A write transaction that waits for no other writer of SQLite: it raises Busy at once."""
    with _translate_busy(), db.write_attempt():
        yield


@contextmanager
def reconcile_transaction(*, wait: bool, seconds: float) -> Iterator[None]:
    """A write transaction that reconciles; at any time only one process runs one.

    `wait=False` raises Busy at once if SQLite has another writer or PostgreSQL another process that
    reconciles, and then waits for no row for longer than `seconds`.
    """
    with _translate_busy(), db.reconcile_transaction(wait, seconds):
        yield


@contextmanager
def step_transaction(*, wait: bool) -> Iterator[None]:
    """A write transaction for one step of housekeeping; at any time only one process runs one.

    `wait=False` raises Busy at once if SQLite has another writer or PostgreSQL another process that keeps
    house.
    """
    with _translate_busy(), db.step_transaction(wait):
        yield


@contextmanager
def exclusive_transaction() -> Iterator[None]:
    """A write transaction that excludes all others, and on PostgreSQL reads too: for changes of the schema,
    and for starting or finishing a copy.
    """
    with _translate_busy(), db.exclusive_transaction():
        yield


@contextmanager
def lock_attempt() -> Iterator[None]:
    """Inside a transaction, around one lock: if others hold it, raises Busy and undoes nothing else."""
    with _translate_busy(), db.lock_attempt():
        yield


def read_snapshot() -> Any:
    """A context in which all reads see one moment; it never waits for a writer.

    Raises DatabaseNotReady, as each kind of transaction does, if the database is no longer what was
    prepared.
    """
    return db.read_snapshot()


@contextmanager
def for_request(answer_seconds: float = ANSWER_SECONDS, *, waited: float = 0.0) -> Iterator[None]:
    """All that a thread does for a request, which has already waited for so many seconds."""
    try:
        with impatient(answer_seconds, waited=waited):
            yield
    finally:
        db.rest()


def let_others_write(seconds: float, idle: float = 0.0) -> None:
    """Pause between two of many transactions; the last one took that long, after nothing was locked for so
    many `idle` seconds.

    SQLite's lock is not given in the order in which it is asked for.  A waiting writer tries again every
    2 ms (`patience.asking_again`), so it would starve without a pause.  PostgreSQL's locks are.
    """
    time.sleep(max(LEAST_PAUSE_SECONDS, seconds * db.pause_share - idle))


def around_commits(entered: Callable[[], AbstractContextManager[None]]) -> AbstractContextManager[None]:
    """A context in which `entered()` surrounds each commit that this process writes to the disk itself."""
    context: AbstractContextManager[None] = db.around_commits(entered)
    return context


def check_ready() -> None:
    """Raise DatabaseNotReady if the database is no longer what was prepared."""
    with read_snapshot():
        pass


def is_replica() -> bool:
    """Inside a snapshot: whether the database follows another one and can't be written to."""
    return bool(db.is_replica())


def replicated_until() -> str | None:
    """On a replica: a time up to which all commits are in this snapshot; None if not known."""
    until: str | None = db.replicated_until()
    return until


def transaction_lost() -> bool:
    """Whether the database has by itself ended a transaction that we still believe open."""
    return bool(db.transaction_lost())
