"""The only way to change records.  Each call is one transaction, measures included."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..database import (
    execute,
    fetch_all,
    fetch_as,
    fetch_value,
    insert_many,
    placeholders,
    write_transaction,
)
from ..models import STORED_STREAM_COLUMNS, StoredStream, Stream, locking, new_id
from ..models.locking import LockedConnection
from ..parsing.messages import Change
from ..projection import marks
from ..timestamps import utc_now
from . import claims, erased
from .batch_storage import store
from .errors import ConnectorMismatch, StreamNotFound
from .key_states import load_key_states
from .outcomes import Counts, Rejection
from .restoring import Section
from .stream_batch import StreamBatch

__all__ = [
    "Counts",
    "Rejection",
    "Target",
    "Written",
    "known_stream",
    "lock_connection",
    "lock_streams",
    "write",
]


@dataclass
class Target:
    """The connection that changes are stored in; its first record creates it."""

    connection: str
    connector: str


class Written(NamedTuple):
    """`refused`: changes that contradict stored records, by position in the batch, with the reason.

    `section` is the one that was given, after this write.
    """

    counts: Counts
    refused: list[tuple[int, str]]
    section: Section | None = None


def write(
    target: Target,
    changes: Sequence[Change],
    rejections: Sequence[Rejection] = (),
    contacts: Collection[str] = (),
    section: Section | None = None,
) -> Written:
    """Store the changes, in order, or none of them.  A record creates its connection and stream if they do
    not exist; a delete creates nothing.

    `rejections` are the rejected lines among them, which an activation must know of; `contacts` are other
    streams that the source has mentioned.  `section`: the changes are from one stream of an export.
    Raises ConnectorMismatch, Busy, or peewee.DatabaseError; after any of them the same call can be
    repeated, and counts changes that are stored already as unchanged.
    """
    if not (changes or rejections or contacts):
        return Written(Counts(), [], section)
    places = _places(changes)
    while (batches := _write(target, changes, places, rejections, contacts, section)) is None:
        pass  # a stream was deleted while this waited for its lock: start over, and create it
    counts, refused = Counts(), []
    for batch in batches:
        counts.add(batch.counts)
        of_stream = places.pop(batch.stream.name, [])
        refused += [(of_stream[place], reason) for place, reason in batch.refused]
        section = batch.section or section
    counts.unchanged += sum(map(len, places.values()))  # deletes in streams that do not exist
    return Written(counts, sorted(refused), section)


def _places(changes: Sequence[Change]) -> dict[str, list[int]]:
    """The places of each stream's changes."""
    places: dict[str, list[int]] = {}
    stream, of_stream = None, []
    for place, change in enumerate(changes):
        if change.stream != stream:  # in most batches, neighbours are of one stream
            stream = change.stream
            of_stream = places.setdefault(stream, [])
        of_stream.append(place)
    return places


def _write(
    target: Target,
    changes: Sequence[Change],
    places: dict[str, list[int]],
    rejections: Sequence[Rejection],
    contacts: Collection[str],
    section: Section | None,
) -> list[StreamBatch] | None:
    """Store each stream's share; `places` has the places of its changes.

    None, and nothing is stored, if a stream was deleted before it could be locked.
    """
    creates = {
        stream
        for stream, of_stream in places.items()
        if any(changes[place].data is not None for place in of_stream)
    }
    with write_transaction():
        unattributed = sum(each.stream is None for each in rejections)
        connection = lock_connection(target, bool(creates), unattributed)
        if connection is None:
            return []
        names = {*places, *contacts, *(each.stream for each in rejections if each.stream is not None)}
        streams = lock_streams(connection, names, creates)
        if creates - {stream.name for stream in streams}:
            return None
        batches = [StreamBatch(stream) for stream in streams]
        if (secret := erased.secret_of_list()) is not None:
            for batch in batches:
                batch.counts.erased = _leave_out_erased(target, batch.stream.name, changes, places, secret)
        _plan(batches, changes, places, rejections, section)
        if creates:
            claims.claim(connection.id, target.connection, batches)
        store(batches, connection.id)
    return batches


