"""The database: opening it, its transactions, and running statements.

`sqlite.py` and `postgres.py` contain every difference between the two databases, as two classes with
the same methods.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import peewee

from . import sqlite
from .errors import (
    PROBLEM_TEXT,
    Busy,
    DatabaseNotReady,
    DatabaseUnavailable,
    DatabaseUnusable,
    DiskTooFull,
    problem,
)
from .large_reads import fetch_lazily, sorting_on_disk
from .patience import impatient, is_exhausted
from .proxy import db
from .sqlite import PRAGMAS
from .statements import (
    ANY_NUMBER,
    among,
    byte_length,
    delete_many,
    execute,
    execute_many,
    execute_one,
    fetch_all,
    fetch_as,
    fetch_column,
    fetch_dicts,
    fetch_each,
    fetch_value,
    fetch_version_chains,
    for_key_share,
    for_no_key_update,
    for_update,
    id_list,
    insert_many,
    placeholders,
    update_many,
)
from .transactions import (
    around_commits,
    check_ready,
    exclusive_transaction,
    for_request,
    is_replica,
    let_others_write,
    lock_attempt,
    read_snapshot,
    reconcile_transaction,
    replicated_until,
    step_transaction,
    transaction_lost,
    write_attempt,
    write_transaction,
)

__all__ = [
    "ANY_NUMBER",
    "PRAGMAS",
    "PROBLEM_TEXT",
    "Busy",
    "DatabaseNotReady",
    "DatabaseUnavailable",
    "DatabaseUnusable",
    "DiskTooFull",
    "among",
    "around_commits",
    "byte_length",
    "check_ready",
    "condition",
    "connect",
    "db",
    "delete_many",
    "exclusive_transaction",
    "execute",
    "execute_many",
    "execute_one",
    "fetch_all",
    "fetch_as",
    "fetch_column",
    "fetch_dicts",
    "fetch_each",
    "fetch_lazily",
    "fetch_value",
    "fetch_version_chains",
    "for_key_share",
    "for_no_key_update",
    "for_request",
    "for_update",
    "from_url",
    "id_list",
    "impatient",
    "insert_many",
    "is_exhausted",
    "is_replica",
    "let_others_write",
    "lock_attempt",
    "may_return",
    "placeholders",
    "problem",
    "read_snapshot",
    "reconcile_transaction",
    "replicated_until",
    "sorting_on_disk",
    "step_transaction",
    "transaction_lost",
    "update_many",
    "using",
    "why_unusable",
    "write_attempt",
    "write_transaction",
]


def connect(url: str, instance: Path) -> None:
    """Bind `db` to the database at `url`.  Raises DatabaseUnusable."""
    db.initialize(from_url(url, instance))


def from_url(url: str, instance: Path) -> peewee.Database:
    """The database at `url`: `sqlite:///path`, relative to the working directory, or
    `postgresql://user:password@host/database`.

    An empty url is `pdpp-ref.sqlite3` in the instance folder.  Raises DatabaseUnusable.
    """
    try:
        url.encode()
        scheme = urlsplit(url).scheme
    except ValueError:  # UnicodeEncodeError is one
        raise DatabaseUnusable("PDPP_DATABASE_URL is not a URL") from None
    if scheme in ("postgresql", "postgres"):
        return _postgres(url)
    if scheme == "sqlite" or not url:
        return sqlite.from_url(url, instance)
    raise DatabaseUnusable(
        f"PDPP_DATABASE_URL starts with {scheme!r}; use sqlite:///path/to/file.sqlite3 "
        "or postgresql://user:password@host/database"
    )


def _postgres(url: str) -> peewee.Database:
    """Imports the driver, which not every installation has, and which is slow to import."""
    try:
        from . import postgres
    except ImportError:
        raise DatabaseUnusable(
            "PostgreSQL needs its driver; run: pip install 'pdpp-ref[postgres]'"
        ) from None
    return postgres.from_url(url)


@contextmanager
def using(other: peewee.Database) -> Iterator[None]:
    """Bind `db` to another database for a while.  For a program with one thread."""
    before = db.obj
    db.initialize(other)
    try:
        yield
    finally:
        db.initialize(before)


def why_unusable(error: BaseException) -> DatabaseUnusable:
    """For the operator: why the bound database can't be opened or prepared, and what to do."""
    why: DatabaseUnusable = db.why_unusable(error)
    return why


def may_return(error: peewee.DatabaseError) -> bool:
    """Whether this may be a failover: the database is on a server, which can't be reached or written to."""
    return not db.is_in_process and problem(error) in ("unreachable", "read_only", "no_room")


def _after_fork() -> None:
    """Forget connections that the parent process opened: a child must neither use nor close them."""
    if db.obj is not None:
        _connections_of_parent.append(db.obj._state.conn)
        db.obj.dispose()


_connections_of_parent: list[Any] = []
os.register_at_fork(after_in_child=_after_fork)
