"""Another connection to the database that is tested: it looks, breaks things, and counts apart.

It shares no code with what is tested.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import apsw
import psycopg

from tests.support import postgres

MEASURES = (
    "record_count",
    "current_record_json_bytes",
    "record_history_count",
    "record_history_json_bytes",
    "blob_count",
    "blob_bytes",
)

LOCKS_MS = 5000
RECONCILE_LOCK = "7663001, 'pdpp_ref_schema'::regclass::oid::int"


class DatabaseProbe:
    """`DatabaseProbe(place)` is of a file's path or of a setting, `sqlite:///path` or `postgresql://...`.

    `probe("SELECT ...", value)` is the rows; each statement commits by itself.
    """

    snapshot: str

    def __new__(cls, place: Path | str) -> "DatabaseProbe":
        is_file = isinstance(place, Path) or place.startswith("sqlite")
        return super().__new__(SqliteProbe if is_file else PostgresProbe)

    def __init__(self, place: Path | str) -> None:
        raise NotImplementedError

    def __enter__(self) -> "DatabaseProbe":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def fail(self, event: str, when: str = "TRUE", name: str = "broken", why: str = "broken") -> None:
        """A real failure: the database refuses `event` (say, `UPDATE ON retained_size_global`)."""
        raise NotImplementedError

    def ignore(self, event: str, name: str = "broken") -> None:
        """The database says that it did `event`, and does not."""
        raise NotImplementedError

    def restore(self, name: str = "broken") -> None:
        raise NotImplementedError

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Another writer holds what a pass needs: the file, or the right to repair."""
        raise NotImplementedError
        yield

    def fail_reconcile(self, why: str = "broken") -> None:
        """No pass can publish totals; marks and deltas still work."""
        self.fail("UPDATE ON retained_size_global", "OLD.dirty AND NOT NEW.dirty", why=why)

    def dirty(self) -> tuple[int, int, int]:
        """How many rows are dirty at each grain: stream, connection, global."""
        counts = [
            self(f"SELECT COUNT(*) FROM retained_size_{grain} WHERE dirty")[0][0]
            for grain in ("stream", "connection", "global")
        ]
        return (counts[0], counts[1], counts[2])

    def columns(self) -> dict[str, list[str]]:
        """The columns of each table."""
        raise NotImplementedError

    def await_the_dead(self) -> None:
        """Until it has noticed that clients were killed; a server finishes what it was told."""

    def is_corrupt(self) -> bool:
        """Whether the database contradicts itself, as far as it can tell."""
        return False

    def names(self) -> dict[tuple[str, Any], tuple[str, ...]]:
        """What (`connection_id` or `stream_id`, number) stand for."""
        named = "SELECT s.id, connector_instance_id, name FROM streams s JOIN connections c ON c.id = connection_id"
        connections = self("SELECT id, connector_instance_id FROM connections")
        return {("stream_id", number): (*of,) for number, *of in self(named)} | {
            ("connection_id", number): (name,) for number, name in connections
        }

    def plain_count(self) -> dict[int, dict[str, int]]:
        """The measures of each stream, by its id, counted in Python from the stored texts."""
        found = {stream: dict.fromkeys(MEASURES, 0) for (stream,) in self("SELECT id FROM streams")}
        for table, count, size in (
            ("records", "record_count", "current_record_json_bytes"),
            ("record_changes", "record_history_count", "record_history_json_bytes"),
        ):
            for stream, data in self(f"SELECT stream_id, data FROM {table}"):
                found[stream][count] += 1
                found[stream][size] += len((data or "").encode())
        files: dict[str, int] = {}
        for sha256, size in self("SELECT sha256, LENGTH(data) FROM blob_chunks"):
            files[sha256] = files.get(sha256, 0) + size
        for stream, sha256 in self("SELECT stream_id, sha256 FROM blob_bindings"):
            found[stream]["blob_count"] += 1
            found[stream]["blob_bytes"] += files.get(sha256, 0)
        return found

    def wrong_but_clean(self) -> list[str]:
        """What must never be: a row that is not dirty and whose figures are not a recount's."""
        self(self.snapshot)
        try:
            streams = self.plain_count()
            of = dict(self("SELECT id, connection_id FROM streams"))
            streams = {stream: row for stream, row in streams.items() if of[stream] is not None}
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


