"""Moving all that is kept to another database, and checking that every row has arrived.

The source is read at one moment.  Rows go over in the order of their keys, a batch to a transaction,
and with each batch the target notes how many rows of each table there are, and their digest.  So a copy
that was cut short goes on behind the last row that arrived, and never on top of what anybody else has
written: it deletes nothing but what it has sent.  Nobody else reads or writes the target meanwhile, a
server that had it open before included.  Figures are not copied but counted again there.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import peewee

from .. import migrations
from ..database import (
    Busy,
    db,
    exclusive_transaction,
    execute,
    fetch_all,
    insert_many,
    read_snapshot,
    using,
    write_transaction,
)
from ..models import (
    TABLES,
    Blob,
    BlobBinding,
    BlobChunk,
    Connection,
    ConnectionSnapshot,
    Figures,
    GlobalSnapshot,
    KeySpelling,
    Record,
    RecordChange,
    RecountCheckpoint,
    RetainedSizeConnection,
    RetainedSizeGlobal,
    RetainedSizeRecord,
    RetainedSizeStream,
    RollupCheckpoint,
    RollupCount,
    SchemaVersion,
    Stream,
    StreamSnapshot,
    Table,
    TransferState,
)
from ..projection import marks
from ..services import reconcile
from ..timestamps import utc_now

# Each after what it refers to.
COPIED: tuple[type[Table], ...] = (
    Connection,
    Stream,
    Record,
    RecordChange,
    KeySpelling,
    Blob,
    BlobChunk,
    BlobBinding,
    RetainedSizeRecord,
    StreamSnapshot,
    ConnectionSnapshot,
    GlobalSnapshot,
)
# What the figures of days are attached to: their rows are counted again, but go on from these.
COUNTED: tuple[type[Table], ...] = (RetainedSizeStream, RetainedSizeConnection, RetainedSizeGlobal)
GOES_ON = ("generation", "days_disordered", "stale_since")
# Not copied, and empty until figures are counted.
DERIVED: tuple[type[Table], ...] = (*COUNTED, RecountCheckpoint, RollupCheckpoint, RollupCount)
DAYS: tuple[type[Table], ...] = (StreamSnapshot, ConnectionSnapshot, GlobalSnapshot)
OWN: tuple[type[Table], ...] = (SchemaVersion, TransferState)
BATCH_ROWS = 1_000
FILE_PARTS = 8  # of a MiB each

Row = tuple[Any, ...]
Told = Callable[[str, int], None]


class TargetNotEmpty(Exception):
    """The target holds data of its own."""


class TargetChanged(TargetNotEmpty):
    """The target holds something else than what the unfinished copy has sent."""


class TransferMismatch(Exception):
    """A table has not arrived as it was; the message names it."""


@dataclass
class Sent:
    """What the target notes: by table, how many rows were sent, and a digest of them.

    `counting`: all have been, and compared; figures, and with them today's, are counted.
    """

    tables: dict[str, tuple[int, str]] = field(default_factory=dict)
    counting: bool = False
    noted: str = "{}"

    def text(self) -> str:
        return json.dumps({"tables": self.tables, "counting": self.counting})

    def of(self, model: type[Table]) -> tuple[int, str]:
        rows, digest = self.tables.get(_table(model), (0, ""))
        return rows, digest

    def add(self, model: type[Table], batch: list[Row]) -> None:
        rows, digest = self.of(model)
        self.tables[_table(model)] = (rows + len(batch), _digest(digest, batch))

    def note(self) -> None:
        """In the transaction of what was sent.  Raises Busy where somebody else has noted something."""
        text = self.text()
        if execute("UPDATE pdpp_ref_copying SET progress = ? WHERE progress = ?", (text, self.noted)) != 1:
            raise Busy
        self.noted = text


def _digest(digest: str, rows: list[Row]) -> str:
    """Row by row, as batches may have other sizes when it is read again."""
    for row in rows:
        digest = hashlib.sha256(f"{digest}{row!r}".encode(errors="surrogatepass")).hexdigest()
    return digest


def copy(target: peewee.Database, progress: Told = lambda *_: None) -> int:
    """Copy what the bound database holds to `target`.  Returns how many rows that is.

    `progress` gets the table and how many rows have arrived and been compared so far.  Raises
    TargetNotEmpty, TransferMismatch, DatabaseUnusable, Busy or peewee.DatabaseError; after any of
    them the source is as it was, and the target is not served before a copy to it is done.
    """
    with read_snapshot():
        created_at = SchemaVersion.select(SchemaVersion.created_at).scalar()
        state = _state()
        with using(target):
            sent = _begin(state)
        if not sent.counting:
            _send_all(target, sent, progress)
    with using(target):
        _finish(created_at)
    return sum(rows for rows, _ in sent.tables.values())


def _state() -> str:
    """What changes with whatever is written to the source: another state is another copy."""
    sums = [fetch_all(f"SELECT COUNT(*) FROM {model._meta.table_name}")[0][0] for model in COPIED]
    streams = fetch_all("SELECT SUM(id), SUM(last_version), MAX(last_ingested_at) FROM streams")
    return json.dumps([sums, streams, fetch_all("SELECT MAX(computed_at) FROM retained_size_global")])


# ---- beginning ---------------------------------------------------------------------------------


def _begin(state: str) -> Sent:
    """Begin a copy in the bound database, or go on with one of the same state of the source.

    Alone: what was begun there before has ended, and what begins later finds an unfinished copy.
    """
    migrations.prepare(unfinished=True)
    with exclusive_transaction():
        begun = TransferState.select(TransferState.state, TransferState.progress).tuples().first()
        if begun is None:
            _check_empty()
            GlobalSnapshot.delete().execute()  # what preparing it wrote: of nothing
            TransferState.insert(id=1, state=state).execute()
            SchemaVersion.update(unfinished=True).execute()
            return Sent()
        sent = _noted(begun[1])
        same = begun[0] == state
        _check_ours(sent, exactly=not same)
        if not same:
            # Rows of streams and connections, which go with them, too.
            for model in reversed(COPIED):
                model.delete().execute()
            TransferState.update(state=state, progress="{}").execute()
            return Sent()
        return sent


def _noted(text: str) -> Sent:
    noted = json.loads(text)
    return Sent(
        {table: (rows, digest) for table, (rows, digest) in noted.get("tables", {}).items()},
        noted.get("counting", False),
        text,
    )


def _check_empty() -> None:
    """Raises TargetNotEmpty where anybody has ever written to the bound database."""
    for model in TABLES:
        if model in OWN:
            continue
        # Preparing an empty database writes that it holds nothing.
        own = model in (RetainedSizeGlobal, GlobalSnapshot)
        nothing = " AND ".join(f"{name} = 0" for name in Figures._meta.columns if name != "id")
        if fetch_all(f"SELECT 1 FROM {_table(model)} {f'WHERE NOT ({nothing})' if own else ''} LIMIT 1"):
            raise TargetNotEmpty


def _check_ours(sent: Sent, *, exactly: bool) -> None:
    """Raises TargetChanged where the bound database holds anything but what was sent to it.

    `exactly`: row by row, as it is going to be deleted; what goes on being sent is compared anyway.
    """
    for model in TABLES:
        if model in OWN or model in DERIVED or (sent.counting and model in DAYS):
            continue  # what is counted from the rest is nobody's
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


def _send_all(target: peewee.Database, sent: Sent, progress: Told) -> None:
    """All rows, each table compared when it has arrived; then what counting its figures begins with."""
    rows = 0
    for model in COPIED:
        _send(model, target, sent)
        rows = _compare(model, target, rows, progress)
    for model in COUNTED:
        _send_marks(model, target)
    with using(target), write_transaction():
        sent.counting = True
        sent.note()


def _send(model: type[Table], target: peewee.Database, sent: Sent) -> None:
    with using(target):
        last = fetch_all(f"SELECT {_key(model)} FROM {_table(model)} ORDER BY {_down(model)} LIMIT 1")
    for batch in _batches(model, last[0] if last else None):
        with using(target), write_transaction():
            insert_many(model, tuple(_names(model)), batch)
            sent.add(model, batch)
            sent.note()


def _send_marks(model: type[Table], target: peewee.Database) -> None:
    """A dirty row for each that is here, whose days go on in the same order.

    What was dirty here is so since then: the days from then on are not known there either.
    """
    fields = model._meta.columns
    keys = [name for name in ("stream_id", "connection_id", "id") if name in fields]
    names = (*keys, *(name for name in GOES_ON if name in fields), "dirty")
    now = utc_now()
    for batch in _batches(model):
        rows = [_marked(model, row, names, now) for row in batch]
        with using(target), write_transaction():
            insert_many(model, names, rows, (keys[0],))


def _marked(model: type[Table], row: Row, names: tuple[str, ...], now: str) -> Row:
    found = dict(zip(_names(model), row, strict=True))
    found |= {"dirty": True, "stale_since": found["stale_since"] or now}
    return tuple(found[name] for name in names)


def _batches(model: type[Table], after: Row | None = None) -> Iterator[list[Row]]:
    """Rows behind a key, in the order of keys, from whatever database is bound when it is asked."""
    names = _names(model)
    places = [names.index(name) for name in _key_names(model)]
    limit = FILE_PARTS if model is BlobChunk else BATCH_ROWS
    while True:
        where = f"WHERE ({_key(model)}) > ({_marks(places)})" if after else ""
        sql = f"SELECT {', '.join(names)} FROM {_table(model)} {where} ORDER BY {_key(model)} LIMIT ?"
        rows = [_plain(model, row) for row in fetch_all(sql, (*(after or ()), limit))]
        if not rows:
            return
        yield rows
        after = tuple(rows[-1][place] for place in places)


def _plain(model: type[Table], row: Row) -> Row:
    """A row of the types that its fields have: SQLite's booleans are numbers."""
    fields = model._meta.sorted_fields
    return tuple(
        bool(value) if isinstance(field, peewee.BooleanField) else value
        for field, value in zip(fields, row, strict=True)
    )


def _compare(model: type[Table], target: peewee.Database, rows: int, progress: Told) -> int:
    """Read both again, side by side, and count on.  Raises TransferMismatch where they are not the same."""
    here, there = _batches(model), _batches(model)
    while True:
        ours = next(here, [])
        with using(target):
            theirs = next(there, [])
        if ours != theirs:
            raise TransferMismatch(_table(model))
        if not ours:
            return rows
        rows += len(ours)
        progress(_table(model), rows)


def _finish(created_at: str | None) -> None:
    """Count all figures from what has arrived, and let the database be used."""
    with write_transaction():
        for model in (Connection, Stream):
            db.reset_sequence(_table(model), "id")
        marks.mark_all()
    reconcile.run_until_fresh()
    with write_transaction():
        TransferState.delete().execute()
        SchemaVersion.update(unfinished=False, created_at=created_at).execute()


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


def _down(model: type[Table]) -> str:
    return ", ".join(f"{name} DESC" for name in _key_names(model))


def _marks(of: list[Any]) -> str:
    return ", ".join("?" * len(of))
