"""Storing what the streams' shares of a write have become."""

from collections.abc import Sequence

from ..database import delete_many, insert_many, update_many
from ..models import BlobBinding, Record, RecordChange, RetainedSizeRecord, Stream
from ..models.measures import MEASURE_NAMES
from ..projection import deltas, marks, ranked
from ..timestamps import utc_now
from . import contacts
from .stream_batch import Row, StreamBatch


def store(batches: Sequence[StreamBatch], connection_id: int) -> None:
    """Store all streams' shares, statement by statement, then their effect on the projection."""
    insert_many(RecordChange, _CHANGE_COLUMNS, [row for batch in batches for row in batch.history])
    pruned = [row for batch in batches for row in batch.pruned]
    update_many(RecordChange, _PRUNED_COLUMNS, pruned, ("stream_id", "version"))
    _store_records(batches)
    rollups = [row for batch in batches for row in batch.rollups()]
    insert_many(RetainedSizeRecord, _ROLLUP_COLUMNS, rollups, _KEY_COLUMNS)
    _store_metadata(batches)
    _store_bindings(batches)
    ranked.fill({(batch.id, block) for batch in batches for block in batch.left})
    _store_streams(batches)
    changed = {batch.id: batch.delta for batch in batches if batch.changes_measures()}
    if changed:
        deltas.record(connection_id, changed)
    for batch in batches:
        for key in batch.wrong_rollups:
            if key in batch.current or key in batch.bound_keys:
                marks.mark_rollups(batch.id, connection_id, key)
    contacts.note(connection_id, utc_now())


def _store_records(batches: Sequence[StreamBatch]) -> None:
    new: list[Row] = []
    replaced: list[Row] = []
    for batch in batches:
        chosen = batch.rank()
        # In their order, neighbours in an index are added one after the other.
        for key in batch.in_order:
            if (row := batch.current.get(key)) is not None:
                row = (*row[:-1], True) if row[1] in chosen else row
                (replaced if key in batch.live else new).append(row)
    insert_many(Record, _RECORD_COLUMNS, new)
    insert_many(Record, _RECORD_COLUMNS, replaced, _KEY_COLUMNS)
    gone = [(batch.id, key) for batch in batches for key, row in batch.current.items() if row is None]
    delete_many(Record, _KEY_COLUMNS, gone)


def _store_metadata(batches: Sequence[StreamBatch]) -> None:
    rows = [row for batch in batches for row in batch.metadata_rows()]
    update_many(Record, ("table_version", "record_time", *_KEY_COLUMNS), rows, _KEY_COLUMNS)


def _store_bindings(batches: Sequence[StreamBatch]) -> None:
    insert_many(BlobBinding, _BINDING_COLUMNS, [row for batch in batches for row in batch.bound.values()])
    keys = [(batch.id, key) for batch in batches for key in batch.bound_keys - batch.current.keys()]
    update_many(Record, _KEY_COLUMNS, keys, _KEY_COLUMNS, "has_rollup = TRUE, ranked = TRUE")


def _store_streams(batches: Sequence[StreamBatch]) -> None:
    update_many(Stream, _STREAM_COLUMNS, [batch.stream_values() for batch in batches], ("id",))


_KEY_COLUMNS = ("stream_id", "key")
_VERSION_COLUMNS = ("stream_id", "version", "key", "data", "json_bytes", "emitted_at", "ingested_at")
_CHANGE_COLUMNS = (*_VERSION_COLUMNS, "previous_version")
_RECORD_COLUMNS = (*_VERSION_COLUMNS, "table_version", "record_time", "has_rollup", "ranked")
_PRUNED_COLUMNS = ("pruned_at", "pruned_digest", "stream_id", "version")
_STREAM_COLUMNS = (
    "last_version",
    "last_ingested_at",
    "last_contact_at",
    "key_schema",
    "respelled_keys",
    "record_time_field",
    "record_time_field_since",
    "undated_records",
    "rejected_table_version",
    "rejected_unversioned",
    "rejections_seen",
    "largest_sizes",
    "id",
)
_BINDING_COLUMNS = (
    "stream_id",
    "key",
    "sha256",
    "version",
    "byte_length",
    "bound_at",
    "mime_type",
    "json_path",
)
_ROLLUP_COLUMNS = ("stream_id", "key", "version", "changed_at", *MEASURE_NAMES)
