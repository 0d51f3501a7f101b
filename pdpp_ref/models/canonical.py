"""The canonical tables: what was received, the source of truth."""

import peewee
from peewee import SQL, BigAutoField, BigIntegerField, ForeignKeyField, TextField

from ..database import byte_length
from .base import (
    Table,
    count,
    flag,
    random_id,
    rank,
)


class Connection(Table):
    """`unattributed_rejections`: how many rejected lines there were whose stream is unknown."""

    id = BigAutoField()
    connector_instance_id = TextField(unique=True)
    connector_id = TextField(index=True)
    created_at = TextField()
    unattributed_rejections = count()

    class Meta:
        table_name = "connections"


class Stream(Table):
    """`last_version` numbers this stream's history densely, from 1.

    A stream without a connection is deleted: nothing may read it, and its rows are removed in steps.
    `incarnation` differs from that of any other stream, an earlier one of the same name included.
    `removed_through` is the newest version from which on a follower of the change feed would miss a
    removal: a token older than that is gone.

    `record_time_field` is the field of its records that says when a thing happened, as the last
    sender declared it.  `undated_records` is how many live records were stored up to version
    `record_time_field_since`, before it was declared, and were not sent again.

    `key_schema` is JSON: `[[property, type or null], ...]` of the live records' keys, `[]` if records
    are keyed by their content, `null` if they are from before it was stored, and NULL if keys came as
    such.  `respelled_keys`: some keys are stored in another spelling than a sender's, see KeySpelling.

    `last_contact_at` is when its source last sent anything about it.

    A table version with a rejected line is not activated: `rejected_table_version` is the newest
    such, `rejected_unversioned` that there were lines whose version is unknown, and `rejections_seen`
    how many of the connection's `unattributed_rejections` an activation has considered.

    `largest_sizes` helps to choose which of its next records are ranked, see projection/ranked.py.
    """

    id = BigAutoField()
    connection = ForeignKeyField(Connection, on_delete="CASCADE", index=False, null=True)
    name = TextField()
    last_version = BigIntegerField(default=0)
    last_ingested_at = TextField(null=True)
    created_at = TextField()
    record_time_field = TextField(null=True)
    record_time_field_since = count()
    undated_records = count()
    key_schema = TextField(null=True)
    respelled_keys = flag()
    last_contact_at = TextField(null=True)
    rejected_table_version = BigIntegerField(null=True)
    rejected_unversioned = flag()
    rejections_seen = count()
    incarnation = random_id()
    removed_through = count()
    largest_sizes = TextField(default="", constraints=[SQL("DEFAULT ''")])

    class Meta:
        table_name = "streams"
        indexes = ((("connection", "name"), True),)


class Record(Table):
    """The live version of a key.  `table_version` is a Singer table version, if one was sent.

    `has_rollup`: the key has more than this one version, or files; see RetainedSizeRecord.
    `ranked`: without a rollup, it may be one of the largest; see projection/ranked.py.
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
    table_version = BigIntegerField(null=True)
    record_time = TextField(null=True)
    has_rollup = flag()
    ranked = flag(default=True)

    class Meta:
        table_name = "records"
        primary_key = peewee.CompositeKey("stream", "key")
        constraints = [peewee.Check(f"json_bytes = {byte_length('data')}")]
        # Covers counting: it walks versions and never reads a row.
        indexes = ((("stream", "version", "json_bytes"), False),)


class RecordChange(Table):
    """One version, until history is pruned; a tombstone has no data and 0 bytes.

    `previous_version` is the key's version before this one: a record's history is followed from
    its newest version on, so that no import pays for an index by key.

    On a key's oldest version, `pruned_at` is the time of the key's latest pruned version,
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
    """A part of a file's bytes, numbered from 0, so that no row is too large for a driver."""

    blob = ForeignKeyField(Blob, column_name="sha256", on_delete="CASCADE", index=False)
    number = BigIntegerField()
    data = peewee.BlobField()

    class Meta:
        table_name = "blob_chunks"
        primary_key = peewee.CompositeKey("blob", "number")


class BlobBinding(Table):
    """A file that a record holds; `version` is the record's when it was bound.

    `mime_type` and `json_path` are as its sender said: the media type, and the place in the record that
    refers to the file.
    """

    stream = ForeignKeyField(Stream, on_delete="CASCADE", index=False)
    key = TextField()
    blob = ForeignKeyField(Blob, column_name="sha256", on_delete="RESTRICT")
    version = BigIntegerField()
    byte_length = BigIntegerField(constraints=[peewee.Check("byte_length >= 0")])
    bound_at = TextField(default="", constraints=[SQL("DEFAULT ''")])
    mime_type = TextField(null=True)
    json_path = TextField(null=True)

    class Meta:
        table_name = "blob_bindings"
        primary_key = peewee.CompositeKey("stream", "key", "blob")
        indexes = (
            (("stream", "version", "byte_length"), False),
            (("byte_length", "stream", "key", "blob"), False),  # ranks the largest
        )


