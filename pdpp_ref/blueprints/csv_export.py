"""Rows as CSV, and the name of their file."""

import csv
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

# A spreadsheet reads these as the beginning of a formula.  An apostrophe too: as no other cell begins
# with one, a reader that removes one leading apostrophe restores every name exactly.
_RUN = ("=", "+", "-", "@", "\t", "\r", "\n", "'")


def csv_lines(kind: type[Struct], rows: Iterable[Struct]) -> Iterator[str]:
    """RFC 4180: a header of `kind`'s fields, then a line for each row.  Null is an empty cell, and so is a
    field that a row of another kind lacks.
    """
    names = columns(kind)
    line = _Line()
    writer = csv.writer(line)
    writer.writerow(names)
    yield line.text
    for row in rows:
        values = msgspec.to_builtins(row)
        writer.writerow([_cell(values.get(name)) for name in names])
        yield line.text


class _Line:
    """Return the line that was written last."""

    text = ""

    def write(self, text: str) -> int:
        self.text = text
        return len(text)


def columns(kind: type[Struct]) -> list[str]:
    tag = kind.__struct_config__.tag_field
    return [*([tag] if tag else []), *kind.__struct_encode_fields__]


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.startswith(_RUN):
        return f"'{value}"
    return value


def file_name(what: str, as_of: str | None, kind: str) -> str:
    """Such as `retained-size-stream-2026-01-31T08-00-00Z.csv`; every system allows these characters."""
    moment = f"{as_of[:19].replace(':', '-')}Z" if as_of else "never-counted"
    return f"retained-{what}-{moment}.{kind}"
