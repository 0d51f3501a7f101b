"""What is recorded of each request: a line in the access log, and how long it took, by route."""

import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from . import access_log
from .shared_memory import SharedNumbers

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
OTHER = "other"
UNKNOWN = "unknown"
STATUSES = (
    *(200, 201, 202, 204, 206, 302, 303, 304, 308),
    *(400, 401, 403, 404, 405, 408, 409, 410, 413, 415, 416, 429, 431),
    *(500, 501, 503, 507),
)
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_TEXTS = (*map(str, STATUSES), OTHER)
_OTHER_COLUMN = len(STATUSES)
_COLUMNS = {status: column for column, status in enumerate(STATUSES)}
_COUNT, _SUM = len(BOUNDS) + 1, len(BOUNDS) + 2  # after the buckets; the last bucket has no bound
_NUMBERS = len(BOUNDS) + 3


class Kind(NamedTuple):
    """Requests that are counted together."""

    method: str
    route: str
    status: str


class Durations(NamedTuple):
    """How many requests took up to each of BOUNDS, and how many there were; and their sum in seconds."""

    kind: Kind
    up_to: list[float]
    seconds: float


class AccessRecord:
    """The requests of all processes since the server started."""

    def __init__(self, routes: Iterable[tuple[str, str]]) -> None:
        """`routes` are pairs of a pattern and a method; all others are counted as UNKNOWN."""
        unknown = [(UNKNOWN, method) for method in (*METHODS, OTHER)]
        self._routes = list(dict.fromkeys([*routes, *unknown]))
        self._rows = {pair: number for number, pair in enumerate(self._routes)}
        self._numbers = SharedNumbers(len(self._routes) * len(_TEXTS) * _NUMBERS)

    def add(self, request_id: str, method: str, route: str | None, status: int, began: float) -> None:
        """`began` is a time of `time.perf_counter`."""
        seconds = max(0.0, time.perf_counter() - began)
        method = method if method in METHODS else OTHER
        route = route or UNKNOWN
        self._count(method, route, status, seconds)
        access_log.write(request_id, method, route, status, seconds)

    def durations(self) -> Iterator[Durations]:
        """Of each kind of request that there was."""
        kinds = len(self._routes) * len(_TEXTS)
        counts = map(sum, zip(*self._numbers.of_each(_COUNT, _NUMBERS, kinds), strict=True))
        for place, count in enumerate(counts):
            if count:
                row, column = divmod(place, len(_TEXTS))
                route, method = self._routes[row]
                kind = Kind(method, route, _TEXTS[column])
                parts = self._numbers.of_each(place * _NUMBERS, 1, _NUMBERS)
                numbers = [sum(each) for each in zip(*parts, strict=True)]
                up_to = [sum(numbers[: end + 1]) for end in range(_COUNT)]
                yield Durations(kind, up_to, numbers[_SUM])

    def _count(self, method: str, route: str, status: int, seconds: float) -> None:
        row = self._rows.get((route, method))
        if row is None:
            row = self._rows[UNKNOWN, method]
        place = row * len(_TEXTS) + _COLUMNS.get(status, _OTHER_COLUMN)
        bucket = bisect_left(BOUNDS, seconds)
        first = place * _NUMBERS
        self._numbers.add({first + bucket: 1.0, first + _COUNT: 1.0, first + _SUM: seconds})
