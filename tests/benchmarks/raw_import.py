"""The least that imports the same file and gives the same totals: what `bench.py` sets the command against.

    python raw_import.py FILE DATABASE

It parses each line, keeps the record's text as it came, and stores it in two tables, 2,000 records to a
transaction, with the pragmas of pdpp_ref.  It checks nothing, knows that no record is there yet, has no
index but the primary keys, and prints the totals that it kept: records, their bytes, versions, their bytes.
"""

import sys
from itertools import islice

import apsw
import msgspec

BATCH_RECORDS = 2_000
SCHEMA = """
PRAGMA journal_mode = wal;
PRAGMA synchronous = full;
PRAGMA cache_size = -32768;
PRAGMA temp_store = memory;
CREATE TABLE totals (record_count INTEGER, record_bytes INTEGER, history_count INTEGER, history_bytes INTEGER);
INSERT INTO totals VALUES (0, 0, 0, 0);
CREATE TABLE records (
    stream TEXT, key TEXT, version INTEGER, data TEXT, json_bytes INTEGER, emitted_at TEXT,
    PRIMARY KEY (stream, key)
);
CREATE TABLE record_changes (
    stream TEXT, version INTEGER, key TEXT, data TEXT, json_bytes INTEGER, emitted_at TEXT,
    PRIMARY KEY (stream, version)
);
"""


class Line(msgspec.Struct):
    stream: str
    key: str
    data: msgspec.Raw
    emitted_at: str


def main(file: str, database: str) -> None:
    connection = apsw.Connection(database)
    connection.execute(SCHEMA).fetchall()
    decode = msgspec.json.Decoder(Line).decode
    versions: dict[str, int] = {}
    with open(file, "rb") as lines:
        while batch := [decode(line) for line in islice(lines, BATCH_RECORDS)]:
            store(connection, batch, versions)
    print(*connection.execute("SELECT * FROM totals").fetchone())


def store(connection: apsw.Connection, batch: list[Line], versions: dict[str, int]) -> None:
    records, changes, size = [], [], 0
    for line in batch:
        version = versions[line.stream] = versions.get(line.stream, 0) + 1
        text = bytes(line.data).decode()
        size += (length := len(line.data))
        records.append((line.stream, line.key, version, text, length, line.emitted_at))
        changes.append((line.stream, version, line.key, text, length, line.emitted_at))
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)", records)
    connection.executemany("INSERT INTO record_changes VALUES (?, ?, ?, ?, ?, ?)", changes)
    connection.execute(
        "UPDATE totals SET record_count = record_count + ?1, record_bytes = record_bytes + ?2, "
        "history_count = history_count + ?1, history_bytes = history_bytes + ?2",
        (len(batch), size),
    )
    connection.execute("COMMIT")


if __name__ == "__main__":
    main(*sys.argv[1:])