class Erasure(Table):
    """A record, or one file of a record, that its owner erased: what arrives for it is not stored.

    `hmac` is all there is of its names, see `canonical/erased.py`.  `number` is that of the latest change
    of the row, and `allowed` means that the owner has allowed it again.
    """

    hmac = TextField(primary_key=True)
    number = BigIntegerField(index=True)
    allowed = flag()

    class Meta:
        table_name = "erasures"


class UnclaimedFile(Table):
    """A file that was uploaded before its record, which will be of this stream and key.

    No measure counts it until the record claims it.  `marked` is the cleanup that saw it first; a later one
    removes it.  A file without a connection is deleted, and removed by the next cleanup.
    """

    id = BigAutoField()
    connection = ForeignKeyField(Connection, on_delete="CASCADE", index=False, null=True)
    stream_name = TextField()
    key = TextField()
    blob = ForeignKeyField(Blob, column_name="sha256", on_delete="RESTRICT")
    byte_length = BigIntegerField(constraints=[peewee.Check("byte_length >= 0")])
    mime_type = TextField(null=True)
    json_path = TextField(null=True)
    uploaded_at = TextField()
    marked = TextField(null=True)

    class Meta:
        table_name = "unclaimed_files"
        indexes = ((("connection", "stream_name", "key", "blob"), True),)


class ConnectorState(Table):
    """What a connector last stored about a stream, to continue from there: `value` is JSON, as received."""

    connection = ForeignKeyField(Connection, on_delete="CASCADE", index=False)
    stream_name = TextField()
    value = TextField()
    updated_at = TextField()

    class Meta:
        table_name = "connector_states"
        primary_key = peewee.CompositeKey("connection", "stream_name")


class ConnectionContact(Table):
    """When a connection's source was in contact.  A visit is contacts with no long pause between them.

    `intervals` are the seconds from one visit's begin to the next one's, of the newest visits, with spaces
    between them.  `usual_seconds` is their median, NULL if they are too few; after `silent_from` the source
    has stayed away for longer than that.  `canonical/contacts.py` has the rules.
    """

    connection = ForeignKeyField(Connection, primary_key=True, on_delete="CASCADE")
    last_contact_at = TextField()
    visit_began_at = TextField()
    intervals = TextField(default="", constraints=[SQL("DEFAULT ''")])
    usual_seconds = BigIntegerField(null=True)
    silent_from = TextField(null=True, index=True)

    class Meta:
        table_name = "connection_contacts"


class RetentionRule(Table):
    """How many versions of each record of a stream the server retains by itself: the newest `keep`.

    It has been applied to the records whose newest version is `through_version` or older; `applied_at` is
    when it last was to all.  `versions`, `json_bytes`, `files` and `file_bytes` are what it has removed.
    """

    stream = ForeignKeyField(Stream, primary_key=True, on_delete="CASCADE")
    keep = BigIntegerField(constraints=[peewee.Check("keep >= 1")])
    set_at = TextField()
    through_version = count()
    applied_at = TextField(null=True)
    versions = count()
    json_bytes = count()
    files = count()
    file_bytes = count()

    class Meta:
        table_name = "retention_rules"


# The measures of a record with one version follow from its length, so one index ranks by all of them.
Record.add_index(rank("records", "json_bytes", ", stream_id, key", " WHERE ranked AND NOT has_rollup"))
Record.add_index(
    SQL(
        "CREATE INDEX IF NOT EXISTS records_record_time ON records (stream_id, record_time) "
        "WHERE record_time IS NOT NULL"
    )
)
# A rebuild compares these with the rows of RetainedSizeRecord, and reads no other record for that.
Record.add_index(
    SQL("CREATE INDEX IF NOT EXISTS records_with_rollup ON records (stream_id, version) WHERE has_rollup")
)
# The versions that name the version before them: RetainedSizeRecord is derived from these.
RecordChange.add_index(
    SQL(
        "CREATE INDEX IF NOT EXISTS record_changes_later ON record_changes "
        "(stream_id, version, previous_version) WHERE previous_version IS NOT NULL"
    )
)
