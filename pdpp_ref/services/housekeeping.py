"""Housekeeping: work that nobody waits for, done by a thread of the server, one bounded step at a time.

A job is a function that does one step and returns whether there is more to do now.  Only one process at a
time does a step in a database (`database.step_transaction`); the others skip theirs, and try again later.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..database import PROBLEM_TEXT, Busy, db, problem

log = logging.getLogger(__name__)

Job = Callable[[], bool]

IDLE_SECONDS = 10.0  # until the jobs are asked again, unless somebody wakes them
BUSY_SECONDS = 0.1
FAILED_SECONDS = 30.0
# After a round of steps others get their turn: at least a quarter of the time that it took.
SHARE, LEAST_PAUSE_SECONDS = 0.25, 0.002


@dataclass
class _Task:
    """A job, and when its next step is due, on a monotonic clock."""

    job: Job
    due: float = 0.0


class Housekeeping:
    """The jobs of this process.  Until `start` nothing runs."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._tasks = [_Task(job) for job in jobs]
        self._woken = threading.Event()
        self._is_stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There is something to do."""
        self._woken.set()

    def stop(self) -> None:
        """Returns after the current step."""
        self._is_stopping = True
        self.wake()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._is_stopping:
                if self._woken.wait(self.run_round()):
                    self._woken.clear()
                    for task in self._tasks:
                        task.due = 0.0
        finally:
            db.close()

    def run_round(self) -> float:
        """One step of each job that is due.  Returns how long to pause, in seconds."""
        began = time.monotonic()
        for task in self._tasks:
            if task.due <= began and not self._is_stopping:
                task.due = time.monotonic() + _step(task.job)
        now = time.monotonic()
        next_due = min((task.due for task in self._tasks), default=now + IDLE_SECONDS)
        return max(next_due - now, LEAST_PAUSE_SECONDS, SHARE * (now - began))


def _step(job: Job) -> float:
    """Do one step.  Returns how long to wait before the next one, in seconds; 0 if there is more to do."""
    try:
        return 0.0 if job() else IDLE_SECONDS
    except Busy:
        return BUSY_SECONDS
    except Exception as error:  # the step undid itself, and is still to be done
        log.warning("housekeeping failed: %s", PROBLEM_TEXT[problem(error)])
        db.close()
        return FAILED_SECONDS
    finally:
        db.rest()
