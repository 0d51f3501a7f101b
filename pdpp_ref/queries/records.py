"""Live records by key, a page at a time.  A page costs what its rows cost, however many there are.

A text over LARGE_BYTES is fetched alone, when its turn comes: a page of the largest records would not fit
in memory.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from ..database import fetch_as, fetch_value

LARGE_BYTES = 64 * 1024
PAGE_BYTES = 16 * 1024 * 1024  # a page ends before the record that exceeds them
EXAMINED_RECORDS = 1_000  # at most, for a page with a filter
BATCH_RECORDS = 200

SMALL_DATA = f"CASE WHEN json_bytes <= {LARGE_BYTES} THEN data END"


class StoredRecord(msgspec.Struct, frozen=True, gc=False):
    """A live record; `data` is its JSON text, exactly as it is stored."""

    key: str
    version: int
    data: str
    json_bytes: int
    emitted_at: str | None


class Page(NamedTuple):
    """`last_key` is that of the last record examined, or None if there are no more."""

    records: list[StoredRecord]
    last_key: str | None


def page(
    stream_id: int,
    after: str | None,
    limit: int,
    *,
    descending: bool,
    accepts: Callable[[str], bool] | None = None,
) -> Page:
    """Up to `limit` records after a key, in the order of keys; those whose data is accepted, if given.

    A page of small records is one batch; any other is put together one record at a time.
    With `accepts`, a page may be short or empty before the end: it examines EXAMINED_RECORDS at most.
    """
    if accepts is None and limit * LARGE_BYTES <= PAGE_BYTES:
        rows = _batch(stream_id, after, limit + 1, descending)
        if all(row.data is not None for row in rows):
            return Page(rows[:limit], rows[limit - 1].key if len(rows) > limit else None)
    found: list[StoredRecord] = []
    last, size = after, 0
    most = limit if accepts is None else EXAMINED_RECORDS
    for examined, row in enumerate(_walk(stream_id, after, most + 1, descending)):
        is_full = len(found) == limit or examined == most
        if is_full or (examined and size + row.json_bytes > PAGE_BYTES):
            return Page(found, last)
        last, size = row.key, size + row.json_bytes
        record = row if row.data is not None else _load(stream_id, row)
        if accepts is None or accepts(record.data):
            found.append(record)
    return Page(found, None)


def record(stream_id: int, key: str) -> StoredRecord | None:
    """The live record of a key."""
    rows = fetch_as(
        StoredRecord,
        """
        SELECT key, version, data, json_bytes, emitted_at
        FROM records
        WHERE stream_id = ? AND key = ?
        """,
        (stream_id, key),
    )
    return rows[0] if rows else None


def _walk(stream_id: int, after: str | None, most: int, descending: bool) -> Iterator[StoredRecord]:
    """At most so many records after a key, read as they are needed; large ones without their data."""
    while most > 0:
        wanted = min(most, BATCH_RECORDS)
        batch = _batch(stream_id, after, wanted, descending)
        yield from batch
        if len(batch) < wanted:
            return
        after, most = batch[-1].key, most - wanted


def _batch(stream_id: int, after: str | None, limit: int, descending: bool) -> list[StoredRecord]:
    compared, order = ("<", "DESC") if descending else (">", "ASC")
    return fetch_as(
        StoredRecord,
        f"""
        SELECT key, version, {SMALL_DATA}, json_bytes, emitted_at
        FROM records
        WHERE stream_id = ? {"" if after is None else f"AND key {compared} ?"}
        ORDER BY key {order}
        LIMIT ?
        """,
        (stream_id, limit) if after is None else (stream_id, after, limit),
    )


def _load(stream_id: int, record: StoredRecord) -> StoredRecord:
    sql = "SELECT data FROM records WHERE stream_id = ? AND key = ?"
    return msgspec.structs.replace(record, data=fetch_value(sql, (stream_id, record.key)))
