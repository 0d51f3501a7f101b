"""What the tests need to act and to look: writing records, breaking things, counting apart."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from pdpp_ref.database import db, dicts, write_transaction
from pdpp_ref.models import RetainedSizeConnection, RetainedSizeGlobal, RetainedSizeStream, Stream
from pdpp_ref.services import ingest, retained_size, sizes, top
from pdpp_ref.services.messages import Change

PASSWORD = "an owner's password"
TOKEN = "an operator's token"

MEASURES = (
    "record_count",
    "current_record_json_bytes",
    "record_history_count",
    "record_history_json_bytes",
    "blob_count",
    "blob_bytes",
)
TOTAL = "total_retained_bytes"


class Clock:
    """A monotonic clock that moves when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def upsert(key: str, data: Any = None, stream: str = "notes") -> Change:
    text = json.dumps({"id": key} if data is None else data, separators=(",", ":"), ensure_ascii=False)
    return Change(stream, key, text)


def delete(key: str, stream: str = "notes") -> Change:
    return Change(stream, key, None)


def write(*changes: Change, connection: str = "laptop", connector: str = "files") -> ingest.Counts:
    return ingest.write(ingest.Target(connection, connector), changes)


def fill(records: int, stream: str = "notes", connection: str = "laptop", size: int = 40) -> None:
    """So many records of about `size` bytes, in batches."""
    for start in range(0, records, 2000):
        keys = range(start, min(start + 2000, records))
        write(*(upsert(f"{key:07}", {"t": "x" * size}, stream) for key in keys), connection=connection)


def mark(connection: str | None = None, stream: str | None = None) -> None:
    """Mark the global row, a connection or a stream, as `pdpp-ref mark-dirty` does."""
    with write_transaction():
        if connection is None:
            retained_size.mark_global()
            return
        row = ids(connection, stream)
        if stream is None:
            retained_size.mark_connection(row["connection"])
        else:
            retained_size.mark_stream(row["id"], row["connection"])


def ids(connection: str, stream: str | None = None) -> dict[str, Any]:
    from pdpp_ref.models import Connection

    query = Stream.select().join(Connection).where(Connection.connector_instance_id == connection)
    return dicts(query if stream is None else query.where(Stream.name == stream))[0]


def stored() -> dict[str, Any]:
    """All rows of the projection, as they stand."""
    return {
        table._meta.table_name: dicts(table.select().order_by(table._meta.primary_key))
        for table in (RetainedSizeStream, RetainedSizeConnection, RetainedSizeGlobal)
    }


@contextmanager
def statements() -> Iterator[list[str]]:
    """The SQL that reaches SQLite on this thread's connection."""
    seen: list[str] = []
    connection = db.connection()
    connection.exec_trace = lambda _cursor, sql, _values: seen.append(sql) or True
    try:
        yield seen
    finally:
        connection.exec_trace = None


