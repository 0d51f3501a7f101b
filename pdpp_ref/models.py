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


def _count() -> BigIntegerField:
    return BigIntegerField(default=0, constraints=[SQL("DEFAULT 0")])


def _flag() -> BooleanField:
    return BooleanField(default=False, constraints=[SQL("DEFAULT FALSE")])


class Connection(Table):
    """`unattributed_rejections`: how many rejected lines there were whose stream is unknown."""

    id = BigAutoField()
    connector_instance_id = TextField(unique=True)
    connector_id = TextField(index=True)
    created_at = TextField()
    unattributed_rejections = _count()

    class Meta:
        table_name = "connections"


class Stream(Table):
    """`last_version` numbers this stream's history densely, from 1.

    `record_time_field` is the field of its records that says when a thing happened, as the last
    sender declared it.  `undated_records` is how many live records were stored up to version
    `record_time_field_since`, before it was declared, and were not sent again.

    `key_schema` is JSON: `[[property, type or null], ...]` of the live records' keys, `[]` if records
    are keyed by their content, `null` if they are from before it was stored, and NULL if keys came as
    such.  `respelled_keys`: some keys are stored in another spelling than a sender's, see KeySpelling.

    `last_contact_at` is when its source last sent anything about it.

    A table version with a rejected line is not activated: `rejected_table_version` is the newest
    such, `rejected_unversioned` tells of lines whose version is unknown, and `rejections_seen` how
    many of the connection's `unattributed_rejections` an activation has taken into account.
    """

    id = BigAutoField()
    connection = ForeignKeyField(Connection, on_delete="CASCADE", index=False)
    name = TextField()
    last_version = BigIntegerField(default=0)
    last_ingested_at = TextField(null=True)
    created_at = TextField()
    record_time_field = TextField(null=True)
    record_time_field_since = _count()
    undated_records = _count()
    key_schema = TextField(null=True)
    respelled_keys = _flag()
    last_contact_at = TextField(null=True)
    rejected_table_version = BigIntegerField(null=True)
    rejected_unversioned = _flag()
    rejections_seen = _count()

    class Meta:
        table_name = "streams"
        indexes = ((("connection", "name"), True),)


class Record(Table):
    """The live version of a key.  `source_version` is a Singer table version, if one was sent.

    `touched` tells that more is kept of the key than this one version: see RetainedSizeRecord.
    `record_time` is when the thing happened, if the sender says so; empty if the record was sent again
    after its field was declared, and has no such time.
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
    touched = _flag()

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

    On a key's oldest version, `pruned_at` is the time of the latest version that was pruned of it,
    by `emitted_at` or else by arrival, and `pruned_digest` that version's SHA-256 (empty: a delete).
    """

    stream = ForeignKeyField(Stream, on_delete="CASCADE", index=False)
    version = BigIntegerField()
    key = TextField()
    data = TextField(null=True)
    json_bytes = BigIntegerField()
    emitted_at = TextField(null=True)
    ingested_at = TextField()
    previous_version = BigIntegerField(null=True)
    pruned_at = TextField(null=True)
    pruned_digest = TextField(null=True)

    class Meta:
        table_name = "record_changes"
        primary_key = peewee.CompositeKey("stream", "version")
        constraints = [peewee.Check(f"json_bytes = COALESCE({byte_length('data')}, 0)")]
        indexes = ((("stream", "version", "json_bytes"), False),)


class KeySpelling(Table):
    """The spelling of a key that was stored before numbers in keys were compared by value."""

    stream = ForeignKeyField(Stream, on_delete="CASCADE", index=False)
    key = TextField()
    spelling = TextField()

    class Meta:
        table_name = "key_spellings"
        primary_key = peewee.CompositeKey("stream", "key")


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
    """Figures at one grain.  Those of a dirty row stay as they were, exact, at `computed_at`.

    `generation` rises with each change of the figures, and when they become unknown.
    `days_disordered`: the clock has stepped back between two of them, so that the row's days may not be
    in the order of their generations.
    """

    dirty = _flag()
    stale_since = TextField(null=True)
    computed_at = TextField(null=True)
    generation = _count()
    days_disordered = _flag()


for _bound in BOUNDS:
    GrainRow._meta.add_field(_bound.name, TextField(null=True))


class RetainedSizeRecord(Figures):
    """What is kept of one key that was changed, deleted or given a file.

    It is written with the record itself; should it be lost or wrong, its stream is `rollups_dirty` until
    all rows of it have been derived again.  A record of one version needs no row: its figures follow
    from its own.  `version` is the key's newest; `changed_at` the time of that, or of a file.
    """

    stream = ForeignKeyField(Stream, on_delete="CASCADE", index=False)
    key = TextField()
    version = BigIntegerField()
    changed_at = TextField()

    class Meta:
        table_name = "retained_size_record"
        primary_key = peewee.CompositeKey("stream", "key")


