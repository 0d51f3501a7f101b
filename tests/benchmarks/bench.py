"""What importing, reading, repairing and rebuilding cost, each beside the least raw SQL that does it.

    python tests/benchmarks/bench.py [--records 10000 100000] [--repeat 60]

- import: `pdpp-ref import` of a file into an empty database, its start included, as the shell sees it.
  Raw is `raw_import.py`, which stores the same texts and totals and nothing else.
- export: `pdpp-ref export --history` of that database into a pipe.  Raw is `raw_export.py`, which
  selects the same texts with Python's own sqlite3 and writes them, a line each.
- fresh read: what the dashboard's poll and `GET /_ref/dataset/summary` do.  Raw is one SELECT of the
  global row; ours gives the largest connectors too, of the same moment.
- page: 100 records of the largest stream from its middle on, found by its names, as an HTTP read gets
  them from the database.  Raw selects the stream and the same rows.
- repairs: the read that finds the totals alone, one stream of 5,000 records, or twenty of 250 dirty.
  Raw only reads: the sums themselves, through the same covering indexes, in no transaction.  Ours
  stores them too, durably; a line under the table says what such a commit costs by itself.
- rebuild: everything marked and recounted.  Raw groups the same indexes by stream.

"ours" and "raw" are medians, taken in turn; "ratio" is our time over raw's.  What raw counts is
compared with what ours stored, so neither can skip the work.  `corpus.py` says what the records are.
All files lie in a temporary directory; TMPDIR chooses the disk.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import apsw
from corpus import LARGE, SMALL, layout, load, streams_of, write_file

from pdpp_ref.config import Settings
from pdpp_ref.database import db, read_snapshot, write_transaction
from pdpp_ref.models.measures import MEASURE_NAMES
from pdpp_ref.projection import marks
from pdpp_ref.queries import records as records_read
from pdpp_ref.queries import streams as streams_read
from pdpp_ref.services import reconcile, summary
from pdpp_ref.startup import auto_reconcile, open_database

IMPORT, EXPORT, READ = "import", "export with history", "fresh read"
PAGE, REBUILD = "page of 100 records", "rebuild"
TOTALS, ONE, TWENTY = "repair: totals alone", "repair: 1 stream of 5,000", "repair: 20 streams of 250"

Work = Callable[[], Any]
Ids = list[tuple[int, int]]  # (stream, connection)


class Result(NamedTuple):
    """`ours` and `raw` are seconds."""

    operation: str
    records: int
    ours: float
    raw: float
    note: str
    peak_mb: float = 0.0


# ---- measuring ---------------------------------------------------------------------------------

# A child's peak begins at that of the process that starts it, so a small process stands between.
LAUNCH = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
count = sys.argv[1] == "count"
into = subprocess.PIPE
if count:
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


def run(*command: object, count: bool = False) -> tuple[float, float, str]:
    """(seconds, peak MB, what it printed) of a Python program in a process of its own.

    `count`: how many bytes it printed into a pipe, instead.
    """
    mode = "count" if count else "all"
    launch = [sys.executable, "-c", LAUNCH, mode, sys.executable, *map(str, command)]
    launched = subprocess.run(launch, check=True, stdout=subprocess.PIPE, text=True)
    code, taken, peak, printed = json.loads(launched.stdout)
    if code:
        sys.exit(f"a child ended with {code}: {printed}")
    return taken, peak / (1024 * 1024 if sys.platform == "darwin" else 1024), printed


def seconds(work: Work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


class Case(NamedTuple):
    operation: str
    ours: Work
    raw: Work
    before: Work = lambda: None


def in_turn(repeat: int, *cases: Case) -> Iterator[tuple[Case, float, float]]:
    """Median seconds of ours and raw.  All take turns: a busy moment of the machine falls on each."""
    taken: dict[Case, list[tuple[float, float]]] = {case: [] for case in cases}
    for _ in range(repeat):
        for case in cases:
            case.before()
            taken[case].append((seconds(case.ours), seconds(case.raw)))
    for case, times in taken.items():
        ours, raw = zip(*times, strict=True)
        yield case, statistics.median(ours), statistics.median(raw)


def statements(work: Work) -> str:
    """How many SQL statements some work runs, BEGIN, COMMIT and PRAGMA included."""
    seen: list[str] = []
    db.connection().exec_trace = lambda _cursor, sql, _values: seen.append(sql) or True
    try:
        work()
    finally:
        db.connection().exec_trace = None
    return f"{len(seen)} statements"


# ---- the least SQL -----------------------------------------------------------------------------

SIZES = {"records": "json_bytes", "record_changes": "json_bytes", "blob_bindings": "byte_length"}
COUNTS = [f"SELECT COUNT(*), SUM({size}) FROM {table} WHERE stream_id = ?" for table, size in SIZES.items()]
GROUPS = [
    f"SELECT stream_id, COUNT(*), SUM({size}) FROM {table} GROUP BY stream_id"
    for table, size in SIZES.items()
]
COLUMNS = ", ".join(MEASURE_NAMES)
SUMS = f"SELECT {', '.join(f'SUM({name})' for name in MEASURE_NAMES)} FROM retained_size_connection"
SCANS = [f"SELECT SUM(length(CAST(data AS BLOB))) FROM {table}" for table in ("records", "record_changes")]
PAGE_RECORDS = 100
OF_STREAM = """
    SELECT s.id, c.connector_instance_id, s.name
    FROM streams s
    JOIN connections c ON c.id = s.connection_id
    WHERE s.id = ?
