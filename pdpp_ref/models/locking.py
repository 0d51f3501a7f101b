"""Which rows a change of canonical data holds, from its beginning until it commits.

There is one order, so that nobody waits in a circle: the connection; its streams, by id; files, by
digest; then the projection's rows, of streams, by id, of the connection, and the global one.  On
SQLite nothing is locked here: a writer holds the whole file.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..database import (
    delete_lock,
    fetch_all,
    fetch_dicts,
    key_lock,
    row_lock,
)

DIGESTS_PER_QUERY = 500


class KeptConnection(NamedTuple):
    id: int
    connector: str
    unattributed_rejections: int


def keep_connection(name: str) -> KeptConnection | None:
    """A connection, which can't be deleted from here on; None: there is none."""
    columns = "id, connector_id, unattributed_rejections"
    query = f"SELECT {columns} FROM connections WHERE connector_instance_id = ?{key_lock()}"
    return next((KeptConnection(*row) for row in fetch_all(query, [name])), None)


def keep_stream(connection_id: int, name: str) -> bool:
    """A stream of a connection that is kept can't be deleted from here on either.  False: there is none."""
    of_name = "WHERE connection_id = ? AND name = ?"
    return bool(fetch_all(f"SELECT 1 FROM streams {of_name}{key_lock()}", (connection_id, name)))


def create_in_connection(connection_id: int) -> None:
    """From here on nobody else creates a stream in the connection.

    Two writers that created the same streams would wait for each other otherwise.
    """
    fetch_all(f"SELECT id FROM connections WHERE id = ?{row_lock()}", [connection_id])


def change_streams(where: str, values: Sequence[Any]) -> list[dict[str, Any]]:
    """The streams' rows, of a connection that is kept already; nobody else changes what they hold."""
    return fetch_dicts(f"SELECT * FROM streams {where} ORDER BY id{row_lock()}", values)


def change_stream(stream_id: int) -> dict[str, Any] | None:
    """A stream's row as `change_streams` gives it, its connection kept; None: it is gone."""
    of_stream = "WHERE id = (SELECT connection_id FROM streams WHERE id = ?)"
    fetch_all(f"SELECT id FROM connections {of_stream}{key_lock()}", [stream_id])
    return next(iter(change_streams("WHERE id = ?", [stream_id])), None)


def change_all_streams() -> list[int]:
    """The ids of all streams, in order.  From here on no writer is half-way in any of them."""
    return [stream_id for (stream_id,) in fetch_all(f"SELECT id FROM streams ORDER BY id{row_lock()}")]


def take_stream(stream_id: int) -> bool:
    """For one that is going to be deleted.  False where it is gone."""
    of_stream = "WHERE id = (SELECT connection_id FROM streams WHERE id = ?)"
    fetch_all(f"SELECT id FROM connections {of_stream}{key_lock()}", [stream_id])
    return bool(fetch_all(f"SELECT id FROM streams WHERE id = ?{delete_lock()}", [stream_id]))


def take_connection(connection_id: int) -> bool:
    """For one that is going to be deleted, with its streams.  False where it is gone."""
    found = fetch_all(f"SELECT id FROM connections WHERE id = ?{delete_lock()}", [connection_id])
    # The delete would lock them in an order of its own.
    streams = "SELECT id FROM streams WHERE connection_id = ? ORDER BY id"
    fetch_all(
        f"SELECT COUNT(*) FROM ({streams}{delete_lock()}) AS locked",
        [connection_id],
    )
    return bool(found)


def keep_file(sha256: str) -> bool:
    """A file that can't be deleted from here on.  False where it is gone."""
    return bool(fetch_all(f"SELECT 1 FROM blobs WHERE sha256 = ?{key_lock()}", [sha256]))


def take_files(rows: Sequence[tuple[str, ...]]) -> None:
    """For files that may be deleted, a digest in each row: who is binding one has done so, or waits."""
    digests = sorted(sha256 for (sha256,) in rows)
    for start in range(0, len(digests), DIGESTS_PER_QUERY):
        part = digests[start : start + DIGESTS_PER_QUERY]
        files = f"SELECT sha256 FROM blobs WHERE sha256 IN ({', '.join('?' * len(part))}) ORDER BY sha256"
        fetch_all(f"SELECT COUNT(*) FROM ({files}{delete_lock()}) AS locked", part)
