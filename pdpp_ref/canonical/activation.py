"""Singer's ACTIVATE_VERSION: records with an older table version no longer exist at their source."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from ..database import fetch_all, write_transaction
from ..models import locking
from .batch_storage import store
from .errors import StreamNotFound
from .records import (
    Target,
    check_connector,
    known_stream,
)
from .stream_batch import StreamBatch

KEYS_PER_PAGE = 2_000


class Activated(NamedTuple):
    """How many records were removed.  `skipped`: a line of the version was rejected, so none was."""

    removed: int = 0
    skipped: bool = False


def activate_version(target: Target, stream: str, version: int) -> Activated:
    """Delete the stream's records of older table versions, a page of its keys at a time.

    Each page commits by itself; a repeat does the rest.  Records without a version stay.  Nothing is
    deleted if a line of this version was rejected: its record may be among those of older versions.
    Raises ConnectorMismatch, Busy or peewee.DatabaseError.
    """
    removed = 0
    # The empty page checks for rejected lines even if no record is older.
    for keys in chain([[]], _older_keys(target, stream, version)):
        removed_here = _activate_page(target, stream, version, keys)
        if removed_here is None:
            return Activated(removed, skipped=True)
        removed += removed_here
    return Activated(removed)


def _activate_page(target: Target, stream: str, version: int, keys: Sequence[str]) -> int | None:
    """Delete those of the keys that are still older, now that the stream is locked.

    None: a line of the version was rejected.
    """
    with write_transaction():
        connection = locking.lock_connection_shared(target.connection)
        if connection is None:
            return 0
        check_connector(target, connection.connector)
        streams = locking.lock_streams_for_update(connection.id, [stream])
        if not streams:
            return 0
        batch = StreamBatch(streams[0])
        may_activate = batch.may_activate(version, connection.unattributed_rejections)
        if may_activate:
            batch.remove_older(keys, version)
        store([batch], connection.id)
    return batch.counts.removed if may_activate else None


def _older_keys(target: Target, stream: str, version: int) -> Iterator[list[str]]:
    """The keys of records of older versions, page by page in their order; every key is read once."""
    try:
        stream_id = known_stream(target.connection, stream).id
    except StreamNotFound:
        return
    after = ""
    while page := fetch_all(
        """
        SELECT key, table_version
        FROM records
        WHERE stream_id = ? AND key > ?
        ORDER BY key
        LIMIT ?
        """,
        (stream_id, after, KEYS_PER_PAGE),
    ):
        after = page[-1][0]
        keys = [key for key, seen in page if seen is not None and seen < version]
        if keys:
            yield keys
