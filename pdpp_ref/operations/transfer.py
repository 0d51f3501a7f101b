"""Copying all data to another database, and checking that every row has arrived.

The source is read at one moment.  Rows are sent in the order of their keys, a batch per transaction, and
with each batch the target stores the number of rows of each table and their digest.  So an interrupted
copy resumes after the last row that arrived, and never on top of rows that others have written: it deletes
only what it has sent.  Nobody else can read or write the target meanwhile, not even a server that had it
open before.  The projection is not copied but reconciled there.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import peewee

from ..database import (
    Busy,
    db,
    exclusive_transaction,
    execute,
    fetch_all,
    fetch_as,
    fetch_value,
    insert_many,
    placeholders,
    read_snapshot,
    using,
    write_transaction,
)
from ..migrations import prepare
from ..models import (
    CANONICAL_TABLES,
    CHECKPOINT_TABLES,
    GRAIN_TABLES,
    HOUSEKEEPING_TABLES,
    SNAPSHOT_TABLES,
    TABLES,
    BlobChunk,
    Connection,
    GlobalSnapshot,
    RetainedSizeConnector,
    RetainedSizeGlobal,
    RetainedSizeRecord,
    Stream,
    Table,
    Token,
    TransferState,
    UnclaimedFile,
)
from ..models.measures import MEASURE_NAMES
from ..projection import marks
from ..services import reconcile
from ..timestamps import utc_now

COPIED: tuple[type[Table], ...] = (*CANONICAL_TABLES, Token, RetainedSizeRecord, *SNAPSHOT_TABLES)
# Not copied: counted from the copied rows.
DERIVED: tuple[type[Table], ...] = (*GRAIN_TABLES, RetainedSizeConnector, *CHECKPOINT_TABLES)
# Columns of grain rows that are copied nevertheless: snapshots are linked to them.
CARRIED_OVER = ("generation", "days_disordered", "stale_since")
BATCH_ROWS = 1_000
BATCH_CHUNKS = 8  # of a file, 1 MiB each

Row = tuple[Any, ...]


class Moved(NamedTuple):
    """How far a copy has come.  Each row is sent and then compared, so it counts twice.

    `comparing`: all rows of the table have arrived, and are being compared.
    """

    table: str
    comparing: bool
    done: int
    total: int


Progress = Callable[[Moved], None]


class TargetNotEmpty(Exception):
    """The target holds data of its own."""


class TargetChanged(TargetNotEmpty):
    """The target holds other rows than the unfinished copy has sent."""


class TransferMismatch(Exception):
    """A table differs in the target; the message names it."""


class _Identity(NamedTuple):
    """What a copy has in common with its source.  It is clean, because it never had what was erased."""

    created_at: str | None
    erasure_key: str
    last_erasure: int
    cleaned_erasure: int


@dataclass
class Sent:
    """The progress that the target stores: the number of rows sent of each table, and their digest.

    `counting`: all rows were sent and compared, and the projection is being counted.  `stored` is the
    text in the target.
    """

    tables: dict[str, tuple[int, str]] = field(default_factory=dict)
    counting: bool = False
    stored: str = "{}"

    @classmethod
    def parse(cls, text: str) -> "Sent":
        """From the text in the target."""
        progress = json.loads(text)
        tables = {table: (rows, digest) for table, (rows, digest) in progress.get("tables", {}).items()}
        return cls(tables, progress.get("counting", False), text)

    def of(self, model: type[Table]) -> tuple[int, str]:
        rows, digest = self.tables.get(_table(model), (0, ""))
        return rows, digest

    def add(self, model: type[Table], batch: list[Row]) -> None:
        rows, digest = self.of(model)
        self.tables[_table(model)] = (rows + len(batch), _digest(digest, batch))

    def store(self) -> None:
        """In the transaction that sends the rows.  Raises Busy if another copy has stored progress."""
        text = json.dumps({"tables": self.tables, "counting": self.counting})
        if execute("UPDATE pdpp_ref_copying SET progress = ? WHERE progress = ?", (text, self.stored)) != 1:
            raise Busy
        self.stored = text


def _digest(digest: str, rows: Sequence[Row]) -> str:
    """Continue a digest, row by row: batches may have other sizes when the rows are read again."""
    for row in rows:
        digest = hashlib.sha256(f"{digest}{row!r}".encode(errors="surrogatepass")).hexdigest()
    return digest


def copy(target: peewee.Database, progress: Progress = lambda *_: None) -> int:
    """Copy the bound database to `target`.  Returns the number of rows.

    `progress` gets how far it has come.  Raises
    TargetNotEmpty, TransferMismatch, DatabaseUnusable, Busy or peewee.DatabaseError; after any of
    them the source is unchanged, and the target is not served before a copy to it is done.
    """
    with read_snapshot():
        (identity,) = fetch_as(
            _Identity, "SELECT created_at, erasure_key, last_erasure, last_erasure FROM pdpp_ref_schema"
        )
        state = _source_state()
        with using(target):
            sent = _begin(state)
        if not sent.counting:
            _Sending(target, sent, sum(json.loads(state)[0]), progress).run()
    with using(target):
        _finish(identity)
    return sum(rows for rows, _ in sent.tables.values())


def _source_state() -> str:
    """A text that changes with every write to the source: after a write, the copy must start over.

    It begins with the number of rows of each table.
    """
    sums = [fetch_value(f"SELECT COUNT(*) FROM {_table(model)}") for model in COPIED]
    streams = fetch_all("SELECT SUM(id), SUM(last_version), MAX(last_ingested_at) FROM streams")
    times = fetch_all("SELECT MAX(computed_at) FROM retained_size_global")
    tokens = fetch_all("SELECT MAX(revoked_at), MAX(last_used_at) FROM tokens")
    erasure = fetch_value("SELECT last_erasure FROM pdpp_ref_schema")
    return json.dumps([sums, streams, times, tokens, erasure])


# ---- beginning ---------------------------------------------------------------------------------


def _begin(state: str) -> Sent:
    """Begin a copy in the bound database, or resume one of the same state of the source.

    Exclusively: all earlier transactions have ended, and later ones find an unfinished copy.
    """
    prepare(unfinished=True)
    with exclusive_transaction():
        unfinished = fetch_all("SELECT state, progress FROM pdpp_ref_copying")
        if not unfinished:
            _check_empty()
            execute("DELETE FROM retained_size_global_days")  # preparing an empty database wrote one
            TransferState.insert(id=1, state=state).execute()
            execute("UPDATE pdpp_ref_schema SET unfinished = TRUE")
            return Sent()
        ((state_before, progress),) = unfinished
        sent = Sent.parse(progress)
        is_same = state_before == state
        _check_ours(sent, exactly=not is_same)
        if is_same:
            return sent
        # Deleting streams and connections also deletes their rows of the projection.
        for model in reversed(COPIED):
            execute(f"DELETE FROM {_table(model)}")
        execute("UPDATE pdpp_ref_copying SET state = ?, progress = '{}'", [state])
        return Sent()


def _check_empty() -> None:
    """Raise TargetNotEmpty if anybody has ever written to the bound database."""
    for model in TABLES:
        if model in HOUSEKEEPING_TABLES:
            continue
        # Preparing an empty database writes these rows, with zeros.
        is_prepared = model in (RetainedSizeGlobal, GlobalSnapshot)
        is_filled = " OR ".join(f"{name} <> 0" for name in MEASURE_NAMES) if is_prepared else "TRUE"
        if fetch_all(f"SELECT 1 FROM {_table(model)} WHERE {is_filled} LIMIT 1"):
            raise TargetNotEmpty


def _check_ours(sent: Sent, *, exactly: bool) -> None:
    """Raise TargetChanged if the bound database holds other rows than were sent to it.

    `exactly`: compare digests too, because the rows are going to be deleted; otherwise they are compared
    after the rest has been sent.
    """
    for model in COPIED:
        if sent.counting and model in SNAPSHOT_TABLES:
            continue  # counting has added today's
        rows, digest = sent.of(model)
        if fetch_all(f"SELECT COUNT(*) FROM {_table(model)}") != [(rows,)]:
            raise TargetChanged
        if exactly and rows and digest != _digest_of(model):
            raise TargetChanged


def _digest_of(model: type[Table]) -> str:
    digest = ""
    for batch in _batches(model):
        digest = _digest(digest, batch)
    return digest


# ---- sending -----------------------------------------------------------------------------------


class _Sending:
    """Sending the rows of all tables, and comparing those of each when they have arrived."""

    def __init__(self, target: peewee.Database, sent: Sent, total: int, progress: Progress) -> None:
        self._target, self._sent, self._progress = target, sent, progress
        self._done, self._total = sum(rows for rows, _ in sent.tables.values()), 2 * total

    def run(self) -> None:
        """Raises TransferMismatch.  At the end it sends dirty rows to count from."""
        for model in COPIED:
            self._send(model)
            self._compare(model)
        for model in GRAIN_TABLES:
            _send_dirty_rows(model, self._target)
        with using(self._target), write_transaction():
            self._sent.counting = True
            self._sent.store()

    def _send(self, model: type[Table]) -> None:
        with using(self._target):
            last = fetch_all(
                f"""
                SELECT {_key(model)}
                FROM {_table(model)}
                ORDER BY {", ".join(f"{name} DESC" for name in _key_names(model))}
                LIMIT 1
                """
            )
        for batch in _batches(model, last[0] if last else None):
            with using(self._target), write_transaction():
                insert_many(model, tuple(_names(model)), batch)
                self._sent.add(model, batch)
                self._sent.store()
            self._show(model, len(batch), comparing=False)

    def _compare(self, model: type[Table]) -> None:
        """Read a table in both databases again."""
        here, there = _batches(model), _batches(model)
        while True:
            ours = next(here, [])
            with using(self._target):
                theirs = next(there, [])
            if ours != theirs:
                raise TransferMismatch(_table(model))
            if not ours:
                return
            self._show(model, len(ours), comparing=True)

    def _show(self, model: type[Table], rows: int, *, comparing: bool) -> None:
        self._done += rows
        self._progress(Moved(_table(model), comparing, self._done, self._total))


def _send_dirty_rows(model: type[Table], target: peewee.Database) -> None:
    """Send a dirty row for each row of a grain, so that snapshots there stay linked in the same order.

    A row that is dirty here stays dirty since then: later days are unknown there too.
    """
    keys = [name for name in ("stream_id", "connection_id", "id") if name in model._meta.columns]
    names = (*keys, *CARRIED_OVER, "dirty")
    now = utc_now()
    for batch in _batches(model):
        rows = [_dirty_row(model, row, names, now) for row in batch]
        with using(target), write_transaction():
            insert_many(model, names, rows, (keys[0],))


def _dirty_row(model: type[Table], row: Row, names: tuple[str, ...], now: str) -> Row:
    values = dict(zip(_names(model), row, strict=True))
    values |= {"dirty": True, "stale_since": values["stale_since"] or now}
    return tuple(values[name] for name in names)


def _batches(model: type[Table], after: Row | None = None) -> Iterator[list[Row]]:
    """All rows after a key, in the order of keys, from whichever database is bound at each step."""
    names = _names(model)
    places = [names.index(name) for name in _key_names(model)]
    limit = BATCH_CHUNKS if model is BlobChunk else BATCH_ROWS
    while True:
        rows = fetch_all(
            f"""
            SELECT {", ".join(names)}
            FROM {_table(model)}
            WHERE {f"({_key(model)}) > ({placeholders(places)})" if after else "TRUE"}
            ORDER BY {_key(model)}
            LIMIT ?
            """,
            (*(after or ()), limit),
        )
        if not rows:
            return
        yield [_with_booleans(model, row) for row in rows]
        after = tuple(rows[-1][place] for place in places)


def _with_booleans(model: type[Table], row: Row) -> Row:
    """A row whose booleans are bool, as on PostgreSQL; SQLite's are 0 and 1."""
    fields = model._meta.sorted_fields
    return tuple(
        bool(value) if isinstance(field, peewee.BooleanField) else value
        for field, value in zip(fields, row, strict=True)
    )


def _finish(identity: _Identity) -> None:
    """Count the projection from the rows that have arrived, and let the database be used."""
    with write_transaction():
        for model in (Connection, Stream, UnclaimedFile):
            db.reset_sequence(_table(model), "id")
        marks.mark_all()
    reconcile.run_until_fresh()
    with write_transaction():
        execute("DELETE FROM pdpp_ref_copying")
        execute(
            """
            UPDATE pdpp_ref_schema
            SET unfinished = FALSE,
                created_at = ?,
                erasure_key = ?,
                last_erasure = ?,
                cleaned_erasure = ?
            """,
            identity,
        )


# ---- names -------------------------------------------------------------------------------------


def _table(model: type[Table]) -> str:
    return str(model._meta.table_name)


def _names(model: type[Table]) -> list[str]:
    return [field.column_name for field in model._meta.sorted_fields]


def _key_names(model: type[Table]) -> list[str]:
    key: Any = model._meta.primary_key
    if isinstance(key, peewee.CompositeKey):
        return [model._meta.fields[name].column_name for name in key.field_names]
    return [key.column_name]


def _key(model: type[Table]) -> str:
    return ", ".join(_key_names(model))
