"""When a read may reconcile: at most one pass at a time in this process, and none during a cooldown."""

import logging
import threading
from collections.abc import Callable
from typing import NamedTuple, Protocol

from ..database import PROBLEM_TEXT, Busy, problem
from ..shared_memory import SharedNumbers
from ..timestamps import utc_now
from . import reconcile
from .cooldown import Cooldown

log = logging.getLogger(__name__)

RETAINED_SIZE = "retained_size"


class RunPass(Protocol):
    """One bounded pass over a projection; see `reconcile.run_pass`."""

    def __call__(self, limits: reconcile.Limits, *, wait: bool) -> reconcile.Pass: ...


class Attempts(NamedTuple):
    """The passes that reads and operators have started, in all processes of a server.

    `consecutive_failures` and `retry_after_seconds` are the largest of any process.
    """

    attempts: int
    failures: int
    consecutive_failures: int
    retry_after_seconds: float


_ATTEMPTS, _FAILURES, _IN_A_ROW, _RETRY_AT = range(4)


def _reconcile_retained_size(limits: reconcile.Limits, *, wait: bool) -> reconcile.Pass:
    return reconcile.run_pass(limits, wait=wait)


class AutoReconcile:
    """The passes of this process over one projection, and how they ended.

    `projection` is its key in the cooldown, which several projections may share.
    """

    def __init__(
        self,
        limits: reconcile.Limits,
        cooldown: Cooldown,
        *,
        projection: str = RETAINED_SIZE,
        run_pass: RunPass = _reconcile_retained_size,
    ) -> None:
        self.limits = limits
        self.cooldown = cooldown
        self.projection = projection
        self._run_pass = run_pass
        self.attempts = 0
        self.failures = 0
        self.last_attempt_at: str | None = None
        self.last_error: str | None = None
        self._one = threading.Lock()
        self._shared = SharedNumbers(4)

    @property
    def running(self) -> bool:
        return self._one.locked()

    @property
    def consecutive_failures(self) -> int:
        return self.cooldown.failures(self.projection)

    @property
    def retry_after_seconds(self) -> float:
        return self.cooldown.remaining(self.projection)

    @property
    def may_attempt(self) -> bool:
        """Whether no pass is running and no cooldown holds."""
        return not self.running and not self.retry_after_seconds

    def attempt(self, still_needed: Callable[[], bool]) -> None:
        """Run one bounded pass, if none is running and no cooldown holds.  Never waits and never raises.

        `still_needed` is called when it is our turn: of several readers that saw the same stale row,
        the first may have reconciled it by then.
        """
        if not self._one.acquire(blocking=False):
            return
        try:
            if not self.retry_after_seconds and still_needed():
                self.run(wait=False)
        except Busy:
            pass  # a writer holds the database: this is no failure, and the next read tries again
        except Exception as error:  # whatever the error is, the reader gets the last known totals
            log.warning("%s: %s", self.projection, describe(error))
        finally:
            self._one.release()

    def run(self, *, wait: bool = True) -> reconcile.Pass:
        """One bounded pass now, whatever the cooldown, as an operator requests it.

        Raises Busy, which counts as no attempt, or any other error of the pass, which is recorded.
        """
        try:
            done = self._run_pass(self.limits, wait=wait)
        except Busy:
            raise
        except Exception as error:
            self._record(describe(error))
            raise
        self._record(None)
        return done

    def found_fresh(self) -> None:
        """Another process has reconciled it: forget our failures."""
        if self.last_error is not None or self.consecutive_failures:
            self.last_error = None
            self.cooldown.succeeded(self.projection)
            self.publish()

    def of_all_processes(self) -> Attempts:
        attempts, failures, in_a_row, retry_at = zip(*self._shared.of_each(0, count=4), strict=True)
        waits = map(self.cooldown.until, retry_at)
        return Attempts(int(sum(attempts)), int(sum(failures)), int(max(in_a_row)), max(waits))

    def publish(self) -> None:
        """Show the others this process's state; at its start too: its number may have been another's."""
        retry_at = self.cooldown.retry_at(self.projection)
        self._shared.set({_IN_A_ROW: self.consecutive_failures, _RETRY_AT: retry_at})

    def _record(self, error: str | None) -> None:
        self.attempts += 1
        self.last_attempt_at = utc_now()
        self.last_error = error
        if error is None:
            self.cooldown.succeeded(self.projection)
        else:
            self.failures += 1
            self.cooldown.failed(self.projection)
        self._shared.add({_ATTEMPTS: 1, _FAILURES: int(error is not None)})
        self.publish()


def describe(error: Exception) -> str:
    """A fixed text for the error; the error's own text is never passed on."""
    return f"reconcile failed: {PROBLEM_TEXT[problem(error)]}"
