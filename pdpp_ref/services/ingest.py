"""The one way in which canonical rows change.  Each call is one transaction, figures included."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..database import (
    execute,
    execute_many,
    fetch_all,
    fetch_each,
    first,
    insert_many,
    tuples,
    write_transaction,
)
from ..measures import MEASURE_NAMES
from ..models import Connection, Record, RecordChange, RetainedSizeRecord, Stream
from ..times import utc_now
from . import locks, retained_size
from .messages import Change
from .retained_size import Delta

KEYS_PER_QUERY = 500

Row = tuple[Any, ...]


class Unknown(Exception):
    """There is no such connection, stream or record; the message says which of them."""


class WrongConnector(Exception):
    """The connection exists and belongs to another connector."""


@dataclass
class Counts:
    """What became of the changes of a write; each is counted once."""

    created: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0

    def add(self, other: "Counts") -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    @property
    def accepted(self) -> int:
        return sum(vars(self).values())


@dataclass
class Target:
    """The connection that changes go to; it is created by the first write."""

    connection: str
    connector: str


def write(target: Target, changes: Sequence[Change]) -> Counts:
    """Store the changes, in order, or none of them.

    Raises WrongConnector, Busy, or peewee.DatabaseError; after any of them the same call can be
    repeated, and counts what is stored already as unchanged.
    """
    if not changes:
        return Counts()
    by_stream: dict[str, list[Change]] = {}
    for change in changes:
        by_stream.setdefault(change.stream, []).append(change)
    while (writes := _write(target, by_stream)) is None:
        pass  # a stream was deleted as its lock was waited for: begin again, and create it
    counts = Counts()
    for one in writes:
        counts.add(one.counts)
    return counts


def _write(target: Target, by_stream: dict[str, list[Change]]) -> list["_StreamWrite"] | None:
    """None, and nothing is stored, where a stream was deleted before it could be locked."""
    with write_transaction():
        connection_id = _connection(target)
        streams = _streams(connection_id, by_stream)
        if len(streams) < len(by_stream):
            return None
        writes = [_StreamWrite(stream) for stream in streams]
        for one in writes:
            one.take(by_stream[one.stream["name"]])
        _store(writes, connection_id)
    return writes


def activate_version(target: Target, stream: str, version: int) -> Counts:
    """Delete the stream's records that came with an older Singer table version, in batches.

    Records without a version stay.  Each batch commits by itself; a repeat does the rest.
    """
    total = Counts()
    while True:
        older = (
            Record.select(Record.key)
            .join(Stream)
            .join(Connection)
            .where(
                Connection.connector_instance_id == target.connection,
                Stream.name == stream,
                Record.source_version < version,
            )
            .limit(KEYS_PER_QUERY)
        )
        # Another import may send one of them anew before they are deleted.
        gone = [Change(stream, key, None, only_before=version) for (key,) in tuples(older)]
        if not gone:
            return total
        total.add(write(target, gone))


def known_stream(connection: str, stream: str) -> dict[str, Any]:
    """The stream's row.  Raises Unknown."""
    query = Stream.select(Stream).join(Connection).where(Connection.connector_instance_id == connection)
    found = first(query.where(Stream.name == stream))
    if found is None:
        raise Unknown("stream")
    return found


def _connection(target: Target) -> int:
    """The connection's id, created if need be, and kept from being deleted until the transaction ends."""
    while not (found := locks.keep_connection(target.connection)):
        created = execute(_INSERT_CONNECTION, (target.connection, target.connector, utc_now()))
        new = locks.keep_connection(target.connection) if created else None
        if new:
            retained_size.add_connection(new[0])
    connection_id, connector = found
    if connector != target.connector:
        raise WrongConnector(connector)
    return connection_id


