"""Writing the live records of one stream as a table, for people who prefer one.

Two passes over the same snapshot: the first finds the columns, the second writes the rows.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Protocol

import msgspec

from ..database import read_snapshot
from ..parsing.json_lines import stored_record
from . import export, export_pages
from .export import Out, Progress, Report
from .export_columns import Column, Columns, Kind, cell, unmarked

Format = Literal["csv", "parquet"]

# A spreadsheet takes these for the beginning of a formula.  The apostrophe is among them so that whoever
# removes one leading apostrophe has every text as it was.
_QUOTED = re.compile('[",\r\n]|^ | $')
_RUN = ("=", "+", "-", "@", "\t", "\r", "\n", "'")


class MissingLibrary(Exception):
    """The library that writes the format is not installed."""


class _Table(Protocol):
    """A table in the making; `size` is about how many bytes the rows have."""

    def add(self, rows: Sequence[Sequence[Any]], size: int) -> None: ...
    def close(self) -> None: ...


def write(
    table_format: Format,
    selection: export.Selection,
    out: Out,
    progress: Progress = lambda _: None,
) -> Report:
    """Write a stream as a table: its keys, source times, and a column for each field of its records.

    `selection` names a connection and a stream; history and tombstones are not in a table.  Raises
    MissingLibrary, TooManyColumns or peewee.DatabaseError, and whatever `out` raises.
    """
    make = _made(table_format)
    report = Report()
    with read_snapshot():
        for stream in export.streams(selection):
            columns = _columns(stream.id, selection.since)
            table = make(columns, out)
            for rows, size in _rows(stream.id, selection.since, columns):
                table.add(rows, size)
                report.records += len(rows)
                progress(report.records)
            table.close()
    return report


def _made(table_format: Format) -> Callable[[Sequence[Column], Out], _Table]:
    if table_format == "csv":
        return _Csv
    try:
        from .parquet import ParquetTable
    except ImportError:
        raise MissingLibrary from None
    return ParquetTable


def _pages(stream_id: int, since: str | None) -> Iterator[list[tuple[str, str | None, str]]]:
    """Keys, source times and data of live records."""
    for page in export_pages.pages(stream_id, False, since):
        yield [(row.key, row.emitted_at, row.data) for row in page if row.data is not None]


def _columns(stream_id: int, since: str | None) -> list[Column]:
    """Those of the records, after two of ours."""
    columns = Columns()
    for page in _pages(stream_id, since):
        for _, _, data in page:
            columns.learn(*stored_record(data))
    ours = [Column(columns.free_name(name), Kind.TEXT) for name in ("key", "emitted_at")]
    return ours + [Column(name, kind) for name, kind in columns.kinds().items()]


def _rows(
    stream_id: int, since: str | None, columns: Sequence[Column]
) -> Iterator[tuple[list[list[Any]], int]]:
    """Rows of cells, a page at a time, and the number of characters in their data."""
    places = {column.name: place for place, column in enumerate(columns)}
    for page in _pages(stream_id, since):
        rows = []
        for key, emitted_at, data in page:
            record, mark = stored_record(data)
            row: list[Any] = [key, emitted_at, *[None] * (len(columns) - 2)]
            for name, value in record.items():
                place = places[unmarked(name, mark)]
                row[place] = cell(value, columns[place].kind, mark)
            rows.append(row)
        yield rows, sum(len(data) for _, _, data in page)


class _Csv:
    """RFC 4180 in UTF-8.  Null and a missing field are an empty cell; an empty text is `""`."""

    def __init__(self, columns: Sequence[Column], out: Out) -> None:
        self._out = out
        self._write([[_text_cell(column.name) for column in columns]])

    def add(self, rows: Sequence[Sequence[Any]], _: int) -> None:
        self._write([[csv_cell(value) for value in row] for row in rows])

    def _write(self, rows: Sequence[Sequence[str]]) -> None:
        self._out("".join(",".join(row) + "\r\n" for row in rows).encode())

    def close(self) -> None:
        """Nothing follows the rows."""


def csv_cell(value: Any) -> str:
    """A value as text that no spreadsheet runs."""
    if value is None:
        return ""
    if type(value) is str:
        return _text_cell(value)
    if type(value) is bool:
        return "true" if value else "false"
    return bytes(value).decode() if type(value) is msgspec.Raw else str(value)


def _text_cell(text: str) -> str:
    """A text that no spreadsheet runs, in quotes where they are needed."""
    if text.startswith(_RUN):
        text = f"'{text}"
    if not text or _QUOTED.search(text):
        return '"' + text.replace('"', '""') + '"'
    return text
