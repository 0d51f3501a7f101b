"""Results as they are stored: `--json FILE` writes them, and `publish.py` reads them."""

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from tests.benchmarks.figures import Figure, Times
from tests.benchmarks.fit import exponent


class Spread(Struct):
    """Of several measurements: half of them are from `low` to `high`."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        low, median, high = (
            statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
        )
        return cls(median, low, high)


class Row(Struct):
    """A figure on one database at one size.  `ours` and `other` are seconds; `rate` is records a second of ours."""

    name: str
    database: str
    records: int
    ours: Spread
    other: Spread
    ratio: float
    goal: str
    is_met: bool
    what: str
    compared_with: str
    rate: float | None = None
    note: str = ""

    @classmethod
    def of(cls, figure: Figure, database: str, records: int, times: Times) -> "Row":
        ours, other = Spread.of(times.ours), Spread.of(times.other)
        return cls(
            name=figure.name,
            database=database,
            records=records,
            ours=ours,
            other=other,
            ratio=ours.median / other.median,
            goal=str(figure.goal) if records >= figure.goal.records else "",
            is_met=figure.goal.is_met(times),
            what=figure.what,
            compared_with=figure.other,
            rate=times.amount / ours.median if times.amount else None,
            note=times.note,
        )


class Load(Struct):
    """What one server did for so many connections of wrk; `state` is "idle" or "importing"."""

    database: str
    server: str
    path: str
    state: str
    connections: int
    per_second: Spread
    p50_ms: float
    p99_ms: float
    failed: int


class Memory(Struct):
    """Of all processes of a server that has served, in MB."""

    database: str
    server: str
    mb: float


class Growth(Struct):
    """The exponent of cost against size: 0 is flat, 1 proportional."""

    name: str
    database: str
    ours: float
    other: float


class Results(Struct):
    command: str
    machine: str
    rows: list[Row] = []
    growth: list[Growth] = []
    loads: list[Load] = []
    memory: list[Memory] = []


def growth_of(rows: Iterable[Row]) -> list[Growth]:
    """Of each figure that has been measured at two sizes or more."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row.name, row.database), []).append(row)
    return [
        Growth(
            name,
            database,
            exponent({row.records: row.ours.median for row in of}) or 0.0,
            exponent({row.records: row.other.median for row in of}) or 0.0,
        )
        for (name, database), of in found.items()
        if len(of) > 1
    ]


def store(file: Path, results: Results) -> None:
    file.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")


def load(file: Path) -> Results:
    return msgspec.json.decode(file.read_bytes(), type=Results)
