"""When a read may reconcile: at most one pass at a time in this process, and none during a cooldown."""

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, Protocol

from ..database import PROBLEM_TEXT, Busy, problem
from ..shared_memory import SharedNumbers
from ..timestamps import utc_now
from . import reconcile
from .cooldown import Cooldown
from .set_aside import SetAside

log = logging.getLogger(__name__)

RETAINED_SIZE = "retained_size"
# During a cooldown an owner may try again, but not by clicking faster.
CLICK_SECONDS = 5.0


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


class AutoReconcile:
    """The passes of this process over one projection, and how they ended.

    `projection` is its key in the cooldown, which several projections may share.  `aside` has its rows that
    failed on their own; without a `run_pass`, the projection is the retained size.
    """

    def __init__(
        self,
        limits: reconcile.Limits,
        cooldown: Cooldown,
        *,
        projection: str = RETAINED_SIZE,
        run_pass: RunPass | None = None,
    ) -> None:
        self.limits = limits
        self.cooldown = cooldown
        self.projection = projection
        self.aside = SetAside(cooldown.another())
        self._run_pass = run_pass
        self.attempts = 0
        self.failures = 0
        self.last_attempt_at: str | None = None
        self.last_error: str | None = None
        self._one = threading.Lock()
        self._next_click = 0.0
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

    def attempt(self, still_needed: Callable[[], bool], seen: int = -1) -> None:
        """Run one bounded pass, if none is running and no cooldown holds.  Never waits and never raises.

        `still_needed` is called when it is our turn: of several readers that saw the same stale row,
        the first may have reconciled it by then.  `seen` is what `attempts` was before the reader looked:
        if no pass has ended since, it need not look again.
        """
        if not self._one.acquire(blocking=False):
            return
        try:
            if not self.retry_after_seconds and (self.attempts == seen or still_needed()):
                self._run(self.aside, wait=False)
        except Busy:
            pass  # a writer holds the database: this is no failure, and the next read tries again
        except Exception as error:  # whatever the error is, the reader gets the last known totals
            log.warning("%s: %s", self.projection, describe(error))
        finally:
            self._one.release()

    def run(self) -> reconcile.Pass:
        """One bounded pass now, whatever the cooldowns, as an operator requests it.

        Raises Busy, which counts as no attempt, or any other error of the pass, which is recorded.
        """
        return self._run(replace(self.aside, waits=False), wait=True)

    def click(self) -> reconcile.Pass | None:
        """The same for an owner's click, which waits for nobody.  None: another one has just failed.

        The clicks of one cooldown are one attempt with the failure that began it: they make it no longer.
        """
        if not self._one.acquire(blocking=False):
            raise Busy
        try:
            cools, now = self.retry_after_seconds > 0, self.cooldown.clock()
            may_retry = now >= self._next_click
            if cools and not may_retry:
                return None
            aside = self.aside
            if may_retry and (cools or aside.problems):
                aside, self._next_click = replace(aside, waits=False, counts=False), now + CLICK_SECONDS
            return self._run(aside, wait=False, counts=not cools)
        finally:
            self._one.release()

    def _run(self, aside: SetAside, *, wait: bool, counts: bool = True) -> reconcile.Pass:
        """`counts`: whether a failure makes the cooldown longer."""
        try:
            if self._run_pass:
                done = self._run_pass(self.limits, wait=wait)
            else:
                done = reconcile.run_pass(self.limits, wait=wait, aside=aside)
        except Busy:
            raise
        except Exception as error:
            if counts:
                self.cooldown.failed(self.projection)
            self._record(describe(error), failed=True)
            raise
        self.cooldown.succeeded(self.projection)
        self._record(aside.why(), failed=bool(done.failed))
        return done

    def found_fresh(self) -> None:
        """Another process has reconciled it: forget our failures."""
        if self.last_error is not None or self.consecutive_failures:
            self.last_error = None
            self.cooldown.succeeded(self.projection)
            self.aside.forget()
            self.publish()

    def of_all_processes(self) -> Attempts:
        attempts, failures, in_a_row, retry_at = zip(*self._shared.of_each(0, count=4), strict=True)
        waits = map(self.cooldown.until, retry_at)
        return Attempts(int(sum(attempts)), int(sum(failures)), int(max(in_a_row)), max(waits))

    def publish(self) -> None:
        """Show the others this process's state; at its start too: its number may have been another's."""
        retry_at = self.cooldown.retry_at(self.projection)
        self._shared.set({_IN_A_ROW: self.consecutive_failures, _RETRY_AT: retry_at})

    def _record(self, error: str | None, failed: bool) -> None:
        self.attempts += 1
        self.last_attempt_at = utc_now()
        self.last_error = error
        self.failures += failed
        self._shared.add({_ATTEMPTS: 1, _FAILURES: int(failed)})
        self.publish()


def describe(error: Exception) -> str:
    """A fixed text for the error; the error's own text is never passed on."""
    return f"reconcile failed: {PROBLEM_TEXT[problem(error)]}"
