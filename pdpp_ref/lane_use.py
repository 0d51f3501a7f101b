"""How many requests are in each lane of the server, over all of its processes."""

from .shared_memory import SharedNumbers

LANES = ("reads", "writes", "streams", "probes")


class LaneUse:
    """Make it before the processes are forked."""

    def __init__(self) -> None:
        self._numbers = SharedNumbers(len(LANES))

    def begin(self) -> None:
        """This process has no requests yet; the one whose place it takes may have ended with some."""
        self._numbers.set(dict.fromkeys(range(len(LANES)), 0.0))

    def add(self, lane: str, change: int) -> None:
        self._numbers.add({LANES.index(lane): change})

    def busy(self) -> dict[str, int]:
        """By lane."""
        return {
            lane: int(sum(sum(each) for each in self._numbers.of_each(n))) for n, lane in enumerate(LANES)
        }
