"""Selects every version's key and text with Python's own sqlite3, or by COPY, and writes them, a line each."""

import sqlite3
import sys

SELECT = "SELECT version, key, data FROM record_changes ORDER BY stream_id, version"


def main(database: str) -> None:
    if database.startswith("postgres"):
        _postgres(database)
    else:
        _sqlite(database)


def _sqlite(database: str) -> None:
    rows = sqlite3.connect(f"file:{database}?mode=ro", uri=True).execute(SELECT)
    while part := rows.fetchmany(2_000):
        lines = "".join(f"{version} {key} {data}\n" for version, key, data in part)
        sys.stdout.buffer.write(lines.encode())


def _postgres(database: str) -> None:
    import psycopg

    with (
        psycopg.connect(database) as connection,
        connection.cursor().copy(f"COPY ({SELECT}) TO STDOUT") as copy,
    ):
        for block in copy:
            sys.stdout.buffer.write(block)


if __name__ == "__main__":
    main(sys.argv[1])
