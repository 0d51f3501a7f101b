"""When a read may repair: at most one pass at a time in this process, and none during a cooldown."""

import logging
import threading
from collections.abc import Callable

from ..database import PROBLEM_TEXT, Busy, problem
from ..timestamps import utc_now
from . import reconcile
from .cooldown import Cooldown

log = logging.getLogger(__name__)

RETAINED_SIZE = "retained_size"


class AutoReconcile:
    """This process's attempts at repair on read, and what became of them."""

    def __init__(self, limits: reconcile.Limits, cooldown: Cooldown) -> None:
        self.limits = limits
        self.cooldown = cooldown
        self.attempts = 0
        self.failures = 0
        self.last_attempt_at: str | None = None
        self.last_error: str | None = None
        self._one = threading.Lock()

    @property
    def running(self) -> bool:
        return self._one.locked()

    @property
    def consecutive_failures(self) -> int:
        return self.cooldown.failures(RETAINED_SIZE)

    @property
    def retry_after_seconds(self) -> float:
        return self.cooldown.remaining(RETAINED_SIZE)

    def attempt(self, still_needed: Callable[[], bool]) -> bool:
        """Run one bounded pass, if none is running and no cooldown holds.  True where one was run.

        Never waits and never raises.  `still_needed` is asked once it is our turn: of readers that
        all saw the same stale row, the first may have repaired it by then.
        """
        if self.retry_after_seconds or not self._one.acquire(blocking=False):
            return False
        try:
            return False if self.retry_after_seconds else self._run(still_needed)
        finally:
            self._one.release()

    def _run(self, still_needed: Callable[[], bool]) -> bool:
        try:
            if not still_needed():
                return False
            self.run(wait=False)
        except Busy:
            return False  # a writer is at work: not our failure, and the next read tries again
        except Exception as error:  # whatever it is, the reader gets the last-known figures
            log.warning("retained size: %s", describe(error))
        return True

    def run(self, *, wait: bool = True) -> reconcile.Pass:
        """One bounded pass now, cooldown or not, as an operator asks for it.

        Raises Busy, which counts as no attempt, or whatever made the pass fail, which is recorded.
        """
        try:
            done = reconcile.run_pass(self.limits, wait=wait)
        except Busy:
            raise
        except Exception as error:
            self._record(describe(error))
            raise
        self._record(None)
        return done

    def found_fresh(self) -> None:
        """Somebody else has repaired it, so our failures are past."""
        if self.last_error is not None or self.consecutive_failures:
            self.last_error = None
            self.cooldown.succeeded(RETAINED_SIZE)

    def _record(self, error: str | None) -> None:
        self.attempts += 1
        self.last_attempt_at = utc_now()
        self.last_error = error
        if error is None:
            self.cooldown.succeeded(RETAINED_SIZE)
        else:
            self.failures += 1
            self.cooldown.failed(RETAINED_SIZE)


def describe(error: Exception) -> str:
    """What failed, from a fixed list of texts: nothing that the error itself says is passed on."""
    return f"reconcile failed: {PROBLEM_TEXT[problem(error)]}"
