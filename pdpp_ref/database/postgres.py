"""PostgreSQL 15 or newer, through psycopg 3, which is installed as the extra `postgres`.

Work runs under READ COMMITTED and locks the rows that it changes; a read is a REPEATABLE READ snapshot.
"""

import select
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import peewee
import psycopg
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Ping, TransactionStatus

from .errors import (
    Busy,
    DatabaseUnusable,
    of_driver,
    problem,
)
from .preamble import (
    ALONE,
    LOCK_ALONE,
    SNAPSHOT,
    WORK,
    Begun,
    Preamble,
    begun,
    taken_from,
)
from .schema_guard import LOOK, OF, Served
from .statements import insert

MINIMUM = 15

# Advisory locks of this program; nobody else uses the same numbers.
REPAIR_LOCK, ALONE_LOCK = 7_663_001, 7_663_002

# How often a statement runs before a connection of our own server process has it prepared.
PREPARE_AFTER = 5
# What the URL may overrule.  A server that is gone without a word is noticed within half a minute.
CONNECT = {
    "application_name": "pdpp-ref",
    "connect_timeout": "5",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "client_encoding": "UTF8",
}


class _Adapter(peewee.Psycopg3Adapter):
    """Like peewee's own, which works only if peewee found psycopg when it was imported."""

    txn_idle = TransactionStatus.IDLE
    txn_inerror = TransactionStatus.INERROR
    txn_unknown = TransactionStatus.UNKNOWN

    def get_binary_type(self) -> Any:
        return psycopg.Binary


