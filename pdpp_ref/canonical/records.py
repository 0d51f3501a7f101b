"""The one way in which records change.  Each call is one transaction, measures included."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..database import (
    execute,
    fetch_all,
    first,
    write_transaction,
)
from ..models import Connection, Stream, locking
from ..parsing.messages import Change
from ..projection import marks
from ..timestamps import utc_now
from .errors import ConnectorMismatch, StreamNotFound
from .stream_batch import (
    Counts,
    Rejection,
    StreamBatch,
    store,
)

__all__ = [
    "Counts",
    "Rejection",
    "Target",
    "Written",
    "known_stream",
    "write",
]


@dataclass
class Target:
    """The connection that changes go to; it is created by the first record."""

    connection: str
    connector: str


class Written(NamedTuple):
    """`refused` are changes that don't fit what is stored: their places in the batch, with the reason."""

    counts: Counts
    refused: list[tuple[int, str]]


def write(
    target: Target,
    changes: Sequence[Change],
    rejections: Sequence[Rejection] = (),
    contacts: Collection[str] = (),
) -> Written:
    """Store the changes, in order, or none of them; a record creates what it needs, a delete nothing.

    `rejections` are lines that came with them, which an activation has to know of; `contacts` are other
    streams that their source said something about.  Raises ConnectorMismatch, Busy, or
    peewee.DatabaseError; after any of them the same call can be repeated, and counts what is stored
    already as unchanged.
    """
    if not (changes or rejections or contacts):
        return Written(Counts(), [])
    places: dict[str, list[int]] = {}
    for place, change in enumerate(changes):
        places.setdefault(change.stream, []).append(place)
    while (writes := _write(target, changes, places, rejections, contacts)) is None:
        pass  # a stream was deleted as its lock was waited for: begin again, and create it
    counts, refused = Counts(), []
    for one in writes:
        counts.add(one.counts)
        of_stream = places.pop(one.stream["name"], [])
        refused += [(of_stream[place], reason) for place, reason in one.refused]
    counts.unchanged += sum(map(len, places.values()))  # deletes from streams that there are not
    return Written(counts, sorted(refused))


def _write(
    target: Target,
    changes: Sequence[Change],
    places: dict[str, list[int]],
    rejections: Sequence[Rejection],
    contacts: Collection[str],
) -> list[StreamBatch] | None:
    """None, and nothing is stored, where a stream was deleted before it could be locked."""
    creates = {change.stream for change in changes if change.data is not None}
    with write_transaction():
        unattributed = sum(each.stream is None for each in rejections)
        connection = _connection(target, bool(creates), unattributed)
        if connection is None:
            return []
        connection_id, rejected_before = connection
        names = {*places, *contacts, *(each.stream for each in rejections if each.stream is not None)}
        streams = _streams(connection_id, names, creates, rejected_before)
        if creates - {stream["name"] for stream in streams}:
            return None
        writes = [StreamBatch(stream) for stream in streams]
        for one in writes:
            of_stream = places.get(one.stream["name"], [])
            one.reject(each for each in rejections if each.stream == one.stream["name"])
            if of_stream:
                one.take([changes[place] for place in of_stream])
        store(writes, connection_id)
    return writes


def known_stream(connection: str, stream: str) -> dict[str, Any]:
    """The stream's row.  Raises StreamNotFound."""
    query = Stream.select(Stream).join(Connection).where(Connection.connector_instance_id == connection)
    found = first(query.where(Stream.name == stream))
    if found is None:
        raise StreamNotFound
    return found


def _connection(target: Target, create: bool, unattributed: int) -> tuple[int, int] | None:
    """The connection's id, kept from being deleted until the transaction ends, or None.

    And how many lines of unknown streams had been rejected before; `unattributed` more are now.
    """
    while not (found := locking.lock_connection_shared(target.connection)):
        if not create:
            return None
        created = execute(_INSERT_CONNECTION, (target.connection, target.connector, utc_now()))
        new = locking.lock_connection_shared(target.connection) if created else None
        if new:
            marks.add_connection(new.id)
    check_connector(target, found.connector)
    if not unattributed:
        return found.id, found.unattributed_rejections
    execute(_COUNT_REJECTIONS, (unattributed, found.id))
    ((rejected,),) = fetch_all("SELECT unattributed_rejections FROM connections WHERE id = ?", [found.id])
    return found.id, rejected - unattributed


def check_connector(target: Target, connector: str) -> None:
    """Raises ConnectorMismatch if the connection belongs to another."""
    if connector != target.connector:
        raise ConnectorMismatch(connector)


def _streams(
    connection_id: int, names: Iterable[str], creates: set[str], rejected_before: int
) -> list[dict[str, Any]]:
    """The streams' rows, locked, in the order of their ids; `creates` are created if they don't exist.

    One that is deleted while this waits for its lock is not among them.
    """
    wanted = sorted(names)
    where = f"WHERE connection_id = ? AND name IN ({', '.join('?' * len(wanted))})"
    values = (connection_id, *wanted)
    found = {name for (name,) in fetch_all(f"SELECT name FROM streams {where}", values)}
    if not creates <= found:
        locking.lock_connection_for_update(connection_id)
        found = {name for (name,) in fetch_all(f"SELECT name FROM streams {where}", values)}
        for name in sorted(creates - found):
            _create_stream(connection_id, name, rejected_before)
    return locking.lock_streams_for_update(where, values) if wanted else []


def _create_stream(connection_id: int, name: str, rejected_before: int) -> None:
    stream_id = Stream.insert(
        connection=connection_id, name=name, created_at=utc_now(), rejections_seen=rejected_before
    ).execute()
    marks.add_stream(stream_id, connection_id)


_INSERT_CONNECTION = (
    "INSERT INTO connections (connector_instance_id, connector_id, created_at) VALUES (?, ?, ?) "
    "ON CONFLICT (connector_instance_id) DO NOTHING"
)
_COUNT_REJECTIONS = (
    "UPDATE connections SET unattributed_rejections = unattributed_rejections + ? WHERE id = ?"
)
