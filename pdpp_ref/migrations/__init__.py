"""Creating or migrating a database, so that it has the schema of this program."""

from collections.abc import Callable

import peewee

from ..database import (
    PROBLEM_TEXT,
    Busy,
    DatabaseUnusable,
    db,
    exclusive_transaction,
    execute,
    fetch_all,
    fetch_value,
    why_unusable,
)
from ..models import (
    TABLES,
    ConnectionSnapshot,
    GlobalSnapshot,
    RetainedSizeGlobal,
    SchemaVersion,
    StreamSnapshot,
)
from ..timestamps import utc_now
from .days import number_days

CURRENT, OLDEST = 3, 2


def _add_columns_of_schema_3() -> None:
    """Schema 3: rejected lines, key schemas, times of pruned versions, generations of grain rows."""
    number = db.field_types.get("BIGINT", "BIGINT")
    count = f"{number} NOT NULL DEFAULT 0"
    flag = f"{db.field_types.get('BOOL', 'BOOLEAN')} NOT NULL DEFAULT FALSE"
    text = db.field_types.get("TEXT", "TEXT")
    execute("ALTER TABLE records RENAME COLUMN touched TO has_rollup")
    execute("ALTER TABLE records RENAME COLUMN source_version TO table_version")
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
    execute("UPDATE streams SET key_schema = 'null' WHERE last_version > 0")
    _mark_record_times()
    if "pdpp_ref_copying" in db.get_tables() and fetch_all("SELECT id FROM pdpp_ref_copying"):
        execute("UPDATE pdpp_ref_schema SET unfinished = TRUE")
    db.create_tables([StreamSnapshot, ConnectionSnapshot, GlobalSnapshot])
    number_days()


def _mark_record_times() -> None:
    """Extents of record times that cover only some of the records are unknown."""
    execute(
        """
        UPDATE streams
        SET undated_records = (
            SELECT COUNT(*)
            FROM records r
            WHERE r.stream_id = streams.id
                AND r.record_time IS NULL
                AND r.version <= streams.record_time_field_since
        )
        WHERE record_time_field IS NOT NULL AND record_time_field_since > 0
        """
    )
    execute(
        """
        UPDATE retained_size_stream
        SET record_times_unknown = TRUE, earliest_record_time = NULL, latest_record_time = NULL
        WHERE NOT dirty
            AND EXISTS (
                SELECT 1
                FROM records r
                WHERE r.stream_id = retained_size_stream.stream_id
            )
            AND EXISTS (
                SELECT 1
                FROM streams s
                WHERE s.id = retained_size_stream.stream_id
                    AND (s.record_time_field IS NULL OR s.undated_records > 0)
            )
        """
    )
    execute(
        """
        UPDATE retained_size_connection
        SET record_times_unknown = TRUE, earliest_record_time = NULL, latest_record_time = NULL
        WHERE NOT dirty
            AND EXISTS (
                SELECT 1
                FROM retained_size_stream s
                WHERE s.record_times_unknown AND s.connection_id = retained_size_connection.connection_id
            )
        """
    )
    execute(
        """
        UPDATE retained_size_global
        SET earliest_record_time = NULL, latest_record_time = NULL
        WHERE NOT dirty AND EXISTS (SELECT 1 FROM retained_size_connection WHERE record_times_unknown)
        """
    )


def _add_column(table: str, name: str, kind: str) -> None:
    """Add a column, unless an earlier step has just created the table with it."""
    if table in db.get_tables() and name not in {column.name for column in db.get_columns(table)}:
        execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")


_GRAINS = ("retained_size_stream", "retained_size_connection", "retained_size_global")
_DAYS = ("retained_size_connection_days", "retained_size_global_days")

# By schema version: the step that migrates from the version before.  A new database is created as
# CURRENT, so each change of the schema adds a step and raises CURRENT.
MIGRATIONS: dict[int, Callable[[], None]] = {
    3: _add_columns_of_schema_3,
}


def prepare(*, unfinished: bool = False) -> None:
    """Create or migrate the bound database.  Raises DatabaseUnusable; nothing is changed then.

    `unfinished`: it is the target of a copy, which may have begun.  Otherwise such a database is unusable.
    """
    try:
        db.serve(None)
        db.connect(reuse_if_open=True)
        tables = db.get_tables()
        version = _version() if "pdpp_ref_schema" in tables else None
        if tables and version is None:
            raise DatabaseUnusable(
                "the database holds tables of another program; point PDPP_DATABASE_URL elsewhere"
            )
        _check_known(version)
        # Only after the checks, because it changes the file.
        db.prepare_file()
        if version != CURRENT:
            with exclusive_transaction():
                _upgrade()
        if not unfinished and fetch_all("SELECT state FROM pdpp_ref_copying"):
            raise DatabaseUnusable(PROBLEM_TEXT["unfinished"])
        db.serve(CURRENT, is_transfer_target=unfinished)
    except Busy:
        raise DatabaseUnusable("the database is busy with another writer; try again") from None
    except peewee.DatabaseError as error:
        raise DatabaseUnusable(why_unusable(error)) from error


def _version() -> int | None:
    version: int | None = fetch_value("SELECT version FROM pdpp_ref_schema")
    return version


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
    """Create or migrate, inside the lock: if two programs start at once, one of them does the work."""
    if "pdpp_ref_schema" not in db.get_tables():
        db.create_tables(TABLES)
        SchemaVersion.insert(version=CURRENT, created_at=utc_now()).execute()
        # The measures of an empty database are known: zeros, as of now.
        RetainedSizeGlobal.insert(id=1, computed_at=utc_now()).execute()
        return
    before = _version() or 0
    _check_known(before)  # the other one may have been a newer program
    for version in range(before + 1, CURRENT + 1):
        MIGRATIONS[version]()
        execute("UPDATE pdpp_ref_schema SET version = ?", [version])
    db.create_tables(TABLES)  # those that are new, and every new index
