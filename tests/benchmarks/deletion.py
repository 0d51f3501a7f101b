"""Deleting a large stream: how long until it is acknowledged, and how long each step holds locks.

python -m tests.benchmarks.deletion 1000000
python -m tests.benchmarks.deletion 300000 postgres
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pdpp_ref import database, migrations
from pdpp_ref.canonical import deletion
from pdpp_ref.canonical.removal import Removal
from pdpp_ref.queries import rankings
from tests.support.factories import fill
from tests.support.postgres import Shared, new_database, shared_url


def measure(url: str, records: int) -> None:
    database.connect(url, Path())
    migrations.prepare()
    fill(records, "large", size=200)
    fill(1000, "small", size=100)
    ranked = seconds(lambda: rankings.rows("record", "total_retained_bytes", 25))
    print(f"acknowledged after {seconds(lambda: deletion.delete_stream('laptop', 'large')) * 1000:.1f} ms")
    during = seconds(lambda: rankings.rows("record", "total_retained_bytes", 25))
    print(f"ranking: {ranked * 1000:.1f} ms before, {during * 1000:.1f} ms right after")
    removal, steps = Removal(), []
    while True:
        began = time.monotonic()
        more = removal.step(wait=True)
        steps.append(time.monotonic() - began)
        if not more:
            break
    print(
        f"{removal.rows:,} rows removed in {sum(steps):.1f} s; the longest of {len(steps)} steps took "
        f"{max(steps) * 1000:.0f} ms, half of them no more than {sorted(steps)[len(steps) // 2] * 1000:.0f} ms"
    )
    database.db.close()


def seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def main() -> None:
    records = int(sys.argv[1])
    if "postgres" not in sys.argv:
        with tempfile.TemporaryDirectory() as folder:
            measure(f"sqlite:///{folder}/large.sqlite3", records)
        return
    shared = Shared()
    try:
        with new_database(shared_url(shared.folder), "deletion") as url:
            measure(url, records)
    finally:
        shared.remove()


if __name__ == "__main__":
    main()
