"""Measure what pdpp-ref costs, each figure next to the least work that gives the same answer.

    python -m tests.benchmarks [--sizes 10000 100000] [--database sqlite postgres] [--only rebuild] [--json FILE]

Ours and the other take turns, and medians are compared.  All files are in a temporary directory; TMPDIR chooses the
disk.  PostgreSQL is a server of its own, with its usual settings, or that of PDPP_TEST_POSTGRES_URL.
"""

import argparse
import os
import platform
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import apsw

from tests.benchmarks import http_load, imports, projection, reading, removals, report
from tests.benchmarks.figures import FIGURES, Figure
from tests.benchmarks.places import Kind, Place, servers_for
from tests.benchmarks.results import Results, Row, growth_of, store

MODULES = (imports, projection, removals, reading)  # which register their figures
LOAD = "load"
SIZES = [10_000, 100_000]
LEAST_RECORDS = 1_000


def main(arguments: list[str]) -> None:
    called = _parsed(arguments)
    if called.load:
        http_load.check_installed()
    for name in [
        name for name in os.environ if name.startswith("PDPP_") and name != "PDPP_TEST_POSTGRES_URL"
    ]:
        del os.environ[name]
    # Published, so without folders of this machine.
    named = [called.json.name if called.json and each == str(called.json) else each for each in arguments]
    command = shlex.join(["python", "-m", "tests.benchmarks", *named])
    results = Results(command, _machine())
    print(f"{results.machine}\n")
    try:
        with servers_for(called.database) as server:
            _measure_figures(called, server, results)
            if called.load:
                _measure_load(called, server, results)
    finally:
        if called.json:
            store(called.json, results)


def _parsed(arguments: list[str]) -> argparse.Namespace:
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=summary)
    _add_options(parser)
    called = parser.parse_args(arguments)
    if min(called.sizes) < LEAST_RECORDS:
        parser.error(f"--sizes must be at least {LEAST_RECORDS:,}")
    called.load = called.load and (not called.only or LOAD in called.only)
    return called


def _add_options(parser: argparse.ArgumentParser) -> None:
    add, load = parser.add_argument, parser.add_argument_group("HTTP load").add_argument
    add("--sizes", type=int, nargs="+", default=SIZES, help="records (default: 10,000 and 100,000)")
    add("--database", nargs="+", choices=get_args(Kind), default=["sqlite"], help="default: sqlite")
    add("--only", nargs="+", help=f"figures of these names, or whose names contain one, or {LOAD}")
    add("--repeat", type=int, default=3, help="times that seconds are measured; ms are measured more often")
    add("--json", type=Path, metavar="FILE", help="store the results; see tests/benchmarks/publish.py")
    load("--load", action=argparse.BooleanOptionalAction, default=True, help="load servers with wrk")
    load("--load-seconds", type=int, default=1, help="for each path and number of connections")
    load("--against", metavar="URL", help=f"another server; {http_load.AGAINST_TOKEN} is its bearer token")


def _machine() -> str:
    versions = f"SQLite {apsw.sqlite_lib_version()}, Python {platform.python_version()}"
    return f"{versions}, {os.cpu_count()} cores"


def _measure_figures(called: argparse.Namespace, server: str, results: Results) -> None:
    chosen = [each for each in FIGURES.values() if _is_chosen(each, called.only)]
    if not chosen:
        return
    print(report.HEADING)
    for kind in called.database:
        for records in sorted(set(called.sizes)):
            with Place(kind, records, called.repeat, server) as place:
                for figure in chosen:
                    results.rows.append(Row.of(figure, kind, records, figure.measure(place)))
                    print(report.line(results.rows[-1]), flush=True)
    results.growth = growth_of(results.rows)
    if results.growth:
        print("\nexponent of cost against size: ours, and the other's")
        print(*map(report.growth_line, results.growth), sep="\n")
    _print_goals(report.goal_lines(results.rows))


def _is_chosen(figure: Figure, only: list[str] | None) -> bool:
    names = [part for part in only or () if part != LOAD]
    return not only or any(
        name == figure.name or (name not in FIGURES and name in figure.name) for name in names
    )


def _measure_load(called: argparse.Namespace, server: str, results: Results) -> None:
    print(report.LOAD_HEADING)
    for kind in called.database:
        with Place(kind, max(called.sizes), called.repeat, server) as place:
            loads, memory = http_load.measure(place, called.against, called.repeat, called.load_seconds)
        print(*map(report.load_line, loads), sep="\n", flush=True)
        print(*(f"{each.server:<40}{each.mb:.0f} MB" for each in memory), sep="\n")
        _print_goals(http_load.goals(loads, memory))
        results.loads += loads
        results.memory += memory


def _print_goals(goals: Iterable[tuple[bool, str]]) -> None:
    print()
    for is_met, what in goals:
        print("met    " if is_met else "NOT MET", what)
    print()


if __name__ == "__main__":
    main(sys.argv[1:])
