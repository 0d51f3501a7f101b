"""Singer's ACTIVATE_VERSION: records that came with an older table version are gone at their source."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from ..database import fetch_all, write_transaction
from ..models import locking
from .errors import StreamNotFound
from .records import (
    Target,
    check_connector,
    known_stream,
)
from .stream_batch import StreamBatch, store

KEYS_PER_PAGE = 2_000


class Activated(NamedTuple):
    """How many records were removed.  `skipped`: a line of the version was rejected, so others stay."""

    removed: int = 0
    skipped: bool = False


def activate_version(target: Target, stream: str, version: int) -> Activated:
    """Delete the stream's records of older table versions, a page of its keys at a time.

    Each page commits by itself; a repeat does the rest.  Records without a version stay.  Nothing is
    deleted if a line of this version was rejected: its record may be among those of older versions.
    Raises ConnectorMismatch, Busy or peewee.DatabaseError.
    """
    removed = 0
    for keys in chain([[]], _older(target, stream, version)):
        done = _activate(target, stream, version, keys)
        if done is None:
            return Activated(removed, skipped=True)
        removed += done
    return Activated(removed)


def _activate(target: Target, stream: str, version: int, keys: Sequence[str]) -> int | None:
    """One page, checked again under the stream's lock.  None: a line of the version was rejected."""
    with write_transaction():
        kept = locking.lock_connection_shared(target.connection)
        if kept is None:
            return 0
        check_connector(target, kept.connector)
        found = locking.lock_streams_for_update("WHERE connection_id = ? AND name = ?", (kept.id, stream))
        if not found:
            return 0
        work = StreamBatch(found[0])
        may = work.may_activate(version, kept.unattributed_rejections)
        if may:
            work.remove_older(keys, version)
        store([work], kept.id)
    return work.counts.removed if may else None


def _older(target: Target, stream: str, version: int) -> Iterator[list[str]]:
    """The keys of records of older versions, in their order; every key is read once."""
    try:
        stream_id = known_stream(target.connection, stream)["id"]
    except StreamNotFound:
        return
    after = ""
    while page := fetch_all(_PAGE, (stream_id, after, KEYS_PER_PAGE)):
        after = page[-1][0]
        keys = [key for key, seen in page if seen is not None and seen < version]
        if keys:
            yield keys


_PAGE = "SELECT key, table_version FROM records WHERE stream_id = ? AND key > ? ORDER BY key LIMIT ?"
