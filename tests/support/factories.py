"""What the tests need to act and to look: writing records, counting statements, ranking apart.

`DatabaseProbe`, which breaks things and counts apart, is in `outside.py`.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import psycopg
from flask.testing import FlaskClient

from pdpp_ref.canonical import records
from pdpp_ref.canonical.removal import remove_all
from pdpp_ref.database import db, fetch_dicts, write_transaction
from pdpp_ref.database.sqlite import Sqlite
from pdpp_ref.models import (
    RetainedSizeConnection,
    RetainedSizeGlobal,
    RetainedSizeStream,
    locking,
)
from pdpp_ref.parsing.messages import Change
from pdpp_ref.projection import marks, ranked
from pdpp_ref.projection.rows import global_row
from pdpp_ref.queries import rankings, sizes
from pdpp_ref.schemas import dataset
from tests.support.probe import MEASURES, DatabaseProbe

__all__ = ["MEASURES", "DatabaseProbe"]

PASSWORD = "an owner's password"
TOKEN = "an operator's token"

TOTAL = "total_retained_bytes"


class Clock:
    """A monotonic clock that moves when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Calendar(datetime):
    """The program's wall clock, which says what it was set to; see the fixture `calendar`."""

    moment = datetime(2026, 3, 1, 12, tzinfo=UTC)

    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        return cls.moment


def upsert(key: str, data: Any = None, stream: str = "notes") -> Change:
    text = json.dumps({"id": key} if data is None else data, separators=(",", ":"), ensure_ascii=False)
    return Change(stream, key, text)


def delete(key: str, stream: str = "notes") -> Change:
    return Change(stream, key, None)


def write(*changes: Change, connection: str = "laptop", connector: str = "files") -> records.Counts:
    return records.write(records.Target(connection, connector), changes).counts


def remove_deleted() -> None:
    """Remove the rows of deleted streams, as the server does in the background."""
    remove_all()


def fill(records: int, stream: str = "notes", connection: str = "laptop", size: int = 40) -> None:
    """So many records of about `size` bytes, in batches."""
    for start in range(0, records, 2000):
        keys = range(start, min(start + 2000, records))
        write(*(upsert(f"{key:07}", {"t": "x" * size}, stream) for key in keys), connection=connection)


def make_connections(probe: DatabaseProbe, number: int, name: str = "'c' || i") -> None:
    """So many connections of one record each, from 1 byte on; every fifth is as large as the one before."""
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {number})"
    probe("BEGIN")
    probe(
        "INSERT INTO connections (connector_id, connector_instance_id, created_at) "
        f"{numbers} SELECT 'files', {name}, '2020-01-01T00:00:00.000Z' FROM n"
    )
    probe(
        "INSERT INTO retained_size_connection (connection_id, connection_name, record_count, "
        "current_record_json_bytes, record_history_count, record_history_json_bytes, stream_count, "
        "computed_at) SELECT id, connector_instance_id, 1, id - id % 5 + 1, 1, id - id % 5 + 1, 1, "
        "'2026-01-01T00:00:00.000Z' FROM connections"
    )
    probe(f"INSERT INTO retained_size_connector (connector_id, record_count) VALUES ('files', {number})")
    sums = ", ".join(
        f"{name} = (SELECT SUM({name}) FROM retained_size_connection)"
        for name in (*MEASURES, "stream_count")
    )
    probe(f"UPDATE retained_size_global SET connection_count = {number}, {sums}")
    probe("COMMIT")


def mark(connection: str | None = None, stream: str | None = None) -> None:
    """Mark the global row, a connection or a stream, as `pdpp-ref mark-dirty` does."""
    with write_transaction():
        if connection is None:
            marks.mark_global()
            return
        locked = locking.lock_connection_shared(connection)
        if locked and stream is not None:
            locking.lock_stream_shared(locked[0], stream)
        row = ids(connection, stream)
        if stream is None:
            marks.mark_connection(row["connection"])
        else:
            marks.mark_stream(row["id"], row["connection"])


