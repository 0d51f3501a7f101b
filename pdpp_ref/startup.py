"""What a command and the server do first: open the database of the settings."""

import time
from collections.abc import Callable
from pathlib import Path

from . import database, instance_folder, migrations, notices
from .canonical.cleanup import Cleanup
from .canonical.removal import Removal
from .config import Settings
from .database import fetch_value
from .services.auto_reconcile import AutoReconcile
from .services.cooldown import Cooldown
from .services.housekeeping import Housekeeping
from .services.reconcile import Limits


def open_database(settings: Settings) -> None:
    """Bind the database of the settings and bring it to this program's schema.

    Raises config.InvalidSetting and database.DatabaseUnusable, whose messages are for the operator.
    """
    url = settings.database_url
    folder = Path() if url else instance_folder.create(settings)
    database.connect(url, folder)
    migrations.prepare()
    if not url:
        instance_folder.warn_if_open(folder)


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


def auto_reconcile(settings: Settings, clock: Callable[[], float] = time.monotonic) -> AutoReconcile:
    """Reconciling on read, within the limits of the settings; `clock` is for the cooldown."""
    limits = Limits(settings.reconcile_max_rows, settings.reconcile_budget_ms / 1000)
    return AutoReconcile(limits, Cooldown(settings.reconcile_cooldown_seconds, clock))


def housekeeping(settings: Settings) -> Housekeeping:
    """The jobs of a server."""
    cleanup = Cleanup(settings.unclaimed_file_hours * 3600)
    return Housekeeping([Removal().step, cleanup.step])
