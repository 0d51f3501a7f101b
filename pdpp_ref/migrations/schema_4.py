"""From schema 3 to 4: what reading, exporting and deleting in steps need."""

from ..database import db, execute, execute_many, fetch_column
from ..models.base import new_id
from .columns import add_column, count, text


def migrate() -> None:
    identity = f"{text()} NOT NULL DEFAULT ''"
    for table, columns in {
        "pdpp_ref_schema": {"history_id": identity},
        "streams": {"incarnation": identity, "removed_through": count()},
        "blob_bindings": {"mime_type": text(), "json_path": text()},
    }.items():
        for name, kind in columns.items():
            add_column(table, name, kind)
    db.allow_null("streams", "connection_id")
    execute("UPDATE pdpp_ref_schema SET history_id = ?", [new_id()])
    execute_many(
        "UPDATE streams SET incarnation = ? WHERE id = ?",
        [(new_id(), stream) for stream in fetch_column("SELECT id FROM streams")],
    )