"""
OF_NAMES = """
    SELECT s.id
    FROM streams s
    JOIN connections c ON c.id = s.connection_id
    WHERE c.connector_instance_id = ? AND s.name = ?
"""
MIDDLE = "SELECT key FROM records WHERE stream_id = ? ORDER BY key LIMIT 1 OFFSET 2500"
ROWS = """
    SELECT key, version, data, json_bytes, emitted_at
    FROM records
    WHERE stream_id = ? AND key > ?
    ORDER BY key
    LIMIT 101
"""
COMMIT = "BEGIN IMMEDIATE; UPDATE retained_size_global SET computed_at = hex(randomblob(12)); COMMIT"


def ask(sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """The driver alone, on the connection that ours uses too."""
    return db.connection().execute(sql, values).fetchall()


def count_streams(streams: Ids) -> None:
    for stream, _ in streams:
        for sql in COUNTS:
            ask(sql, stream)


def rebuild() -> None:
    reconcile.begin_rebuild()
    reconcile.finish_rebuild()


def compare_with_raw() -> None:
    """Every stream's row, and the totals, hold what raw counts."""
    for stream, *figures in ask(f"SELECT stream_id, {COLUMNS} FROM retained_size_stream"):
        counted = [value or 0 for sql in COUNTS for value in ask(sql, stream)[0]]
        assert figures == counted, f"stream {stream}: {figures} is not {counted}"
    assert ask(SUMS) == ask(f"SELECT {COLUMNS} FROM retained_size_global"), "the totals differ"


# ---- what is measured --------------------------------------------------------------------------


def imports(folder: Path, records: int, repeat: int = 3) -> Iterator[Result]:
    file = folder / "lines.jsonl"
    write_file(file, records)
    command = ("-c", "from pdpp_ref.cli.main import main; main()")
    ours, raw = [], []
    for number in range(repeat):
        os.environ["PDPP_INSTANCE_PATH"] = str(folder / str(number))
        ours.append(run(*command, "import", file, "--connection", "bench"))
        raw.append(run(Path(__file__).with_name("raw_import.py"), file, folder / f"raw-{number}"))
        database = apsw.Connection(str(folder / str(number) / "pdpp-ref.sqlite3"))
        stored = database.execute(f"SELECT {COLUMNS} FROM retained_size_global").fetchone()
        assert stored == (*map(int, raw[-1][2].split()), 0, 0), "the two imports differ"
        database.close()
    took, raw_took = (statistics.median(each[0] for each in runs) for runs in (ours, raw))
    peak, raw_peak = (max(each[1] for each in runs) for runs in (ours, raw))
    started = run(*command, "--help")[0]
    note = f"peak {peak:.0f} MB, raw {raw_peak:.0f} MB; {started:.2f} s is start"
    yield Result(IMPORT, records, took, raw_took, note, peak)
    yield exports(folder / "0" / "pdpp-ref.sqlite3", records, repeat)


def exports(database: Path, records: int, repeat: int) -> Result:
    os.environ["PDPP_INSTANCE_PATH"] = str(database.parent)
    export = ("-c", "from pdpp_ref.cli.main import main; main()", "export", "--history")
    ours, raw = [], []
    for _ in range(repeat):
        ours.append(run(*export, count=True))
        raw.append(run(Path(__file__).with_name("raw_export.py"), database, count=True))
    assert int(ours[0][2]) > int(raw[0][2]) > 0, "an export has more than the texts"
    took, raw_took = (statistics.median(each[0] for each in runs) for runs in (ours, raw))
    peak = max(each[1] for each in ours)
    note = (
        f"peak {peak:.0f} MB, {int(ours[0][2]) / 1e6:,.0f} MB to a pipe, {int(raw[0][2]) / 1e6:,.0f} MB raw"
    )
    return Result(EXPORT, records, took, raw_took, note, peak)


