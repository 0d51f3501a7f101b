"""The wait after a failed pass: twice as long each time, reset by success."""

import time
from collections.abc import Callable

LONGEST_SECONDS = 15 * 60


class Cooldown:
    """A dict of {projection: (failures, retry_at)}, on a monotonic clock that tests replace."""

    def __init__(self, first_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.entries: dict[str, tuple[int, float]] = {}
        self._first = first_seconds
        self._clock = clock

    def failures(self, projection: str) -> int:
        return self.entries.get(projection, (0, 0.0))[0]

    def remaining(self, projection: str) -> float:
        """Seconds until the next attempt is allowed; 0 if it is."""
        return self.until(self.retry_at(projection))

    def retry_at(self, projection: str) -> float:
        """On the clock; 0 if there is no wait."""
        return self.entries.get(projection, (0, 0.0))[1]

    def until(self, retry_at: float) -> float:
        """Seconds, also for another process of this machine."""
        return max(0.0, retry_at - self._clock()) if retry_at else 0.0

    def failed(self, projection: str) -> None:
        failures = self.failures(projection) + 1
        # The exponent is bounded too: a number of a thousand failures overflows a float.
        wait = min(self._first * 2 ** min(failures - 1, 20), max(LONGEST_SECONDS, self._first))
        self.entries[projection] = (failures, self._clock() + wait)

    def succeeded(self, projection: str) -> None:
        self.entries.pop(projection, None)
