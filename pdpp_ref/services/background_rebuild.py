"""A rebuild in the background: at most one thread per process, and one rebuild of the database."""

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from ..database import db
from . import reconcile
from .auto_reconcile import describe
from .set_aside import SetAside

T = TypeVar("T")

log = logging.getLogger(__name__)


class BackgroundRebuild:
    """Starts the rebuild, or joins one that any process has begun."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requested = False
        self._running = False
        self._thread: threading.Thread | None = None
        self._aside: SetAside | None = None

    def start(self, read: Callable[[], T], aside: SetAside | None = None) -> T:
        """Mark everything, durably, and reconcile it in a thread.  Raises Busy or DatabaseError.

        `aside`, always the same, gets the rows that fail on their own.  Returns the result of `read` in the
        transaction of the marks: the last known totals, marked.  If this process ends, reads of any other
        finish the rebuild.
        """
        seen: T = reconcile.begin_rebuild(read)
        with self._lock:
            self._requested, self._aside = True, aside
            if not self._running:
                self._running = True
                self._thread = threading.Thread(target=self._run, name="rebuild", daemon=True)
                self._thread.start()
        return seen

    def wait(self) -> None:
        """Until the thread has ended; for tests."""
        while self._thread is not None and self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            while self._is_requested():
                self._finish()
        finally:
            db.close()

    def _is_requested(self) -> bool:
        """Whether a rebuild was begun since the last call; if not, the next one needs a new thread."""
        with self._lock:
            requested, self._requested = self._requested, False
            self._running = requested
            return requested

    def _finish(self) -> None:
        try:
            if self._aside is not None:
                self._aside.forget()
            reconcile.finish_rebuild(aside=self._aside)
        except Exception as error:  # what is left stays dirty, and reads reconcile it
            log.warning("retained size: rebuild: %s", describe(error))
