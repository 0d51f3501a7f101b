"""APSW, with the SQLite in its wheel, beside Python's sqlite3 with the system's: the same statements.

`python -m tests.benchmarks.drivers` prints both, in turn, with the ratio.
"""

import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apsw

ROWS, BATCH, ROUNDS = 100_000, 2_000, 5
TABLE = (
    "CREATE TABLE records (stream_id INTEGER NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL, "
    "data TEXT NOT NULL, json_bytes INTEGER NOT NULL, PRIMARY KEY (stream_id, key))"
)
INDEX = "CREATE INDEX covering ON records (stream_id, version, json_bytes)"
PRAGMAS = ("journal_mode = wal", "synchronous = full", "cache_size = -32768")


def with_apsw(path: Path) -> apsw.Connection:
    return apsw.Connection(str(path))


def with_sqlite3(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def insert(connection: Any) -> None:
    text = "x" * 300
    for start in range(0, ROWS, BATCH):
        rows = [(1, f"{number:07}", number, text, 300) for number in range(start, start + BATCH)]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?)", rows)
        connection.execute("COMMIT")


def look_up(connection: Any) -> None:
    for number in range(0, ROWS, 5):
        connection.execute(
            "SELECT data FROM records WHERE stream_id = 1 AND key = ?", (f"{number:07}",)
        ).fetchall()


def total(connection: Any) -> None:
    for _ in range(20):
        connection.execute("SELECT COUNT(*), SUM(json_bytes) FROM records WHERE stream_id = 1").fetchall()


WORK: Sequence[tuple[str, Callable[[Any], None]]] = (
    (f"insert {ROWS:,} rows", insert),
    (f"look up {ROWS // 5:,} rows", look_up),
    ("sum the covering index 20 times", total),
)


def seconds(connect: Callable[[Path], Any]) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        connection = connect(Path(folder, "drivers.sqlite3"))
        for statement in (*(f"PRAGMA {pragma}" for pragma in PRAGMAS), TABLE, INDEX):
            connection.execute(statement)
        found = []
        for _, work in WORK:
            began = time.perf_counter()
            work(connection)
            found.append(time.perf_counter() - began)
        connection.close()
        return found


def main() -> None:
    rounds = [(seconds(with_apsw), seconds(with_sqlite3)) for _ in range(ROUNDS)]
    print(f"APSW with SQLite {apsw.sqlite_lib_version()}, sqlite3 with SQLite {sqlite3.sqlite_version}")
    print(f"{'median of ' + str(ROUNDS):34}{'APSW':>10}{'sqlite3':>10}{'ratio':>8}")
    for place, (name, _) in enumerate(WORK):
        ours = statistics.median(apsw_times[place] for apsw_times, _ in rounds)
        theirs = statistics.median(sqlite3_times[place] for _, sqlite3_times in rounds)
        print(f"{name:34}{ours * 1000:8.0f}ms{theirs * 1000:8.0f}ms{ours / theirs:8.2f}")


if __name__ == "__main__":
    main()
