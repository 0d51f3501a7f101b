"""A stream's records for a person: by key, a page at a time; and one record with its versions and files."""

from typing import NamedTuple

from ..database import fetch_all, fetch_as, fetch_each, fetch_value
from ..projection.rows import valid_time
from . import versions
from .streams import find as find_streams


class BrowsedRecord(NamedTuple):
    """A live record, without its content."""

    key: str
    json_bytes: int
    ingested_at: str | None


class BrowsedPage(NamedTuple):
    """`has_earlier` and `has_later`: there are others before and after these, by key."""

    records: list[BrowsedRecord]
    has_earlier: bool
    has_later: bool


class Place(NamedTuple):
    """Where a page begins: after a key, or before one, of those that begin with `prefix`."""

    prefix: str = ""
    after: str | None = None
    before: str | None = None


def page(stream_id: int, place: Place, limit: int) -> BrowsedPage:
    """Up to `limit` records, by key.  Its cost is that of its rows."""
    found = _walk(stream_id, place, limit + 1)
    more, found = len(found) > limit, found[:limit]
    if place.before is not None:
        found.reverse()
        return BrowsedPage(
            found, more, bool(found) and _any(stream_id, place.prefix, found[-1].key, later=True)
        )
    return BrowsedPage(
        found, bool(found) and _any(stream_id, place.prefix, found[0].key, later=False), more
    )


def _walk(stream_id: int, place: Place, limit: int) -> list[BrowsedRecord]:
    """Keys are compared byte by byte, so those with one prefix are neighbours, the prefix itself first."""
    prefix, after, before = place
    values: tuple[str, ...]
    if before is not None:
        where, order, values = "key >= ? AND key < ?", "DESC", (prefix, before)
    elif after is not None and after >= prefix:  # of two bounds, a database may start at the farther one
        where, order, values = "key > ?", "ASC", (after,)
    else:
        where, order, values = "key >= ?", "ASC", (prefix,)
    rows = fetch_as(
        BrowsedRecord,
        f"""
        SELECT key, json_bytes, ingested_at
        FROM records
        WHERE stream_id = ? AND {where}
        ORDER BY key {order}
        LIMIT ?
        """,
        (stream_id, *values, limit),
    )
    return [
        row._replace(ingested_at=valid_time(row.ingested_at)) for row in rows if row.key.startswith(prefix)
    ]


def _any(stream_id: int, prefix: str, key: str, *, later: bool) -> bool:
    """Whether a record with the prefix is later, or earlier, than the key."""
    found = _walk(stream_id, Place(prefix, after=key) if later else Place(prefix, before=key), 1)
    return bool(found)


# ---- one record --------------------------------------------------------------------------------


class Found(NamedTuple):
    """A key that is stored; `version` is its newest one, which is a tombstone unless `is_live`."""

    stream_id: int
    version: int
    is_live: bool


class BrowsedVersion(NamedTuple):
    """A version without its content; a tombstone has 0 bytes.

    `earlier_pruned`: there were older versions, which have been pruned.
    """

    version: int
    json_bytes: int
    emitted_at: str | None
    ingested_at: str | None
    earlier_pruned: bool

    @property
    def is_tombstone(self) -> bool:
        return not self.json_bytes


class BrowsedFile(NamedTuple):
    """A file of a record; the media type is as its sender said, if it did."""

    sha256: str
    byte_length: int
    mime_type: str | None


def find(connection: str, stream: str, key: str) -> Found | None:
    """The record of that key, also if it is deleted and only history is left."""
    streams = find_streams(None, connection, stream)
    if not streams:
        return None
    stream_id = streams[0].id
    version = versions.newest_version(stream_id, key)
    if version is None:
        return None
    live = fetch_value("SELECT version FROM records WHERE stream_id = ? AND key = ?", (stream_id, key))
    return Found(stream_id, version, live is not None)


def version_page(
    stream_id: int, key: str, version: int, limit: int
) -> tuple[list[BrowsedVersion], int | None]:
    """Up to `limit` versions of a key, from one of its versions back; and the number of the next one."""
    numbers = versions.chain(stream_id, version, limit + 1)
    rows = fetch_each(
        """
        SELECT version, json_bytes, emitted_at, ingested_at, pruned_at IS NOT NULL, key
        FROM record_changes
        WHERE stream_id = ? AND version = :each
        """,
        (stream_id,),
        numbers,
    )
    found = sorted((_version(*row[:-1]) for row in rows if row[-1] == key), key=lambda row: -row.version)
    return found[:limit], numbers[limit] if len(numbers) > limit else None


def _version(
    version: int, json_bytes: int, emitted_at: str | None, ingested_at: str | None, pruned: object
) -> BrowsedVersion:
    return BrowsedVersion(
        version, json_bytes, valid_time(emitted_at), valid_time(ingested_at), bool(pruned)
    )


def content(stream_id: int, key: str, version: int, most: int) -> str | None:
    """The first `most` characters of a version's text; None if it has none, or is not of the key."""
    text: str | None = fetch_value(
        """
        SELECT SUBSTR(data, 1, ?)
        FROM record_changes
        WHERE stream_id = ? AND version = ? AND key = ?
        """,
        (most, stream_id, version, key),
    )
    return text


def files(stream_id: int, key: str, limit: int) -> list[BrowsedFile]:
    """The record's files, by digest."""
    return fetch_as(
        BrowsedFile,
        """
        SELECT sha256, byte_length, mime_type
        FROM blob_bindings
        WHERE stream_id = ? AND key = ?
        ORDER BY sha256
        LIMIT ?
        """,
        (stream_id, key, limit),
    )


def file_count(stream_id: int, key: str) -> int:
    ((count,),) = fetch_all(
        "SELECT COUNT(*) FROM blob_bindings WHERE stream_id = ? AND key = ?", (stream_id, key)
    )
    return int(count)
