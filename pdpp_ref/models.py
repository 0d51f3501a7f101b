"""The tables.  Canonical ones hold what was received; the projection holds figures derived from it."""

import peewee
from peewee import SQL, BigAutoField, BigIntegerField, BooleanField, ForeignKeyField, TextField

from .database import byte_length, db
from .measures import BOUNDS, MEASURE_NAMES, TOTAL, TOTAL_SQL


class Table(peewee.Model):
    class Meta:
        database = db
        legacy_table_names = False


# ---- canonical ---------------------------------------------------------------------------------


class Connection(Table):
    id = BigAutoField()
    connector_instance_id = TextField(unique=True)
    connector_id = TextField(index=True)
    created_at = TextField()

    class Meta:
        table_name = "connections"


class Stream(Table):
    """`last_version` numbers this stream's history densely, from 1.

    `record_time_field` is the field of its records that says when a thing happened, as the last
    sender named it; records up to `record_time_field_since` were stored before it was named.
    """

    id = BigAutoField()
    connection = ForeignKeyField(Connection, on_delete="CASCADE", index=False)
    name = TextField()
    last_version = BigIntegerField(default=0)
    last_ingested_at = TextField(null=True)
    created_at = TextField()
    record_time_field = TextField(null=True)
    record_time_field_since = BigIntegerField(default=0, constraints=[SQL("DEFAULT 0")])

    class Meta:
        table_name = "streams"
        indexes = ((("connection", "name"), True),)


class Record(Table):
    """The live version of a key.  `source_version` is a Singer table version, if one was sent.

    `touched` tells that more is kept of the key than this one version: see RetainedSizeRecord.
    `record_time` is when the thing happened, where the sender says so.
    """

    stream = ForeignKeyField(Stream, on_delete="CASCADE", index=False)
    key = TextField()
    version = BigIntegerField()
    data = TextField()
    json_bytes = BigIntegerField()
    emitted_at = TextField(null=True)
    ingested_at = TextField()
    source_version = BigIntegerField(null=True)
    record_time = TextField(null=True)
    touched = BooleanField(default=False, constraints=[SQL("DEFAULT FALSE")])

    class Meta:
        table_name = "records"
        primary_key = peewee.CompositeKey("stream", "key")
        constraints = [peewee.Check(f"json_bytes = {byte_length('data')}")]
        # Covers a recount: it walks versions and never opens a row.
        indexes = ((("stream", "version", "json_bytes"), False),)


class RecordChange(Table):
    """One version, until history is pruned; a tombstone has no data and 0 bytes.

    `previous_version` is the key's version before this one: a record's history is followed from
    its newest version on, so that no import pays for an index by key.
    """

    stream = ForeignKeyField(Stream, on_delete="CASCADE", index=False)
    version = BigIntegerField()
    key = TextField()
    data = TextField(null=True)
    json_bytes = BigIntegerField()
    emitted_at = TextField(null=True)
    ingested_at = TextField()
    previous_version = BigIntegerField(null=True)

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


class BlobChunk(Table):
    """A part of a file's bytes, in order from 0: no row is larger than a driver likes to hold."""

    blob = ForeignKeyField(Blob, column_name="sha256", on_delete="CASCADE", index=False)
    number = BigIntegerField()
    data = peewee.BlobField()

    class Meta:
        table_name = "blob_chunks"
        primary_key = peewee.CompositeKey("blob", "number")


class BlobBinding(Table):
    """A file that a record holds; `version` is the record's when it was bound."""

    stream = ForeignKeyField(Stream, on_delete="CASCADE", index=False)
    key = TextField()
    blob = ForeignKeyField(Blob, column_name="sha256", on_delete="RESTRICT")
    version = BigIntegerField()
    byte_length = BigIntegerField(constraints=[peewee.Check("byte_length >= 0")])
    bound_at = TextField(default="", constraints=[SQL("DEFAULT ''")])

    class Meta:
        table_name = "blob_bindings"
        primary_key = peewee.CompositeKey("stream", "key", "blob")
        indexes = (
            (("stream", "version", "byte_length"), False),
            (("byte_length", "stream", "key", "blob"), False),  # ranks the largest
        )


# ---- projection --------------------------------------------------------------------------------


class Figures(Table):
    """The measures.  A negative figure is refused: it is drift, and refusing it gets it repaired."""


def _counter(name: str) -> BigIntegerField:
    return BigIntegerField(default=0, constraints=[SQL("DEFAULT 0"), peewee.Check(f"{name} >= 0")])


for _name in MEASURE_NAMES:
    Figures._meta.add_field(_name, _counter(_name))


