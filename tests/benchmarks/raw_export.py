"""Selects every version's key and text with Python's own sqlite3 and writes them, a line each."""

import sqlite3
import sys


def main() -> None:
    database = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
    rows = database.execute("SELECT version, key, data FROM record_changes ORDER BY stream_id, version")
    while part := rows.fetchmany(2_000):
        sys.stdout.buffer.write(
            "".join(f"{version} {key} {data}\n" for version, key, data in part).encode()
        )


if __name__ == "__main__":
    main()
