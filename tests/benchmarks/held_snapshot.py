"""What an old snapshot costs PostgreSQL: `python -m tests.benchmarks.held_snapshot [--writes 200]`.

Each write changes the one global row, and PostgreSQL keeps every version that an open snapshot may read: that of an
export, say.  Small writes and summaries are measured before one is opened, while it is open, and after it and a vacuum.
"""

import argparse
import statistics
from functools import partial

from pdpp_ref.canonical.records import Target, write
from pdpp_ref.config import Settings
from pdpp_ref.parsing.messages import Change
from pdpp_ref.parts import auto_reconcile
from pdpp_ref.services import summary
from tests.benchmarks.figures import milliseconds, seconds
from tests.benchmarks.places import Place, servers_for
from tests.support.probe import DatabaseProbe

DATA = '{"t":"%s"}' % ("x" * 200)
READS = 100
PAGES = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM retained_size_global WHERE id = 1"


def measure(place: Place, writes: int) -> None:
    with place.opened() as probe, DatabaseProbe(str(probe.db.info.dsn)) as holder:
        _show(probe, "no snapshot", 0, writes)
        holder("BEGIN ISOLATION LEVEL REPEATABLE READ")
        holder("SELECT 1 FROM records LIMIT 1")
        for turn in range(1, 4):
            _show(probe, "an old snapshot", turn, writes)
        holder("COMMIT")
        probe("VACUUM")
        _show(probe, "after it", 4, writes)


def _show(probe: DatabaseProbe, state: str, turn: int, writes: int) -> None:
    target = Target("bench", "bench")
    changes = [Change("stream", f"{turn}-{number}", DATA) for number in range(writes)]
    took = seconds(lambda: [write(target, [change]) for change in changes])
    read = partial(summary.read, auto_reconcile(Settings()))
    reads = statistics.median(seconds(read) for _ in range(READS))
    (((plan,),),) = probe(PAGES)
    pages = plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
    print(
        f"{state:<16}{writes * (turn + 1):>8,} writes in all  {writes / took:>6,.0f} writes/s"
        f"  summary {milliseconds(reads):>9}  {pages:>5,} pages to find the global row",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--writes", type=int, default=200, help="for each line")
    called = parser.parse_args()
    with servers_for(["postgres"]) as server, Place("postgres", 0, 1, server) as place:
        measure(place, called.writes)


if __name__ == "__main__":
    main()
