"""Binding files that were uploaded before their records: a record claims its own when it is stored.

A file belongs to the record that it was uploaded for.  As long as it waits for that, any other record of
the stream that names it (`parsing.files.file_of`) gets it too.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ..database import (
    ANY_NUMBER,
    among,
    execute_many,
    fetch_all,
    fetch_as,
    fetch_each,
    for_update,
    id_list,
)
from ..parsing.files import file_of
from .erased import Names, is_erased
from .stream_batch import StreamBatch


class _Unclaimed(NamedTuple):
    id: int
    key: str
    sha256: str
    byte_length: int
    mime_type: str | None
    json_path: str | None


def claim(connection_id: int, connection: str, batches: Iterable[StreamBatch]) -> None:
    """Bind the connection's unclaimed files to the live records of the batches, whose streams are locked.

    The bindings are stored with the batches.
    """
    waiting = "SELECT 1 FROM unclaimed_files WHERE connection_id = ? LIMIT 1"
    if not fetch_all(waiting, [connection_id]):  # so nearly every import pays for one look-up
        return
    for batch in batches:
        records = batch.live_upserts()
        claimed = _waiting(connection_id, batch.stream.name, "key", sorted(records))
        named = _named(connection_id, batch.stream.name, records)
        for key, file in [*((file.key, file) for file in claimed), *named]:
            if not is_erased(Names(connection, batch.stream.name, key, file.sha256)):
                _bind(batch, key, file)
        execute_many("DELETE FROM unclaimed_files WHERE id = ?", [(file.id,) for file in claimed])


def _named(connection_id: int, stream: str, records: Mapping[str, str]) -> list[tuple[str, _Unclaimed]]:
    """Keys with the unclaimed files that their data names, and that were uploaded for other keys."""
    names = {key: sha256 for key, data in records.items() if (sha256 := file_of(data))}
    files = _waiting(connection_id, stream, "sha256", sorted({*names.values()}))
    by_digest = {file.sha256: file for file in files}
    return [
        (key, by_digest[sha256])
        for key, sha256 in names.items()
        if sha256 in by_digest and not any(each.key == key and each.sha256 == sha256 for each in files)
    ]


def _waiting(connection_id: int, stream: str, column: str, values: Sequence[str]) -> list[_Unclaimed]:
    """The unclaimed files of a stream with one of the values, locked against a cleanup."""
    ids = fetch_each(
        f"""
        SELECT id
        FROM unclaimed_files
        WHERE connection_id = ? AND stream_name = ? AND {column} = :each
        """,
        (connection_id, stream),
        values,
        ANY_NUMBER,
    )
    if not ids:
        return []
    return fetch_as(
        _Unclaimed,
        f"""
        SELECT id, key, sha256, byte_length, mime_type, json_path
        FROM unclaimed_files
        WHERE {among("id")}
        ORDER BY id
        {for_update()}
        """,
        [id_list(found for (found,) in ids)],
    )


def _bind(batch: StreamBatch, key: str, file: _Unclaimed) -> None:
    """A binding that exists takes over what the sender said last."""
    if (key, file.sha256) in batch.bound:
        return
    known = fetch_all(
        """
        SELECT 1
        FROM blob_bindings
        WHERE stream_id = ? AND key = ? AND sha256 = ?
        """,
        (batch.id, key, file.sha256),
    )
    if known:
        describe(batch.id, key, file.sha256, file.mime_type, file.json_path)
    else:
        batch.bind(key, file.sha256, file.byte_length, file.mime_type, file.json_path)


def describe(stream_id: int, key: str, sha256: str, mime_type: str | None, json_path: str | None) -> None:
    """Store what a sender says about a record's file; what it leaves out stays."""
    execute_many(
        """
        UPDATE blob_bindings
        SET mime_type = COALESCE(?, mime_type), json_path = COALESCE(?, json_path)
        WHERE stream_id = ? AND key = ? AND sha256 = ?
        """,
        [(mime_type, json_path, stream_id, key, sha256)],
    )
