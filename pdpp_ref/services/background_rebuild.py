"""A rebuild that nobody waits for: one thread of this process, and the one rebuild of the database."""

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from ..database import db
from . import reconcile
from .auto_reconcile import describe

Looked = TypeVar("Looked")

log = logging.getLogger(__name__)


class BackgroundRebuild:
    """Starts the rebuild, or joins the one that has begun, whoever began it."""

    def __init__(self) -> None:
        self._one = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self, look: Callable[[], Looked]) -> Looked:
        """Mark everything, durably, and let a thread do the rest.  Raises Busy or DatabaseError.

        Returns what `look` sees in between: the figures of before, marked.  Should this process
        end, reads of any other finish what is marked.
        """
        seen: Looked = reconcile.begin_rebuild(look)
        if self._one.acquire(blocking=False):
            self._thread = threading.Thread(target=self._run, name="rebuild", daemon=True)
            self._thread.start()
        return seen

    def wait(self) -> None:
        """Until the thread is done; for tests and for a tidy end."""
        while self._thread is not None and self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            while self._finish():
                pass
        finally:
            db.close()

    def _finish(self) -> bool:
        """True where another rebuild was begun before this thread had let go, and is now its own."""
        try:
            reconcile.finish_rebuild()
        except Exception as error:  # it stays marked, and reads go on with it
            log.warning("retained size: rebuild: %s", describe(error))
            return False
        finally:
            self._one.release()
        return reconcile.rebuild_is_running() and self._one.acquire(blocking=False)
