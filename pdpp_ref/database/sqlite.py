"""SQLite, through APSW, whose wheels carry a current SQLite: the one in a system Python may still
have the WAL-reset corruption bug that 3.51.3 fixed.
"""

import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import apsw
import peewee
from playhouse.apsw_ext import APSWDatabase

from .. import private_files
from . import patience
from .checkpoints import PAGE_BYTES, Checkpoints, switch_to_wal
from .errors import DatabaseUnavailable, DatabaseUnusable, FileMoved, problem
from .read_only_file import BriefConnections
from .schema_guard import READ_SCHEMA, SchemaGuard
from .sqlite_rows import among, chains_text, delete_text, flat, id_list, inserts, look_up_text, update_text
from .statements import Keys
from .whole_file import WholeFile

log = logging.getLogger(__name__)

MINIMUM = (3, 51, 3)
# How a transaction begins: with the write lock at once or not at all.
NOW = "NOW"
PAGES_AT_ONCE = 1_000  # that a backup copies before it says so
# Each run takes a place among the prepared statements, so a large write would take all of APSW's usual 100.
PREPARED_STATEMENTS = 500

# `synchronous=full`: a sender forgets the records before a STATE that was printed, so those must
# survive a power cut, which WAL with `normal` does not promise.
PRAGMAS: dict[str, Any] = {
    "synchronous": "full",
    "foreign_keys": 1,
    "busy_timeout": 5000,
    "cache_size": -32768,
    "temp_store": "memory",
    # What is deleted is overwritten with zeros.
    "secure_delete": 1,
    # After a large transaction the log is cut to this size by the next one.
    "journal_size_limit": 32 * 1024 * 1024,
}

# peewee leaves out some of the driver's errors, such as NoMemError, which a corrupt page can cause.
for _error in vars(apsw).values():
    if isinstance(_error, type) and issubclass(_error, apsw.Error):
        peewee.EXCEPTIONS.setdefault(_error.__name__, peewee.DatabaseError)  # type: ignore[attr-defined]


