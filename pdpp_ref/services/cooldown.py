"""The wait after a failed pass: twice as long each time, reset by success."""

import time
from collections.abc import Callable, Hashable

LONGEST_SECONDS = 15 * 60


class Cooldown:
    """A dict of {projection: (failures, retry_at)}, on a monotonic clock that tests replace.

    Another one has rows of a projection instead, see `set_aside.py`.
    """

    def __init__(self, first_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.entries: dict[Hashable, tuple[int, float]] = {}
        self.clock = clock
        self._first = first_seconds

    def another(self) -> "Cooldown":
        """A dict of its own, with the same waits and the same clock."""
        return Cooldown(self._first, self.clock)

    def failures(self, of: Hashable) -> int:
        return self.entries.get(of, (0, 0.0))[0]

    def remaining(self, of: Hashable) -> float:
        """Seconds until the next attempt is allowed; 0 if it is."""
        return self.until(self.retry_at(of))

    def retry_at(self, of: Hashable) -> float:
        """On the clock; 0 if there is no wait."""
        return self.entries.get(of, (0, 0.0))[1]

    def until(self, retry_at: float) -> float:
        """Seconds, also for another process of this machine."""
        return max(0.0, retry_at - self.clock()) if retry_at else 0.0

    def failed(self, of: Hashable) -> None:
        failures = self.failures(of) + 1
        # The exponent is bounded too: a number of a thousand failures overflows a float.
        wait = min(self._first * 2 ** min(failures - 1, 20), max(LONGEST_SECONDS, self._first))
        self.entries[of] = (failures, self.clock() + wait)

    def succeeded(self, of: Hashable) -> None:
        self.entries.pop(of, None)