class Outside:
    """Another connection to the same database file; it shares no code with what is tested.

    Not Python's own sqlite3: of two SQLite libraries in one process neither sees the other's locks.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.db = apsw.Connection(str(path))
        self.db.set_busy_timeout(5000)

    def __enter__(self) -> "Outside":
        return self

    def __exit__(self, *_: object) -> None:
        self.db.close()

    def __call__(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.db.execute(sql, values).fetchall()

    def fail(self, event: str, when: str = "TRUE", name: str = "broken", why: str = "broken") -> None:
        """A real failure: the database refuses `event` (say, `UPDATE ON retained_size_global`)."""
        body = f"SELECT RAISE(ABORT, '{why}')"
        self(f"CREATE TRIGGER {name} BEFORE {event} WHEN {when} BEGIN {body}; END")

    def mend(self, name: str = "broken") -> None:
        self(f"DROP TRIGGER {name}")

    def fail_repair(self, why: str = "broken") -> None:
        """No pass can publish totals; marks and deltas still work."""
        self.fail("UPDATE ON retained_size_global", "OLD.dirty AND NOT NEW.dirty", why=why)

    def recount(self) -> dict[int, dict[str, int]]:
        """The measures of each stream, by its id, counted in Python from the stored texts."""
        found: dict[int, dict[str, int]] = {}
        for (stream,) in self("SELECT id FROM streams"):
            current = [
                len(row[0].encode()) for row in self("SELECT data FROM records WHERE stream_id = ?", stream)
            ]
            history = [
                len((row[0] or "").encode())
                for row in self("SELECT data FROM record_changes WHERE stream_id = ?", stream)
            ]
            files = [
                size
                for (size,) in self(
                    "SELECT (SELECT COALESCE(SUM(LENGTH(data)), 0) FROM blob_chunks c WHERE c.sha256 = b.sha256) "
                    "FROM blob_bindings b WHERE stream_id = ?",
                    stream,
                )
            ]
            counts = (len(current), sum(current), len(history), sum(history), len(files), sum(files))
            found[stream] = dict(zip(MEASURES, counts, strict=True))
        return found

    def wrong_but_clean(self) -> list[str]:
        """What must never be: a row that is not dirty and whose figures are not a recount's."""
        self("BEGIN")
        try:
            streams = self.recount()
            of = dict(self("SELECT id, connection_id FROM streams"))
            wrong = self._wrong("stream", "stream_id", streams)
            connections: dict[int, dict[str, int]] = {}
            for (connection,) in self("SELECT id FROM connections"):
                rows = [row for stream, row in streams.items() if of[stream] == connection]
                connections[connection] = {name: sum(row[name] for row in rows) for name in MEASURES}
            wrong += self._wrong("connection", "connection_id", connections)
            total = {name: sum(row[name] for row in streams.values()) for name in MEASURES}
            return wrong + self._wrong("global", "id", {1: total})
        finally:
            self("COMMIT")

    def _wrong(self, grain: str, key: str, counted: dict[int, dict[str, int]]) -> list[str]:
        rows = self(f"SELECT {key}, dirty, {', '.join(MEASURES)} FROM retained_size_{grain}")
        return [
            f"{grain} {row_id}: {dict(zip(MEASURES, figures, strict=True))} != {counted.get(row_id)}"
            for row_id, dirty, *figures in rows
            if not dirty and dict(zip(MEASURES, figures, strict=True)) != counted.get(row_id)
        ]


def assert_sized_and_ranked(outside: Outside) -> None:
    """Sizes, and every ranking of every scope, are what counting and sorting all there is gives."""
    everything = _everything(outside)
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
    assert {name: getattr(sizes.global_size(), name) for name in whole} == whole
    for scope, measures in top.MEASURES_OF.items():
        for measure in measures:
            expected = sorted(everything[scope], key=lambda row: (-row[1][measure], row[0]))
            for limit in (1, 3, 25):
                found = top.rows(scope, measure, limit)
                assert [row["rank"] for row in found] == list(range(1, len(found) + 1))
                got = [
                    (
                        json.loads(row["grain_key"]),
                        {name: row[name] for name in (*MEASURES, TOTAL)},
                    )
                    for row in found
                ]
                assert got == expected[:limit], (scope, measure, limit)


def _everything(outside: Outside) -> dict[str, list[tuple[list[str], dict[str, int]]]]:
    """All that can be ranked, by (names, figures), from the stored texts and bytes."""
    figures: dict[str, dict[tuple[str, ...], list[int]]] = {scope: {} for scope in top.MEASURES_OF}

    def add(names: tuple[str, ...], *numbers: int) -> None:
        for scope, length in (("connection", 1), ("stream", 2), ("record", 3)):
            if length <= len(names):
                held = figures[scope].setdefault(names[:length], [0] * len(MEASURES))
                held[:] = map(sum, zip(held, numbers, strict=True))

    of = "JOIN streams s ON s.id = t.stream_id JOIN connections c ON c.id = s.connection_id"
    for (name,) in outside("SELECT connector_instance_id FROM connections"):
        add((name,), *[0] * 6)
    for names in outside(
        "SELECT connector_instance_id, name FROM streams JOIN connections c ON c.id = connection_id"
    ):
        add(names, *[0] * 6)
    columns = "c.connector_instance_id, s.name, t.key"
    for *names, data in outside(f"SELECT {columns}, data FROM records t {of}"):
        add(tuple(names), 1, len(data.encode()), 0, 0, 0, 0)
    for *names, data in outside(f"SELECT {columns}, data FROM record_changes t {of}"):
        add(tuple(names), 0, 0, 1, len((data or "").encode()), 0, 0)
    bytes_of: dict[str, int] = {}
    for sha256, data in outside("SELECT sha256, data FROM blob_chunks"):
        bytes_of[sha256] = bytes_of.get(sha256, 0) + len(data)
    for *names, sha256 in outside(f"SELECT {columns}, sha256 FROM blob_bindings t {of}"):
        size = bytes_of.get(sha256, 0)
        add(tuple(names), 0, 0, 0, 0, 1, size)
        figures["blob"][(*names, sha256)] = [0, 0, 0, 0, 1, size]
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
