"""What tests of exports share: writing and reading one in this process, and all that must survive it."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pdpp_ref import database, migrations
from pdpp_ref.canonical import importer, records
from pdpp_ref.canonical.export_progress import Options
from pdpp_ref.database import db, fetch_all
from pdpp_ref.models.measures import MEASURE_NAMES
from pdpp_ref.operations import export
from pdpp_ref.operations.export import Selection
from pdpp_ref.parsing.exports import MAX_EXPORT_LINE_BYTES
from pdpp_ref.parsing.lines import split_lines

EVERYTHING = Selection(history=True)


@dataclass
class Exported:
    """An export: its bytes, and its files by digest."""

    data: bytes = b""
    files: dict[str, bytes] = field(default_factory=dict)
    gaps: list[str] = field(default_factory=list)

    @property
    def lines(self) -> list[bytes]:
        return self.data.splitlines()


def written(selection: Selection = EVERYTHING, *, files: bool = True) -> Exported:
    done = Exported()
    parts: list[bytes] = []

    def store(digest: str, size: int, blocks: Iterator[bytes]) -> None:
        assert digest not in done.files
        data = b"".join(blocks)
        assert len(data) == size
        done.files[digest] = data

    report = export.write(selection, parts.append, store if files else None)
    done.data, done.gaps = b"".join(parts), report.gaps
    return done


@dataclass
class Imported:
    report: importer.Report
    notes: list[str]
    rejected: list[str]


def read(
    data: bytes,
    files: dict[str, bytes] | None = None,
    connection: str | None = None,
    connector: str | None = None,
    *,
    target: str | None = None,
) -> Imported:
    """Import lines as the command does.  `connection` renames; `target` gets lines outside of an export."""
    notes: list[str] = []
    rejected: list[str] = []
    held = files or {}
    work = importer.Importer(
        records.Target(target, target) if target else None,
        lambda _: None,
        lambda line: rejected.append(f"line {line.number}: {line.reason}"),
        on_skipped=lambda number, why: notes.append(f"line {number}: {why}"),
        exports=Options(
            connection, connector, lambda digest: iter([held[digest]]) if digest in held else None
        ),
    )
    work.run(split_lines([data], None, MAX_EXPORT_LINE_BYTES))
    return Imported(work.report, notes, rejected)


def lines(*given: str | bytes) -> bytes:
    return b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in given)


def emptied(backend: Any, prepared: Path, reset: Callable[[], None]) -> None:
    """Replace the bound database by an empty one."""
    db.close()
    if backend.kind == "sqlite":
        file = Path(backend.url.removeprefix("sqlite:///"))
        for suffix in ("", "-wal", "-shm"):
            file.with_name(file.name + suffix).unlink(missing_ok=True)
        shutil.copy(prepared, file)
    else:
        reset()
    database.connect(backend.url, Path())
    migrations.prepare()


# ---- what must be equal --------------------------------------------------------------------------

_OF = "JOIN streams s ON s.id = t.stream_id JOIN connections c ON c.id = s.connection_id"
_NAMES = "c.connector_instance_id, s.name"


def contents() -> dict[str, list[tuple[Any, ...]]]:
    """Everything but arrival times and row ids."""
    measures = ", ".join(f"t.{name}" for name in MEASURE_NAMES)
    times = "t.earliest_record_time, t.latest_record_time"
    queries = {
        "connections": "SELECT connector_instance_id, connector_id FROM connections",
        "streams": f"""
            SELECT {_NAMES}, last_version, record_time_field, record_time_field_since, undated_records,
                key_schema, CASE WHEN respelled_keys THEN 1 ELSE 0 END, rejected_table_version,
                CASE WHEN rejected_unversioned OR rejections_seen < unattributed_rejections
                    THEN 1 ELSE 0 END
            FROM streams s JOIN connections c ON c.id = s.connection_id""",
        "versions": f"""
            SELECT {_NAMES}, t.version, t.key, t.data, t.json_bytes, t.emitted_at, t.previous_version,
                t.pruned_at, t.pruned_digest
            FROM record_changes t {_OF}""",
        "records": f"""
            SELECT {_NAMES}, t.key, t.version, t.data, t.json_bytes, t.emitted_at, t.table_version,
                t.record_time, CASE WHEN t.has_rollup THEN 1 ELSE 0 END
            FROM records t {_OF}""",
        "spellings": f"SELECT {_NAMES}, t.key, t.spelling FROM key_spellings t {_OF}",
        "files": f"""
            SELECT {_NAMES}, t.key, t.sha256, t.version, t.byte_length, t.mime_type, t.json_path
            FROM blob_bindings t {_OF}""",
        "rollups": f"SELECT {_NAMES}, t.key, t.version, {measures} FROM retained_size_record t {_OF}",
        "stream sizes": f"SELECT {_NAMES}, {measures}, {times} FROM retained_size_stream t {_OF}",
        "connection sizes": f"""
            SELECT c.connector_instance_id, t.stream_count, {measures}, {times}
            FROM retained_size_connection t JOIN connections c ON c.id = t.connection_id""",
        "size": f"SELECT t.stream_count, t.connection_count, {measures}, {times} FROM retained_size_global t",
    }
    found = {name: sorted(fetch_all(sql), key=_sortable) for name, sql in queries.items()}
    chunks = fetch_all("SELECT sha256, number, data FROM blob_chunks ORDER BY sha256, number")
    return found | {"chunks": [(sha256, number, bytes(data)) for sha256, number, data in chunks]}


def _sortable(row: Iterable[Any]) -> list[str]:
    return [repr(value) for value in row]
