"""Forgetting old versions.  Of each record the newest stay, and every figure follows exactly.

Versions that are old stay old, so this goes in small transactions, each whole by itself: one that
is cut short has pruned less, and is simply run again.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ..database import (
    dicts,
    execute,
    execute_many,
    execute_one,
    fetch_all,
    fetch_dicts,
    write_transaction,
)
from ..models import Connection, Stream
from . import blobs, locks, retained_size
from .retained_size import Delta

KEYS_PER_TRANSACTION = 500
VERSIONS_PER_TRANSACTION = 2_000


class Pruned(NamedTuple):
    """How many versions went, and the bytes of their data; files are not counted in."""

    versions: int = 0
    json_bytes: int = 0


def prune(
    keep: int,
    connection: str | None = None,
    stream: str | None = None,
    progress: Callable[[Pruned], None] = lambda _: None,
) -> Pruned:
    """Keep the newest `keep` (at least 1) versions of each record, a delete's tombstone counting as one.

    Of a deleted record of which only the tombstone stays, the files go too.  `connection` and
    `stream` narrow it to those of that name.  Raises Busy or peewee.DatabaseError; what was pruned
    until then stays so.
    """
    query = Stream.select(Stream).join(Connection).order_by(Stream.id)
    if connection is not None:
        query = query.where(Connection.connector_instance_id == connection)
    if stream is not None:
        query = query.where(Stream.name == stream)
    total = Pruned()
    for found in dicts(query):
        for done in _prune_stream(found, keep):
            total = Pruned(*(a + b for a, b in zip(total, done, strict=True)))
            progress(total)
    return total


def _prune_stream(stream: dict[str, Any], keep: int) -> Iterator[Pruned]:
    stream_id, after = stream["id"], ""
    while True:
        with write_transaction():
            there = _is_still(stream, locks.change_stream(stream_id))
            long = fetch_dicts(_LONG, (stream_id, after, keep, KEYS_PER_TRANSACTION)) if there else []
            if not long:
                return
            delta, done, unbound = Delta(), Pruned(), set[str]()
            for row in long:
                room = VERSIONS_PER_TRANSACTION - done.versions
                gone = _prune_record(row, keep, room, delta, unbound)
                done = Pruned(done.versions + len(gone), done.json_bytes + sum(size for _, size in gone))
                if len(gone) == room:
                    break  # this record may have more: the next transaction begins with it
                after = row["key"]
            blobs.drop_unbound([(sha256,) for sha256 in unbound])
            retained_size.record(stream["connection"], {stream_id: delta})
        yield done


def _is_still(stream: dict[str, Any], found: dict[str, Any] | None) -> bool:
    """SQLite gives the number of the last stream, once that is deleted, to the next one."""
    if found is None or found["connection_id"] != stream["connection"]:
        return False
    return all(found[name] == stream[name] for name in ("name", "created_at"))


def _prune_record(
    row: dict[str, Any], keep: int, most: int, delta: Delta, unbound: set[str]
) -> list[tuple[int, int]]:
    """Remove up to `most` of a record's old versions, newest first.  Returns them with their bytes.

    `unbound` gets the digests of files that it no longer holds.
    """
    stream_id = row["stream_id"]
    gone: list[tuple[int, int]] = []
    last_kept, version = 0, row["version"]
    for place in range(keep + most):
        found = fetch_all(_VERSION, (stream_id, version)) if version is not None else []
        if not found:
            break
        previous, size = found[0]
        if place < keep:
            last_kept = version
        else:
            gone.append((version, size))
            delta.remove_version(version, size)
        version = previous
    # The chain goes on with what is left: nothing, or what the next transaction removes.
    execute_one(_RELINK, (version, stream_id, last_kept))
    execute_many(_REMOVE, [(stream_id, number) for number, _ in gone])
    execute_one(_SHORTEN, (len(gone), sum(size for _, size in gone), stream_id, row["key"]))
    if not row["record_count"] and row["record_history_count"] - len(gone) == 1:
        unbound.update(_drop_files(stream_id, row["key"], delta))
    return gone


def _drop_files(stream_id: int, key: str, delta: Delta) -> list[str]:
    of_record = "WHERE stream_id = ? AND key = ?"
    bound = fetch_all(
        f"SELECT sha256, version, byte_length FROM blob_bindings {of_record}", (stream_id, key)
    )
    for _, version, size in bound:
        delta.add_files(version, -1, -size)
    execute(f"DELETE FROM blob_bindings {of_record}", (stream_id, key))
    execute(f"UPDATE retained_size_record SET blob_count = 0, blob_bytes = 0 {of_record}", (stream_id, key))
    return [sha256 for sha256, _, _ in bound]


_LONG = (
    "SELECT * FROM retained_size_record WHERE stream_id = ? AND key > ? AND record_history_count > ? "
    "ORDER BY key LIMIT ?"
)
_VERSION = "SELECT previous_version, json_bytes FROM record_changes WHERE stream_id = ? AND version = ?"
_RELINK = "UPDATE record_changes SET previous_version = ? WHERE stream_id = ? AND version = ?"
_REMOVE = "DELETE FROM record_changes WHERE stream_id = ? AND version = ?"
_SHORTEN = (
    "UPDATE retained_size_record SET record_history_count = record_history_count - ?, "
    "record_history_json_bytes = record_history_json_bytes - ? WHERE stream_id = ? AND key = ?"
)