def reads_and_reconciles(folder: Path, records: int, repeat: int) -> Iterator[Result | str]:
    """Everything but the import, on one database; a str is what helps to judge it."""
    settings = Settings(instance_path=str(folder))
    open_database(settings)
    load(records)
    auto = auto_reconcile(settings)

    def read() -> None:
        assert summary.read(auto).state == "fresh"

    large, twenty = streams_of("mail"), streams_of("account 0")
    reading = Case(READ, read, lambda: ask("SELECT * FROM retained_size_global WHERE id = 1"))
    paging = page_case(large[0][0])
    reconciles = (
        Case(TOTALS, read, lambda: ask(SUMS), before=lambda: mark([])),
        Case(ONE, read, lambda: count_streams(large), before=lambda: mark(large)),
        Case(TWENTY, read, lambda: count_streams(twenty), before=lambda: mark(twenty)),
    )
    rebuilding = Case(REBUILD, rebuild, lambda: [ask(sql) for sql in GROUPS])
    for case, ours, raw in (*in_turn(repeat * 10, reading, paging), *in_turn(repeat, *reconciles)):
        case.before()
        yield Result(case.operation, records, ours, raw, statements(case.ours))
    ((_, ours, raw),) = in_turn(max(3, repeat // 10), rebuilding)
    yield Result(REBUILD, records, ours, raw, f"{sum(1 for _ in layout(records))} streams")
    compare_with_raw()

    commit = statistics.median(seconds(lambda: ask(COMMIT)) for _ in range(repeat))
    scan = statistics.median(seconds(lambda: [ask(sql) for sql in SCANS]) for _ in range(3))
    yield (
        f"At {records:,} records, raw: a durable commit of one row takes {milliseconds(commit)}; "
        f"a scan that measures all data anew, {milliseconds(scan)}."
    )
    db.close()


def page_case(stream_id: int) -> Case:
    ((_, *names),) = ask(OF_STREAM, stream_id)
    ((middle,),) = ask(MIDDLE, stream_id)

    def ours() -> None:
        with read_snapshot():
            (stream,) = streams_read.find(None, *names)
            found = records_read.page(stream.id, middle, PAGE_RECORDS, descending=False)
        assert len(found.records) == PAGE_RECORDS

    def raw() -> None:
        ((found,),) = ask(OF_NAMES, *names)
        assert len(ask(ROWS, found, middle)) == PAGE_RECORDS + 1

    return Case(PAGE, ours, raw)


def mark(streams: Ids) -> None:
    with write_transaction():
        marks.mark_global()
        for stream, connection in streams:
            marks.mark_stream(stream, connection)


# ---- telling it --------------------------------------------------------------------------------


def row(each: Result) -> str:
    ours, raw = (
        f"{each.records / took:,.0f}/s" if each.operation in (IMPORT, EXPORT) else milliseconds(took)
        for took in (each.ours, each.raw)
    )
    ratio = each.ours / each.raw
    return f"{each.operation:<26}{each.records:>8,}{ours:>12}{raw:>12}{ratio:>8.1f}  {each.note}"


def milliseconds(taken: float) -> str:
    return f"{taken * 1000:,.{3 if taken < 0.001 else 2 if taken < 0.1 else 0}f} ms"


def aims(results: dict[tuple[str, int], Result]) -> Iterator[tuple[bool, str]]:
    """(met, what was aimed at and what was measured)."""
    sizes = [records for _, records in results]
    least, most = min(sizes), max(sizes)
    if least < most:
        growth = [results[name, most].ours / results[name, least].ours for name in (TOTALS, ONE, TWENTY)]
        shown = ", ".join(f"{each:.2f}" for each in growth)
        yield max(growth) < 1.25, f"repairs at {most:,} cost under 1.25 times those at {least:,}: {shown}"
    slowest = max(each.ours for each in results.values() if each.operation == ONE)
    yield slowest < 0.010, f"{ONE} records in under 10 ms: {milliseconds(slowest)}"
    ratio = max(each.ours / each.raw for each in results.values() if each.operation == PAGE)
    yield ratio < 2, f"{PAGE} in less than twice the raw time: {ratio:.1f}"
    imported = results[IMPORT, most]
    rate = most / imported.ours
    yield rate > 30_000, f"import of {most:,} over 30,000 records/s: {rate:,.0f}/s"
    exported = results[EXPORT, most]
    rate = most / exported.ours
    yield rate > 100_000, f"export of {most:,} over 100,000 records/s: {rate:,.0f}/s"
    yield exported.peak_mb < 150, f"export of {most:,} in under 150 MB: {exported.peak_mb:.0f} MB"
    yield imported.peak_mb < 150, f"import of {most:,} in under 150 MB: {imported.peak_mb:.0f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--repeat", type=int, default=60, help="how often each repair is timed")
    called = parser.parse_args()
    if min(called.records) < 2 * LARGE or any(records % SMALL for records in called.records):
        parser.error(f"--records must be multiples of {SMALL}, from {2 * LARGE}")
    for name in [name for name in os.environ if name.startswith("PDPP_")]:
        del os.environ[name]
    print(
        f"SQLite {apsw.sqlite_lib_version()}, Python {platform.python_version()}, {os.cpu_count()} cores\n"
    )
    print(f"{'operation':<26}{'records':>8}{'ours':>12}{'raw':>12}{'ratio':>8}  note")
    results: dict[tuple[str, int], Result] = {}
    remarks = []
    for records in sorted(set(called.records)):
        with tempfile.TemporaryDirectory() as folder:
            imported = imports(Path(folder), records)
            others = reads_and_reconciles(Path(folder) / "corpus", records, called.repeat)
            for each in chain(imported, others):
                if isinstance(each, str):
                    remarks.append(each)
                else:
                    results[each.operation, records] = each
                    print(row(each), flush=True)
    print("", *remarks, "", sep="\n")
    for met, what in aims(results):
        print("met    " if met else "NOT MET", what)


if __name__ == "__main__":
    main()
