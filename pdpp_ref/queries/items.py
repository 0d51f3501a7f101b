"""Single records and files as rows with measures, by their identifiers; never what they contain."""

from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import asdict, replace

from ..database import fetch_all
from ..models.measures import MEASURE_NAMES, NOTHING, Measures
from ..projection.rows import valid_time

MEASURE_COLUMNS = ", ".join(MEASURE_NAMES)


class ItemRow(Measures, kw_only=True, frozen=True):
    """A connection, a stream, a record (`key`) or a file of a record (`key` and `sha256`)."""

    connector_id: str
    connector_instance_id: str
    stream: str | None = None
    key: str | None = None
    sha256: str | None = None
    dirty: bool
    computed_at: str | None

    @property
    def names(self) -> list[str]:
        """What identifies the row among those of its kind, and orders rows of equal size."""
        parts = (self.connector_instance_id, self.stream, self.key, self.sha256)
        return [part for part in parts if part is not None]


class StreamNames(NamedTuple):
    """`dirty`: the rollups of the stream's records may be wrong."""

    connector_id: str
    connector_instance_id: str
    stream: str
    dirty: bool


def names_of(stream_id: int) -> StreamNames:
    """The names of a stream that exists."""
    (row,) = fetch_all(
        """
        SELECT c.connector_id, c.connector_instance_id, s.name, COALESCE(r.rollups_dirty, TRUE)
        FROM streams s
        JOIN connections c ON c.id = s.connection_id
        LEFT JOIN retained_size_stream r ON r.stream_id = s.id
        WHERE s.id = ?
        """,
        [stream_id],
    )
    return StreamNames(*row)


def record(stream_id: int, key: str) -> ItemRow:
    """A record that exists, or that has only history left."""
    rollup = fetch_all(
        f"""
        SELECT changed_at, {MEASURE_COLUMNS}
        FROM retained_size_record
        WHERE stream_id = ? AND key = ?
        """,
        (stream_id, key),
    )
    if rollup:
        ((changed_at, *values),) = rollup
        return record_row(names_of(stream_id), key, changed_at, values)
    ((ingested_at, size),) = fetch_all(
        """
        SELECT ingested_at, json_bytes
        FROM records
        WHERE stream_id = ? AND key = ?
        """,
        (stream_id, key),
    )
    return record_row(names_of(stream_id), key, ingested_at, only_version(size))


def only_version(json_bytes: int) -> Sequence[int]:
    """The values of the measures of a record with one version and no file."""
    one = replace(
        NOTHING,
        record_count=1,
        current_record_json_bytes=json_bytes,
        record_history_count=1,
        record_history_json_bytes=json_bytes,
    )
    return list(asdict(one).values())


def record_row(names: StreamNames, key: str, changed_at: str | None, values: Sequence[int]) -> ItemRow:
    """`values` of the measures, in their order.  A record whose rollup was lost has no `changed_at`."""
    return _item(names, changed_at, values, key)


def file(stream_id: int, key: str, sha256: str) -> ItemRow:
    """A file that a record has."""
    ((byte_length, bound_at),) = fetch_all(
        """
        SELECT byte_length, bound_at
        FROM blob_bindings
        WHERE stream_id = ? AND key = ? AND sha256 = ?
        """,
        (stream_id, key, sha256),
    )
    return file_row(names_of(stream_id), key, sha256, byte_length, bound_at)


def file_row(names: StreamNames, key: str, sha256: str, byte_length: int, bound_at: str) -> ItemRow:
    one = replace(NOTHING, blob_count=1, blob_bytes=byte_length)
    return _item(names, bound_at, list(asdict(one).values()), key, sha256)


def _item(
    names: StreamNames, at: str | None, values: Sequence[int], key: str, sha256: str | None = None
) -> ItemRow:
    return ItemRow(
        connector_id=names.connector_id,
        connector_instance_id=names.connector_instance_id,
        stream=names.stream,
        key=key,
        sha256=sha256,
        # A rollup is written with its record, so it is exact unless it was lost or its stream is marked.
        dirty=bool(names.dirty) or at is None,
        computed_at=valid_time(at),
        **dict(zip(MEASURE_NAMES, values, strict=True)),
    )