class Sqlite(WholeFile, SchemaGuard, APSWDatabase):  # type: ignore[misc]  # playhouse has no stubs for it
    """One writer at a time locks the whole file, so rows need no locks."""

    # A file from before `secure_delete` has deleted bytes in its free space.
    leaves_remnants = True
    is_in_process = True
    pause_share = 0.25  # see `let_others_write`

    # Device and inode of the file, once it has been prepared.
    _identity: tuple[int, int] | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._brief = BriefConnections()
        self._around_commit: Callable[[], AbstractContextManager[None]] = nullcontext
        super().__init__(*arguments, **options)

    def _connect(self) -> apsw.Connection:
        self._check_place()
        self._make_file()
        connection = self._brief.opened_by(super()._connect)
        connection.set_wal_hook(Checkpoints(PRAGMAS["busy_timeout"]))
        return connection

    def _close(self, connection: apsw.Connection) -> None:
        try:
            super()._close(connection)
        finally:
            self._brief.closed(connection)

    def lock(self, strength: str, of: str, wait: bool) -> str:
        return ""

    def commit(self) -> bool:
        """Commit, or raise OperationalError if SQLite has already rolled back by itself.

        A full disk or an I/O error ends the whole transaction inside SQLite.  The driver's own
        commit is silent then, and lost writes would be acknowledged.
        """
        connection = self.connection()
        if connection.getautocommit():
            raise peewee.OperationalError("the database ended the transaction by itself")
        if connection.txn_state() == apsw.SQLITE_TXN_WRITE:
            self._check_place()
        with self._around_commit():
            return bool(super().commit())

    @contextmanager
    def around_commits(self, entered: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
        self._around_commit = entered
        try:
            yield
        finally:
            self._around_commit = nullcontext

    def prepare_file(self) -> None:
        """Switch to WAL, in which readers and the writer don't wait for each other; the file keeps it.

        Also restrict the file to its owner.  SQLite gives the files next to it the same mode.
        """
        file = os.path.realpath(self.database)
        closed = [private_files.close_to_others(file + each) for each in ("", "-wal", "-shm", "-journal")]
        if not all(closed):
            log.warning("others can read the database file, and its permissions can't be changed")
        switch_to_wal(self.execute_sql, PRAGMAS["busy_timeout"] / 1000)
        self._file = Path(self.database)
        self._identity = private_files.identity_of(self._file)

    def rest(self) -> None:
        """This thread does nothing more for now."""
        is_open = not (self.is_closed() or self.in_transaction())
        if self._brief and is_open and self.connection() in self._brief:
            self.close()

    def _make_file(self) -> None:
        """Create a new file with mode 0600; SQLite would leave that to the umask."""
        with suppress(OSError):  # it exists, or SQLite reports what is wrong
            os.close(private_files.create(self.database))

    def _check_place(self) -> None:
        """Raise FileMoved if the path names another file than it did, or none.

        A deleted file stays usable to whoever has it open: writes to it would be acknowledged, and
        lost when the last connection closes.
        """
        if self._identity and private_files.identity_of(self._file) != self._identity:
            raise FileMoved

    def create_tables(self, models: Iterable[type[peewee.Model]], **options: Any) -> None:
        for model in (models := tuple(models)):
            model._meta.strict_tables = True
        super().create_tables(models, **options)

    def begin(self, lock_type: str | None = None) -> None:
        self._check_place()
        # A connection that was opened while the file was read-only stays read-only.
        if lock_type != "DEFERRED" and self.connection() in self._brief:
            self.close()
            self.connect()
        if lock_type == "DEFERRED":
            super().begin(lock_type)
        else:
            self._begin_write(wait=lock_type != NOW)
        if self.is_checked:
            self._check_schema()

    def _begin_write(self, *, wait: bool) -> None:
        patience.begin_transaction()
        left = math.ceil(patience.lock_seconds() * 1000) if wait else 0
        began = time.monotonic()
        self.connection().set_busy_handler(patience.asking_again(min(left, PRAGMAS["busy_timeout"])))
        try:
            super().begin()
        finally:
            self.connection().set_busy_timeout(PRAGMAS["busy_timeout"])
            patience.has_waited(time.monotonic() - began)

    def _check_schema(self) -> None:
        """Inside the transaction that has just begun, so that nobody can change it until the end."""
        try:
            with peewee.__exception_wrapper__:  # type: ignore[attr-defined]
                rows = (
                    self.connection().execute(READ_SCHEMA).fetchall()
                )  # peewee's own takes ten times as long
            self.check(*(rows[0] if rows else (None, False)))
        except BaseException:
            self.rollback()
            raise

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        """Outside a transaction a statement gets one of its own, with the same checks.

        Rows that are still to be fetched at its end come from the same moment.
        """
        if self.in_transaction():
            with peewee.__exception_wrapper__:  # type: ignore[attr-defined]
                return self.connection().execute(sql, params or ())
        verb = sql.split(maxsplit=1)[0] if self.is_checked else ""
        transaction: Any = nullcontext()
        if verb in _READS:
            transaction = self.read_snapshot()
        elif verb in _WRITES:
            transaction = self.write_transaction()
        with transaction:
            return super().execute_sql(sql, params)

    def read_snapshot(self) -> Any:
        return self.transaction("DEFERRED")

    def write_transaction(self) -> Any:
        return self.transaction()

    def write_attempt(self) -> Any:
        return self.transaction(NOW)

    def exclusive_transaction(self) -> Any:
        return self.transaction()  # as every writer is

    @contextmanager
    def schema_change(self) -> Iterator[None]:
        """Around a transaction that replaces tables which others refer to."""
        self.execute_sql("PRAGMA foreign_keys = OFF")
        try:
            yield
        finally:
            self.execute_sql("PRAGMA foreign_keys = ON")

    def allow_null(self, table: str, column: str) -> None:
        """Inside `schema_change`.  SQLite can't change a column: the table is replaced, without indexes."""
        ((sql,),) = self.execute_sql("SELECT sql FROM sqlite_master WHERE name = ?", (table,))
        replaced = sql.replace(f'"{table}"', f'"new_{table}"', 1)
        replaced = replaced.replace(f'"{column}" INTEGER NOT NULL', f'"{column}" INTEGER', 1)
        self.execute_sql(replaced)
        self.execute_sql(f"INSERT INTO new_{table} SELECT * FROM {table}")
        self.execute_sql(f"DROP TABLE {table}")
        self.execute_sql(f"ALTER TABLE new_{table} RENAME TO {table}")

    def reconcile_transaction(self, wait: bool, _: float) -> Any:
        return self.transaction(None if wait else NOW)

    def step_transaction(self, wait: bool) -> Any:
        return self.transaction(None if wait else NOW)

    def lock_attempt(self) -> Any:
        return nullcontext()

    def transaction_lost(self) -> bool:
        return bool(self.connection().getautocommit())

    def insert_rows(
        self,
        model: type[peewee.Model],
        columns: tuple[str, ...],
        rows: Sequence[Sequence[Any]],
        identity: tuple[str, ...],
    ) -> None:
        for sql, values in inserts(model._meta.table_name, columns, rows, identity):
            self.connection().execute(sql, values)

    def update_rows(
        self,
        model: type[peewee.Model],
        columns: tuple[str, ...],
        rows: Sequence[Sequence[Any]],
        identity: tuple[str, ...],
        sets: str,
    ) -> int:
        return self._change_rows(update_text(model._meta.table_name, columns, identity, sets), rows)

    def delete_rows(
        self, model: type[peewee.Model], identity: tuple[str, ...], rows: Sequence[Sequence[Any]]
    ) -> int:
        return self._change_rows(delete_text(model._meta.table_name, identity), rows)

    def _change_rows(self, sql: str, rows: Sequence[Sequence[Any]]) -> int:
        connection = self.connection()
        before = connection.total_changes()
        connection.cursor().executemany(sql, rows)
        return int(connection.total_changes() - before)

    def execute_each(self, sql: str, rows: Sequence[Iterable[Any]]) -> None:
        self.connection().cursor().executemany(sql, rows)

    def columns(self, cursor: Any) -> list[str]:
        try:
            return [column[0] for column in cursor.description]
        except apsw.ExecutionCompleteError:  # how APSW says that there are no rows
            return []

    def look_up(self, sql: str, values: Sequence[Any], keys: Keys, _: int) -> tuple[str, list[Any]]:
        return look_up_text(sql, keys), [*values, *flat(keys)]

    def chains(
        self, columns: Sequence[str], stream_id: int, versions: Sequence[int], most: int
    ) -> tuple[str, Sequence[Any]]:
        return chains_text(columns, len(versions)), [stream_id, *versions, stream_id, most, stream_id]

    among, id_list = staticmethod(among), staticmethod(id_list)

    def translate_placeholders(self, sql: str) -> str:
        return sql

    def is_replica(self) -> bool:
        return False

    def replicated_until(self) -> str | None:
        return None

    def reset_sequence(self, table: str, column: str) -> None:
        """Nothing to do: SQLite numbers new rows after the last one."""

    def use_small_cache(self) -> None:
        """For a thread that reads most pages once: room for them would cost it more than reading."""
        with peewee.__exception_wrapper__:  # type: ignore[attr-defined]
            self.connection().execute("PRAGMA cache_size = -2000")

    def data_version(self) -> Any:
        """A value that changes when another connection commits, or this thread gets a new one; compare it
        for equality.  It never waits.
        """
        self._check_place()
        connection = self.connection()
        connection.set_busy_timeout(0)
        with peewee.__exception_wrapper__:  # type: ignore[attr-defined]
            ((version,),) = connection.execute("PRAGMA data_version")
        return connection, version

    def back_up(self, path: str, progress: Callable[[int, int], None] = lambda *_: None) -> None:
        """Write a whole copy of this moment, with a history of its own, to a new file.  Writers continue.

        `progress` gets the number of bytes so far, and of all.  Raises FileExistsError, OSError or
        peewee.DatabaseError, and leaves no file then.
        """
        with (
            private_files.whole(Path(path)) as part,
            peewee.__exception_wrapper__,  # type: ignore[attr-defined]
            closing(apsw.Connection(str(part))) as target,
        ):
            # Without the snapshot, a write between two steps would make SQLite begin again.
            with self.read_snapshot(), target.backup("main", self.connection(), "main") as backup:
                while not backup.done:
                    backup.step(PAGES_AT_ONCE)
                    done = backup.page_count - backup.remaining
                    progress(done * PAGE_BYTES, backup.page_count * PAGE_BYTES)
            target.execute("UPDATE pdpp_ref_schema SET history_id = lower(hex(randomblob(8)))")

    @contextmanager
    def _another_connection(self) -> Iterator[apsw.Connection]:
        """Without transactions and cached pages, for work on the file as a whole."""
        self._check_place()
        with (
            peewee.__exception_wrapper__,  # type: ignore[attr-defined]
            self._brief.opened_for(lambda: apsw.Connection(self.database)) as connection,
        ):
            for name in ("synchronous", "busy_timeout", "secure_delete", "journal_size_limit"):
                connection.pragma(name, PRAGMAS[name])
            if self.is_checked:
                self.check(*(connection.execute(READ_SCHEMA).fetchone() or (None, False)))
            yield connection

    def is_corrupt(self) -> bool:
        """Whether pages, indexes or checked columns contradict each other.  It reads the whole file."""
        return tuple(self.execute_sql("PRAGMA integrity_check(1)").fetchone()) != ("ok",)

    def check_engine(self) -> None:
        """Nothing to do: there is only one."""

    def why_unusable(self, error: BaseException) -> DatabaseUnusable:
        kind = problem(error)
        why = DatabaseUnavailable if kind == "busy" else DatabaseUnusable
        return why(self._why_unusable(kind))

    def _why_unusable(self, kind: str) -> str:
        return {
            "not_a_database": "the file is not an SQLite database; point PDPP_DATABASE_URL elsewhere",
            "corrupt": "the database file is damaged; restore it from a backup",
            "read_only": "the database file or its folder is read-only; make it writable",
            "cannot_open": "the database file can't be opened; check PDPP_DATABASE_URL and its permissions",
            "busy": "the database is busy with another writer; try again",
            "full": "the disk is full; free some space and try again",
        }.get(kind, "the database can't be used; check PDPP_DATABASE_URL")


_READS = {"SELECT", "WITH"}
_WRITES = {"INSERT", "UPDATE", "DELETE", "REPLACE"}


def from_url(url: str, instance: Path) -> Sqlite:
    """The file of `sqlite:///path`, or the one in the instance folder if the url is empty."""
    path = str(instance / "pdpp-ref.sqlite3") if not url else urlsplit(url).path[1:]
    if not path or path == ":memory:" or urlsplit(url).netloc:
        raise DatabaseUnusable(
            "PDPP_DATABASE_URL must name a file: sqlite:///relative.sqlite3 or sqlite:////absolute.sqlite3"
        )
    if Sqlite.server_version < MINIMUM:
        wanted = ".".join(map(str, MINIMUM))
        raise DatabaseUnusable(f"SQLite is older than {wanted}; run: pip install --upgrade apsw")
    parent = os.path.dirname(path)
    if parent and not os.path.isdir(parent):
        raise DatabaseUnusable(
            "the folder of the database file does not exist; create it or change PDPP_DATABASE_URL"
        )
    return Sqlite(path, pragmas=PRAGMAS, lock_type="IMMEDIATE", statementcachesize=PREPARED_STATEMENTS)
