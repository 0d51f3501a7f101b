"""The tables.  Canonical ones hold what was received; the projection holds figures derived from it.

A measure is declared once, in MEASURES; its columns, sums, JSON keys and headings all follow.
"""

from typing import Any, NamedTuple

import peewee
from peewee import SQL, BigAutoField, BigIntegerField, BooleanField, ForeignKeyField, TextField

from .database import byte_length, db


class Measure(NamedTuple):
    """An additive number of `unit` (bytes or count), and what its column is called on a page.

    `table` and `expression` say how it is counted from canonical rows.
    """

    name: str
    unit: str
    table: str
    expression: str
    heading: str


MEASURES = (
    Measure("record_count", "count", "records", "COUNT(*)", "Records"),
    Measure("current_record_json_bytes", "bytes", "records", "SUM(json_bytes)", "Current records"),
    Measure("record_history_count", "count", "record_changes", "COUNT(*)", "Versions"),
    Measure("record_history_json_bytes", "bytes", "record_changes", "SUM(json_bytes)", "Version history"),
    Measure("blob_count", "count", "blob_bindings", "COUNT(*)", "Files"),
    Measure("blob_bytes", "bytes", "blob_bindings", "SUM(byte_length)", "File contents"),
)
BYTE_MEASURES = tuple(measure for measure in MEASURES if measure.unit == "bytes")
COUNT_MEASURES = tuple(measure for measure in MEASURES if measure.unit == "count")
MEASURE_NAMES = tuple(measure.name for measure in MEASURES)
BOUNDS = ("earliest_ingested_at", "latest_ingested_at")


def total_retained_bytes(figures: dict[str, Any]) -> int:
    return sum(figures[measure.name] for measure in BYTE_MEASURES)


def retains_anything(figures: dict[str, Any]) -> bool:
    return any(figures[measure.name] for measure in COUNT_MEASURES)


class Table(peewee.Model):
    class Meta:
        database = db
        legacy_table_names = False
        strict_tables = True


# ---- canonical ---------------------------------------------------------------------------------


class Connection(Table):
    id = BigAutoField()
    connector_instance_id = TextField(unique=True)
    connector_id = TextField(index=True)
    created_at = TextField()

    class Meta:
        table_name = "connections"


class Stream(Table):
    """`last_version` numbers this stream's history densely, from 1."""

    id = BigAutoField()
    connection = ForeignKeyField(Connection, on_delete="CASCADE", index=False)
    name = TextField()
    last_version = BigIntegerField(default=0)
    last_ingested_at = TextField(null=True)
    created_at = TextField()

    class Meta:
        table_name = "streams"
        indexes = ((("connection", "name"), True),)


class Record(Table):
    """The live version of a key.  `source_version` is a Singer table version, if one was sent."""

    stream = ForeignKeyField(Stream, on_delete="CASCADE", index=False)
    key = TextField()
    version = BigIntegerField()
    data = TextField()
    json_bytes = BigIntegerField()
    emitted_at = TextField(null=True)
    ingested_at = TextField()
    source_version = BigIntegerField(null=True)

    class Meta:
        table_name = "records"
        primary_key = peewee.CompositeKey("stream", "key")
        constraints = [peewee.Check(f"json_bytes = {byte_length('data')}")]
        # Covers a recount: it walks versions and never opens a row.
        indexes = ((("stream", "version", "json_bytes"), False),)


class RecordChange(Table):
    """One version, for ever; a tombstone has no data and 0 bytes."""

    stream = ForeignKeyField(Stream, on_delete="CASCADE", index=False)
    version = BigIntegerField()
    key = TextField()
    data = TextField(null=True)
    json_bytes = BigIntegerField()
    emitted_at = TextField(null=True)
    ingested_at = TextField()

    class Meta:
        table_name = "record_changes"
        primary_key = peewee.CompositeKey("stream", "version")
        constraints = [peewee.Check(f"json_bytes = COALESCE({byte_length('data')}, 0)")]
        indexes = ((("stream", "version", "json_bytes"), False),)


