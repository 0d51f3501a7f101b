"""What a command and the server do first: open the database of the settings."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import peewee

from . import database, instance_folder, migrations, notices
from .canonical import erasure_file
from .config import Settings
from .database import fetch_value

log = logging.getLogger(__name__)

AGAIN_SECONDS = 1.0


def open_database(settings: Settings) -> None:
    """Bind the database of the settings and bring it to this program's schema.

    A restored backup is brought up to date with what was erased since, see `canonical/erasure_file.py`.

    Raises config.InvalidSetting and database.DatabaseUnusable, whose messages are for the operator.
    """
    url = settings.database_url
    folder = Path() if url else instance_folder.create(settings)
    database.connect(url, folder)
    _patiently(lambda: _prepare(settings), settings.database_wait_seconds)
    if not url:
        instance_folder.warn_if_open(folder)


def _patiently(prepare: Callable[[], None], seconds: float) -> None:
    """Try again for so long while a database server is away, or being replaced by another one."""
    until, shown = time.monotonic() + seconds, ""
    while True:
        try:
            return prepare()
        except database.DatabaseUnavailable as reason:
            if database.db.is_in_process or time.monotonic() >= until:
                raise
            if str(reason) != shown:
                shown = str(reason)
                log.warning("%s; waiting for up to %d s", shown, seconds)
        database.db.close()
        time.sleep(AGAIN_SECONDS)


def _prepare(settings: Settings) -> None:
    migrations.prepare()
    _follow_erasures(settings)


def _follow_erasures(settings: Settings) -> None:
    try:
        erasure_file.follow(instance_folder.path_for(settings))
    except database.Busy:
        raise database.DatabaseUnavailable("the database is busy with another writer; try again") from None
    except peewee.DatabaseError as error:
        raise database.why_unusable(error) from error
    except OSError as error:
        log.warning("the list of erasures in the instance folder can't be used: %s", error.strerror)


def watch_for_restores(folder: Path) -> None:
    """Show a line if the database has valid tokens, and is not the one that last had some.

    A restored backup has a history id of its own.  The id is stored in the instance folder, if that can be
    written to.
    """
    if not fetch_value("SELECT 1 FROM tokens WHERE revoked_at IS NULL LIMIT 1"):
        return
    history = fetch_value("SELECT history_id FROM pdpp_ref_schema")
    if instance_folder.remember_database(folder, history) not in (None, history):
        notices.show(
            "This is another database than before.  If it was restored from a backup, tokens that were "
            "revoked since are valid again.  Check them with: pdpp-ref token list"
        )
