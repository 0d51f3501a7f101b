"""What several processes do at once: importers, small writes, and reads beside them, on each database.

    python -m tests.benchmarks.parallel [--records 20000] [--seconds 5] [--at 1 2 4 8]

- import: each process imports `--records` records of about 300 bytes in batches of 2,000, as
  `pdpp-ref import` does, into a connection of its own.  Records a second, all of them together.
- small writes: each process writes one record at a time, durably, into a connection of its own, for
  `--seconds`.  All of them change the one global row.  "Apart" leaves the global row out, which is
  wrong, and shows what that row costs.
- reads: four importers work for `--seconds` while one process reads the summary, every fifth time
  with the totals marked, so that the read repairs.

PostgreSQL is a server of its own in a temporary folder, with its usual settings (fsync on) and a
socket, or that of PDPP_TEST_POSTGRES_URL; SQLite is a file in a temporary folder.  TMPDIR chooses
the disk of the file, and /tmp is that of the server.
"""

import argparse
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from pdpp_ref import database, migrations
from pdpp_ref.canonical import records
from pdpp_ref.database import (
    Busy,
    db,
    fetch_all,
    write_transaction,
)
from pdpp_ref.parsing.messages import Change, Reader
from pdpp_ref.projection import deltas, grains, marks
from pdpp_ref.services import reconcile, summary
from pdpp_ref.services.auto_reconcile import AutoReconcile
from pdpp_ref.services.cooldown import Cooldown
from tests.benchmarks.corpus import lines
from tests.support import postgres

processes = multiprocessing.get_context("forkserver")

Work = Callable[[str, int, float, Any, Any], None]


# ---- what the processes do ---------------------------------------------------------------------


def patiently(target: records.Target, changes: list[Change]) -> None:
    while True:
        try:
            records.write(target, changes)
            return
        except Busy:
            continue


def import_all(url: str, number: int, amount: float, begin: Any, reported: Any) -> None:
    database.connect(url, Path())
    name = f"importer {number}"
    changes = list(map(Reader().read, lines(name, int(amount))))
    begin.wait()
    began, parts = time.perf_counter(), iter(changes)
    while part := list(islice(parts, 2_000)):
        patiently(records.Target(name, "bench"), part)
    reported.put((began, time.perf_counter(), len(changes), []))
    db.close()


def write_small(url: str, number: int, seconds: float, begin: Any, reported: Any) -> None:
    database.connect(url, Path())
    target = records.Target(f"writer {number}", "bench")
    data = '{"t":"%s"}' % ("x" * 200)
    begin.wait()
    began = time.perf_counter()
    done = 0
    while time.perf_counter() < began + seconds:
        patiently(target, [Change("s", str(done), data)])
        done += 1
    reported.put((began, time.perf_counter(), done, []))
    db.close()


def write_small_apart(*arguments: Any) -> None:
    """As write_small, but the global row is left alone."""
    add = deltas._add
    deltas._add = lambda grain, *rest: 0 if grain is grains.GLOBAL else add(grain, *rest)
    write_small(*arguments)


def import_on(url: str, number: int, seconds: float, begin: Any, reported: Any) -> None:
    database.connect(url, Path())
    target = records.Target(f"importer {number}", "bench")
    changes = list(map(Reader().read, lines(f"importer {number}", 2_000)))
    begin.wait()
    began, done = time.perf_counter(), 0
    while time.perf_counter() < began + seconds:
        # Other keys each time, so that all of it is new.
        patiently(target, [Change(change.stream, f"{change.key}{done}", change.data) for change in changes])
        done += len(changes)
    reported.put((began, time.perf_counter(), done, []))
    db.close()


def read_on(url: str, _: int, seconds: float, begin: Any, reported: Any) -> None:
    database.connect(url, Path())
    auto = AutoReconcile(reconcile.Limits(), Cooldown(30))
    begin.wait()
    began, taken = time.perf_counter(), []
    while time.perf_counter() < began + seconds:
        if len(taken) % 5 == 0:
            mark_totals()
        before = time.perf_counter()
        summary.read(auto)
        taken.append(time.perf_counter() - before)
        time.sleep(0.005)
    reported.put((began, time.perf_counter(), 0, taken))
    db.close()


