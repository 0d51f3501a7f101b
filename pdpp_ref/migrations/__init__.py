"""Creating or migrating a database, so that it has the schema of this program."""

from collections.abc import Callable

import peewee

from ..database import (
    PROBLEM_TEXT,
    Busy,
    DatabaseUnavailable,
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
    RetainedSizeGlobal,
    SchemaVersion,
)
from ..timestamps import utc_now
from . import schema_3, schema_4, schema_5

CURRENT, OLDEST = 5, 2


# By schema version: the step that migrates from the version before.  A new database is created as
# CURRENT, so each change of the schema adds a step and raises CURRENT.
MIGRATIONS: dict[int, Callable[[], None]] = {
    3: schema_3.migrate,
    4: schema_4.migrate,
    5: schema_5.migrate,
}


def prepare(*, unfinished: bool = False) -> None:
    """Create or migrate the bound database.  Raises DatabaseUnusable; nothing is changed then.

    `unfinished`: it is the target of a copy, which may have begun.  Otherwise such a database is unusable.
    """
    try:
        db.serve(None)
        db.connect(reuse_if_open=True)
        db.check_engine()
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
            with db.schema_change(), exclusive_transaction():
                _upgrade()
        if not unfinished and fetch_all("SELECT state FROM pdpp_ref_copying"):
            raise DatabaseUnusable(PROBLEM_TEXT["unfinished"])
        db.serve(CURRENT, is_transfer_target=unfinished)
    except Busy:
        raise DatabaseUnavailable("the database is busy with another writer; try again") from None
    except peewee.DatabaseError as error:
        raise why_unusable(error) from error


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
