"""Files of live records: who refers to one, and its bytes in chunks."""

from collections.abc import Iterator
from typing import NamedTuple

from ..database import byte_length, fetch_as, fetch_column, fetch_value, read_snapshot
from .sizes import where_equal


class Reference(NamedTuple):
    """A live record that has the file; the media type is as its sender said, if it did."""

    stream: str
    key: str
    mime_type: str | None
    byte_length: int


class FileGone(Exception):
    """The file was deleted while it was being read."""


_HOLDERS = """
    FROM blob_bindings b
    JOIN streams s ON s.id = b.stream_id
    JOIN connections c ON c.id = s.connection_id
"""
# Not a join: PostgreSQL would read all records of the stream (docs/decisions.md).
_IS_LIVE = """
    (
        SELECT r.key
        FROM records r
        WHERE r.stream_id = b.stream_id AND r.key >= b.key AND r.key <= b.key
        ORDER BY r.key
        LIMIT 1
    ) IS NOT NULL
"""


def connections_with(
    sha256: str, connector: str | None, connection: str | None, stream: str | None, key: str | None
) -> list[str]:
    """The connections with a live record that has the file; the other arguments restrict them, if given."""
    where, values = _where(sha256, connector, connection, stream, key)
    return fetch_column(
        f"""
        SELECT DISTINCT c.connector_instance_id
        {_HOLDERS}
        {where}
        ORDER BY c.connector_instance_id
        """,
        values,
    )


def reference(sha256: str, connection: str, stream: str | None, key: str | None) -> Reference | None:
    """The connection's first live record that has the file, by stream and key.

    One that names a media type comes before those that name none.
    """
    where, values = _where(sha256, None, connection, stream, key)
    rows = fetch_as(
        Reference,
        f"""
        SELECT s.name, b.key, b.mime_type, b.byte_length
        {_HOLDERS}
        {where}
        ORDER BY b.mime_type IS NULL, s.name, b.key
        LIMIT 1
        """,
        values,
    )
    return rows[0] if rows else None


def _where(
    sha256: str, connector: str | None, connection: str | None, stream: str | None, key: str | None
) -> tuple[str, list[str]]:
    where, values = where_equal(
        {
            "b.sha256": sha256,
            "c.connector_id": connector,
            "c.connector_instance_id": connection,
            "s.name": stream,
            "b.key": key,
        }
    )
    return f"{where} AND {_IS_LIVE}", values


def read(sha256: str, start: int, end: int) -> Iterator[bytes]:
    """The bytes from `start` up to, but not including, `end`.

    Each chunk is a read of its own, so that a slow client holds no snapshot.  Raises FileGone.
    """
    with read_snapshot():
        size = fetch_value(
            f"SELECT {byte_length('data')} FROM blob_chunks WHERE sha256 = ? AND number = 0", [sha256]
        )
    if not size:
        raise FileGone
    while start < end:
        number, offset = divmod(start, size)  # all chunks but the last are as long as the first
        with read_snapshot():
            data = fetch_value(
                "SELECT data FROM blob_chunks WHERE sha256 = ? AND number = ?", (sha256, number)
            )
        part = bytes(data or b"")[offset : offset + end - start]
        if not part:
            raise FileGone
        yield part
        start += len(part)
