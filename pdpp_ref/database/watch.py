"""Whether a server answers at all, found out by one thread for all that wait for it."""

import threading
import time
from collections.abc import Callable

AGAIN_SECONDS = 2.0  # between two questions, while it answers
PAUSE_SECONDS = 0.5  # while it does not


class Watch:
    """Asks the server when somebody suspects that it is gone, and then until it answers again.

    `answers` asks it, and returns or says no within seconds.  `outages` counts how often it was gone.
    """

    is_down = False
    outages = 0

    def __init__(self, answers: Callable[[], bool]) -> None:
        self._answers = answers
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._asked_at = float("-inf")

    def suspect(self) -> None:
        """Never waits."""
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            if time.monotonic() - self._asked_at < AGAIN_SECONDS:
                return
            self._asked_at = time.monotonic()
            self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)
            self._thread.start()

    def distrust(self) -> None:
        """An answer never came: other connections may be to the same server, which has been replaced."""
        self.outages += 1

    def _watch(self) -> None:
        while not self._answers():
            if not self.is_down:
                self.outages += 1
                self.is_down = True
            time.sleep(PAUSE_SECONDS)
        self.is_down = False
