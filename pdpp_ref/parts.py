"""Parts of the program that are made from its settings.  Commands that don't need them start sooner."""

import time
from collections.abc import Callable

from .canonical.cleanup import Cleanup
from .canonical.prunings import Prunings
from .canonical.removal import Removal
from .canonical.retention_rules import Rules
from .config import Settings
from .services import cleaning
from .services.auto_reconcile import AutoReconcile
from .services.cooldown import Cooldown
from .services.housekeeping import Housekeeping
from .services.prepared_files import PreparedFiles
from .services.reconcile import Limits


def auto_reconcile(settings: Settings, clock: Callable[[], float] = time.monotonic) -> AutoReconcile:
    """Reconciling on read, within the limits of the settings; `clock` is for the cooldown."""
    limits = Limits(settings.reconcile_max_rows, settings.reconcile_budget_ms / 1000)
    return AutoReconcile(limits, Cooldown(settings.reconcile_cooldown_seconds, clock))


def housekeeping(settings: Settings, prepared: PreparedFiles) -> Housekeeping:
    """The jobs of a server."""
    cleanup = Cleanup(settings.unclaimed_file_hours * 3600)
    return Housekeeping(
        [
            Removal().step,
            cleanup.step,
            Prunings().step,
            Rules().step,
            cleaning.step,
            cleaning.shorten_log,
            prepared.clean,
        ]
    )
