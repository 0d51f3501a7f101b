"""Writing what is stored as lines that an import reads.

All of it is read in one snapshot, page by page, so that memory does not grow with the data.  Nothing in
an export depends on when it is written: two of the same data are identical.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ..database import fetch_all, fetch_as, read_snapshot
from ..parsing.exports import FORMAT
from ..parsing.json_lines import to_json
from ..queries import sizes
from . import export_files, export_pages
from .export_files import FileSink
from .export_pages import Row

Out = Callable[[bytes], object]
Progress = Callable[[int], None]

COUNTS_PER_LINE, COUNTS_BYTES = 1_000, 1024 * 1024
SPELLINGS_PER_PAGE = 1_000
LARGE = 1024 * 1024  # characters; such data is not copied into a line first
# Each server has its own.
LEFT_OUT = ("arrival_times", "connector_state", "tokens", "unclaimed_files")


class Selection(NamedTuple):
    """What to export: everything, a connection, one of its streams, or one record of that.

    `since`: only what arrived then or later, a time as it is stored.  Without `history`, only live
    records, and tombstones too if `since` is given.
    """

    connection: str | None = None
    stream: str | None = None
    history: bool = False
    since: str | None = None
    key: str | None = None


@dataclass
class Report:
    """The number of RECORD lines and files written; `gaps` names what could not be read."""

    records: int = 0
    files: int = 0
    gaps: list[str] = field(default_factory=list)


class Stream(NamedTuple):
    """A stream to export, see the model for what each column means."""

    id: int
    connector: str
    connection: str
    name: str
    record_time_field: str | None
    record_time_field_since: int
    key_schema: str | None
    respelled_keys: bool
    last_version: int
    rejected_table_version: int | None
    rejected_unversioned: bool


def write(
    selection: Selection, out: Out, sink: FileSink | None = None, progress: Progress = lambda _: None
) -> Report:
    """Write an export.  `sink` gets each file once; without it files are left out.

    `out` gets the bytes of lines, in order, and `progress` the number of RECORD lines so far.  Raises
    peewee.DatabaseError, and whatever `out` and `sink` raise.
    """
    export = _Export(selection, out, sink, progress)
    with read_snapshot():
        export.run()
    return export.report


def count(selection: Selection) -> int | None:
    """How many RECORD lines `write` will write; None if the totals do not say.

    The lines of records with very many files are not included.
    """
    connection, stream, history, since, key = selection
    if since is not None or key is not None:
        return None
    grain = "global" if connection is None else "connection" if stream is None else "stream"
    rows = sizes.rows(grain, connection, stream)
    if any(row.dirty for row in rows):
        return None
    return sum(row.record_history_count if history else row.record_count for row in rows)


def streams(selection: Selection) -> list[Stream]:
    """The streams of a selection, by connection and name."""
    return fetch_as(
        Stream,
        """
        SELECT
            s.id, c.connector_id, c.connector_instance_id, s.name, s.record_time_field,
            s.record_time_field_since, s.key_schema, s.respelled_keys, s.last_version,
            s.rejected_table_version,
            s.rejected_unversioned OR s.rejections_seen < c.unattributed_rejections
        FROM streams s
        JOIN connections c ON c.id = s.connection_id
        WHERE c.connector_instance_id = COALESCE(?, c.connector_instance_id)
            AND s.name = COALESCE(?, s.name)
        ORDER BY c.connector_instance_id, s.name
        """,
        (selection.connection, selection.stream),
    )


class _Export:
    def __init__(self, selection: Selection, out: Out, sink: FileSink | None, progress: Progress) -> None:
        self.report = Report()
        self._selection = selection
        self._out = out
        self._files = export_files.Files(sink) if sink else None
        self._progress = progress
        self._counts: list[str] = []

    def run(self) -> None:
        selected = streams(self._selection)
        self._put(_first_line(self._selection, len({stream.connection for stream in selected})))
        for stream in selected:
            self._write_stream(stream)
        if self._files:
            self.report.files = self._files.count
            self.report.gaps += self._files.gaps
        left_out = [*LEFT_OUT, *(["files"] if not self._files else ())]
        left_out += ["history"] if not self._selection.history else []
        self._put(
            f'{{"type":"EXPORT_END","streams":[{",".join(self._counts)}],"left_out":{to_json(sorted(left_out))}}}\n'
        )

    def _put(self, text: str) -> None:
        self._out(text.encode())

    def _write_stream(self, stream: Stream) -> None:
        history = self._selection.history
        self._put(_declaration(stream, history))
        for line in _spellings(stream, self._selection.key):
            self._put(line)
        files = self._files if self._files and export_files.has_any(stream.id) else None
        read = lines = 0
        for page in self._pages(stream):
            fields = files.of_page(stream.id, page) if files else {}
            for text in _lines(stream, page, history, fields):
                self._put(text)
            read += len(page)
            lines += sum(len(each) - 1 for each in fields.values())
            self.report.records += len(page)
            self._progress(self.report.records)
        held = self._held(stream)
        if read != held:
            self.report.gaps.append(
                f"stream {stream.name!r} of connection {stream.connection!r} holds {held:,} records, "
                f"and only {read:,} of them could be read"
            )
        self._count(stream, held + lines)

    def _pages(self, stream: Stream) -> Iterator[list[Row]]:
        _, _, history, since, key = self._selection
        if key is not None:
            return export_pages.pages_of_key(stream.id, key, history)
        # Only Singer records have a table version, and they have key properties.
        bare = stream.key_schema is None and stream.record_time_field is None
        return export_pages.pages(stream.id, history, since, bare=bare)

    def _held(self, stream: Stream) -> int:
        _, _, history, since, key = self._selection
        if key is not None:
            return len(export_pages.versions_of_key(stream.id, key, history))
        return export_pages.count_rows(stream.id, history, since)

    def _count(self, stream: Stream, lines: int) -> None:
        """Announce how many RECORD lines a stream has; a line with such counts must not be too long."""
        self._counts.append(
            f'{{"connector_instance_id":{to_json(stream.connection)},"stream":{to_json(stream.name)},'
            f'"records":{lines}}}'
        )
        if len(self._counts) >= COUNTS_PER_LINE or sum(map(len, self._counts)) > COUNTS_BYTES:
            self._put(f'{{"type":"EXPORT_COUNTS","streams":[{",".join(self._counts)}]}}\n')
            self._counts.clear()


def _first_line(selection: Selection, connections: int) -> str:
    names = ("connection", "stream", "key", "since")
    scope = {name: getattr(selection, name) for name in names}
    given = {name: value for name, value in scope.items() if value is not None}
    return (
        f'{{"type":"EXPORT","format":{FORMAT},"history":{to_json(selection.history)},'
        f'"scope":{to_json(given)},"connections":{connections}}}\n'
    )


def _declaration(stream: Stream, history: bool) -> str:
    line = (
        f'{{"type":"STREAM","connector_id":{to_json(stream.connector)},'
        f'"connector_instance_id":{to_json(stream.connection)},"stream":{to_json(stream.name)},'
        f'"record_time_field":{to_json(stream.record_time_field)}'
    )
    if history and stream.record_time_field_since:
        line += f',"record_time_field_since":{stream.record_time_field_since}'
    if stream.key_schema == "null":
        line += ',"key_schema_unknown":true'
    elif stream.key_schema is not None:
        line += f',"key_schema":{stream.key_schema}'
    if history:
        line += f',"last_version":{stream.last_version}'
    if stream.rejected_table_version is not None:
        line += f',"rejected_table_version":{stream.rejected_table_version}'
    if stream.rejected_unversioned:
        line += ',"rejected_unversioned":true'
    return f"{line}}}\n"


def _spellings(stream: Stream, only: str | None) -> Iterator[str]:
    """Lines with the spellings of keys, or of one, if the stream has any; they come before the records."""
    after: str | None = "" if stream.respelled_keys else None
    while after is not None:
        rows = fetch_all(
            """
            SELECT key, spelling
            FROM key_spellings
            WHERE stream_id = ? AND key > ?
            ORDER BY key
            LIMIT ?
            """,
            (stream.id, after, SPELLINGS_PER_PAGE),
        )
        for key, spelling in rows:
            if only not in (None, key):
                continue
            yield f'{{"type":"KEY_SPELLING","key":{to_json(key)},"spelling":{to_json(spelling)}}}\n'
        after = rows[-1][0] if rows else None


def _lines(
    stream: Stream, page: Sequence[Row], history: bool, files: Mapping[int, Sequence[str]]
) -> Iterator[str]:
    """A page's RECORD lines, as a few long texts."""
    start = (
        f'{{"type":"RECORD","connector_id":{to_json(stream.connector)},'
        f'"connector_instance_id":{to_json(stream.connection)},"stream":{to_json(stream.name)},"key":'
    )
    parts: list[str] = []
    for row in page:
        texts = _with_files(row, history, files[row.version]) if row.version in files else None
        for text in texts or (_fields(row, history),):
            if row.data is None:
                parts += (start, text, ',"op":"delete"}\n')
            elif len(row.data) < LARGE:
                parts += (start, text, ',"data":', row.data, "}\n")
            else:
                yield "".join([*parts, start, text, ',"data":'])
                yield row.data
                parts = ["}\n"]
    yield "".join(parts)


def _with_files(row: Row, history: bool, files: Sequence[str]) -> list[str]:
    """The fields of a line with the first files, and of further lines, without number, with the rest."""
    first, *more = files
    return [_fields(row, history) + first, *(_fields(row, False) + each for each in more)]


def _fields(row: Row, history: bool) -> str:
    """A line's fields from its key on, without files and data."""
    fields: str = to_json(row.key)
    if row.emitted_at is not None:
        fields += f',"emitted_at":"{row.emitted_at}"'
    if history:
        fields += f',"history_version":{row.version}'
    if row.table_version is not None:
        fields += f',"table_version":{row.table_version}'
    if row.record_time is not None:
        fields += f',"record_time":"{row.record_time}"'
    if row.pruned_at is not None:
        fields += f',"pruned":{{"at":"{row.pruned_at}","digest":"{row.pruned_digest}"}}'
    return fields