class RetainedSizeStream(GrainRow):
    """`record_times_unknown`, here and above: it holds a record that no declared field dates."""

    stream = ForeignKeyField(Stream, primary_key=True, on_delete="CASCADE")
    connection = ForeignKeyField(Connection, on_delete="CASCADE", index=False)
    rollups_dirty = _flag()  # the stream's rows of RetainedSizeRecord are to be derived again
    record_times_unknown = _flag()

    class Meta:
        table_name = "retained_size_stream"
        indexes = tuple((("connection", bound.name), False) for bound in BOUNDS)


class RetainedSizeConnection(GrainRow):
    connection = ForeignKeyField(Connection, primary_key=True, on_delete="CASCADE")
    stream_count = _counter("stream_count")
    record_times_unknown = _flag()

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


class RecordRecount(Table):
    """How far the rows of a stream's records have been derived again, see `services/rollups.py`.

    Versions up to `through_version` are in RecordCount, and the rows of keys up to `after_key` are right.
    """

    stream = ForeignKeyField(Stream, primary_key=True, on_delete="CASCADE")
    through_version = BigIntegerField()
    after_key = TextField()

    class Meta:
        table_name = "retained_size_record_recounts"


class RecordCount(Table):
    """The versions of a key up to `version`, while rows of RetainedSizeRecord are being derived again.

    A live version is not among them: most keys have no other, and need no row here.
    """

    stream = ForeignKeyField(Stream, on_delete="CASCADE", index=False)
    key = TextField()
    version = BigIntegerField()
    versions = BigIntegerField()
    json_bytes = BigIntegerField()

    class Meta:
        table_name = "retained_size_record_counts"
        primary_key = peewee.CompositeKey("stream", "key")


class Day(Figures):
    """Figures as they last were on a day (UTC); a day without a row stands at the day before.

    `unknown`: from this day on nobody knows what they were, until the next row.  `generation` is that of
    the grain row at the day's last change, and `previous_generation` the one before the day's first: 0
    if there was nothing before.  So the figures of one row stand until the next only if that one's
    `previous_generation` is this one's `generation`, whatever the clock said.
    """

    day = TextField()
    generation = _count()
    previous_generation = _count()
    unknown = _flag()


class StreamDay(Day):
    stream = ForeignKeyField(Stream, on_delete="CASCADE", index=False)

    class Meta:
        table_name = "retained_size_stream_days"
        primary_key = peewee.CompositeKey("stream", "day")


class ConnectionDay(Day):
    connection = ForeignKeyField(Connection, on_delete="CASCADE", index=False)

    class Meta:
        table_name = "retained_size_connection_days"
        primary_key = peewee.CompositeKey("connection", "day")


class GlobalDay(Day):
    id = BigIntegerField(constraints=[peewee.Check("id = 1")])

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


# A bound over part of the records is not a bound: one stream of which they are unknown is enough.
for _model in (RetainedSizeStream, RetainedSizeConnection):
    _table = _model._meta.table_name
    _model.add_index(
        SQL(
            f"CREATE INDEX IF NOT EXISTS {_table}_times_unknown ON {_table} (connection_id) "
            "WHERE record_times_unknown"
        )
    )
# The versions that say which one was before them: those that RetainedSizeRecord is derived from.
RecordChange.add_index(
    SQL(
        "CREATE INDEX IF NOT EXISTS record_changes_later ON record_changes "
        "(stream_id, version, previous_version) WHERE previous_version IS NOT NULL"
    )
)


class SchemaVersion(Table):
    """One row; its presence marks a database as ours.  `created_at` is NULL if nobody knows.

    `unfinished`: there is a row of Copying.  Every transaction looks here, and nowhere else.
    """

    version = BigIntegerField(primary_key=True)
    created_at = TextField(null=True)
    unfinished = _flag()

    class Meta:
        table_name = "pdpp_ref_schema"


class Copying(Table):
    """One row while a copy to this database is not finished; `state` is the source's.

    `progress` is JSON: how many rows of each table have been sent, so that rows of anybody else show.
    """

    id = BigIntegerField(primary_key=True, constraints=[peewee.Check("id = 1")])
    state = TextField()
    progress = TextField(default="{}", constraints=[SQL("DEFAULT '{}'")])

    class Meta:
        table_name = "pdpp_ref_copying"


TABLES = (
    SchemaVersion,
    Copying,
    Connection,
    Stream,
    Record,
    RecordChange,
    KeySpelling,
    Blob,
    BlobChunk,
    BlobBinding,
    RetainedSizeRecord,
    RetainedSizeStream,
    RetainedSizeConnection,
    RetainedSizeGlobal,
    StreamDay,
    ConnectionDay,
    GlobalDay,
    Recount,
    RecordRecount,
    RecordCount,
)