def _streams(connection_id: int, names: Iterable[str]) -> list[dict[str, Any]]:
    """The streams' rows, locked, in the order of their ids; those that don't exist are created.

    One that is deleted while this waits for its lock is not among them.
    """
    wanted = list(names)
    where = f"WHERE connection_id = ? AND name IN ({', '.join('?' * len(wanted))})"
    values = (connection_id, *wanted)
    ((there,),) = fetch_all(f"SELECT COUNT(*) FROM streams {where}", values)
    if there < len(wanted):
        locks.create_in_connection(connection_id)
        found = {name for (name,) in fetch_all(f"SELECT name FROM streams {where}", values)}
        for name in sorted(set(wanted) - found):
            _create_stream(connection_id, name)
    return locks.change_streams(where, values)


def _create_stream(connection_id: int, name: str) -> None:
    stream_id = Stream.insert(connection=connection_id, name=name, created_at=utc_now()).execute()
    retained_size.add_stream(stream_id, connection_id)


class _Head(NamedTuple):
    """A key as it is before the next change; `data` and `size` are None and 0 once it is deleted.

    `versions` and `history` are how many there are of it and their bytes.
    """

    version: int
    size: int
    data: str | None
    source_version: int | None
    record_time: str | None
    touched: bool
    versions: int
    history: int
    blob_count: int = 0
    blob_bytes: int = 0


_DELETED = _Head(0, 0, None, None, None, touched=True, versions=0, history=0)


def _is_older(head: _Head, version: int | None) -> bool:
    """Whether a delete that is meant for records of older table versions means this one."""
    return version is None or (head.source_version is not None and head.source_version < version)


@dataclass
class _StreamWrite:
    """One stream's share of one write, worked out in memory before any of it is stored."""

    stream: dict[str, Any]
    counts: Counts = field(default_factory=Counts)
    delta: Delta = field(default_factory=Delta)
    history: list[Row] = field(default_factory=list)
    # Each key's new row, or None for a delete: only its last version in this write is current.
    current: dict[str, Row | None] = field(default_factory=dict)
    # Keys whose data stays, but not what was sent beside it.
    noted: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.id: int = self.stream["id"]
        self.version: int = self.stream["last_version"]
        self.time_field: str | None = self.stream["record_time_field"]
        self.time_field_since: int = self.stream["record_time_field_since"]
        self.now: str = utc_now()

    def take(self, changes: Sequence[Change]) -> None:
        self.heads = _heads(self.id, sorted({change.key for change in changes}))
        for change in changes:
            if change.record_time_field not in (None, self.time_field):
                self.time_field, self.time_field_since = change.record_time_field, self.version
            before = self.heads.get(change.key)
            live = before is not None and before.data is not None
            if change.data is None:
                self._delete(change, before if live else None)
            elif before is not None and before.data == change.data:
                self._send_again(change, before)
            else:
                self._upsert(change, change.data, before)

    def _delete(self, change: Change, before: _Head | None) -> None:
        if before is None or not _is_older(before, change.only_before):
            self.counts.unchanged += 1
            return
        self.counts.deleted += 1
        self.delta.remove_current(before.version, before.size)
        self._append(change, None, 0, before)
        self.current[change.key] = None

    def _send_again(self, change: Change, before: _Head) -> None:
        self.counts.unchanged += 1
        seen = change.source_version if change.source_version is not None else before.source_version
        time = change.record_time if change.record_time_field is not None else before.record_time
        if (seen, time) != (before.source_version, before.record_time):
            self.noted.add(change.key)
            self.heads[change.key] = before._replace(source_version=seen, record_time=time)

    def _upsert(self, change: Change, data: str, before: _Head | None) -> None:
        if before is None or before.data is None:
            self.counts.created += 1
        else:
            self.counts.updated += 1
            self.delta.remove_current(before.version, before.size)
        size = len(data.encode())
        row = self._append(change, data, size, before)
        self.delta.add_current(size)
        touched = self.heads[change.key].touched
        self.current[change.key] = (*row[:-1], change.source_version, change.record_time, touched)

    def _append(self, change: Change, data: str | None, size: int, before: _Head | None) -> Row:
        self.version += 1
        row = (self.id, self.version, change.key, data, size, change.emitted_at, self.now)
        self.history.append((*row, before and before.version))
        self.delta.add_version(size)
        head = _Head(self.version, size, data, change.source_version, change.record_time, False, 1, size)
        if before is not None:
            head = head._replace(
                touched=True,
                versions=before.versions + 1,
                history=before.history + size,
                blob_count=before.blob_count,
                blob_bytes=before.blob_bytes,
            )
        self.heads[change.key] = head
        return self.history[-1]

    @property
    def time_field_is_new(self) -> bool:
        return bool(self.time_field != self.stream["record_time_field"])

    def touched(self) -> Iterator[Row]:
        """Rows of RetainedSizeRecord, for the keys of this write that have or need one."""
        for key in self.current:
            head = self.heads[key]
            if head.touched:
                figures = (head.versions, head.history, head.blob_count, head.blob_bytes)
                live = int(head.data is not None)
                yield (self.id, key, head.version, self.now, live, head.size, *figures)