class SqliteProbe(DatabaseProbe):
    """Not Python's own sqlite3: of two SQLite libraries in one process neither sees the other's locks."""

    snapshot = "BEGIN"

    def __init__(self, place: Path | str) -> None:
        path = place if isinstance(place, Path) else urlsplit(place).path[1:]
        self.db = apsw.Connection(str(path))
        self.db.set_busy_timeout(LOCKS_MS)

    def __call__(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.db.execute(sql, values).fetchall()

    def close(self) -> None:
        self.db.close()

    def columns(self) -> dict[str, list[str]]:
        tables = self("SELECT name FROM sqlite_master WHERE type = 'table'")
        of_table = "SELECT name FROM pragma_table_info(?)"
        return {table: [name for (name,) in self(of_table, table)] for (table,) in tables}

    def is_corrupt(self) -> bool:
        return self("PRAGMA integrity_check") != [("ok",)]

    def fail(self, event: str, when: str = "TRUE", name: str = "broken", why: str = "broken") -> None:
        body = f"SELECT RAISE(ABORT, '{why}')"
        self(f"CREATE TRIGGER {name} BEFORE {event} WHEN {when} BEGIN {body}; END")

    def ignore(self, event: str, name: str = "broken") -> None:
        self(f"CREATE TRIGGER {name} BEFORE {event} BEGIN SELECT RAISE(IGNORE); END")

    def restore(self, name: str = "broken") -> None:
        self(f"DROP TRIGGER {name}")

    @contextmanager
    def busy(self) -> Iterator[None]:
        self("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            self("COMMIT")


class PostgresProbe(DatabaseProbe):
    snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ"

    def __init__(self, place: Path | str) -> None:
        self.db = psycopg.connect(str(place), autocommit=True, options=f"-c lock_timeout={LOCKS_MS}")

    def __call__(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        found = self.db.execute(sql.replace("?", "%s") if values else sql, values or None)
        return found.fetchall() if found.description else []

    def close(self) -> None:
        self.db.close()

    def columns(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for table, column in self(
            "SELECT table_name::text, column_name::text FROM information_schema.columns "
            "WHERE table_schema = 'public' ORDER BY table_name, ordinal_position"
        ):
            found.setdefault(table, []).append(column)
        return found

    def await_the_dead(self) -> None:
        others = (
            "SELECT 1 FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name <> ?"
        )
        while self(others, postgres.RESETS):
            time.sleep(0.002)

    def fail(self, event: str, when: str = "TRUE", name: str = "broken", why: str = "broken") -> None:
        # The same kind of error as SQLite's RAISE.
        self._trigger(event, when, name, f"RAISE EXCEPTION '{why}' USING ERRCODE = '23000'")

    def ignore(self, event: str, name: str = "broken") -> None:
        self._trigger(event, "TRUE", name, "RETURN NULL")

    def _trigger(self, event: str, when: str, name: str, body: str) -> None:
        function = f"FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; END $$"
        self(f"CREATE OR REPLACE {function}")
        self(f"CREATE TRIGGER {name} BEFORE {event} FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION {name}()")

    def restore(self, name: str = "broken") -> None:
        self(f"DROP FUNCTION {name} CASCADE")

    @contextmanager
    def busy(self) -> Iterator[None]:
        self(f"SELECT pg_advisory_lock({RECONCILE_LOCK})")
        try:
            yield
        finally:
            self(f"SELECT pg_advisory_unlock({RECONCILE_LOCK})")