class Postgres(Served, peewee.PostgresqlDatabase):
    """A connection for each thread.  One that is found dead is replaced where no work is lost by it.

    Nothing of a connection's session is relied on: it may be another one in each transaction.
    """

    _state: Any
    psycopg2_adapter = psycopg3_adapter = _Adapter
    # Names sort by code point, as on SQLite, whatever the collation of the database is.
    field_types = peewee.PostgresqlDatabase.field_types | {"TEXT": 'TEXT COLLATE "C"'}

    # Whether it was a replica when it was last asked: then the time is asked for at once.
    _was_replica = False

    def __init__(self, settings: dict[str, Any]) -> None:
        taken, rest = taken_from(settings.get("options"))
        self._settings = settings | {"options": rest}
        self._preamble = Preamble(taken)
        super().__init__(settings.get("dbname") or "postgres", prefer_psycopg3=True)

    def _connect(self) -> Any:
        connection = psycopg.connect(**self._settings, autocommit=True, prepare_threshold=None)
        # Sums of bigints are NUMERIC there, and whole: ints, as on SQLite.
        connection.adapters.register_loader("numeric", _WholeNumber)
        return connection

    def connect(self, reuse_if_open: bool = False) -> bool:
        idle = not self.is_closed() and not self.in_transaction()
        if reuse_if_open and idle and _is_dead(self._state.conn):
            self.close()
        return bool(super().connect(reuse_if_open))

    def cursor(self, named_cursor: Any = None) -> Any:
        lost = not self.is_closed() and self._state.conn.closed
        if lost and not self.in_transaction():
            self.close()
        return super().cursor(named_cursor)

    def begin(self, how: str | None = WORK) -> None:
        """One round trip: the transaction begins, its settings are made, the schema's version is read."""
        how = how or WORK
        self.connect(reuse_if_open=True)
        try:
            with peewee.__exception_wrapper__:  # type: ignore[attr-defined]
                found = self._begin(how, arrived=how == SNAPSHOT and self._was_replica)
                if found.is_replica and how == SNAPSHOT and not self._was_replica:
                    self.rollback()
                    found = self._begin(how, arrived=True)
            self._was_replica = found.is_replica
            if self.is_checked and how != ALONE:
                self.check(found.version, found.unfinished)
        except BaseException:
            if self._state.conn.info.transaction_status != TransactionStatus.IDLE:
                self.rollback()
            raise

    def _begin(self, how: str, *, arrived: bool) -> Begun:
        connection = self._state.conn
        checked = self.is_checked and how != ALONE

        def send(ours: bool) -> Begun:
            text = self._preamble.text(how, checked=checked, arrived=arrived, ours=ours)
            return begun(connection.cursor().execute(text, prepare=False))

        was_ours = connection.prepare_threshold is not None
        try:
            found = send(was_ours)
        except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege):
            if not was_ours:
                raise
            found = None  # with somebody else's search_path or role
        # A pooler makes up the number of the process that it tells a client.  What is prepared is known
        # to one process alone, and to whoever the pooler gives it to next.
        is_ours = found is not None and found.process == connection.info.backend_pid
        connection.prepare_threshold = PREPARE_AFTER if is_ours else None
        if found is None or (was_ours and not is_ours):
            self.rollback()
            found = send(False)
        self._state.begun = found
        return found

    @contextmanager
    def _in_transaction(self) -> Iterator[None]:
        """A statement of its own is a transaction too, with all that holds in one."""
        if self.in_transaction():
            yield
        else:
            with self.transaction(WORK):
                yield

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        with self._in_transaction():
            return super().execute_sql(sql, params)

    def commit(self) -> None:
        """Commit, or raise OperationalError where the transaction can't be: the server would roll it
        back without a word, and lost writes would be acknowledged.
        """
        if self.transaction_lost():
            raise peewee.OperationalError("the database ended the transaction by itself")
        super().commit()

    def rollback(self) -> None:
        """Roll back; a connection that is lost has done so by itself."""
        if not self._state.conn.closed:
            super().rollback()

    def prepare_file(self) -> None:
        """Refuse a server that keeps texts in another way."""
        version = self.server_version // 10_000
        if version < MINIMUM:
            raise DatabaseUnusable(f"PostgreSQL {version} is too old; use {MINIMUM} or newer")
        if self.execute_sql("SHOW server_encoding").fetchone() != ("UTF8",):
            raise DatabaseUnusable("the database's encoding is not UTF8; create one with: createdb -E UTF8")

    def create_tables(self, models: Iterable[type[peewee.Model]], **options: Any) -> None:
        for model in (models := tuple(models)):
            model._meta.strict_tables = False  # all tables are, there
        super().create_tables(models, **options)

    def is_corrupt(self) -> bool:
        """Not known: the server has checksums and tools of its own."""
        return False

    def why_unusable(self, error: BaseException) -> str:
        """Of the driver's text, which names hosts and users, nothing is told."""
        if self.is_closed():
            return self._why_no_connection(of_driver(error))
        return {
            "forbidden": "the database's user may not create tables there; grant it CREATE on the schema",
            "read_only": "the database is read-only; point PDPP_DATABASE_URL at one that can be written to",
            "full": "the database's disk is full; free some space and try again",
            "unreachable": "the PostgreSQL server went away; try again",
        }.get(problem(error), "the database can't be used; check PDPP_DATABASE_URL")

    def _why_no_connection(self, error: BaseException) -> str:
        if any(part in str(error) for part in _NO_ROOM):
            return "the PostgreSQL server takes no more connections; try again"
        answer = psycopg.pq.PGconn.ping(psycopg.conninfo.make_conninfo(**self._settings).encode())
        if answer == Ping.REJECT:
            return "the PostgreSQL server is starting; try again"
        if answer != Ping.OK:
            return "no PostgreSQL server answers; check the host and port in PDPP_DATABASE_URL"
        connection = getattr(error, "pgconn", None)
        if connection is not None and (connection.used_password or connection.needs_password):
            return "the PostgreSQL server refuses the user or the password in PDPP_DATABASE_URL"
        return "the PostgreSQL server refuses the user or the database in PDPP_DATABASE_URL, or is full"

    def read_snapshot(self) -> Any:
        return self.transaction(SNAPSHOT)

    def write_transaction(self) -> Any:
        return self.transaction(WORK)

    @contextmanager
    def exclusive_transaction(self) -> Iterator[None]:
        with self.transaction(ALONE):
            self.execute_sql(f"SELECT pg_advisory_xact_lock({ALONE_LOCK})")
            # There is none before the tables are created.
            if self.execute_sql("SELECT to_regclass('pdpp_ref_schema') IS NOT NULL").fetchone()[0]:
                self.execute_sql(LOCK_ALONE)
            if self.is_checked:
                self.check(*(self.execute_sql(f"SELECT {LOOK} {OF}").fetchone() or (None, False)))
            yield

    @contextmanager
    def reconcile_transaction(self, wait: bool, seconds: float) -> Iterator[None]:
        """One repair at a time, of all processes; a read's waits for no row for longer than a moment."""
        with self.transaction(WORK):
            if wait:
                self.execute_sql(f"SELECT pg_advisory_xact_lock({REPAIR_LOCK})")
            else:
                lock_ms = max(50, int(seconds * 1000))
                values = (lock_ms, max(1000, 4 * lock_ms))
                (free, *_) = self.execute_sql(_TRY_REPAIR, values).fetchone()
                if not free:
                    raise Busy
            yield

    def lock_attempt(self) -> Any:
        return self.savepoint()

    def lock(self, strength: str, of: str, wait: bool) -> str:
        return f" FOR {strength}{' OF ' + of if of else ''}{'' if wait else ' SKIP LOCKED'}"

    def transaction_lost(self) -> bool:
        connection = self._state.conn
        return connection is None or connection.info.transaction_status != TransactionStatus.INTRANS

    def insert_rows(
        self,
        model: type[peewee.Model],
        columns: tuple[str, ...],
        rows: Sequence[Sequence[Any]],
        identity: tuple[str, ...],
    ) -> None:
        """One statement for all rows, which come as an array for each column: in binary, as the driver
        takes long to write such text.
        """
        types = (_ARRAYS[model._meta.columns[name].field_type] for name in columns)
        arrays = ", ".join(f"%b::{name}[]" for name in types)
        sql = insert(model._meta.table_name, columns, identity, f"SELECT * FROM unnest({arrays})")
        with self._in_transaction():
            self.cursor().execute(sql, [list(column) for column in zip(*rows, strict=True)])

    def execute_each(self, sql: str, rows: Sequence[Iterable[Any]]) -> None:
        with self._in_transaction():
            self.cursor().executemany(self.translate_placeholders(sql), rows)

    def columns(self, cursor: Any) -> list[str]:
        return [column.name for column in cursor.description]

    def look_up(self, sql: str, values: Sequence[Any], keys: Sequence[Any]) -> tuple[str, Sequence[Any]]:
        """Without LATERAL, the planner takes a stream that it has no statistics of yet to be small, and
        reads all of it for a handful of keys.
        """
        each = f"CROSS JOIN LATERAL ({self.translate_placeholders(sql)} = wanted.each LIMIT 1) AS found"
        kind = "text" if isinstance(keys[0], str) else "bigint"
        return f"SELECT found.* FROM unnest(%b::{kind}[]) AS wanted(each) {each}", [list(keys), *values]

    def chains(
        self, columns: Sequence[str], stream_id: int, versions: Sequence[int]
    ) -> tuple[str, Sequence[Any]]:
        """LATERAL for the same reason."""
        of_row = (
            f"SELECT {', '.join(columns)}, version AS at, previous_version AS previous FROM record_changes"
        )
        first = f"CROSS JOIN LATERAL ({of_row} WHERE stream_id = %s AND version = wanted.each LIMIT 1) AS c"
        before = "stream_id = %s AND version = chain.previous AND version < chain.at LIMIT 1"
        sql = (
            f"WITH RECURSIVE chain AS (SELECT wanted.each AS head, c.* FROM unnest(%b::bigint[]) "
            f"AS wanted(each) {first} UNION ALL SELECT chain.head, c.* FROM chain "
            f"CROSS JOIN LATERAL ({of_row} WHERE {before}) AS c) SELECT * FROM chain"
        )
        return sql, [list(versions), stream_id, stream_id]

    def is_replica(self) -> bool:
        """As the server said when the transaction began; what a driver remembers, a pooler may have."""
        return bool(self._state.begun.is_replica)

    def replicated_until(self) -> str | None:
        found: str | None = self._state.begun.arrived
        return found

    def reset_sequence(self, table: str, column: str) -> None:
        """New rows are numbered after the last one, though that came with its number."""
        last = f"(SELECT MAX({column}) FROM {table})"
        sequence = f"pg_get_serial_sequence('{table}', '{column}')"
        self.execute_sql(f"SELECT setval({sequence}, COALESCE({last}, 1), {last} IS NOT NULL)")

    def back_up(self, path: str) -> None:
        raise DatabaseUnusable(
            "PostgreSQL has a program for it; run: pg_dump --format=custom --file=FILE URL"
        )

    def translate_placeholders(self, sql: str) -> str:
        return sql.replace("%", "%%").replace("?", "%s")


