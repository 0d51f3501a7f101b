"""The one way in which canonical rows change.  Each call is one transaction, figures included."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..database import dicts, execute_many, fetch_all, first, for_update, tuples, write_transaction
from ..models import Connection, Record, Stream
from ..times import utc_now
from . import retained_size
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
    by_stream: dict[str, list[Change]] = {}
    for change in changes:
        by_stream.setdefault(change.stream, []).append(change)
    with write_transaction():
        connection_id = _connection(target)
        writes = [_StreamWrite(stream) for stream in _streams(connection_id, by_stream)]
        for one in writes:
            one.take(by_stream[one.stream["name"]])
        _store(writes, connection_id)
    counts = Counts()
    for one in writes:
        counts.add(one.counts)
    return counts


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
        gone = [Change(stream, key, None) for (key,) in tuples(older)]
        if not gone:
            return total
        total.add(write(target, gone))


def delete_stream(connection: str, stream: str) -> None:
    """Take a stream away with all it holds, history included.  Raises Unknown.

    What that takes from the figures above is not worked out: they are marked, in the same
    transaction, and the next read sums them anew.
    """
    with write_transaction():
        found = _known_stream(connection, stream)
        Stream.delete().where(Stream.id == found["id"]).execute()
        retained_size.mark_connection(found["connection"])


def delete_connection(connection: str) -> None:
    """Take a connection away with all it holds.  Raises Unknown."""
    with write_transaction():
        query = Connection.delete().where(Connection.connector_instance_id == connection)
        if not query.execute():
            raise Unknown("connection")
        retained_size.mark_global()


def delete_record(connection: str, stream: str, key: str) -> None:
    """Delete one record; its history keeps it, and a tombstone.  Raises Unknown."""
    _known_stream(connection, stream)
    owner = first(Connection.select().where(Connection.connector_instance_id == connection))
    target = Target(connection, owner["connector_id"] if owner else connection)
    if not write(target, [Change(stream, key, None)]).deleted:
        raise Unknown("record")


def _known_stream(connection: str, stream: str) -> dict[str, Any]:
    query = Stream.select(Stream).join(Connection).where(Connection.connector_instance_id == connection)
    found = first(query.where(Stream.name == stream))
    if found is None:
        raise Unknown("stream")
    return found


def _connection(target: Target) -> int:
    name = target.connection
    query = Connection.select().where(Connection.connector_instance_id == name)
    found = first(query)
    if found is None:
        Connection.insert(
            connector_instance_id=name, connector_id=target.connector, created_at=utc_now()
        ).on_conflict_ignore().execute()
        (found,) = dicts(query)
        retained_size.add_connection(found["id"])
    if found["connector_id"] != target.connector:
        raise WrongConnector(found["connector_id"])
    return int(found["id"])


def _streams(connection_id: int, names: Iterable[str]) -> list[dict[str, Any]]:
    """The streams' rows, locked, in the order of their ids; those that don't exist are created."""
    wanted = list(names)
    query = (
        Stream.select()
        .where(Stream.connection == connection_id, Stream.name.in_(wanted))
        .order_by(Stream.id)
    )
    found = dicts(for_update(query))
    missing = set(wanted) - {row["name"] for row in found}
    if not missing:
        return found
    for name in sorted(missing):
        stream_id = Stream.insert(connection=connection_id, name=name, created_at=utc_now()).execute()
        retained_size.add_stream(stream_id, connection_id)
    return dicts(for_update(query))


class _Live(NamedTuple):
    """The live record of a key, as it is before the next change."""

    version: int
    size: int
    data: str
    source_version: int | None


@dataclass
class _StreamWrite:
    """One stream's share of one write, worked out in memory before any of it is stored."""

    stream: dict[str, Any]
    counts: Counts = field(default_factory=Counts)
    delta: Delta = field(default_factory=Delta)
    history: list[Row] = field(default_factory=list)
    # Each key's new row, or None for a delete: only its last version in this write is current.
    current: dict[str, Row | None] = field(default_factory=dict)
    # Keys whose data stays but whose Singer table version has moved on, in this write or before.
    versions_seen: dict[str, int | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.id: int = self.stream["id"]
        self.version: int = self.stream["last_version"]
        # Never before the last one, should the clock step back: times rise with versions.
        self.now: str = max(utc_now(), self.stream["last_ingested_at"] or "")

    def take(self, changes: Sequence[Change]) -> None:
        self.live = self._held({change.key for change in changes})
        for change in changes:
            before = self.live.get(change.key)
            if change.data is None:
                self._delete(change, before)
            elif before is not None and before.data == change.data:
                self._send_again(change, before)
            else:
                self._upsert(change, change.data, before)

    def _delete(self, change: Change, before: _Live | None) -> None:
        if before is None:
            self.counts.unchanged += 1
            return
        self.counts.deleted += 1
        self._append(change, None, 0)
        self.current[change.key] = None
        self.delta.remove_current(before.version, before.size)
        del self.live[change.key]

    def _send_again(self, change: Change, before: _Live) -> None:
        self.counts.unchanged += 1
        if change.source_version not in (None, before.source_version):
            self.versions_seen[change.key] = change.source_version
            self.live[change.key] = before._replace(source_version=change.source_version)

    def _upsert(self, change: Change, data: str, before: _Live | None) -> None:
        if before is None:
            self.counts.created += 1
        else:
            self.counts.updated += 1
            self.delta.remove_current(before.version, before.size)
        size = len(data.encode())
        row = self._append(change, data, size)
        self.delta.add_current(size)
        self.current[change.key] = (*row, change.source_version)
        self.live[change.key] = _Live(self.version, size, data, change.source_version)
        self.versions_seen.pop(change.key, None)

    def _append(self, change: Change, data: str | None, size: int) -> Row:
        self.version += 1
        row = (self.id, self.version, change.key, data, size, change.emitted_at, self.now)
        self.history.append(row)
        self.delta.add_version(size)
        return row

    def _held(self, keys: Iterable[str]) -> dict[str, _Live]:
        found: dict[str, _Live] = {}
        for part in _parts(sorted(keys), KEYS_PER_QUERY):
            marks = ", ".join("?" * len(part))
            rows = fetch_all(_HELD.format(keys=marks), (self.id, *part))
            found |= {row[0]: _Live(*row[1:]) for row in rows}
        return found


def _store(writes: Sequence[_StreamWrite], connection_id: int) -> None:
    """Store all streams' shares, statement by statement, then what they do to the figures."""
    execute_many(_INSERT_CHANGE, [row for one in writes for row in one.history])
    execute_many(_UPSERT_RECORD, [row for one in writes for row in one.current.values() if row])
    execute_many(
        "DELETE FROM records WHERE stream_id = ? AND key = ?",
        [(one.id, key) for one in writes for key, row in one.current.items() if row is None],
    )
    execute_many(
        "UPDATE records SET source_version = ? WHERE stream_id = ? AND key = ?",
        [(version, one.id, key) for one in writes for key, version in one.versions_seen.items()],
    )
    changed = [one for one in writes if one.history]
    execute_many(
        "UPDATE streams SET last_version = ?, last_ingested_at = ? WHERE id = ?",
        [(one.version, one.now, one.id) for one in changed],
    )
    if changed:
        retained_size.record(connection_id, {one.id: one.delta for one in changed})


def _parts(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


_HELD = (
    "SELECT key, version, json_bytes, data, source_version FROM records "
    "WHERE stream_id = ? AND key IN ({keys})"
)
_COLUMNS = "stream_id, version, key, data, json_bytes, emitted_at, ingested_at"
_INSERT_CHANGE = f"INSERT INTO record_changes ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"
_UPSERT_RECORD = (
    f"INSERT INTO records ({_COLUMNS}, source_version) VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (stream_id, key) DO UPDATE SET version = excluded.version, data = excluded.data, "
    "json_bytes = excluded.json_bytes, emitted_at = excluded.emitted_at, "
    "ingested_at = excluded.ingested_at, source_version = excluded.source_version"
)
