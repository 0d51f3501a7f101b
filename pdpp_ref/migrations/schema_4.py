"""From schema 3 to 4: what reading, exporting and deleting in steps need."""

from ..database import db, execute, execute_many, fetch_column
from ..models.base import new_id, new_secret
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