_ARRAYS = {"BIGAUTO": "bigint", "BIGINT": "bigint", "TEXT": "text", "BOOL": "boolean", "BLOB": "bytea"}

# How a server says so in English; of a failed connection the driver knows no error code.
_NO_ROOM = ("connection slots", "too many clients", "too many connections", "no more connections")

_TRY_REPAIR = (
    f"SELECT pg_try_advisory_xact_lock({REPAIR_LOCK}), "
    "set_config('lock_timeout', %s::text, TRUE), set_config('statement_timeout', %s::text, TRUE)"
)


class _WholeNumber(Loader):
    def load(self, data: Any) -> int:
        return int(bytes(data))


def _is_dead(connection: Any) -> bool:
    """Whether the server has gone, or has something to say to an idle connection: that it ends it."""
    if connection.closed or connection.info.transaction_status != TransactionStatus.IDLE:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def from_url(url: str) -> Postgres:
    """The database of a `postgresql://` URL, in any form that PostgreSQL's own programs take."""
    try:
        settings = CONNECT | conninfo_to_dict(url)
    except psycopg.Error:
        raise DatabaseUnusable(
            "PDPP_DATABASE_URL is no PostgreSQL URL: postgresql://user:password@host:5432/database"
        ) from None
    return Postgres(settings)
