"""Storing what the streams' shares of a write have become."""

from collections.abc import Sequence

from ..database import execute_many, insert_many
from ..models import BlobBinding, Record, RecordChange, RetainedSizeRecord
from ..models.measures import MEASURE_NAMES
from ..projection import deltas, marks
from .stream_batch import StreamBatch


def store(batches: Sequence[StreamBatch], connection_id: int) -> None:
    """Store all streams' shares, statement by statement, then their effect on the projection."""
    insert_many(RecordChange, _CHANGE_COLUMNS, [row for batch in batches for row in batch.history])
    execute_many(
        """
        UPDATE record_changes
        SET pruned_at = ?, pruned_digest = ?
        WHERE stream_id = ? AND version = ?
        """,
        [row for batch in batches for row in batch.pruned],
    )
    _store_records(batches)
    rollups = [row for batch in batches for row in batch.rollups()]
    insert_many(RetainedSizeRecord, _ROLLUP_COLUMNS, rollups, _KEY_COLUMNS)
    _store_metadata(batches)
    _store_bindings(batches)
    _store_streams(batches)
    changed = {batch.id: batch.delta for batch in batches if batch.changes_measures()}
    if changed:
        deltas.record(connection_id, changed)
    for batch in batches:
        for key in batch.wrong_rollups & (batch.current.keys() | batch.bound_keys):
            marks.mark_rollups(batch.id, connection_id, key)


def _store_records(batches: Sequence[StreamBatch]) -> None:
    rows = [row for batch in batches for row in batch.current.values() if row]
    insert_many(Record, _RECORD_COLUMNS, rows, _KEY_COLUMNS)
    execute_many(
        "DELETE FROM records WHERE stream_id = ? AND key = ?",
        [(batch.id, key) for batch in batches for key, row in batch.current.items() if row is None],
    )


def _store_metadata(batches: Sequence[StreamBatch]) -> None:
    execute_many(
        """
        UPDATE records
        SET table_version = ?, record_time = ?
        WHERE stream_id = ? AND key = ?
        """,
        [row for batch in batches for row in batch.metadata_rows()],
    )


def _store_bindings(batches: Sequence[StreamBatch]) -> None:
    insert_many(BlobBinding, _BINDING_COLUMNS, [row for batch in batches for row in batch.bound.values()])
    execute_many(
        "UPDATE records SET has_rollup = TRUE WHERE stream_id = ? AND key = ?",
        [(batch.id, key) for batch in batches for key in batch.bound_keys - batch.current.keys()],
    )


def _store_streams(batches: Sequence[StreamBatch]) -> None:
    execute_many(
        """
        UPDATE streams
        SET last_version = ?,
            last_ingested_at = ?,
            last_contact_at = ?,
            key_schema = ?,
            respelled_keys = ?,
            record_time_field = ?,
            record_time_field_since = ?,
            undated_records = ?,
            rejected_table_version = ?,
            rejected_unversioned = ?,
            rejections_seen = ?
        WHERE id = ?
        """,
        [batch.stream_values() for batch in batches],
    )


_KEY_COLUMNS = ("stream_id", "key")
_VERSION_COLUMNS = ("stream_id", "version", "key", "data", "json_bytes", "emitted_at", "ingested_at")
_CHANGE_COLUMNS = (*_VERSION_COLUMNS, "previous_version")
_RECORD_COLUMNS = (*_VERSION_COLUMNS, "table_version", "record_time", "has_rollup")
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