class GrainRow(Figures):
    """Figures at one grain.  Those of a dirty row stay as they were, exact, at `computed_at`."""

    dirty = BooleanField(default=False, constraints=[SQL("DEFAULT FALSE")])
    stale_since = TextField(null=True)
    computed_at = TextField(null=True)


for _bound in BOUNDS:
    GrainRow._meta.add_field(_bound.name, TextField(null=True))


class RetainedSizeRecord(Figures):
    """What is kept of one key that was changed, deleted or given a file; never dirty.

    It is written with the record itself and is as canonical.  A record of one version has no row:
    its figures follow from its own.  `version` is the key's newest.
    """

    stream = ForeignKeyField(Stream, on_delete="CASCADE", index=False)
    key = TextField()
    version = BigIntegerField()
    changed_at = TextField()

    class Meta:
        table_name = "retained_size_record"
        primary_key = peewee.CompositeKey("stream", "key")


class RetainedSizeStream(GrainRow):
    stream = ForeignKeyField(Stream, primary_key=True, on_delete="CASCADE")
    connection = ForeignKeyField(Connection, on_delete="CASCADE", index=False)

    class Meta:
        table_name = "retained_size_stream"
        indexes = tuple((("connection", bound.name), False) for bound in BOUNDS)


class RetainedSizeConnection(GrainRow):
    connection = ForeignKeyField(Connection, primary_key=True, on_delete="CASCADE")
    stream_count = _counter("stream_count")

    class Meta:
        table_name = "retained_size_connection"
        indexes = tuple(((bound.name,), False) for bound in BOUNDS)


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


class ConnectionDay(Figures):
    """A connection's figures as they last were on a day (UTC); a day without a change has no row."""

    connection = ForeignKeyField(Connection, on_delete="CASCADE", index=False)
    day = TextField()

    class Meta:
        table_name = "retained_size_connection_days"
        primary_key = peewee.CompositeKey("connection", "day")


class GlobalDay(Figures):
    id = BigIntegerField(constraints=[peewee.Check("id = 1")])
    day = TextField()

    class Meta:
        table_name = "retained_size_global_days"
        primary_key = peewee.CompositeKey("id", "day")


# Finding what is dirty costs what is dirty, not what there is.
for _model, _columns in (
    (RetainedSizeStream, "connection_id, stream_id"),
    (RetainedSizeConnection, "connection_id"),
):
    _table = _model._meta.table_name
    _model.add_index(SQL(f"CREATE INDEX IF NOT EXISTS {_table}_dirty ON {_table} ({_columns}) WHERE dirty"))


def _rank(table: str, measure: str, then: str = "", where: str = "") -> SQL:
    """An index that finds the largest of a table by a measure, whatever its size."""
    expression = TOTAL_SQL if measure == TOTAL else measure
    name = f"{table}_by_{measure}"
    return SQL(f"CREATE INDEX IF NOT EXISTS {name} ON {table} ({expression}{then}){where}")


for _name in (*MEASURE_NAMES, TOTAL):
    for _model in (RetainedSizeStream, RetainedSizeConnection):
        _model.add_index(_rank(_model._meta.table_name, _name))
    if _name != "record_count":
        _where = " WHERE blob_count <> 0" if _name.startswith("blob") else ""
        RetainedSizeRecord.add_index(_rank("retained_size_record", _name, ", stream_id, key", _where))
# Of a record with one version everything follows from its length, so that an import pays for one index.
Record.add_index(_rank("records", "json_bytes", ", stream_id, key", " WHERE NOT touched"))
Record.add_index(
    SQL(
        "CREATE INDEX IF NOT EXISTS records_record_time ON records (stream_id, record_time) "
        "WHERE record_time IS NOT NULL"
    )
)


class SchemaVersion(Table):
    """One row; its presence marks a database as ours."""

    version = BigIntegerField(primary_key=True)

    class Meta:
        table_name = "pdpp_ref_schema"


class Copying(Table):
    """One row while a copy to this database is not finished; `state` is the source's."""

    id = BigIntegerField(primary_key=True, constraints=[peewee.Check("id = 1")])
    state = TextField()

    class Meta:
        table_name = "pdpp_ref_copying"


TABLES = (
    SchemaVersion,
    Copying,
    Connection,
    Stream,
    Record,
    RecordChange,
    Blob,
    BlobChunk,
    BlobBinding,
    RetainedSizeRecord,
    RetainedSizeStream,
    RetainedSizeConnection,
    RetainedSizeGlobal,
    ConnectionDay,
    GlobalDay,
    Recount,
)
