"""Forgetting old versions.  Of each record the newest stay, and every figure follows exactly.

Versions that are old stay old, so this goes in small transactions, each whole by itself: one that
is cut short has pruned less, and is simply run again.

It finds long histories by the rows of RetainedSizeRecord.  Where these can't be right, they are derived
again first.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from ..database import (
    dicts,
    execute,
    execute_many,
    execute_one,
    fetch_all,
    fetch_dicts,
    read_snapshot,
    write_transaction,
)
from ..models import Connection, Stream, locking
from ..models.measures import MEASURE_NAMES
from ..projection import counting, deltas, marks, record_rollups
from ..projection.deltas import Delta
from . import blobs

KEYS_PER_TRANSACTION = 500
VERSIONS_PER_TRANSACTION = 2_000
DERIVING_SECONDS = 0.1
ANY_VERSION = 2**62


class Pruned(NamedTuple):
    """How many versions went, and the bytes of their data; files are not counted in."""

    versions: int = 0
    json_bytes: int = 0


class _Version(NamedTuple):
    version: int
    key: str
    previous: int | None
    json_bytes: int
    at: str
    pruned_at: str | None
    pruned_digest: str | None


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
        for done in _Pruning(found, keep).steps():
            total = Pruned(*(a + b for a, b in zip(total, done, strict=True)))
            progress(total)
    return total


class _Pruning:
    """Of one stream; keys up to `after` are done.  `wrong` is a key whose row was found to be wrong."""

    def __init__(self, stream: dict[str, Any], keep: int) -> None:
        self.stream, self.id, self.keep = stream, stream["id"], keep
        self.after = ""
        self.wrong: str | None = None
        self.is_done = False

    def steps(self) -> Iterator[Pruned]:
        """One for each transaction that has pruned something."""
        is_wrong = not _rows_add_up(self.stream)
        while not self.is_done:
            with write_transaction():
                found = locking.lock_stream_for_update(self.id)
                if found is None or not self._is_still(found):
                    return
                if is_wrong:
                    marks.mark_rollups(self.id, self.stream["connection"], "")
                is_wrong = False
                done = self._derive(found) or self._prune()
            if done.versions:
                yield done

    def _is_still(self, found: dict[str, Any]) -> bool:
        """SQLite gives the number of the last stream, once that is deleted, to the next one."""
        same = ("name", "created_at")
        if any(found[name] != self.stream[name] for name in same):
            return False
        return bool(found["connection_id"] == self.stream["connection"])

    def _derive(self, found: dict[str, Any]) -> Pruned | None:
        """None where there is nothing to derive."""
        if not record_rollups.is_dirty(self.id):
            return None
        record_rollups.derive_stream(self.id, found["last_version"], time.monotonic() + DERIVING_SECONDS)
        return Pruned()

    def _prune(self) -> Pruned:
        delta, done, unbound = Delta(), Pruned(), set[str]()
        wrong = None
        long = fetch_dicts(_LONG, (self.id, self.after, self.keep, KEYS_PER_TRANSACTION))
        self.is_done = not long
        for row in long:
            room = VERSIONS_PER_TRANSACTION - done.versions
            versions = _history(row, self.keep + room)
            if versions is None:
                wrong = row["key"]
                break
            gone = versions[self.keep :]
            _remove(row, versions[: self.keep], gone, delta, unbound)
            sizes = sum(one.json_bytes for one in gone)
            done = Pruned(done.versions + len(gone), done.json_bytes + sizes)
            if len(gone) == room:
                break  # this record may have more: the next transaction begins with it
            self.after = row["key"]
        blobs.drop_unbound([(sha256,) for sha256 in unbound])
        if done.versions:
            deltas.record(self.stream["connection"], {self.id: delta})
        if wrong is not None:
            self._mark(wrong)
        return done

    def _mark(self, wrong: str) -> None:
        """Have the rows derived again; one that is wrong after that is passed over, and stays marked."""
        marks.mark_rollups(self.id, self.stream["connection"], wrong)
        if wrong == self.wrong:
            self.after = wrong
        self.wrong = wrong


def _rows_add_up(stream: dict[str, Any]) -> bool:
    """Whether the rows of a stream's records can be right: they add up to the figures of the stream."""
    names = ", ".join(MEASURE_NAMES)
    sums = ", ".join(f"COALESCE(SUM({name}), 0)" for name in MEASURE_NAMES)
    with read_snapshot():
        found = fetch_dicts("SELECT * FROM retained_size_stream WHERE stream_id = ?", [stream["id"]])
        if not found:
            return False
        whole = found[0]
        if whole["dirty"]:
            whole = counting.count_versions(stream["id"], 0, ANY_VERSION)
        (row,) = fetch_all(
            f"SELECT {sums} FROM (SELECT {names} FROM retained_size_record WHERE stream_id = ?) AS rows_of",
            [stream["id"]],
        )
    records, current, versions, history, *files = (
        whole[name] - int(part) for name, part in zip(MEASURE_NAMES, row, strict=True)
    )
    # What has no row is one version and no file.
    return records == versions >= 0 and current == history >= 0 and not any(files)


