"""What writing costs: imports of one stream and of many, over HTTP, rebuilding, reconciling and pruning.

    python -m tests.benchmarks.writes import --on postgres

- import: records of about 300 bytes through the importer, in this process: of one stream, and of 500 whose
  lines take turns.  Raw is `raw_import.py` with the lines of one stream.
- http: the same lines of one stream in bodies of 500 lines, through Flask's test client.
- rebuild: a million records in 4,000 streams, or `--records`.  Raw is the SQL of `raw_rebuild`, which
  groups the covering indexes by stream, and stores the sums and the earliest and latest times at all
  grains.  It derives no rollups, and records no days.
- totals: a pass that finds the global row alone dirty, at several sizes.
- prune: ten versions of each of 10,000 records, down to one; the longest transaction.

Everything is repeated in turn, `--repeat` times, and the medians are shown: of processor time, our own and
that of PostgreSQL's process, so that a busy machine distorts them little; `--wall` shows elapsed time.
"""

import argparse
import io
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from itertools import islice
from pathlib import Path
from typing import Any

from pdpp_ref import database, migrations
from pdpp_ref.canonical import records, retention
from pdpp_ref.canonical.importer import Importer
from pdpp_ref.database import db, execute, fetch_all, write_transaction
from pdpp_ref.models.measures import MEASURES
from pdpp_ref.parsing.messages import Change
from pdpp_ref.projection import marks
from pdpp_ref.projection.grains import CONNECTION, GLOBAL, STREAM
from pdpp_ref.services import reconcile
from tests.support import postgres

sys.path.insert(0, str(Path(__file__).parent))
from corpus import lines

STREAMS = 500
TARGET = records.Target("bench", "bench")
BODY_LINES = 500


def seconds(work: Callable[[], object]) -> float:
    """Of processor time, or of elapsed time if CLOCK is that."""
    began = CLOCK()
    work()
    return CLOCK() - began


def processor_time() -> float:
    """Of this process, and of the server's process that works for it."""
    return time.process_time() + _of_server()