def mark_totals() -> None:
    try:
        with write_transaction():
            marks.mark_global()
    except Busy:
        pass


# ---- measuring ---------------------------------------------------------------------------------


def together(url: str, amount: float, *works: Work) -> tuple[float, list[float]]:
    """(what they did a second, all together; the read times) of processes that begin at once."""
    begin, reported = processes.Barrier(len(works)), processes.Queue()
    started = [
        processes.Process(target=work, args=(url, number, amount, begin, reported))
        for number, work in enumerate(works)
    ]
    for process in started:
        process.start()
    reports = [reported.get(timeout=600) for _ in started]
    for process in started:
        process.join()
    working = [report for report in reports if report[2]] or reports  # readers alone
    seconds = max(report[1] for report in working) - min(report[0] for report in working)
    return sum(report[2] for report in working) / seconds, [
        each for report in reports for each in report[3]
    ]


@contextmanager
def fresh(kind: str, server: str) -> Iterator[str]:
    """The URL of a new database with our tables."""
    if kind == "postgres":
        with postgres.new_database(server, "bench") as url:
            prepare(url)
            yield url
    else:
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite:///{folder}/bench.sqlite3"
            prepare(url)
            yield url


def prepare(url: str) -> None:
    database.connect(url, Path())
    migrations.prepare()
    db.close()


def check(url: str) -> None:
    """The totals are those of the records: nothing was skipped to be fast."""
    database.connect(url, Path())
    reconcile.run_until_fresh()
    stored = fetch_all("SELECT record_count, record_history_count FROM retained_size_global")
    assert stored == fetch_all(
        "SELECT (SELECT COUNT(*) FROM records), (SELECT COUNT(*) FROM record_changes)"
    )
    db.close()


def measure(kind: str, server: str, called: argparse.Namespace) -> None:
    for title, work, amount, unit in (
        ("import", import_all, called.records, "records/s"),
        ("small writes", write_small, called.seconds, "writes/s"),
        ("small writes, apart", write_small_apart, called.seconds, "writes/s"),
    ):
        figures = []
        for number in called.at:
            with fresh(kind, server) as url:
                figures.append(together(url, amount, *[work] * number)[0])
                if work is not write_small_apart:
                    check(url)
        row(kind, title, [f"{figure:,.0f}" for figure in figures], unit)
    with fresh(kind, server) as url:
        _, taken = together(url, called.seconds * 2, read_on)
    alone = percentiles(taken)
    with fresh(kind, server) as url:
        rate, taken = together(url, called.seconds * 2, *[import_on] * 4, read_on)
        check(url)
    print(
        f"{kind:<10}reads alone: {alone}; beside 4 importers at {rate:,.0f} records/s: {percentiles(taken)}"
    )


def percentiles(taken: list[float]) -> str:
    cuts = statistics.quantiles(taken, n=100)
    return f"p50 {cuts[49] * 1000:.2f} ms, p99 {cuts[98] * 1000:.1f} ms, of {len(taken):,}"


def row(kind: str, title: str, cells: list[str], unit: str) -> None:
    print(f"{kind:<10}{title:<22}{''.join(f'{cell:>10}' for cell in cells)}  {unit}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=20_000, help="for each importer")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--at", type=int, nargs="+", default=[1, 2, 4, 8], help="how many processes")
    parser.add_argument("--only", choices=["sqlite", "postgres"])
    called = parser.parse_args()
    named = os.environ.get(postgres.NAMED)
    for name in [name for name in os.environ if name.startswith("PDPP_")]:
        del os.environ[name]
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores\n")
    row("", "processes", [str(number) for number in called.at], "")
    for kind in [called.only] if called.only else ["sqlite", "postgres"]:
        if kind == "sqlite" or named:
            measure(kind, named or "", called)
            continue
        server = postgres.Server(autovacuum="on")
        try:
            measure(kind, server.url, called)
        finally:
            server.remove()


if __name__ == "__main__":
    main()