class Blob(Table):
    """A file's bytes, stored once; `sha256` is its lower-case hex digest."""

    sha256 = TextField(primary_key=True)
    byte_length = BigIntegerField(constraints=[peewee.Check("byte_length >= 0")])
    created_at = TextField()

    class Meta:
        table_name = "blobs"


class BlobBinding(Table):
    """A file that a record holds; `version` is the record version that brought it."""

    stream = ForeignKeyField(Stream, on_delete="CASCADE", index=False)
    key = TextField()
    blob = ForeignKeyField(Blob, column_name="sha256", on_delete="RESTRICT")
    version = BigIntegerField()
    byte_length = BigIntegerField(constraints=[peewee.Check("byte_length >= 0")])

    class Meta:
        table_name = "blob_bindings"
        primary_key = peewee.CompositeKey("stream", "key", "blob")
        indexes = ((("stream", "version", "byte_length"), False),)


# ---- projection --------------------------------------------------------------------------------


class Figures(Table):
    """The measures.  A negative figure is refused: it is drift, and refusing it gets it repaired."""


def _counter(name: str) -> BigIntegerField:
    return BigIntegerField(default=0, constraints=[SQL("DEFAULT 0"), peewee.Check(f"{name} >= 0")])


for _name in MEASURE_NAMES:
    Figures._meta.add_field(_name, _counter(_name))


class GrainRow(Figures):
    """Figures at one grain.  Those of a dirty row stay as they were, exact, at `computed_at`."""

    earliest_ingested_at = TextField(null=True)
    latest_ingested_at = TextField(null=True)
    dirty = BooleanField(default=False, constraints=[SQL("DEFAULT FALSE")])
    stale_since = TextField(null=True)
    computed_at = TextField(null=True)


class RetainedSizeStream(GrainRow):
    stream = ForeignKeyField(Stream, primary_key=True, on_delete="CASCADE")
    connection = ForeignKeyField(Connection, on_delete="CASCADE", index=False)

    class Meta:
        table_name = "retained_size_stream"
        indexes = (
            (("connection", "earliest_ingested_at"), False),
            (("connection", "latest_ingested_at"), False),
        )


class RetainedSizeConnection(GrainRow):
    connection = ForeignKeyField(Connection, primary_key=True, on_delete="CASCADE")
    stream_count = _counter("stream_count")

    class Meta:
        table_name = "retained_size_connection"
        indexes = ((("earliest_ingested_at",), False), (("latest_ingested_at",), False))


class RetainedSizeGlobal(GrainRow):
    """One row.  `rebuild_total` is how many versions there were to count when a rebuild began."""

    id = BigIntegerField(primary_key=True, constraints=[peewee.Check("id = 1")])
    stream_count = _counter("stream_count")
    connection_count = _counter("connection_count")
    rebuild_status = TextField(
        default="idle",
        constraints=[
            SQL("DEFAULT 'idle'"),
            peewee.Check("rebuild_status IN ('idle', 'running', 'failed')"),
        ],
    )
    rebuild_total = BigIntegerField(null=True)

    class Meta:
        table_name = "retained_size_global"


class Recount(Figures):
    """A stream's recount that one pass could not finish: figures of versions 1..through_version."""

    stream = ForeignKeyField(Stream, primary_key=True, on_delete="CASCADE")
    through_version = BigIntegerField()

    class Meta:
        table_name = "retained_size_recounts"


# Finding what is dirty costs what is dirty, not what there is.
for _model, _columns in (
    (RetainedSizeStream, "connection_id, stream_id"),
    (RetainedSizeConnection, "connection_id"),
):
    _table = _model._meta.table_name
    _model.add_index(SQL(f"CREATE INDEX IF NOT EXISTS {_table}_dirty ON {_table} ({_columns}) WHERE dirty"))


class SchemaVersion(Table):
    """One row; its presence marks a database as ours."""

    version = BigIntegerField(primary_key=True)

    class Meta:
        table_name = "pdpp_ref_schema"


TABLES = (
    SchemaVersion,
    Connection,
    Stream,
    Record,
    RecordChange,
    Blob,
    BlobBinding,
    RetainedSizeStream,
    RetainedSizeConnection,
    RetainedSizeGlobal,
    Recount,
)