def _of_server() -> float:
    connection = None if db.is_closed() or is_sqlite() else db.connection()
    if connection is None:
        return 0.0
    fields = Path(f"/proc/{connection.info.backend_pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


CLOCK = processor_time


def one_stream(records: int) -> list[bytes]:
    return list(lines("messages", records))


def interleaved(records: int) -> list[bytes]:
    """The same records, each of another stream than the one before."""
    return [
        line.replace(b'"messages"', b'"stream %d"' % (number % STREAMS), 1)
        for number, line in enumerate(lines("messages", records))
    ]


def import_lines(received: list[bytes]) -> None:
    report = Importer(TARGET, lambda _: None, lambda _: None).run(received)
    assert report.counts.created == len(received)


def show(title: str, number: int, taken: float, other: float, name: str) -> None:
    print(f"{title:<32}{number / taken:>12,.0f}/s   {other / taken:.2f} of {name}", flush=True)


# ---- what is measured --------------------------------------------------------------------------


def imports(server: str, called: argparse.Namespace) -> None:
    number = called.records or 50_000
    sources = {"one stream": one_stream(number), f"{STREAMS} streams": interleaved(number)}
    taken: dict[str, list[float]] = {name: [] for name in (*sources, "raw")}
    for _ in range(called.repeat):
        for name, received in sources.items():
            with fresh(server):
                taken[name].append(seconds(lambda received=received: import_lines(received)))
        taken["raw"].append(raw_import(sources["one stream"]))
    medians = {name: statistics.median(each) for name, each in taken.items()}
    show("raw", number, medians["raw"], medians["raw"], "raw sqlite")
    show("one stream", number, medians["one stream"], medians["raw"], "raw sqlite")
    show(f"{STREAMS} streams", number, medians[f"{STREAMS} streams"], medians["one stream"], "one stream")


def raw_import(received: list[bytes]) -> float:
    """Seconds of raw_import.py, without its start."""
    import raw_import as raw

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "lines"
        file.write_bytes(b"\n".join(received))
        with redirect_stdout(io.StringIO()):
            return seconds(lambda: raw.main(str(file), f"{folder}/raw"))


def rebuild(server: str, called: argparse.Namespace) -> None:
    number = called.records or 1_000_000
    with fresh(server):
        fill_streams(number, 4_000)
        analyze()
        ours, raw = [], []
        for _ in range(called.repeat):
            ours.append(seconds(rebuild_ours))
            raw.append(seconds(raw_rebuild))
        ours_median, raw_median = statistics.median(ours), statistics.median(raw)
        print(
            f"rebuild: {ours_median:.2f} s, raw {raw_median:.2f} s: {ours_median / raw_median:.1f} times raw"
        )


def rebuild_ours() -> None:
    reconcile.begin_rebuild()
    reconcile.finish_rebuild()


def raw_rebuild() -> None:
    """The least SQL that recomputes all rows of the projection."""
    with write_transaction():
        execute(
            f"CREATE {'TEMP ' if is_sqlite() else 'TEMPORARY '}TABLE counted (id BIGINT, {_columns('BIGINT')})"
        )
        for table in dict.fromkeys(measure.table for measure in MEASURES):
            of_table = [measure for measure in MEASURES if measure.table == table]
            execute(
                f"INSERT INTO counted (id, {', '.join(each.name for each in of_table)}) "
                f"SELECT stream_id, {', '.join(each.expression for each in of_table)} "
                f"FROM {table} GROUP BY stream_id"
            )
        sums = ", ".join(f"SUM({measure.name}) AS {measure.name}" for measure in MEASURES)
        sets = ", ".join(f"{m.name} = COALESCE(t.{m.name}, 0)" for m in MEASURES)
        execute(
            f"UPDATE retained_size_stream SET {sets}, {STREAM.extents} "
            f"FROM (SELECT id, {sums} FROM counted GROUP BY id) t WHERE stream_id = t.id"
        )
        execute(
            f"UPDATE retained_size_connection SET {sets}, {CONNECTION.extents} FROM (SELECT connection_id, {sums} "
            "FROM retained_size_stream GROUP BY connection_id) t "
            "WHERE retained_size_connection.connection_id = t.connection_id"
        )
        execute(
            f"UPDATE retained_size_global SET {sets}, {GLOBAL.extents} FROM (SELECT {sums} FROM retained_size_connection) t"
        )
        execute("DROP TABLE counted")


def _columns(kind: str) -> str:
    return ", ".join(f"{measure.name} {kind}" for measure in MEASURES)


def totals(server: str, called: argparse.Namespace) -> None:
    """Streams are what a pass could depend on: so there are few records in each."""
    with fresh(server):
        for streams in (100, 1_000, 10_000):
            fill_streams(25 * streams, streams)
            analyze()
            taken = [one_pass() for _ in range(100)]
            print(
                f"{25 * streams:>10,} records in {streams:,} streams: {statistics.median(taken) * 1000:.2f} ms"
            )


def one_pass() -> float:
    with write_transaction():
        marks.mark_global()
    return seconds(lambda: reconcile.run_pass(reconcile.Limits()))


def prune(server: str, called: argparse.Namespace) -> None:
    keys, versions = 10_000, called.records or 10
    with fresh(server):
        for version in range(versions):
            for start in range(0, keys, 2_000):
                changes = [
                    Change("notes", f"{key:07}", f'{{"text":"{"x" * 200}","v":{version}}}')
                    for key in range(start, start + 2_000)
                ]
                records.write(TARGET, changes)
        analyze()
        longest = 0.0
        with timed_transactions() as transactions:
            taken = seconds(lambda: retention.prune(1))
        longest = max(transactions)
        number = keys * (versions - 1)
        assert fetch_all("SELECT COUNT(*) FROM record_changes") == [(keys,)]
        print(
            f"prune: {number:,} versions in {taken:.2f} s: {number / taken:,.0f}/s; the longest of "
            f"{len(transactions)} transactions took {longest * 1000:.0f} ms"
        )


@contextmanager
def timed_transactions() -> Iterator[list[float]]:
    taken: list[float] = []
    ordinary = retention.write_transaction

    @contextmanager
    def timed() -> Iterator[None]:
        began = time.perf_counter()
        with ordinary():
            yield
        taken.append(time.perf_counter() - began)

    retention.write_transaction = timed  # type: ignore[assignment]
    try:
        yield taken
    finally:
        retention.write_transaction = ordinary


def http(server: str, called: argparse.Namespace) -> None:
    from pdpp_ref.application import create_app

    number = called.records or 50_000
    received = one_stream(number)
    bodies, rest = [], iter(received)
    while part := list(islice(rest, BODY_LINES)):
        bodies.append(b"\n".join(part))
    command, over_http = [], []
    for _ in range(called.repeat):
        with fresh(server):
            command.append(seconds(lambda: import_lines(received)))
        with fresh(server) as url, tempfile.TemporaryDirectory() as folder:
            app = create_app({"DATABASE_URL": url, "INSTANCE_PATH": folder, "OPERATOR_TOKEN": "bench-" * 8})
            client = app.test_client()
            over_http.append(seconds(lambda client=client: send(client, bodies)))
    ours, other = statistics.median(over_http), statistics.median(command)
    show(f"http, {BODY_LINES} lines a body", number, ours, other, "the import")


def send(client: Any, bodies: list[bytes]) -> None:
    for body in bodies:
        answer = client.post(
            "/v1/ingest/messages?connector_id=bench",
            data=body,
            headers={"Authorization": "Bearer " + "bench-" * 8},
        )
        assert answer.status_code == 200, answer.text


# ---- the databases -----------------------------------------------------------------------------


@contextmanager
def fresh(server: str) -> Iterator[str]:
    """The URL of an open, empty database with our tables."""
    if server:
        with postgres.new_database(server, "bench") as url:
            yield from opened(url)
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield from opened(f"sqlite:///{folder}/bench.sqlite3")


def opened(url: str) -> Iterator[str]:
    database.connect(url, Path())
    migrations.prepare()
    yield url
    db.close()


def is_sqlite() -> bool:
    return type(db.obj).__name__ == "Sqlite"


def analyze() -> None:
    """What PostgreSQL does by itself, some time after much was written."""
    if not is_sqlite():
        with db.connection_context():
            db.connection().execute("ANALYZE")


def fill_streams(number: int, streams: int) -> None:
    """Streams in connections of 100, with short records; those that exist already stay as they are."""
    chance = random.Random(streams)
    each = number // streams
    for first in range(0, streams, 100):
        changes = [
            Change(f"stream {stream}", f"{key:07}", f'{{"n":{chance.getrandbits(32)}}}')
            for stream in range(first, first + 100)
            for key in range(each)
        ]
        for start in range(0, len(changes), 5_000):
            records.write(
                records.Target(f"account {streams} {first}", "bench"), changes[start : start + 5_000]
            )


WORKS = {"import": imports, "http": http, "rebuild": rebuild, "totals": totals, "prune": prune}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="+", choices=WORKS)
    parser.add_argument("--on", choices=["sqlite", "postgres"], nargs="+", default=["sqlite", "postgres"])
    parser.add_argument("--records", type=int)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--wall", action="store_true", help="measure elapsed time")
    called = parser.parse_args()
    if called.wall:
        global CLOCK
        CLOCK = time.perf_counter
    named = os.environ.get(postgres.NAMED)
    for name in [name for name in os.environ if name.startswith("PDPP_")]:
        del os.environ[name]
    server = None
    try:
        for kind in called.on:
            if kind == "postgres" and not named:
                server = postgres.Server(autovacuum="on")
                named = server.url
            print(kind)
            for what in called.what:
                WORKS[what]((named or "") if kind == "postgres" else "", called)
    finally:
        if server:
            server.remove()


if __name__ == "__main__":
    main()
