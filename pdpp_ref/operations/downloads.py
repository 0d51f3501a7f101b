"""What the owner downloads: an export as lines, or with its files as a zip."""

from typing import IO, NamedTuple

from ..database import fetch_dicts, read_snapshot
from ..models.measures import MEASURE_NAMES, Measures
from ..queries import browsing, items, streams
from . import export, export_files
from .archive import Archive
from .export import Progress, Selection

LINE_BYTES = 300  # about what a line has apart from its data


class Extent(NamedTuple):
    """How many lines there will be, and about how many bytes at most."""

    lines: int
    size: int


def extent(selection: Selection, with_files: bool) -> Extent | None:
    """As the totals have it; None if there is no such connection, stream or record."""
    measures = _measures(selection)
    if measures is None:
        return None
    lines, size = measures.record_count, measures.current_record_json_bytes
    if selection.history:
        lines, size = measures.record_history_count, measures.record_history_json_bytes
    return Extent(lines, size + lines * LINE_BYTES + (measures.blob_bytes if with_files else 0))


def _measures(selection: Selection) -> Measures | None:
    connection, stream, _, _, key = selection
    if key is not None:
        found = browsing.find(connection or "", stream or "", key)
        return items.record(found.stream_id, key) if found else None
    if stream is not None and not streams.find(None, connection, stream):
        return None
    if connection is not None and not streams.is_connection(connection, None):
        return None
    return _sum(connection, stream)


def _sum(connection: str | None, stream: str | None) -> Measures:
    """Of the streams of these names, or of all."""
    sums = ", ".join(f"COALESCE(SUM({name}), 0) AS {name}" for name in MEASURE_NAMES)
    (row,) = fetch_dicts(
        f"""
        SELECT {sums}
        FROM connections c
        JOIN streams s ON s.connection_id = c.id
        JOIN retained_size_stream r ON r.stream_id = s.id
        WHERE c.connector_instance_id = COALESCE(?, c.connector_instance_id)
            AND s.name = COALESCE(?, s.name)
        """,
        (connection, stream),
    )
    return Measures(**{name: int(value) for name, value in row.items()})


def write(selection: Selection, with_files: bool, out: IO[bytes], progress: Progress) -> list[str]:
    """Write what is selected, of one moment.  Returns the names of what could not be read.

    `progress` gets the number of RECORD lines so far, and while files are written the last one again.
    """
    if with_files:
        return _write_archive(selection, out, progress)
    return export.write(selection, out.write, progress=progress).gaps


def _write_archive(selection: Selection, out: IO[bytes], progress: Progress) -> list[str]:
    """A zip has one open entry at a time, so the files follow the lines, in the same snapshot."""
    files: dict[str, int] = {}
    gaps: list[str] = []
    with read_snapshot(), Archive(out) as archive:
        with archive.lines() as put:
            report = export.write(selection, put, lambda *file: files.update([file[:2]]), progress)
        for sha256, size in files.items():
            progress(report.records)
            try:
                archive.add_file(sha256, export_files.blocks(sha256, size))
            except export_files.Damaged:
                gaps.append(export_files.damage_of(sha256))
    return report.gaps + gaps
