"""The least that imports the same file and gives the same totals: what `imports.py` compares the command with.

    python raw_import.py FILE DATABASE [--indexed] [--batch RECORDS]

DATABASE is a file for SQLite or a URL of PostgreSQL.  It parses each line, stores the record's text as it came in
two tables, 2,000 records to a transaction, with the pragmas of pdpp_ref and a log as long as its, or by COPY.  It
checks nothing, knows that no record is there yet, has no index but the primary keys, and prints the totals that it
stored: records, their bytes, versions, their bytes.

`--indexed` adds the indexes that pdpp_ref has of all such records: the least that any import into its tables can cost.
"""

import argparse
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import msgspec

PRAGMAS = """
PRAGMA journal_mode = wal;
PRAGMA synchronous = full;
PRAGMA cache_size = -32768;
PRAGMA temp_store = memory;
PRAGMA wal_autocheckpoint = 4000;
"""
TABLES = """
CREATE TABLE totals (record_count BIGINT, record_bytes BIGINT, history_count BIGINT, history_bytes BIGINT);
INSERT INTO totals VALUES (0, 0, 0, 0);
CREATE TABLE records (
    stream TEXT, key TEXT, version BIGINT, data TEXT, json_bytes BIGINT, emitted_at TEXT,
    PRIMARY KEY (stream, key)
);
CREATE TABLE record_changes (
    stream TEXT, version BIGINT, key TEXT, data TEXT, json_bytes BIGINT, emitted_at TEXT,
    PRIMARY KEY (stream, version)
);
"""
INDEXES = """
CREATE INDEX records_versions ON records (stream, version, json_bytes);
CREATE INDEX changes_versions ON record_changes (stream, version, json_bytes);
"""
ADD = """
UPDATE totals
SET record_count = record_count + {0}, record_bytes = record_bytes + {1},
    history_count = history_count + {0}, history_bytes = history_bytes + {1}
"""

Row = tuple[Any, ...]
Store = Callable[[list[Row], list[Row], int], None]


class Line(msgspec.Struct):
    stream: str
    key: str
    data: msgspec.Raw
    emitted_at: str


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("database")
    parser.add_argument("--indexed", action="store_true")
    parser.add_argument("--batch", type=int, default=2_000)
    given = parser.parse_args()
    opened = _postgres if given.database.startswith("postgres") else _sqlite
    store, read_totals = opened(given.database, TABLES + INDEXES * given.indexed)
    decode = msgspec.json.Decoder(Line).decode
    versions: dict[str, int] = {}
    with open(given.file, "rb") as lines:
        while batch := [decode(line) for line in islice(lines, given.batch)]:
            store(*_rows(batch, versions))
    print(*read_totals())


def _rows(batch: Iterable[Line], versions: dict[str, int]) -> tuple[list[Row], list[Row], int]:
    """Rows of both tables, and the bytes of their texts."""
    records, changes, size = [], [], 0
    for line in batch:
        version = versions[line.stream] = versions.get(line.stream, 0) + 1
        text = bytes(line.data).decode()
        size += (length := len(line.data))
        records.append((line.stream, line.key, version, text, length, line.emitted_at))
        changes.append((line.stream, version, line.key, text, length, line.emitted_at))
    return records, changes, size


def _sqlite(database: str, tables: str) -> tuple[Store, Callable[[], Row]]:
    import apsw

    connection = apsw.Connection(database)
    connection.execute(PRAGMAS + tables).fetchall()

    def store(records: list[Row], changes: list[Row], size: int) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)", records)
        connection.executemany("INSERT INTO record_changes VALUES (?, ?, ?, ?, ?, ?)", changes)
        connection.execute(ADD.format(len(records), size))
        connection.execute("COMMIT")

    return store, lambda: connection.execute("SELECT * FROM totals").fetchone()


def _postgres(database: str, tables: str) -> tuple[Store, Callable[[], Row]]:
    import psycopg

    connection = psycopg.connect(database)
    connection.execute(tables)
    connection.commit()

    def store(records: list[Row], changes: list[Row], size: int) -> None:
        cursor = connection.cursor()
        for table, rows in (("records", records), ("record_changes", changes)):
            with cursor.copy(f"COPY {table} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        cursor.execute(ADD.format(len(records), size))
        connection.commit()

    return store, lambda: connection.execute("SELECT * FROM totals").fetchone() or ()


if __name__ == "__main__":
    main()
