"""Moving all that is kept to another database, and checking that every row has arrived.

The source is read at one moment.  Rows go over in the order of their keys, a batch to a transaction,
so a copy that was cut short goes on behind the last row that arrived, if the source is still the
same.  Figures are not copied but counted anew there.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import peewee

from .. import schema
from ..database import bound, db, fetch_all, insert_many, read_snapshot, write_transaction
from ..models import (
    Blob,
    BlobBinding,
    BlobChunk,
    Connection,
    ConnectionDay,
    Copying,
    GlobalDay,
    KeySpelling,
    Record,
    RecordChange,
    RetainedSizeRecord,
    Stream,
    StreamDay,
    Table,
)
from . import reconcile, retained_size
from .grains import CONNECTION, GLOBAL, STREAM, Grain

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
    StreamDay,
    ConnectionDay,
    GlobalDay,
)
BATCH_ROWS = 1_000
FILE_PARTS = 8  # of a MiB each

Row = tuple[Any, ...]
Told = Callable[[str, int], None]


class NotEmpty(Exception):
    """The target holds data of its own."""


class Different(Exception):
    """A table has not arrived as it was; the message names it."""


def copy(target: peewee.Database, progress: Told = lambda *_: None) -> int:
    """Copy what the bound database holds to `target`.  Returns how many rows that is.

    `progress` gets the table and how many rows have arrived and been compared so far.  Raises NotEmpty,
    Different, DatabaseUnusable, Busy or peewee.DatabaseError; after any of them the source is as it
    was, and the target is not served before a copy to it is done.
    """
    with read_snapshot():
        state = _state()
        with bound(target):
            _prepare(state)
        rows = 0
        for model in COPIED:
            _send(model, target)
            rows = _compare(model, target, rows, progress)
        rows_of_days = {grain: _generations(grain) for grain in (STREAM, CONNECTION, GLOBAL)}
    with bound(target):
        _finish(rows_of_days)
    return rows


def _prepare(state: str) -> None:
    """Begin a copy in the bound database, or go on with one of the same state of the source."""
    schema.prepare(unfinished=True)
    begun = Copying.select(Copying.state).scalar()
    if begun is None and Connection.select().exists():
        raise NotEmpty
    if begun == state:
        # One that was cut short as it counted has recorded days of its own.
        with write_transaction():
            for days in (StreamDay, ConnectionDay, GlobalDay):
                days.delete().execute()
        return
    with write_transaction():
        for model in reversed(COPIED):
            model.delete().execute()
        Copying.delete().execute()
        Copying.insert(id=1, state=state).execute()


def _state() -> str:
    """What changes with whatever is written to the source: another state is another copy."""
    sums = [fetch_all(f"SELECT COUNT(*) FROM {model._meta.table_name}")[0][0] for model in COPIED]
    streams = fetch_all("SELECT SUM(id), SUM(last_version), MAX(last_ingested_at) FROM streams")
    return json.dumps([sums, streams, fetch_all("SELECT MAX(computed_at) FROM retained_size_global")])


# ---- sending -----------------------------------------------------------------------------------


def _send(model: type[Table], target: peewee.Database) -> None:
    with bound(target):
        last = fetch_all(f"SELECT {_key(model)} FROM {_table(model)} ORDER BY {_down(model)} LIMIT 1")
    for batch in _batches(model, last[0] if last else None):
        with bound(target), write_transaction():
            insert_many(model, tuple(_names(model)), batch)


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
    """Read both again, side by side, and count on.  Raises Different where they are not the same."""
    here, there = _batches(model), _batches(model)
    while True:
        ours = next(here, [])
        with bound(target):
            theirs = next(there, [])
        if ours != theirs:
            raise Different(_table(model))
        if not ours:
            return rows
        rows += len(ours)
        progress(_table(model), rows)


def _generations(grain: Grain) -> list[Row]:
    """What links the days of each row to those to come: see RetainedSizeConnection."""
    above = "connection_id" if grain is STREAM else "1"
    return fetch_all(
        f"SELECT {grain.key}, generation, days_disordered, CASE WHEN dirty THEN "
        f"COALESCE(stale_since, computed_at) END, {above} FROM {grain.table}"
    )


def _finish(rows_of_days: dict[Grain, list[Row]]) -> None:
    """Count all figures from what has arrived, and let the database be used."""
    for model in (Connection, Stream):
        db.number_after(_table(model), "id")
    with write_transaction():
        for grain, rows in rows_of_days.items():
            retained_size.continue_days(grain, rows)
        retained_size.mark_all()
    reconcile.run_until_fresh()
    Copying.delete().execute()


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
