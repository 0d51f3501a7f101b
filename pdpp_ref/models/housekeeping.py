"""Tables about the database itself, and who may use it."""

import peewee
from peewee import SQL, BigIntegerField, TextField

from .base import Table, count, flag, random_id, secret


class SchemaVersion(Table):
    """One row; its presence marks a database as ours.  `created_at` is NULL if not known.

    `unfinished`: there is a row of TransferState.  Every transaction reads this row alone.
    `history_id` differs in copies and backups, because each has its own history from then on.

    `erasure_key` is the key of the HMACs in Erasure, and never changes.  `last_erasure` numbers their
    changes.  The bytes of erasures up to `cleaned_erasure` are overwritten; `cleaned_pages` is how far the
    overwriting for the later ones has come.  `has_remnants`: an SQLite file from before deleted bytes were
    overwritten, which has not been compacted since.
    """

    version = BigIntegerField(primary_key=True)
    created_at = TextField(null=True)
    unfinished = flag()
    history_id = random_id()
    erasure_key = secret()
    last_erasure = count()
    cleaned_erasure = count()
    cleaned_pages = count()
    has_remnants = flag()

    class Meta:
        table_name = "pdpp_ref_schema"


class TransferState(Table):
    """One row while a copy to this database is not finished; `state` is the source's.

    `progress` is JSON: how many rows of each table were sent, so that rows of other writers are noticed.
    """

    id = BigIntegerField(primary_key=True, constraints=[peewee.Check("id = 1")])
    state = TextField()
    progress = TextField(default="{}", constraints=[SQL("DEFAULT '{}'")])

    class Meta:
        table_name = "pdpp_ref_copying"


class Pruning(Table):
    """What an owner has asked to prune: the server does it in steps, and it stays as a report.

    `id` is that of the form, so that sending it twice is one request.  Without names it is for all
    connections, or all streams.  `keep` and `before` are as in `canonical.retention.Policy`, and `expected`
    is how many versions that concerned at first.  Streams before `next_stream` are done, and of that one
    the records whose newest version is `through_version` or older.  `skipped` streams could not be pruned.
    """

    id = TextField(primary_key=True)
    connection = TextField(null=True)
    stream = TextField(null=True)
    keep = BigIntegerField()
    before = TextField(null=True)
    expected = count()
    started_at = TextField()
    finished_at = TextField(null=True)
    next_stream = count()
    through_version = count()
    versions = count()
    json_bytes = count()
    files = count()
    file_bytes = count()
    skipped = count()

    class Meta:
        table_name = "prunings"


class Token(Table):
    """A named bearer token.  `digest` is the SHA-256 of its text, which is not stored.

    `scopes` are separated by spaces.  `connection` is the name of the only one that it may touch, which
    need not exist; NULL for all.
    """

    name = TextField(primary_key=True)
    digest = TextField(unique=True)
    scopes = TextField()
    connection = TextField(null=True)
    created_at = TextField()
    expires_at = TextField(null=True)
    last_used_at = TextField(null=True)
    revoked_at = TextField(null=True)

    class Meta:
        table_name = "tokens"