def _plan(
    batches: Sequence[StreamBatch],
    changes: Sequence[Change],
    places: dict[str, list[int]],
    rejections: Sequence[Rejection],
    section: Section | None,
) -> None:
    """Plan each stream's share, with one read of what is stored for all of them."""
    rejected: dict[str | None, list[Rejection]] = {}
    for each in rejections:
        rejected.setdefault(each.stream, []).append(each)
    for batch in batches:
        batch.reject(rejected.get(batch.stream.name, ()))
        if of_stream := places.get(batch.stream.name):
            batch.accept([changes[place] for place in of_stream], section)
    found = load_key_states({batch.id: batch.in_order for batch in batches})
    for batch in batches:
        if places.get(batch.stream.name):
            batch.plan(found[batch.id])


def _leave_out_erased(
    target: Target, stream: str, changes: Sequence[Change], places: dict[str, list[int]], secret: str
) -> int:
    """Take changes of erased records out of `places`.  Returns how many."""
    of_stream = places.get(stream, [])
    keys = {changes[place].key for place in of_stream}
    gone = erased.erased_keys(target.connection, stream, keys, secret)
    places[stream] = [place for place in of_stream if changes[place].key not in gone]
    return len(of_stream) - len(places[stream])


def known_stream(connection: str, stream: str) -> StoredStream:
    """The stream's row.  Raises StreamNotFound."""
    streams = fetch_as(
        StoredStream,
        f"""
        SELECT {STORED_STREAM_COLUMNS}
        FROM streams
        JOIN connections ON connections.id = streams.connection_id
        WHERE connections.connector_instance_id = ? AND streams.name = ?
        """,
        (connection, stream),
    )
    if not streams:
        raise StreamNotFound
    return streams[0]


def lock_connection(target: Target, create: bool, unattributed: int = 0) -> LockedConnection | None:
    """The connection, which can't be deleted until the transaction ends; None if there is none.

    Counts `unattributed` more rejected lines of unknown streams; the result has the number before.
    Raises ConnectorMismatch.
    """
    while not (connection := locking.lock_connection_shared(target.connection)):
        if not create:
            return None
        created = execute(
            """
            INSERT INTO connections (connector_instance_id, connector_id, created_at)
            VALUES (?, ?, ?)
            ON CONFLICT (connector_instance_id) DO NOTHING
            """,
            (target.connection, target.connector, utc_now()),
        )
        new = locking.lock_connection_shared(target.connection) if created else None
        if new:
            marks.add_connection(new.id)
    check_connector(target, connection.connector)
    if unattributed:
        execute(
            """
            UPDATE connections
            SET unattributed_rejections = unattributed_rejections + ?
            WHERE id = ?
            """,
            (unattributed, connection.id),
        )
        # Others may have counted some since the row was read.
        now = fetch_value("SELECT unattributed_rejections FROM connections WHERE id = ?", [connection.id])
        connection = connection._replace(unattributed_rejections=now - unattributed)
    return connection


def check_connector(target: Target, connector: str) -> None:
    """Raises ConnectorMismatch if the connection belongs to another."""
    if connector != target.connector:
        raise ConnectorMismatch(connector)


def lock_streams(
    connection: LockedConnection, names: Collection[str], creates: set[str]
) -> list[StoredStream]:
    """The streams of these names, locked, by id; those in `creates` are created if they don't exist.

    A stream that is deleted while this waits for its lock is missing.
    """
    if creates and not creates <= _known_streams(connection.id, creates).keys():
        locking.lock_connection_for_update(connection.id)
        # Another writer may have created all of them while this one waited.
        if missing := creates - _known_streams(connection.id, creates).keys():
            _create_streams(connection, missing)
    return locking.lock_streams_for_update(connection.id, sorted(names))


def _known_streams(connection_id: int, names: Collection[str]) -> dict[str, int]:
    """The ids of those streams that exist, by name."""
    return dict(
        fetch_all(
            f"""
            SELECT name, id
            FROM streams
            WHERE connection_id = ? AND name IN ({placeholders(names)})
            """,
            [connection_id, *names],
        )
    )


def _create_streams(connection: LockedConnection, names: Collection[str]) -> None:
    now, seen = utc_now(), connection.unattributed_rejections
    insert_many(
        Stream,
        ("connection_id", "name", "last_version", "created_at", "rejections_seen", "incarnation"),
        [(connection.id, name, 0, now, seen, new_id()) for name in sorted(names)],
    )
    marks.add_streams(sorted(_known_streams(connection.id, names).values()))
