"""PostgreSQL 15 or newer, through psycopg 3, which is installed as the extra `postgres`.

Writes run under READ COMMITTED and lock the rows that they change; a read is a REPEATABLE READ snapshot.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import peewee
import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

from . import engines, patience
from .connecting import CONNECT, OF_REPLICA, Connector
from .driver import Adapter, why_unusable
from .errors import (
    Busy,
    DatabaseUnusable,
)
from .postgres_rows import ManyRows
from .preamble import (
    EXCLUSIVE,
    LOCK_EXCLUSIVE,
    READ_DATA_VERSION,
    SNAPSHOT,
    TRY_RECONCILE,
    WORK,
    Begun,
    Preamble,
    read_begun,
    split_options,
)
from .schema_guard import READ_SCHEMA, SchemaGuard

MINIMUM = 15

# Advisory locks of this program; nobody else uses the same numbers.  They belong to a whole database, which
# may have the tables of many owners, each in a schema.  So a second number says whose lock it is: that of
# the owner's table or, as there is none before the first start, of the schema where it will be.
_OF_TABLES = "CAST('pdpp_ref_schema'::regclass::oid AS int)"
_OF_SCHEMA = "CAST((SELECT oid FROM pg_namespace WHERE nspname = current_schema()) AS int)"
RECONCILE_LOCK = f"7663001, {_OF_TABLES}"
EXCLUSIVE_LOCK = f"7663002, {_OF_SCHEMA}"
STEP_LOCK = f"7663003, {_OF_TABLES}"

# How often a statement runs before a connection of our own server process has it prepared.
PREPARE_AFTER = 5


class Postgres(ManyRows, SchemaGuard, peewee.PostgresqlDatabase):
    """A connection for each thread.  A dead one is replaced if no work is lost by that.

    Nothing relies on a connection's session: it may be another one in each transaction.
    """

    _state: Any
    psycopg2_adapter = psycopg3_adapter = Adapter
    # Names sort by code point, as on SQLite, whatever the collation of the database is.
    field_types = peewee.PostgresqlDatabase.field_types | {"TEXT": 'TEXT COLLATE "C"'}

    # PostgreSQL removes deleted rows by itself, some time later.
    leaves_remnants = False
    is_in_process = False
    pause_share = 0.0  # see `let_others_write`

    # Whether it was a replica at the last transaction: if so, the first message requests the time too.
    _was_replica = False

    def __init__(self, settings: dict[str, Any]) -> None:
        for_transactions, rest = split_options(settings.get("options"))
        self._settings = settings | {"options": rest}
        self._server = Connector(self._settings)
        self._preamble = Preamble(for_transactions)
        super().__init__(settings.get("dbname") or "postgres", prefer_psycopg3=True)
        # peewee's would let one thread connect at a time; each has a state of its own.
        self._lock = nullcontext()

    def _connect(self) -> Any:
        return self._server.connect()

    def connect(self, reuse_if_open: bool = False) -> bool:
        idle = not self.is_closed() and not self.in_transaction()
        if reuse_if_open and idle and self._server.is_dead(self._state.conn):
            self.close()
        return bool(super().connect(reuse_if_open))

    def cursor(self, named_cursor: Any = None) -> Any:
        lost = not self.is_closed() and self._state.conn.closed
        if lost and not self.in_transaction():
            self.close()
        elif not lost and self.in_transaction():
            self._limit_next_lock()
        return super().cursor(named_cursor)

    def _limit_next_lock(self) -> None:
        """After a long wait the next one is shorter."""
        left = patience.lock_ms()
        if left < self._state.lock_ms and not self.transaction_lost():
            self._state.lock_ms = left
            self._state.conn.execute(f"SET LOCAL lock_timeout = {left}")

    def data_version(self) -> Any:
        """A value that changes with each commit that changes a row of the projection, as that updates the
        global row, and with this thread's connection; compare it for equality.  None if it is not known.
        """
        connection = self.connection()
        if connection.prepare_threshold is None or self._preamble.settings or not self.is_checked:
            return None  # outside of a transaction, the session may be another client's
        with peewee.__exception_wrapper__:  # type: ignore[attr-defined]
            self._server.refuse_if_down()
            row = connection.execute(READ_DATA_VERSION, prepare=True).fetchone()
        if row is None or row[2]:
            return None
        self.check(*row[:2])
        return connection, row

    def begin(self, how: str | None = WORK) -> None:
        """Begin, apply the settings and read the schema's version, in one round trip."""
        how = how or WORK
        self.connect(reuse_if_open=True)
        patience.begin_transaction()
        try:
            with peewee.__exception_wrapper__:  # type: ignore[attr-defined]
                begun = self._begin(how, with_replica_time=how == SNAPSHOT and self._was_replica)
                if begun.is_replica and how == SNAPSHOT and not self._was_replica:
                    self.rollback()
                    begun = self._begin(how, with_replica_time=True)
            self._was_replica = begun.is_replica
            if self.is_checked and how != EXCLUSIVE:
                self.check(begun.version, begun.unfinished)
        except BaseException:
            if self._state.conn.info.transaction_status != TransactionStatus.IDLE:
                self.rollback()
            raise

    def _begin(self, how: str, *, with_replica_time: bool) -> Begun:
        """Send the preamble; again if the session turns out to be shared with other clients.

        A pooler reports a process number of its own making, so a session is ours if the server's number
        is the one that the connection knows.  Only then may statements be prepared: they would exist in
        one server process alone, and for whichever client the pooler gives that to next.
        """
        self._server.refuse_if_down()
        connection = self._state.conn
        was_ours = connection.prepare_threshold is not None
        try:
            begun = self._send_preamble(how, with_replica_time, ours=was_ours)
        except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege):
            if not was_ours:
                raise
            begun = None  # with another client's search_path or role
        is_ours = begun is not None and begun.process == connection.info.backend_pid
        connection.prepare_threshold = PREPARE_AFTER if is_ours else None
        if begun is None or (was_ours and not is_ours):
            self.rollback()
            begun = self._send_preamble(how, with_replica_time, ours=False)
        self._state.begun = begun
        connection.process = OF_REPLICA if begun.is_replica else begun.process
        return begun

    def _send_preamble(self, how: str, with_replica_time: bool, *, ours: bool) -> Begun:
        checked = self.is_checked and how != EXCLUSIVE
        self._state.lock_ms = lock_ms = patience.lock_ms()
        if not ours:
            self._state.conn.process = None  # it is not known which one this will be
        text = self._preamble.text(
            how, lock_ms, checked=checked, with_replica_time=with_replica_time, ours=ours
        )
        return read_begun(self._state.conn.cursor().execute(text, prepare=False))

    @contextmanager
    def _in_transaction(self) -> Iterator[None]:
        """Outside a transaction a statement gets one of its own, with the same settings and checks."""
        if self.in_transaction():
            yield
        else:
            with self.transaction(WORK):
                yield

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        with self._in_transaction():
            return super().execute_sql(sql, params)

    def commit(self) -> None:
        """Commit, or raise OperationalError if the transaction is lost: the server would roll it back
        silently, and writes that were lost would be acknowledged.
        """
        if self.transaction_lost():
            raise peewee.OperationalError("the database ended the transaction by itself")
        super().commit()

    def around_commits(self, _: Callable[[], AbstractContextManager[None]]) -> AbstractContextManager[None]:
        return nullcontext()  # it is the server that writes

    def rollback(self) -> None:
        """Roll back; a lost connection has done so by itself."""
        if not self._state.conn.closed:
            super().rollback()

    def check_engine(self) -> None:
        """Raises DatabaseUnusable."""
        engines.check(self._state.conn, lambda sql: self.execute_sql(sql).fetchone())

    def prepare_file(self) -> None:
        """Refuse a server that is too old or stores texts in another encoding."""
        version = self.server_version // 10_000
        if version < MINIMUM:
            raise DatabaseUnusable(f"PostgreSQL {version} is too old; use {MINIMUM} or newer")
        if self.execute_sql("SHOW server_encoding").fetchone() != ("UTF8",):
            raise DatabaseUnusable(
                "the database's encoding is not UTF8; create one with: createdb -E UTF8 -T template0 NAME"
            )

    def create_tables(self, models: Iterable[type[peewee.Model]], **options: Any) -> None:
        for model in (models := tuple(models)):
            model._meta.strict_tables = False  # all tables are, there
        super().create_tables(models, **options)

    def is_corrupt(self) -> bool:
        """Unknown: the server has checksums and tools of its own."""
        return False

    def why_unusable(self, error: BaseException) -> DatabaseUnusable:
        return why_unusable(error, None if self.is_closed() else self._state.conn, self._settings)

    def read_snapshot(self) -> Any:
        return self.transaction(SNAPSHOT)

    def write_transaction(self) -> Any:
        return self.transaction(WORK)

    def write_attempt(self) -> Any:
        return self.transaction(WORK)

    @contextmanager
    def exclusive_transaction(self) -> Iterator[None]:
        with self.transaction(EXCLUSIVE):
            self.execute_sql(f"SELECT pg_advisory_xact_lock({EXCLUSIVE_LOCK})")
            # The table to lock does not exist before the first start.
            if self.execute_sql("SELECT to_regclass('pdpp_ref_schema') IS NOT NULL").fetchone()[0]:
                self.execute_sql(LOCK_EXCLUSIVE)
            if self.is_checked:
                self.check(*(self.execute_sql(READ_SCHEMA).fetchone() or (None, False)))
            yield

    def schema_change(self) -> Any:
        return nullcontext()

    def allow_null(self, table: str, column: str) -> None:
        self.execute_sql(f"ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL")

    @contextmanager
    def reconcile_transaction(self, wait: bool, seconds: float) -> Iterator[None]:
        """One at a time, across all processes; without `wait` also no long wait for any row or the disk."""
        with self.transaction(WORK):
            if wait:
                self.execute_sql(f"SELECT pg_advisory_xact_lock({RECONCILE_LOCK})")
            else:
                self._state.lock_ms = lock_ms = max(50, int(seconds * 1000))
                attempt = TRY_RECONCILE.format(lock=RECONCILE_LOCK)
                (free, *_) = self.execute_sql(attempt, (lock_ms, max(1000, 4 * lock_ms))).fetchone()
                if not free:
                    raise Busy
            yield

    @contextmanager
    def step_transaction(self, wait: bool) -> Iterator[None]:
        """One at a time, across all processes."""
        attempt = "pg_advisory_xact_lock" if wait else "pg_try_advisory_xact_lock"
        with self.transaction(WORK):
            (locked,) = self.execute_sql(f"SELECT {attempt}({STEP_LOCK})").fetchone()
            if locked is False:
                raise Busy
            yield

    def lock_attempt(self) -> Any:
        return self.savepoint()

    def lock(self, strength: str, of: str, wait: bool) -> str:
        return f" FOR {strength}{' OF ' + of if of else ''}{'' if wait else ' SKIP LOCKED'}"

    def transaction_lost(self) -> bool:
        connection = self._state.conn
        return connection is None or connection.info.transaction_status != TransactionStatus.INTRANS

    def columns(self, cursor: Any) -> list[str]:
        return [column.name for column in cursor.description]

    def rest(self) -> None:
        """Nothing to do."""

    def is_replica(self) -> bool:
        """As the server said when the transaction began; a driver may remember a pooler's answer."""
        return bool(self._state.begun.is_replica)

    def replicated_until(self) -> str | None:
        until: str | None = self._state.begun.replicated_until
        return until

    def reset_sequence(self, table: str, column: str) -> None:
        """Number new rows after the last one, even if that was inserted with its number."""
        self.execute_sql(
            f"""
            SELECT setval(
                pg_get_serial_sequence('{table}', '{column}'),
                COALESCE(MAX({column}), 1),
                MAX({column}) IS NOT NULL
            )
            FROM {table}
            """
        )

    def back_up(self, path: str, progress: Callable[[int, int], None] = lambda *_: None) -> None:
        raise DatabaseUnusable(
            "PostgreSQL has a program for it; run: pg_dump --format=custom --file=FILE URL"
        )

    def shorten_log(self) -> None:
        """Nothing to do: PostgreSQL limits its log by itself."""

    def clean_pages(self, most: int) -> bool:
        """Nothing to do: that is VACUUM's work, which PostgreSQL starts by itself."""
        return True

    def compact(self) -> tuple[int, int]:
        raise DatabaseUnusable(
            "PostgreSQL has a program for it, which locks each table for a while; run: "
            "vacuumdb --full --analyze --dbname=URL"
        )

    def translate_placeholders(self, sql: str) -> str:
        return sql.replace("%", "%%").replace("?", "%s")


def from_url(url: str) -> Postgres:
    """The database of a `postgresql://` URL, in any form that PostgreSQL's own programs accept."""
    try:
        settings = CONNECT | conninfo_to_dict(url)
    except psycopg.Error:
        raise DatabaseUnusable(
            "PDPP_DATABASE_URL is not a PostgreSQL URL: postgresql://user:password@host:5432/database"
        ) from None
    return Postgres(settings)
