"""From schema 2 to 3: rejected lines, key schemas, times of pruned versions, generations of grain rows."""

from ..database import db, execute, fetch_all
from ..models import ConnectionSnapshot, GlobalSnapshot, StreamSnapshot
from .columns import add_column, count, flag, number, text
from .days import number_days

_GRAINS = ("retained_size_stream", "retained_size_connection", "retained_size_global")
_DAYS = ("retained_size_connection_days", "retained_size_global_days")


def migrate() -> None:
    execute("ALTER TABLE records RENAME COLUMN touched TO has_rollup")
    execute("ALTER TABLE records RENAME COLUMN source_version TO table_version")
    for table, columns in {
        "pdpp_ref_schema": {"created_at": text(), "unfinished": flag()},
        "pdpp_ref_copying": {"progress": f"{text()} NOT NULL DEFAULT '{{}}'"},
        "connections": {"unattributed_rejections": count()},
        "streams": {
            "undated_records": count(),
            "key_schema": text(),
            "respelled_keys": flag(),
            "last_contact_at": text(),
            "rejected_table_version": number(),
            "rejected_unversioned": flag(),
            "rejections_seen": count(),
        },
        "record_changes": {"pruned_at": text(), "pruned_digest": text()},
        **{table: {"generation": count(), "days_disordered": flag()} for table in _GRAINS},
        **{
            table: {"generation": count(), "previous_generation": count(), "unknown": flag()}
            for table in _DAYS
        },
    }.items():
        for name, kind in columns.items():
            add_column(table, name, kind)
    add_column("retained_size_stream", "rollups_dirty", flag())
    for table in ("retained_size_stream", "retained_size_connection"):
        add_column(table, "record_times_unknown", flag())
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
