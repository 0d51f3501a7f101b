"""The files of an export: references in its lines, and each file once."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ..database import ANY_NUMBER, fetch_all, fetch_each, fetch_value
from ..parsing.exports import FILES_PER_LINE
from ..parsing.json_lines import to_json
from .export_pages import Row

# Gets the digest, the size and the blocks of a file; it must not keep what it could not write completely.
FileSink = Callable[[str, int, Iterator[bytes]], object]


class Damaged(Exception):
    """The stored bytes of a file are not those of its digest."""


class _Bound(NamedTuple):
    key: str
    sha256: str
    version: int
    byte_length: int
    mime_type: str | None
    json_path: str | None


def has_any(stream_id: int) -> bool:
    """Whether any record of the stream has a file."""
    return bool(fetch_all("SELECT 1 FROM blob_bindings WHERE stream_id = ? LIMIT 1", [stream_id]))


class Files:
    """Passes each file to `sink` once; `gaps` names those that are damaged."""

    def __init__(self, sink: FileSink) -> None:
        self._sink = sink
        self._passed: set[bytes] = set()
        self.gaps: list[str] = []

    @property
    def count(self) -> int:
        """How many files were passed on."""
        return len(self._passed) - len(self.gaps)

    def of_page(self, stream_id: int, page: Sequence[Row]) -> dict[int, list[str]]:
        """The `files` fields of a page's lines, by version; a line has so many files at most.

        A record's files are on the line of its newest version.
        """
        newest = _newest(stream_id, page)
        fields: dict[int, list[str]] = {}
        bound: dict[int, list[_Bound]] = {}
        for one in _bound_to(stream_id, list(newest)):
            bound.setdefault(newest[one.key], []).append(one)
            self._pass(one)
        for version, files in bound.items():
            references = [_reference(one, version) for one in files]
            fields[version] = [
                f',"files":[{",".join(references[at : at + FILES_PER_LINE])}]'
                for at in range(0, len(references), FILES_PER_LINE)
            ]
        return fields

    def _pass(self, one: _Bound) -> None:
        if (digest := bytes.fromhex(one.sha256)) in self._passed:
            return
        self._passed.add(digest)
        try:
            self._sink(one.sha256, one.byte_length, blocks(one.sha256, one.byte_length))
        except Damaged:
            self.gaps.append(damage_of(one.sha256))


def damage_of(sha256: str) -> str:
    """What an export lacks if a file is Damaged."""
    return f"file {sha256} is damaged in the database, and was not written"


def blocks(sha256: str, size: int) -> Iterator[bytes]:
    """The bytes of a stored file.  Raises Damaged after the last if they are not what they should be."""
    digest, number, read = hashlib.sha256(), 0, 0
    while chunk := fetch_value(
        "SELECT data FROM blob_chunks WHERE sha256 = ? AND number = ?", (sha256, number)
    ):
        block = bytes(chunk)
        digest.update(block)
        number, read = number + 1, read + len(block)
        yield block
    if read != size or digest.hexdigest() != sha256:
        raise Damaged


def _newest(stream_id: int, page: Sequence[Row]) -> dict[str, int]:
    """The version of each key of a page, if it is the key's newest: the live one or the last tombstone."""
    versions = {row.key: row.version for row in page}
    rows = fetch_each(
        """
        SELECT key, version
        FROM records
        WHERE stream_id = ? AND key = :each
        """,
        [stream_id],
        list(versions),
    )
    live = dict(rows)
    rollups = fetch_each(
        """
        SELECT key, version
        FROM retained_size_record
        WHERE stream_id = ? AND key = :each
        """,
        [stream_id],
        [key for key in versions if key not in live],
    )
    deleted = dict(rollups)
    return {
        key: version
        for key, version in versions.items()
        if version == live.get(key, deleted.get(key, version))
    }


def _bound_to(stream_id: int, keys: Sequence[str]) -> list[_Bound]:
    rows = fetch_each(
        """
        SELECT key, sha256, version, byte_length, mime_type, json_path
        FROM blob_bindings
        WHERE stream_id = ? AND key = :each
        """,
        [stream_id],
        keys,
        ANY_NUMBER,
    )
    return sorted((_Bound(*row) for row in rows), key=lambda one: (one.key, one.sha256))


def _reference(one: _Bound, version: int) -> str:
    """A file's JSON in a line of that version."""
    fields = [f'"sha256":"{one.sha256}"']
    if one.mime_type is not None:
        fields.append(f'"mime_type":{to_json(one.mime_type)}')
    if one.json_path is not None:
        fields.append(f'"json_path":{to_json(one.json_path)}')
    if one.version != version:
        fields.append(f'"history_version":{one.version}')
    return f"{{{','.join(fields)}}}"
