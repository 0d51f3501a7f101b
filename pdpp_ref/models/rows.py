"""Rows of canonical tables as functions pass them on."""

import msgspec


class StoredStream(msgspec.Struct):
    """A row of `streams`, read with STORED_STREAM_COLUMNS; see the model for what each column means."""

    id: int
    connection_id: int
    name: str
    last_version: int
    last_ingested_at: str | None
    created_at: str
    record_time_field: str | None
    record_time_field_since: int
    undated_records: int
    key_schema: str | None
    respelled_keys: bool
    rejected_table_version: int | None
    rejected_unversioned: bool
    rejections_seen: int
    largest_sizes: str

    def __post_init__(self) -> None:
        # SQLite's booleans are 0 and 1.
        self.respelled_keys = bool(self.respelled_keys)
        self.rejected_unversioned = bool(self.rejected_unversioned)


STORED_STREAM_COLUMNS = ", ".join(f"streams.{name}" for name in StoredStream.__struct_fields__)
