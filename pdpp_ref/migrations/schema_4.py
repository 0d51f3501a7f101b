"""From schema 3 to 4: what reading, exporting and deleting in steps need."""

from ..database import db, execute, execute_many, fetch_column
from ..models import ConnectionContact, RetainedSizeConnector
from ..models.base import new_id, new_secret
from ..models.measures import EVERY_MEASURE
from .columns import add_column, count, flag, text


def migrate() -> None:
    identity = f"{text()} NOT NULL DEFAULT ''"
    for table, columns in {
        "pdpp_ref_schema": {
            "history_id": identity,
            "erasure_key": identity,
            "last_erasure": count(),
            "cleaned_erasure": count(),
            "cleaned_pages": count(),
            "has_remnants": flag(),
        },
        "streams": {"incarnation": identity, "removed_through": count()},
        "blob_bindings": {"mime_type": text(), "json_path": text()},
        "retained_size_stream": {"connection_name": identity, "stream_name": identity},
        "retained_size_connection": {"connection_name": identity},
    }.items():
        for name, kind in columns.items():
            add_column(table, name, kind)
    db.allow_null("streams", "connection_id")
    execute(
        "UPDATE pdpp_ref_schema SET history_id = ?, erasure_key = ?, has_remnants = ?",
        (new_id(), new_secret(), db.leaves_remnants),
    )
    execute_many(
        "UPDATE streams SET incarnation = ? WHERE id = ?",
        [(new_id(), stream) for stream in fetch_column("SELECT id FROM streams")],
    )
    _rank_by_name()
    db.create_tables([RetainedSizeConnector, ConnectionContact])
    execute(
        """
        INSERT INTO connection_contacts (connection_id, last_contact_at, visit_began_at)
        SELECT connection_id, MAX(last_contact_at), MAX(last_contact_at)
        FROM streams
        WHERE connection_id IS NOT NULL AND last_contact_at IS NOT NULL
        GROUP BY connection_id
        """
    )
    execute(
        """
        INSERT INTO retained_size_connector (connector_id, record_count)
        SELECT c.connector_id, SUM(r.record_count)
        FROM connections c
        JOIN retained_size_connection r ON r.connection_id = c.id
        GROUP BY c.connector_id
        HAVING SUM(r.record_count) > 0
        """
    )


def _rank_by_name() -> None:
    """Rows of the projection get their names; the indexes that rank them are made again, with names."""
    execute(
        """
        UPDATE retained_size_connection
        SET connection_name = (SELECT connector_instance_id FROM connections WHERE id = connection_id)
        """
    )
    execute(
        """
        UPDATE retained_size_stream
        SET connection_name = (SELECT connector_instance_id FROM connections WHERE id = connection_id),
            stream_name = (SELECT name FROM streams WHERE id = stream_id)
        """
    )
    for table in ("retained_size_stream", "retained_size_connection"):
        for measure in EVERY_MEASURE:
            execute(f"DROP INDEX IF EXISTS {table}_by_{measure}")
