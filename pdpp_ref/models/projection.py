"""The projection's tables: measures derived from the canonical tables."""

import peewee
from peewee import SQL, BigIntegerField, ForeignKeyField, TextField

from .base import (
    Table,
    count,
    flag,
    name,
    rank,
)
from .canonical import Connection, Stream
from .measures import EXTENTS, MEASURE_NAMES, TOTAL


class MeasureColumns(Table):
    """A column for each measure.  A CHECK refuses a negative one: it is drift, and becomes a mark."""


def _counter(name: str) -> BigIntegerField:
    return BigIntegerField(default=0, constraints=[SQL("DEFAULT 0"), peewee.Check(f"{name} >= 0")])


for _name in MEASURE_NAMES:
    MeasureColumns._meta.add_field(_name, _counter(_name))


class GrainRow(MeasureColumns):
    """Measures at one grain.  Those of a dirty row stay as they were, exact, at `computed_at`.

    `generation` rises with each change of the measures, and when they become unknown.
    `days_disordered`: the clock has stepped back between two changes, so that the row's daily snapshots
    may not be in the order of their generations.
    """

    dirty = flag()
    stale_since = TextField(null=True)
    computed_at = TextField(null=True)
    generation = count()
    days_disordered = flag()


for _extent in EXTENTS:
    GrainRow._meta.add_field(_extent.name, TextField(null=True))


class RetainedSizeRecord(MeasureColumns):
    """The measures of one key that was changed, deleted or given a file.

    It is written with the record itself.  If it is lost or wrong, its stream is `rollups_dirty` until
    all rows of the stream have been derived again.  A record with one version needs no row: its measures
    follow from the record.  `version` is the key's newest; `changed_at` the time of that, or of a file.
    """

    stream = ForeignKeyField(Stream, on_delete="CASCADE", index=False)
    key = TextField()
    version = BigIntegerField()
    changed_at = TextField()

    class Meta:
        table_name = "retained_size_record"
        primary_key = peewee.CompositeKey("stream", "key")


class RetainedSizeStream(GrainRow):
    """`record_times_unknown`, here and for connections: a record is not dated by a declared field.

    The names are those of the canonical rows: equally large rows are ranked by name.
    """

    stream = ForeignKeyField(Stream, primary_key=True, on_delete="CASCADE")
    connection = ForeignKeyField(Connection, on_delete="CASCADE", index=False)
    rollups_dirty = flag()  # the stream's rows of RetainedSizeRecord must be derived again
    record_times_unknown = flag()
    connection_name = name()
    stream_name = name()

    class Meta:
        table_name = "retained_size_stream"
        indexes = tuple((("connection", extent.name), False) for extent in EXTENTS)


class RetainedSizeConnection(GrainRow):
    connection = ForeignKeyField(Connection, primary_key=True, on_delete="CASCADE")
    stream_count = _counter("stream_count")
    record_times_unknown = flag()
    connection_name = name()

    class Meta:
        table_name = "retained_size_connection"
        indexes = tuple(((extent.name,), False) for extent in EXTENTS)


class RetainedSizeConnector(Table):
    """A connector's part of the global row's `record_count`; none if that is 0.

    It is exact when the global row is, and written only by whoever has locked that row.
    """

    connector_id = TextField(primary_key=True)
    record_count = _counter("record_count")

    class Meta:
        table_name = "retained_size_connector"


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


class RecountCheckpoint(MeasureColumns):
    """The measures of a stream's versions 1..through_version, if one pass could not count them all.

    `through_version` is the watermark: writers adjust the measures for changes to versions up to it.
    """

    stream = ForeignKeyField(Stream, primary_key=True, on_delete="CASCADE")
    through_version = BigIntegerField()

    class Meta:
        table_name = "retained_size_recounts"


class RollupCheckpoint(Table):
    """How far the rollups of a stream have been derived again, see `projection/record_rollups.py`.

    Versions up to `through_version` are in RollupCount, and the rows of keys up to `after_key` are right.
    """

    stream = ForeignKeyField(Stream, primary_key=True, on_delete="CASCADE")
    through_version = BigIntegerField()
    after_key = TextField()

    class Meta:
        table_name = "retained_size_record_recounts"


