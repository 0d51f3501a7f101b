"""The change feed of a stream: the newest state of each key that changed since a version.

A walk has a horizon, the stream's newest version when it began.  It passes the live records and the
tombstones above its start in the order of their versions.  A key that changes again during the walk moves
past the horizon, and is left to the next one.
"""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from ..database import fetch_all, fetch_each, fetch_value
from .records import PAGE_BYTES, SMALL_DATA
from .versions import chain

# A token carries digests of the version that it stands for and of some before it: pruning may remove one.
PROVEN_DISTANCES = (0, 1, 2, 3, 7, 15, 31, 63)
LINKS_FOLLOWED = 1_000  # from a tombstone, to find out whether the key was there before
EXAMINED_TOMBSTONES = 1_000  # on a page, before one is passed on without finding out

Proof = dict[int, str]  # digests by version


class Change(NamedTuple):
    """The newest state of a key.  `data` is None if it was deleted, and then `at` is when."""

    key: str
    version: int
    data: str | None
    emitted_at: str | None
    at: str | None


class ChangePage(NamedTuple):
    """`last_version` is how far the page has come, or None if it reached the horizon."""

    changes: list[Change]
    last_version: int | None


class _Row(NamedTuple):
    version: int
    key: str
    is_live: bool
    data: str | None
    json_bytes: int
    emitted_at: str | None
    ingested_at: str | None


def page(stream_id: int, start: int, after: int, horizon: int, limit: int) -> ChangePage:
    """Up to `limit` changes with versions over `after`, up to the horizon, of a walk from `start`.

    A key that was made and deleted since the start is left out.  A page is empty only at the end.
    """
    found: list[Change] = []
    last, size = after, 0
    for examined, row in enumerate(_walk(stream_id, start, after, horizon, limit + 1)):
        is_far = examined >= EXAMINED_TOMBSTONES
        if len(found) == limit or (found and (is_far or size + row.json_bytes > PAGE_BYTES)):
            return ChangePage(found, last)
        last, size = row.version, size + row.json_bytes
        if row.is_live or is_far or not _is_made_since(stream_id, row.version, start):
            found.append(_loaded(stream_id, row))
    return ChangePage(found, None)


def _walk(stream_id: int, start: int, after: int, horizon: int, size: int) -> Iterator[_Row]:
    """The rows in the order of their versions, read in batches.

    A batch ends at the last version that both kinds have reached.  From the beginning there is nothing
    that a follower could have to delete.
    """
    while True:
        live = _live(stream_id, after, horizon, size)
        deleted = _deleted(stream_id, after, horizon, size) if start else []
        ends = [rows[-1].version for rows in (live, deleted) if len(rows) == size]
        reached = min(ends, default=horizon)
        yield from sorted(row for row in (*live, *deleted) if row.version <= reached)
        if not ends:
            return
        after = reached


def _live(stream_id: int, after: int, horizon: int, limit: int) -> list[_Row]:
    rows = fetch_all(
        f"""
        SELECT version, key, TRUE, {SMALL_DATA}, json_bytes, emitted_at, ingested_at
        FROM records
        WHERE stream_id = ? AND version > ? AND version <= ?
        ORDER BY version
        LIMIT ?
        """,
        (stream_id, after, horizon, limit),
    )
    return [_Row(*row) for row in rows]


def _deleted(stream_id: int, after: int, horizon: int, limit: int) -> list[_Row]:
    rows = fetch_all(
        """
        SELECT t.version, t.key, FALSE, NULL, 0, c.emitted_at, c.ingested_at
        FROM retained_size_record t
        LEFT JOIN record_changes c ON c.stream_id = t.stream_id AND c.version = t.version
        WHERE t.stream_id = ? AND t.record_count = 0 AND t.version > ? AND t.version <= ?
        ORDER BY t.version
        LIMIT ?
        """,
        (stream_id, after, horizon, limit),
    )
    return [_Row(*row) for row in rows]


def _is_made_since(stream_id: int, tombstone: int, start: int) -> bool:
    """Whether a deleted key was not there at `start`.  False if that can't be known any more."""
    *_, oldest = chain(stream_id, tombstone, LINKS_FOLLOWED, down_to=start)
    rows = fetch_all(
        """
        SELECT data IS NULL, previous_version IS NULL, pruned_at IS NULL
        FROM record_changes
        WHERE stream_id = ? AND version = ?
        """,
        (stream_id, oldest),
    )
    if not rows:
        return False
    is_tombstone, is_first, is_whole = map(bool, rows[0])
    return is_tombstone if oldest <= start else is_first and is_whole


def _loaded(stream_id: int, row: _Row) -> Change:
    if not row.is_live:
        return Change(row.key, row.version, None, row.emitted_at, row.emitted_at or row.ingested_at)
    data = row.data
    if data is None:
        data = fetch_value(
            "SELECT data FROM records WHERE stream_id = ? AND version = ?", (stream_id, row.version)
        )
    return Change(row.key, row.version, data, row.emitted_at, None)


# ---- what a token proves -----------------------------------------------------------------------


def history_id() -> str:
    """The id that this database does not share with its copies and backups."""
    return str(fetch_value("SELECT history_id FROM pdpp_ref_schema") or "")


def proof(stream_id: int, version: int) -> Proof:
    """Digests of a version and of some before it, those that are still stored."""
    return _digests(stream_id, [version - distance for distance in PROVEN_DISTANCES if distance < version])


def holds(stream_id: int, proven: Proof) -> bool:
    """Whether the versions have these digests, except those that have been pruned.

    They differ if the database was restored from a backup and has received others since.
    """
    stored = _digests(stream_id, list(proven))
    return all(proven[version] == digest for version, digest in stored.items())


def _digests(stream_id: int, versions: list[int]) -> Proof:
    if not versions:
        return {}
    rows = fetch_each(
        f"""
        SELECT version, key, {SMALL_DATA}, json_bytes, emitted_at, ingested_at
        FROM record_changes
        WHERE stream_id = ? AND version = :each
        """,
        (stream_id,),
        versions,
    )
    return {version: hashlib.sha256(repr(row).encode()).hexdigest()[:16] for version, *row in rows}