def ids(connection: str, stream: str | None = None) -> dict[str, Any]:
    rows = fetch_dicts(
        """
        SELECT s.id, s.connection_id AS connection
        FROM streams s
        JOIN connections c ON c.id = s.connection_id
        WHERE c.connector_instance_id = ? AND s.name = COALESCE(?, s.name)
        """,
        (connection, stream),
    )
    return rows[0]


def stored() -> dict[str, Any]:
    """All rows of the projection, as they stand."""
    return {
        table._meta.table_name: list(table.select().order_by(table._meta.primary_key).dicts())
        for table in (RetainedSizeStream, RetainedSizeConnection, RetainedSizeGlobal)
    }


@contextmanager
def statements() -> Iterator[list[str]]:
    """The SQL that reaches the database on this thread's connection."""
    seen: list[str] = []
    with traced(seen.append):
        yield seen


_SENT = re.compile(
    r"INSERT INTO (\w+ \([^)]*\)) SELECT \* FROM unnest\([^)]*\) AS given\([^)]*\)$|"
    r"COPY (\w+ \([^)]*\)) FROM STDIN \(FORMAT BINARY\)"
)


def whole(seen: Sequence[str]) -> list[str]:
    """The statements as the program ran them, with lists of values cut short.

    SQLite's driver reports a statement once for each group of rows; PostgreSQL gets many new rows by COPY.
    """
    named = [re.sub('"s[0-9a-f]{32}"', "a savepoint", sql) for sql in seen]
    short = [re.sub(r"\?(, \?)+|(%s|\(\?, \?\))(, (%s|\(\?, \?\)))+", "...", sql) for sql in named]
    if not isinstance(db.obj, Sqlite):
        return [_SENT.sub(lambda found: f"INSERT INTO {found[1] or found[2]} ...", sql) for sql in short]
    of_one_row = [re.sub(r"(\(\.\.\.\))(, \(\.\.\.\))+", r"\1", sql) for sql in short]
    return [sql for sql, _ in groupby(of_one_row)]


@contextmanager
def traced(before: Callable[[str], object]) -> Iterator[None]:
    """Call `before` with every statement of this thread's connection, on one line; what it raises, the
    driver raises.
    """
    connection = db.connection()
    if isinstance(db.obj, Sqlite):
        connection.exec_trace = lambda _cursor, sql, _values: (before(_one_line(sql)), True)[1]
        try:
            yield
        finally:
            connection.exec_trace = None
        return

    class Traced(psycopg.Cursor[Any]):
        def execute(self, query: Any, *values: Any, **options: Any) -> Any:
            before(_one_line(query))
            return super().execute(query, *values, **options)

        def executemany(self, query: Any, *values: Any, **options: Any) -> None:
            before(_one_line(query))
            super().executemany(query, *values, **options)

        def copy(self, statement: Any, *values: Any, **options: Any) -> Any:
            before(_one_line(statement))
            return super().copy(statement, *values, **options)

    connection.cursor_factory, ordinary = Traced, connection.cursor_factory
    try:
        yield
    finally:
        connection.cursor_factory = ordinary


def _one_line(sql: str) -> str:
    return " ".join(sql.split())


def assert_sized_and_ranked(probe: DatabaseProbe) -> None:
    """Sizes, and every ranking of every scope, are what counting and sorting all there is gives."""
    everything = _everything(probe)
    for grain in ("connection", "stream"):
        names = ("connector_instance_id", "stream")[: 1 + (grain == "stream")]
        found = [
            (
                [getattr(row, name) for name in names],
                {name: getattr(row, name) for name in (*MEASURES, TOTAL)},
            )
            for row in sizes.rows(grain)
        ]
        assert found == sorted(everything[grain])
    whole = {name: sum(row[name] for _, row in everything["connection"]) for name in (*MEASURES, TOTAL)}
    assert {name: getattr(global_row(), name) for name in whole} == whole
    for scope, measures in rankings.MEASURES_OF.items():
        for measure in measures:
            expected = sorted(everything[scope], key=lambda row: (-row[1][measure], row[0]))
            for limit in (1, 2, 3, 25):
                if scope == "record" and limit > ranked.RANKED:
                    continue  # the test has made it smaller
                found = top_rows(scope, measure, limit)
                assert [row.rank for row in found] == list(range(1, len(found) + 1))
                got = [
                    (
                        json.loads(row.grain_key),
                        {name: getattr(row, name) for name in (*MEASURES, TOTAL)},
                    )
                    for row in found
                ]
                assert got == expected[:limit], (scope, measure, limit)


