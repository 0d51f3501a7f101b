"""Where the bytes of stored records are: `python -m tests.benchmarks.space [--records 100000]`.

For each database: what an empty one takes; then bytes per record of each table and index that has any, and of
PostgreSQL's log while they were written.  "Text" is the JSON of the live records, which is stored once more in their history.
"""

import argparse
from collections.abc import Sequence
from typing import NamedTuple

from tests.benchmarks import corpus
from tests.benchmarks.places import Place, servers_for
from tests.support.probe import DatabaseProbe

SQLITE = """
    SELECT name, SUM(pgsize)
    FROM dbstat
    GROUP BY name
"""
POSTGRES = """
    SELECT c.relname::text, pg_relation_size(c.oid) + COALESCE(pg_total_relation_size(NULLIF(c.reltoastrelid, 0)), 0)
    FROM pg_class c
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'i')
"""
TEXT = "SELECT current_record_json_bytes FROM retained_size_global"
WRITTEN = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint"
RELATIONS = {
    "sqlite": "SELECT COUNT(*) FROM sqlite_master WHERE type IN ('table', 'index')",
    "postgres": "SELECT COUNT(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i')",
}
SIZE = {
    "sqlite": "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
    "postgres": "SELECT pg_database_size(current_database())",
}
LEAST_BYTES = 1  # per record; below that it is not of records


class Part(NamedTuple):
    """A table or an index, and its bytes."""

    name: str
    bytes: int


def measure(place: Place) -> None:
    with place.opened() as probe:
        (((relations,),), ((size,),)) = (probe(sql[place.kind]) for sql in (RELATIONS, SIZE))
        print(f"\n{place.kind}, empty: {size / 1000:,.0f} kB, {relations} tables and indexes")
        before = _written(place, probe)
        corpus.load(place.records)
        written = _written(place, probe) - before
        parts = [Part(*row) for row in probe(SQLITE if place.kind == "sqlite" else POSTGRES)]
        ((text,),) = probe(TEXT)
        _print(place, parts, int(text), written)


def _written(place: Place, probe: DatabaseProbe) -> int:
    return int(probe(WRITTEN)[0][0]) if place.kind == "postgres" else 0


def _print(place: Place, parts: Sequence[Part], text: int, written: int) -> None:
    print(f"{place.kind}, {place.records:,} records: bytes per record")
    print(f"{text / place.records:8.0f}  text")
    for part in sorted(parts, key=lambda part: -part.bytes):
        if part.bytes >= LEAST_BYTES * place.records:
            print(f"{part.bytes / place.records:8.0f}  {part.name}")
    print(f"{sum(part.bytes for part in parts) / place.records:8.0f}  all tables and indexes")
    if written:
        print(f"{written / place.records:8.0f}  written to the log")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=int, default=100_000)
    called = parser.parse_args()
    with servers_for(["sqlite", "postgres"]) as server:
        for kind in ("sqlite", "postgres"):
            with Place(kind, called.records, 1, server) as place:
                measure(place)


if __name__ == "__main__":
    main()
