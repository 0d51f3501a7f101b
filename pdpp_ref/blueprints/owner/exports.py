"""The owner's lists as files: every row, whatever a page shows of them, and their total at the end.

A file is made while it is sent, a batch of rows at a time, out of one snapshot.  One that lacks its
total, which is the last line of CSV and the last field of JSON, was cut short.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Struct

from ... import schemas
from ...models.measures import MEASURE_NAMES, TOTAL
from ...queries.growth import COMPARED_DAYS
from ...queries.listings import GROWTH, Row, Whole
from .. import csv_export

GROWTH_COLUMN = f"growth_{COMPARED_DAYS}_days"
PART_BYTES = 64 * 1024
_NOT_KNOWN = "Null where it is not known."
Figure = Annotated[int | None, Meta(description=f"A number of bytes, or of things.  {_NOT_KNOWN}")]
Growth = Annotated[int | None, Meta(description=f"Bytes that came in {COMPARED_DAYS} days.  {_NOT_KNOWN}")]


_FIGURES = (*MEASURE_NAMES, TOTAL)


def _kind(grain: str, about: str, *names: tuple[str, Any]) -> type[Struct]:
    figures = [(name, Figure) for name in _FIGURES]
    growth = [(GROWTH_COLUMN, Growth)] if grain in ("connection", "total") else []
    return msgspec.defstruct(
        f"Kept{grain.capitalize()}",
        [*names, *figures, *growth, ("may_lag", bool), ("as_of", schemas.Time | None)],
        bases=(schemas.Body,),
        namespace={"__doc__": about},
        module=__name__,
        kw_only=True,
        forbid_unknown_fields=True,
        tag_field="kept",
        tag=grain,
    )


_CONNECTION = ("connection", schemas.Connection)
_STREAM = ("stream", schemas.Stream)
_KEY = ("record_key", schemas.Key)
KINDS = {
    "connection": _kind(
        "connection", "A connection's line.", ("connector", schemas.Connector), _CONNECTION
    ),
    "stream": _kind("stream", "A stream's line.", _CONNECTION, _STREAM),
    "record": _kind("record", "A record's line, without what it holds.", _CONNECTION, _STREAM, _KEY),
    "file": _kind("file", "A file's line.", _CONNECTION, _STREAM, _KEY, ("sha256", schemas.Sha256)),
}

_SUM = "The sum of all rows.  A figure that is not known of each row is null, and `as_of` is the earliest."
KEPT_TOTAL = _kind("total", _SUM)

if TYPE_CHECKING:
    KeptRow = Struct
    KeptTotal = Struct
else:
    KeptTotal = KEPT_TOTAL
    KeptRow = KINDS["connection"] | KINDS["stream"] | KINDS["record"] | KINDS["file"]


class Kept(schemas.Body, tag_field="object", tag="owner_list"):
    """A list of the owner's, complete: those of its rows that a search found, and their total."""

    as_of: Annotated[schemas.Time | None, Meta(description="When the totals were last exact.")]
    may_lag: Annotated[bool, Meta(description="True where any figure may lag.")]
    row_count: Annotated[schemas.Count, Meta(description="How many rows follow.")]
    rows: list[KeptRow]
    total: KeptTotal


def csv_parts(kind: str, whole: Whole, **names: str) -> Iterator[bytes]:
    """The list as CSV, in parts; `names` are those that all rows share."""
    rows = _rows_and_total(kind, whole, names)
    yield from _in_parts(line.encode() for line in csv_export.csv_lines(KINDS[kind], rows))


def _rows_and_total(kind: str, whole: Whole, names: dict[str, str]) -> Iterator[Struct]:
    sums = _Sums(kind)
    for lines in _lines(kind, whole, names, sums):
        yield from lines
    yield sums.row()


def json_parts(kind: str, whole: Whole, as_of: str | None, may_lag: bool, **names: str) -> Iterator[bytes]:
    """The list as `Kept`, in parts."""
    head = {"object": "owner_list", "as_of": as_of, "may_lag": may_lag, "row_count": whole.count}
    yield from _in_parts(_json_pieces(head, kind, whole, names))


def _json_pieces(head: Any, kind: str, whole: Whole, names: dict[str, str]) -> Iterator[bytes]:
    encode, sums = msgspec.json.encode, _Sums(kind)
    yield encode(head)[:-1] + b',"rows":['
    comma = b""
    for lines in _lines(kind, whole, names, sums):
        yield comma + encode(lines)[1:-1]
        comma = b","
    yield b'],"total":' + encode(sums.row()) + b"}\n"


def _in_parts(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Larger ones: each part is a write to the network."""
    part = bytearray()
    for piece in pieces:
        part += piece
        if len(part) >= PART_BYTES:
            yield bytes(part)
            part.clear()
    yield bytes(part)


class Incomplete(Exception):
    """A list has other rows than were counted."""


class _Sums:
    """What the rows add up to.  Of a figure that is not known of one of them, the sum is not known."""

    def __init__(self, kind: str) -> None:
        self.rows = 0
        self._may_lag = False
        self._as_of: str | None = None
        self._figures: dict[str, int | None] = dict.fromkeys(_FIGURES, 0)
        self._figures[GROWTH_COLUMN] = 0 if kind == "connection" else None

    def add(self, line: Any) -> None:
        self.rows += 1
        self._may_lag = self._may_lag or line.may_lag
        if line.as_of is not None:
            self._as_of = min(self._as_of or line.as_of, line.as_of)
        for name, before in self._figures.items():
            if before is not None:
                more = getattr(line, name)
                self._figures[name] = None if more is None else before + more

    def row(self) -> Struct:
        return KEPT_TOTAL(**self._figures, may_lag=self._may_lag, as_of=self._as_of)


def _lines(kind: str, whole: Whole, names: dict[str, str], sums: _Sums) -> Iterator[list[Struct]]:
    """The rows as `kind` has them, in batches.  Raises Incomplete where they are not as many as told."""
    for batch in whole.batches:
        lines = [_line(KINDS[kind], row, names) for row in batch]
        for line in lines:
            sums.add(line)
        yield lines
    if sums.rows != whole.count:
        raise Incomplete


def _line(kind: type[Struct], row: Row, names: dict[str, str]) -> Struct:
    known = row["computed_at"] is not None
    own = {
        "connector": row.get("connector_id"),
        "connection": row.get("connector_instance_id", row.get("name")),
        "stream": row.get("stream", row.get("name")),
        "record_key": row.get("key"),
        "sha256": row.get("sha256"),
        GROWTH_COLUMN: row.get(GROWTH),
        "may_lag": bool(row["dirty"]),
        "as_of": row["computed_at"],
    }
    own |= {name: row[name] if known else None for name in _FIGURES} | names
    return kind(**{name: own[name] for name in kind.__struct_fields__})
