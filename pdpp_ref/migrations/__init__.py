"""Bringing a database to the schema of this program, or saying why it can't be."""

from collections.abc import Callable

import peewee

from ..database import (
    PROBLEM_TEXT,
    Busy,
    DatabaseUnusable,
    db,
    exclusive_transaction,
    scalar,
    tuples,
    why_unusable,
)
from ..models import (
    TABLES,
    ConnectionSnapshot,
    GlobalSnapshot,
    RetainedSizeGlobal,
    SchemaVersion,
    StreamSnapshot,
    TransferState,
)
from ..timestamps import utc_now
from .days import number_days

CURRENT, OLDEST = 3, 2


def _add_columns_of_schema_3() -> None:
    """3: what was rejected, how keys are typed, what was pruned, generations of figures."""
    number = db.field_types.get("BIGINT", "BIGINT")
    count = f"{number} NOT NULL DEFAULT 0"
    flag = f"{db.field_types.get('BOOL', 'BOOLEAN')} NOT NULL DEFAULT FALSE"
    text = db.field_types.get("TEXT", "TEXT")
    db.execute_sql("ALTER TABLE records RENAME COLUMN touched TO has_rollup")
    db.execute_sql("ALTER TABLE records RENAME COLUMN source_version TO table_version")
    for table, columns in {
        "pdpp_ref_schema": {"created_at": text, "unfinished": flag},
        "pdpp_ref_copying": {"progress": f"{text} NOT NULL DEFAULT '{{}}'"},
        "connections": {"unattributed_rejections": count},
        "streams": {
            "undated_records": count,
            "key_schema": text,
            "respelled_keys": flag,
            "last_contact_at": text,
            "rejected_table_version": number,
            "rejected_unversioned": flag,
            "rejections_seen": count,
        },
        "record_changes": {"pruned_at": text, "pruned_digest": text},
        **{table: {"generation": count, "days_disordered": flag} for table in _GRAINS},
        **{table: {"generation": count, "previous_generation": count, "unknown": flag} for table in _DAYS},
    }.items():
        for name, kind in columns.items():
            _add_column(table, name, kind)
    _add_column("retained_size_stream", "rollups_dirty", flag)
    for table in ("retained_size_stream", "retained_size_connection"):
        _add_column(table, "record_times_unknown", flag)
    db.execute_sql("UPDATE streams SET key_schema = 'null' WHERE last_version > 0")
    _mark_record_times()
    if TransferState._meta.table_name in db.get_tables() and tuples(TransferState.select(TransferState.id)):
        SchemaVersion.update(unfinished=True).execute()
    db.create_tables([StreamSnapshot, ConnectionSnapshot, GlobalSnapshot])
    number_days()


def _mark_record_times() -> None:
    """Bounds of record times that were taken over a part of the records are none."""
    db.execute_sql(
        "UPDATE streams SET undated_records = (SELECT COUNT(*) FROM records r "
        "WHERE r.stream_id = streams.id AND r.record_time IS NULL "
        "AND r.version <= streams.record_time_field_since) "
        "WHERE record_time_field IS NOT NULL AND record_time_field_since > 0"
    )
    none = "earliest_record_time = NULL, latest_record_time = NULL"
    db.execute_sql(
        f"UPDATE retained_size_stream SET record_times_unknown = TRUE, {none} WHERE NOT dirty AND EXISTS "
        "(SELECT 1 FROM records r WHERE r.stream_id = retained_size_stream.stream_id) AND EXISTS "
        "(SELECT 1 FROM streams s WHERE s.id = retained_size_stream.stream_id "
        "AND (s.record_time_field IS NULL OR s.undated_records > 0))"
    )
    db.execute_sql(
        f"UPDATE retained_size_connection SET record_times_unknown = TRUE, {none} "
        "WHERE NOT dirty AND EXISTS "
        "(SELECT 1 FROM retained_size_stream s WHERE s.record_times_unknown "
        "AND s.connection_id = retained_size_connection.connection_id)"
    )
    db.execute_sql(
        f"UPDATE retained_size_global SET {none} WHERE NOT dirty AND EXISTS "
        "(SELECT 1 FROM retained_size_connection WHERE record_times_unknown)"
    )


def _add_column(table: str, name: str, kind: str) -> None:
    """Also to a table that an earlier step has just created, as it is now."""
    if table in db.get_tables() and name not in {column.name for column in db.get_columns(table)}:
        db.execute_sql(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")


_GRAINS = ("retained_size_stream", "retained_size_connection", "retained_size_global")
_DAYS = ("retained_size_connection_days", "retained_size_global_days")

# What takes a database from the version before to the one named.  A new database is created as
# CURRENT, so each schema change adds an entry here and raises CURRENT.
MIGRATIONS: dict[int, Callable[[], None]] = {
    3: _add_columns_of_schema_3,
}


def prepare(*, unfinished: bool = False) -> None:
    """Create or migrate the bound database.  Raises DatabaseUnusable; nothing is changed then.

    `unfinished`: it is to be filled by a copy, which may have begun.  Otherwise such a one is unusable.
    """
    try:
        db.serve(None)
        db.connect(reuse_if_open=True)
        tables = db.get_tables()
        version = _version() if SchemaVersion._meta.table_name in tables else None
        if tables and version is None:
            raise DatabaseUnusable(
                "the database holds tables of another program; point PDPP_DATABASE_URL elsewhere"
            )
        _check_known(version)
        # Not before the checks: it changes the file.
        db.prepare_file()
        if version != CURRENT:
            with exclusive_transaction():
                _upgrade()
        if not unfinished and tuples(TransferState.select(TransferState.state)):
            raise DatabaseUnusable(PROBLEM_TEXT["unfinished"])
        db.serve(CURRENT, filled=unfinished)
    except Busy:
        raise DatabaseUnusable("the database is busy with another writer; try again") from None
    except peewee.DatabaseError as error:
        raise DatabaseUnusable(why_unusable(error)) from error


def _version() -> int | None:
    found: int | None = scalar(SchemaVersion.select(SchemaVersion.version))
    return found


def _check_known(version: int | None) -> None:
    if version is not None and version > CURRENT:
        raise DatabaseUnusable(
            f"the database has schema {version}, this program knows up to {CURRENT}; "
            "install a newer pdpp-ref"
        )
    if version is not None and version < OLDEST:
        raise DatabaseUnusable(
            f"the database has schema {version}, which is older than this program can migrate; "
            "start from a new database"
        )


def _upgrade() -> None:
    """Inside the write lock, so that of two programs that start at once, one does the work."""
    if SchemaVersion._meta.table_name not in db.get_tables():
        db.create_tables(TABLES)
        SchemaVersion.insert(version=CURRENT, created_at=utc_now()).execute()
        # An empty database is measured: it holds nothing, as of now.
        RetainedSizeGlobal.insert(id=1, computed_at=utc_now()).execute()
        return
    begun = _version() or 0
    _check_known(begun)  # the other one may have been a newer program
    for version in range(begun + 1, CURRENT + 1):
        MIGRATIONS[version]()
        SchemaVersion.update(version=version).execute()
    db.create_tables(TABLES)  # those that are new, and every new index