def _heads(stream_id: int, keys: Sequence[str]) -> dict[str, _Head]:
    """The heads of those keys that the stream has, or had."""
    found: dict[str, _Head] = {}
    is_touched = fetch_all("SELECT 1 FROM retained_size_record WHERE stream_id = ? LIMIT 1", [stream_id])
    for part in _parts(keys, KEYS_PER_QUERY):
        for key, version, size, *sent in fetch_each(_LIVE, [stream_id], part):
            found[key] = _Head._make((version, size, *sent, 1, size, 0, 0))
        for key, version, *kept in fetch_each(_TOUCHED, [stream_id], part) if is_touched else ():
            live = found.get(key) or _DELETED._replace(version=version)
            found[key] = live._replace(**dict(zip(_Head._fields[-len(kept) :], kept, strict=True)))
    return found


def _store(writes: Sequence[_StreamWrite], connection_id: int) -> None:
    """Store all streams' shares, statement by statement, then what they do to the figures."""
    insert_many(RecordChange, _OF_CHANGE, [row for one in writes for row in one.history])
    current = [row for one in writes for row in one.current.values() if row]
    insert_many(Record, _OF_RECORD, current, _OF_KEY)
    execute_many(
        "DELETE FROM records WHERE stream_id = ? AND key = ?",
        [(one.id, key) for one in writes for key, row in one.current.items() if row is None],
    )
    insert_many(RetainedSizeRecord, _OF_TOUCHED, [row for one in writes for row in one.touched()], _OF_KEY)
    execute_many(
        "UPDATE records SET source_version = ?, record_time = ? WHERE stream_id = ? AND key = ?",
        [
            (one.heads[key].source_version, one.heads[key].record_time, one.id, key)
            for one in writes
            for key in one.noted
        ],
    )
    changed = [one for one in writes if one.history or one.noted or one.time_field_is_new]
    execute_many(
        "UPDATE streams SET last_version = ?, last_ingested_at = ?, record_time_field = ?, "
        "record_time_field_since = ? WHERE id = ?",
        [(one.version, one.now, one.time_field, one.time_field_since, one.id) for one in changed],
    )
    if changed:
        retained_size.record(connection_id, {one.id: one.delta for one in changed})


def _parts(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


_INSERT_CONNECTION = (
    "INSERT INTO connections (connector_instance_id, connector_id, created_at) VALUES (?, ?, ?) "
    "ON CONFLICT (connector_instance_id) DO NOTHING"
)
_LIVE = (
    "SELECT key, version, json_bytes, data, source_version, record_time, touched FROM records "
    "WHERE stream_id = ? AND key"
)
_TOUCHED = (
    "SELECT key, version, record_history_count, record_history_json_bytes, blob_count, blob_bytes "
    "FROM retained_size_record WHERE stream_id = ? AND key"
)


_OF_KEY = ("stream_id", "key")
_OF_VERSION = ("stream_id", "version", "key", "data", "json_bytes", "emitted_at", "ingested_at")
_OF_CHANGE = (*_OF_VERSION, "previous_version")
_OF_RECORD = (*_OF_VERSION, "source_version", "record_time", "touched")
_OF_TOUCHED = ("stream_id", "key", "version", "changed_at", *MEASURE_NAMES)