class RollupCount(Table):
    """The versions of a key up to `version`, while rollups are being derived again.

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


class DailySnapshot(MeasureColumns):
    """Measures as they last were on a day (UTC); a day without a row equals the day before.

    `unknown`: from this day on the measures are not known, until the next row.  `generation` is that of
    the grain row at the day's last change, and `previous_generation` the one before the day's first: 0
    if there was nothing before.  So the measures of a row hold until the next row only if that row's
    `previous_generation` is this one's `generation`, whatever the clock said.
    """

    day = TextField()
    generation = count()
    previous_generation = count()
    unknown = flag()


class StreamSnapshot(DailySnapshot):
    stream = ForeignKeyField(Stream, on_delete="CASCADE", index=False)

    class Meta:
        table_name = "retained_size_stream_days"
        primary_key = peewee.CompositeKey("stream", "day")


class ConnectionSnapshot(DailySnapshot):
    connection = ForeignKeyField(Connection, on_delete="CASCADE", index=False)

    class Meta:
        table_name = "retained_size_connection_days"
        primary_key = peewee.CompositeKey("connection", "day")


class GlobalSnapshot(DailySnapshot):
    id = BigIntegerField(constraints=[peewee.Check("id = 1")])

    class Meta:
        table_name = "retained_size_global_days"
        primary_key = peewee.CompositeKey("id", "day")


# What a day's growth comes from.
for _days, _key in ((StreamSnapshot, "stream_id"), (ConnectionSnapshot, "connection_id")):
    _table = _days._meta.table_name
    _days.add_index(SQL(f"CREATE INDEX IF NOT EXISTS {_table}_by_day ON {_table} (day, {_key})"))


# The cost of finding dirty rows depends on how many are dirty, not on how many exist.
for _model, _columns in (
    (RetainedSizeStream, "connection_id, stream_id"),
    (RetainedSizeConnection, "connection_id"),
):
    _table = _model._meta.table_name
    _model.add_index(SQL(f"CREATE INDEX IF NOT EXISTS {_table}_dirty ON {_table} ({_columns}) WHERE dirty"))


# Of streams that have records or history, or may.  As a CASE it does not follow from `dirty` alone, so no
# planner takes its index for the dirty ones.
MAY_RETAIN = "CASE WHEN dirty THEN TRUE ELSE record_history_count > 0 END"
# Two whole names may be too long for an entry of PostgreSQL's indexes.
STREAM_PREFIX = "SUBSTR(stream_name, 1, 150)"
# Ranked by a measure down, then by names up.
_NAMES: dict[type[GrainRow], str] = {
    RetainedSizeStream: f"connection_name, {STREAM_PREFIX}",
    RetainedSizeConnection: "connection_name",
}
RetainedSizeConnector.add_index(rank("retained_size_connector", "record_count", " DESC, connector_id"))
for _name in (*MEASURE_NAMES, TOTAL):
    for _ranked, _names in _NAMES.items():
        _ranked.add_index(rank(_ranked._meta.table_name, _name, f" DESC, {_names}"))
    if _name != "record_count":
        _where = " WHERE blob_count <> 0" if _name.startswith("blob") else ""
        RetainedSizeRecord.add_index(rank("retained_size_record", _name, ", stream_id, key", _where))
RetainedSizeStream.add_index(
    SQL(
        "CREATE INDEX IF NOT EXISTS retained_size_stream_filled "
        f"ON retained_size_stream (connection_name, {STREAM_PREFIX}) WHERE {MAY_RETAIN}"
    )
)
# The change feed follows deleted keys by version, as it follows live ones in `records`.
RetainedSizeRecord.add_index(
    SQL(
        "CREATE INDEX IF NOT EXISTS retained_size_record_deleted "
        "ON retained_size_record (stream_id, version) WHERE record_count = 0"
    )
)
# Which connections are silent for longest.
RetainedSizeConnection.add_index(
    SQL(
        "CREATE INDEX IF NOT EXISTS retained_size_connection_silent "
        "ON retained_size_connection (latest_ingested_at, connection_id)"
    )
)
# One stream with unknown record times makes those of its connection unknown.
for _model in (RetainedSizeStream, RetainedSizeConnection):
    _table = _model._meta.table_name
    _model.add_index(
        SQL(
            f"CREATE INDEX IF NOT EXISTS {_table}_times_unknown ON {_table} (connection_id) "
            "WHERE record_times_unknown"
        )
    )
