"""Which rows a change of canonical data holds, from its beginning until it commits.

There is one order, so that nobody waits in a circle: the connection; its streams, by id; files, by
digest; then the projection's rows, of streams, by id, of the connection, and the global one.  On
SQLite nothing is locked here: a writer holds the whole file.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..database import (
    fetch_all,
    fetch_dicts,
    for_key_share,
    for_no_key_update,
    for_update,
)

DIGESTS_PER_QUERY = 500


class LockedConnection(NamedTuple):
    id: int
    connector: str
    unattributed_rejections: int


def lock_connection_shared(name: str) -> LockedConnection | None:
    """A connection, which can't be deleted from here on; None: there is none."""
    columns = "id, connector_id, unattributed_rejections"
    query = f"SELECT {columns} FROM connections WHERE connector_instance_id = ?{for_key_share()}"
    return next((LockedConnection(*row) for row in fetch_all(query, [name])), None)


def lock_stream_shared(connection_id: int, name: str) -> bool:
    """A stream of a connection that is kept can't be deleted from here on either.  False: there is none."""
    of_name = "WHERE connection_id = ? AND name = ?"
    return bool(fetch_all(f"SELECT 1 FROM streams {of_name}{for_key_share()}", (connection_id, name)))


def lock_connection_for_update(connection_id: int) -> None:
    """From here on nobody else creates a stream in the connection.

    Two writers that created the same streams would wait for each other otherwise.
    """
    fetch_all(f"SELECT id FROM connections WHERE id = ?{for_no_key_update()}", [connection_id])


def lock_streams_for_update(where: str, values: Sequence[Any]) -> list[dict[str, Any]]:
    """The streams' rows, of a connection that is kept already; nobody else changes what they hold."""
    return fetch_dicts(f"SELECT * FROM streams {where} ORDER BY id{for_no_key_update()}", values)


def lock_stream_for_update(stream_id: int) -> dict[str, Any] | None:
    """A stream's row as `lock_streams_for_update` gives it, its connection kept; None: it is gone."""
    of_stream = "WHERE id = (SELECT connection_id FROM streams WHERE id = ?)"
    fetch_all(f"SELECT id FROM connections {of_stream}{for_key_share()}", [stream_id])
    return next(iter(lock_streams_for_update("WHERE id = ?", [stream_id])), None)


def lock_all_streams() -> list[int]:
    """The ids of all streams, in order.  From here on no writer is half-way in any of them."""
    return [
        stream_id for (stream_id,) in fetch_all(f"SELECT id FROM streams ORDER BY id{for_no_key_update()}")
    ]


def lock_stream_for_delete(stream_id: int) -> bool:
    """For one that is going to be deleted.  False where it is gone."""
    of_stream = "WHERE id = (SELECT connection_id FROM streams WHERE id = ?)"
    fetch_all(f"SELECT id FROM connections {of_stream}{for_key_share()}", [stream_id])
    return bool(fetch_all(f"SELECT id FROM streams WHERE id = ?{for_update()}", [stream_id]))


def lock_connection_for_delete(connection_id: int) -> bool:
    """For one that is going to be deleted, with its streams.  False where it is gone."""
    found = fetch_all(f"SELECT id FROM connections WHERE id = ?{for_update()}", [connection_id])
    # The delete would lock them in an order of its own.
    streams = "SELECT id FROM streams WHERE connection_id = ? ORDER BY id"
    fetch_all(
        f"SELECT COUNT(*) FROM ({streams}{for_update()}) AS locked",
        [connection_id],
    )
    return bool(found)


def lock_file_shared(sha256: str) -> bool:
    """A file that can't be deleted from here on.  False where it is gone."""
    return bool(fetch_all(f"SELECT 1 FROM blobs WHERE sha256 = ?{for_key_share()}", [sha256]))


def lock_files_for_delete(rows: Sequence[tuple[str, ...]]) -> None:
    """For files that may be deleted, a digest in each row: who is binding one has done so, or waits."""
    digests = sorted(sha256 for (sha256,) in rows)
    for start in range(0, len(digests), DIGESTS_PER_QUERY):
        part = digests[start : start + DIGESTS_PER_QUERY]
        files = f"SELECT sha256 FROM blobs WHERE sha256 IN ({', '.join('?' * len(part))}) ORDER BY sha256"
        fetch_all(f"SELECT COUNT(*) FROM ({files}{for_update()}) AS locked", part)
