"""Recognises files that hold no JSON lines: one hint instead of a million rejected lines."""

import re
from collections.abc import Iterator

from .json_lines import BYTE_ORDER_MARK
from .lines import Broken, Line, LineTooLong
from .messages import MAX_LINE_BYTES, Reader, Rejected

LOOK_AT_LINES = 20  # lines before the first that is understood
_PIPE = "| pdpp-ref import ..."
_CONNECTOR = "a connector or a script has to convert it to RECORD lines"

# These can't be text, so the rest is not read.
_BINARY = (
    (b"PK\x03\x04", f"is a zip archive; unpack it in a pipe: unzip -p FILE {_PIPE}"),
    (b"PK\x05\x06", "is an empty zip archive"),
    (b"7z\xbc\xaf\x27\x1c", f"is a 7z archive; unpack it in a pipe: 7z x -so FILE {_PIPE}"),
    (b"Rar!", "is a rar archive; unpack it first"),
    (b"%PDF-", f"is a PDF document; {_CONNECTOR}"),
    (b"SQLite format 3", "is a database, not a file of JSON lines"),
    (b"PGDMP", "is a dump of a database, not a file of JSON lines"),
    (b"PAR1", f"is a Parquet file; {_CONNECTOR}"),
    (b"\x1f\x8b", f"is compressed more than once; unpack it in a pipe: gunzip -c FILE {_PIPE}"),
    (b"\xff\xfe", f"is UTF-16 text; convert it: iconv -f UTF-16 -t UTF-8 FILE {_PIPE}"),
    (b"\xfe\xff", f"is UTF-16 text; convert it: iconv -f UTF-16 -t UTF-8 FILE {_PIPE}"),
    (b"{\0", f"is UTF-16 text; convert it: iconv -f UTF-16LE -t UTF-8 FILE {_PIPE}"),
    (b"\0{", f"is UTF-16 text; convert it: iconv -f UTF-16BE -t UTF-8 FILE {_PIPE}"),
)
_TAR = f"is a tar archive; unpack it in a pipe: tar -xOf FILE {_PIPE}"
_TEXT = (
    (re.compile(rb'\[\s*($|[{\["])'), f"is one JSON array; convert it to lines: jq -c '.[]' FILE {_PIPE}"),
    (re.compile(rb"\{\s*$"), f"has JSON objects over several lines; join them: jq -c . FILE {_PIPE}"),
    (re.compile(rb"From "), f"is mail (mbox), not JSON lines; {_CONNECTOR}"),
    (re.compile(rb"<"), f"is XML or HTML, not JSON lines; {_CONNECTOR}"),
)
_CSV = f"is a table (CSV or TSV), not JSON lines; {_CONNECTOR}"
_HEADER_CELL = re.compile(rb'("?[A-Za-z_\x80-\xff][\w\x80-\xff .()/-]{0,60}"?)?')


class NotLines(Exception):
    """The input holds no JSON lines; the message says what it is and what to do."""


def checked(lines: Iterator[Line | None]) -> Iterator[Line | None]:
    """The same lines.  Raises NotLines before the first of them if they are not JSON lines.

    The first line that is not blank decides.  If it looks like another format, a few more are read, and
    one that is understood is enough.
    """
    for line in lines:
        if line is None or isinstance(line, Broken) or (isinstance(line, bytes) and not line.strip()):
            yield line
            continue
        yield from _judged(line, lines)
        break
    yield from lines


def _judged(first: Line, lines: Iterator[Line | None]) -> Iterator[Line | None]:
    start = _start(first)
    if hint := _binary(start):
        raise NotLines(hint)
    text = start.removeprefix(BYTE_ORDER_MARK).lstrip()
    hint = next((hint for pattern, hint in _TEXT if pattern.match(text)), None)
    separator, count = _columns(text)
    if hint is None and not count:
        yield first
        return
    held = [first, *_some(lines)]
    if not _any_understood(held):
        shown = [_start(line) for line in held if line]
        if hint or (len(shown) > 1 and shown[1].count(separator) >= count):
            raise NotLines(hint or _CSV)
    yield from held


def _binary(start: bytes) -> str | None:
    if start[257:262] == b"ustar":
        return _TAR
    return next((hint for magic, hint in _BINARY if start.startswith(magic)), None)


def _columns(line: bytes) -> tuple[bytes, int]:
    """The separator of a table's header, and how many there are; none unless all cells look like names."""
    for separator in (b"\t", b";", b","):
        cells = [cell.strip() for cell in line.split(separator)]
        if len(cells) > 1:
            names = any(cells) and all(_HEADER_CELL.fullmatch(cell) for cell in cells)
            return separator, len(cells) - 1 if names else 0
    return b"", 0


def _some(lines: Iterator[Line | None]) -> Iterator[Line]:
    size = count = 0
    for line in lines:
        if line is not None and line != b"":
            yield line
            count, size = count + 1, size + len(_start(line, MAX_LINE_BYTES))
            if count >= LOOK_AT_LINES or size >= MAX_LINE_BYTES:
                return


def _any_understood(lines: list[Line]) -> bool:
    reader = Reader()
    for line in lines:
        if isinstance(line, bytes):
            try:
                reader.read(line.removeprefix(BYTE_ORDER_MARK))
                return True
            except Rejected:
                continue
    return False


def _start(line: Line, most: int = 4096) -> bytes:
    if isinstance(line, Broken):
        line = line.raw
    return line.start[:most] if isinstance(line, LineTooLong) else line[:most]
