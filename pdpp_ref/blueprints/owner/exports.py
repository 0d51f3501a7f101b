"""The owner's lists as files: every row, however many a page shows, and their total at the end.

A file is made while it is sent, a batch of rows at a time, out of one snapshot.  A file that lacks its
total, the last line of CSV and the last field of JSON, is incomplete.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ...models.measures import EVERY_MEASURE
from ...queries.listings import Batches
from ...schemas.downloads import ListedTotal, Row
from .. import csv_export

PART_BYTES = 64 * 1024


class Incomplete(Exception):
    """The rows of a list do not match their count."""


@dataclass(frozen=True)
class Download:
    """A list, the type of its file's rows, and the function that makes one from a row of the list."""

    kind: type[Row]
    rows: Batches[Any]
    to_row: Callable[[Any], Row]

    def empty_total(self) -> "_Total":
        return _Total(growth=0 if "growth" in self.kind.__struct_fields__ else None)

    def batches(self, total: "_Total") -> Iterator[list[Row]]:
        """The rows, which are added to the total.  Raises Incomplete if there are more or fewer."""
        for batch in self.rows.batches:
            rows = [self.to_row(row) for row in batch]
            for row in rows:
                total.add(row)
            yield rows
        if total.rows != self.rows.count:
            raise Incomplete


def csv_parts(download: Download) -> Iterator[bytes]:
    """The list as CSV, in parts."""
    lines = csv_export.csv_lines(download.kind, _rows_and_total(download))
    yield from _in_parts(line.encode() for line in lines)


def _rows_and_total(download: Download) -> Iterator[Row | ListedTotal]:
    total = download.empty_total()
    for rows in download.batches(total):
        yield from rows
    yield total.row()


def json_parts(download: Download, as_of: str | None, may_lag: bool) -> Iterator[bytes]:
    """The list as an OwnerList, in parts."""
    head = {"object": "owner_list", "as_of": as_of, "may_lag": may_lag, "row_count": download.rows.count}
    yield from _in_parts(_json_pieces(head, download))


def _json_pieces(head: dict[str, Any], download: Download) -> Iterator[bytes]:
    encode, total = msgspec.json.encode, download.empty_total()
    yield encode(head)[:-1] + b',"rows":['
    comma = b""
    for rows in download.batches(total):
        yield comma + encode(rows)[1:-1]
        comma = b","
    yield b'],"total":' + encode(total.row()) + b"}\n"


def _in_parts(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Larger ones: each part is a write to the network."""
    part = bytearray()
    for piece in pieces:
        part += piece
        if len(part) >= PART_BYTES:
            yield bytes(part)
            part.clear()
    yield bytes(part)


@dataclass
class _Total:
    """The sum of the rows so far.  A number that is unknown for one of them is unknown."""

    growth: int | None
    rows: int = 0
    may_lag: bool = False
    as_of: str | None = None
    numbers: dict[str, int | None] = field(default_factory=lambda: dict.fromkeys(EVERY_MEASURE, 0))

    def add(self, row: Row) -> None:
        self.rows += 1
        self.may_lag = self.may_lag or row.may_lag
        if row.as_of is not None:
            self.as_of = min(self.as_of or row.as_of, row.as_of)
        self.growth = _sum(self.growth, getattr(row, "growth", None))
        for name, before in self.numbers.items():
            self.numbers[name] = _sum(before, getattr(row, name))

    def row(self) -> ListedTotal:
        return ListedTotal(growth=self.growth, may_lag=self.may_lag, as_of=self.as_of, **self.numbers)


def _sum(before: int | None, more: int | None) -> int | None:
    return None if before is None or more is None else before + more