def _history(row: dict[str, Any], most: int) -> list[_Version] | None:
    """A record's newest versions, at most so many; None where its row can't be right."""
    stream_id, key = row["stream_id"], row["key"]
    live = fetch_all(
        "SELECT version, json_bytes FROM records WHERE stream_id = ? AND key = ?", (stream_id, key)
    )
    row["live"] = bool(live)
    records, current, *stored, _, _ = (row[name] for name in MEASURE_NAMES)
    if (records, current) != (len(live), live[0][1] if live else 0):
        return None
    versions: list[_Version] = []
    version = row["version"]
    while version is not None and len(versions) < most:
        found = fetch_all(_VERSION, (stream_id, version))
        if not found or found[0][1] != key or (versions and version >= versions[-1].version):
            return None
        versions.append(_Version(*found[0]))
        version = versions[-1].previous
    # A live record's newest version is the live one, a deleted one's has no data.
    newest = versions[0]
    if (newest.version != live[0][0]) if live else newest.json_bytes:
        return None
    count, size = len(versions), sum(one.json_bytes for one in versions)
    is_right = stored == [count, size] if version is None else stored[0] > count and stored[1] >= size
    return versions if is_right else None


def _remove(
    row: dict[str, Any], kept: Sequence[_Version], gone: Sequence[_Version], delta: Delta, unbound: set[str]
) -> None:
    """Remove old versions of a record; `unbound` gets the digests of files that it no longer holds."""
    stream_id = row["stream_id"]
    mark = _latest_pruned(stream_id, kept, gone)
    # The chain goes on with what is left: nothing, or what the next transaction removes.
    execute_one(_RELINK, (gone[-1].previous, *mark, stream_id, kept[-1].version))
    execute_many(_UNMARK, [(stream_id, one.version) for one in kept[:-1] if one.pruned_at is not None])
    execute_many(_REMOVE, [(stream_id, one.version) for one in gone])
    execute_one(_SHORTEN, (len(gone), sum(one.json_bytes for one in gone), stream_id, row["key"]))
    for one in gone:
        delta.remove_version(one.version, one.json_bytes)
    if not row["live"] and row["record_history_count"] - len(gone) == 1:
        unbound.update(_drop_files((stream_id, row["key"]), delta))


def _latest_pruned(
    stream_id: int, kept: Sequence[_Version], gone: Sequence[_Version]
) -> tuple[str | None, str | None]:
    """The time of the latest version ever pruned of a record, and the digest of its data.

    Of two of one time, it is the later version.  A version's mark is of versions before it.
    """
    at, digest, latest = "", None, None
    for place, one in enumerate((*kept, *gone)):
        if place >= len(kept) and one.at > at:
            at, digest, latest = one.at, None, one
        if one.pruned_at is not None and one.pruned_at > at:
            at, digest, latest = one.pruned_at, one.pruned_digest, None
    if latest is not None:
        ((data,),) = fetch_all(_DATA, (stream_id, latest.version))
        digest = "" if data is None else hashlib.sha256(data.encode()).hexdigest()
    return at or None, digest


def _drop_files(record: tuple[int, str], delta: Delta) -> list[str]:
    of_record = "WHERE stream_id = ? AND key = ?"
    bound = fetch_all(f"SELECT sha256, version, byte_length FROM blob_bindings {of_record}", record)
    for _, version, size in bound:
        delta.add_files(version, -1, -size)
    execute(f"DELETE FROM blob_bindings {of_record}", record)
    execute(f"UPDATE retained_size_record SET {_WITHOUT_FILES} {of_record}", record)
    return [sha256 for sha256, _, _ in bound]


_LONG = (
    "SELECT * FROM retained_size_record WHERE stream_id = ? AND key > ? AND record_history_count > ? "
    "ORDER BY key LIMIT ?"
)
_VERSION = (
    "SELECT version, key, previous_version, json_bytes, COALESCE(emitted_at, ingested_at), "
    "pruned_at, pruned_digest FROM record_changes WHERE stream_id = ? AND version = ?"
)
_WITHOUT_FILES = (
    "blob_count = 0, blob_bytes = 0, changed_at = (SELECT ingested_at FROM record_changes c WHERE "
    "c.stream_id = retained_size_record.stream_id AND c.version = retained_size_record.version)"
)
_DATA = "SELECT data FROM record_changes WHERE stream_id = ? AND version = ?"
_RELINK = (
    "UPDATE record_changes SET previous_version = ?, pruned_at = ?, pruned_digest = ? "
    "WHERE stream_id = ? AND version = ?"
)
_UNMARK = (
    "UPDATE record_changes SET pruned_at = NULL, pruned_digest = NULL WHERE stream_id = ? AND version = ?"
)
_REMOVE = "DELETE FROM record_changes WHERE stream_id = ? AND version = ?"
_SHORTEN = (
    "UPDATE retained_size_record SET record_history_count = record_history_count - ?, "
    "record_history_json_bytes = record_history_json_bytes - ? WHERE stream_id = ? AND key = ?"
)