def assert_ranked(probe: DatabaseProbe) -> None:
    """Of records without a rollup, each that is not ranked has enough of its block before it that are."""
    blocks: dict[tuple[int, int], list[tuple[int, str, bool]]] = {}
    for stream_id, version, size, key, is_ranked in probe(
        """
        SELECT stream_id, version, json_bytes, key, ranked
        FROM records
        JOIN streams ON id = stream_id AND connection_id IS NOT NULL
        WHERE NOT has_rollup
        """
    ):
        block = blocks.setdefault((stream_id, ranked.block_of(version)), [])
        block.append((-size, key, bool(is_ranked)))
    for block in blocks.values():
        before = 0
        for _, key, is_ranked in sorted(block):
            assert is_ranked or before >= ranked.RANKED, key
            before += is_ranked


def top_rows(scope: Any, measure: str, limit: int) -> list[dataset.TopRow]:
    """A ranking as the API has it."""
    return dataset.top_rows(scope, measure, rankings.rows(scope, measure, limit))


def _everything(probe: DatabaseProbe) -> dict[str, list[tuple[list[str], dict[str, int]]]]:
    """All that can be ranked, by (names, figures), from the stored texts and bytes."""
    figures: dict[str, dict[tuple[str, ...], list[int]]] = {scope: {} for scope in rankings.MEASURES_OF}

    def add(names: tuple[str, ...], *numbers: int) -> None:
        for scope, length in (("connection", 1), ("stream", 2), ("record", 3)):
            if length <= len(names):
                held = figures[scope].setdefault(names[:length], [0] * len(MEASURES))
                held[:] = map(sum, zip(held, numbers, strict=True))

    of = "JOIN streams s ON s.id = t.stream_id JOIN connections c ON c.id = s.connection_id"
    for (name,) in probe("SELECT connector_instance_id FROM connections"):
        add((name,), *[0] * 6)
    for names in probe(
        "SELECT connector_instance_id, name FROM streams JOIN connections c ON c.id = connection_id"
    ):
        add(names, *[0] * 6)
    columns = "c.connector_instance_id, s.name, t.key"
    for *names, data in probe(f"SELECT {columns}, data FROM records t {of}"):
        add(tuple(names), 1, len(data.encode()), 0, 0, 0, 0)
    for *names, data in probe(f"SELECT {columns}, data FROM record_changes t {of}"):
        add(tuple(names), 0, 0, 1, len((data or "").encode()), 0, 0)
    bytes_of: dict[str, int] = {}
    for sha256, data in probe("SELECT sha256, data FROM blob_chunks"):
        bytes_of[sha256] = bytes_of.get(sha256, 0) + len(data)
    for *names, sha256 in probe(f"SELECT {columns}, sha256 FROM blob_bindings t {of}"):
        size = bytes_of.get(sha256, 0)
        add(tuple(names), 0, 0, 0, 0, 1, size)
        figures["blob"][(*names, f"blob_sha256_{sha256}")] = [0, 0, 0, 0, 1, size]
    return {
        scope: [
            (
                list(names),
                dict(zip(MEASURES, numbers, strict=True)) | {TOTAL: sum(numbers[1::2])},
            )
            for names, numbers in rows.items()
        ]
        for scope, rows in figures.items()
    }


def csrf_token(client: FlaskClient, page: str = "/dashboard") -> str:
    """That of the forms of a page."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', client.get(page).text)
    assert found
    return found[1]
