"""What a figure is, and how times are taken.

A figure is a function that gets a `Place` and returns `Times`.  `@figure` registers it with a name; its docstring
says what is measured.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tests.benchmarks.places import Place

Work = Callable[[], object]


class Times(NamedTuple):
    """Seconds of ours, and of what it is compared with, taken in turn.

    `amount`: how many records each took, if it is a rate that counts.
    """

    ours: list[float]
    other: list[float]
    note: str = ""
    amount: float | None = None


class Goal(NamedTuple):
    """What is aimed at: at most so many times the other's time, or seconds; or at least so many records a second.

    It is for places with at least so many `records`.
    """

    ratio: float | None = None
    seconds: float | None = None
    rate: float | None = None
    records: int = 0

    def is_met(self, times: Times) -> bool:
        ours, other = statistics.median(times.ours), statistics.median(times.other)
        return (
            (self.ratio is None or ours / other <= self.ratio)
            and (self.seconds is None or ours <= self.seconds)
            and (self.rate is None or (times.amount or 0) / ours >= self.rate)
        )

    def __str__(self) -> str:
        wanted = (
            self.ratio and f"at most {self.ratio:.2f} times the other",
            self.seconds and f"at most {self.seconds * 1000:g} ms",
            self.rate and f"at least {self.rate:,.0f}/s",
            self.records and f"from {self.records:,} records on",
        )
        return ", ".join(each for each in wanted if each)


NO_GOAL = Goal()


class Figure(NamedTuple):
    """`other` says what ours is compared with."""

    name: str
    what: str
    other: str
    goal: Goal
    measure: Callable[[Place], Times]


FIGURES: dict[str, Figure] = {}


def figure(name: str, *, other: str, goal: Goal = NO_GOAL) -> Callable[[Callable[[Place], Times]], Any]:
    def register(measure: Callable[[Place], Times]) -> Callable[[Place], Times]:
        what = " ".join((measure.__doc__ or "").split())
        FIGURES[name] = Figure(name, what, other, goal, measure)
        return measure

    return register


# ---- taking times --------------------------------------------------------------------------------


def seconds(work: Work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_turn(
    repeat: int, ours: Work, other: Work, before: Work = lambda: None
) -> tuple[list[float], list[float]]:
    """Seconds of both, one after the other each time: a busy moment of the machine falls on both.

    `before` runs before each `ours`, and is not timed.
    """
    taken = []
    for _ in range(repeat):
        before()
        taken.append((seconds(ours), seconds(other)))
    first, second = zip(*taken, strict=True)
    return list(first), list(second)


def milliseconds(taken: float) -> str:
    return f"{taken * 1000:,.{3 if taken < 0.001 else 2 if taken < 0.1 else 0}f} ms"


# ---- programs ------------------------------------------------------------------------------------

# A child's peak begins at that of the process that starts it, so a small process stands between.
LAUNCH = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
into = subprocess.PIPE
if sys.argv[1] == "count":
    done = subprocess.Popen(sys.argv[2:], stdout=into, stderr=subprocess.DEVNULL)
    done.stderr, size = "", 0
    while block := done.stdout.read1(1 << 20):
        size += len(block)
    done.wait()
    done.stdout = str(size)
else:
    done = subprocess.run(sys.argv[2:], stdout=into, stderr=into, text=True)
taken = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps([done.returncode, taken, peak, done.stdout or done.stderr]))
"""
COMMAND = ("-c", "from pdpp_ref.cli.main import main; main()")


class Run(NamedTuple):
    """A Python program in a process of its own: seconds, peak memory in MB, and what it printed."""

    seconds: float
    peak_mb: float
    printed: str


def run(
    arguments: Sequence[object], environment: Mapping[str, str] | None = None, *, count: bool = False
) -> Run:
    """Run Python with these arguments.  `count`: `printed` is how many bytes it wrote into a pipe, instead."""
    mode = "count" if count else "all"
    launch = [sys.executable, "-c", LAUNCH, mode, sys.executable, *map(str, arguments)]
    launched = subprocess.run(launch, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    code, taken, peak, printed = json.loads(launched.stdout)
    if code:
        sys.exit(f"a program ended with {code}: {printed}")
    return Run(taken, peak / (1024 * 1024 if sys.platform == "darwin" else 1024), printed)


def peaks(ours: Sequence[Run], other: Sequence[Run]) -> str:
    return f"peak {max(each.peak_mb for each in ours):.0f} MB, other {max(each.peak_mb for each in other):.0f} MB"
