"""The owner's lists: what is kept for each connection, and for each stream of one.

A list is sorted, searched and cut here, so that a page and the file that is taken from it are one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..database import fetch_dicts
from ..measures import MEASURE_NAMES, TOTAL, retains_anything
from . import growth, top
from .grains import CONNECTION, STREAM
from .summary import NEVER_COUNTED, shown

Row = dict[str, Any]

NAME, GROWTH = "name", "growth"
SORTS = (NAME, TOTAL, GROWTH, *MEASURE_NAMES)
MOST_ROWS = 100
LARGEST = 10


class Order(NamedTuple):
    """How a list is wanted.  `search` is a part of a name, in any case of letters."""

    sort: str = TOTAL
    descending: bool = True
    search: str = ""
    limit: int = MOST_ROWS


@dataclass(frozen=True)
class List:
    """`rows` are shown, and `left_out` is the sum of the others, of which there are `others`.

    Shares are of `counted_bytes`, the total of all rows that were ever counted.  `complete` is False
    where some never were: sums are least ones then.
    """

    rows: list[Row]
    matching: int
    others: int
    left_out: Row
    counted_bytes: int
    complete: bool
    left_out_complete: bool


def connections(order: Order) -> List:
    """The connections that retain something, or of which that is not known."""
    then = growth.before()
    rows = map(_counted, fetch_dicts(_CONNECTIONS))
    kept = [row for row in rows if row["dirty"] or retains_anything(row)]
    return _list([row | {GROWTH: _growth(row, then.get(row["id"]))} for row in kept], order)


def _growth(row: Row, then: int | None) -> int | None:
    return None if then is None or row["computed_at"] is None else row[TOTAL] - then


_CONNECTIONS = (
    "SELECT r.*, c.id, c.connector_instance_id AS name, c.connector_id "
    f"FROM connections c LEFT JOIN {CONNECTION.table} r ON r.connection_id = c.id"
)
_STREAMS = (
    f"SELECT r.*, s.id, s.name FROM streams s LEFT JOIN {STREAM.table} r ON r.stream_id = s.id "
    "WHERE s.connection_id = ?"
)


class OfConnection(NamedTuple):
    figures: Row
    streams: List
    days: list[growth.Day]


def connection(name: str, order: Order, days: int) -> OfConnection | None:
    """A connection with its streams and its growth; None where there is none of the name."""
    found = fetch_dicts(f"{_CONNECTIONS} WHERE c.connector_instance_id = ?", [name])
    if not found:
        return None
    row = _counted(found[0])
    streams = _list([_counted(each) for each in fetch_dicts(_STREAMS, [row["id"]])], order)
    figures = row | {GROWTH: _growth(row, growth.before().get(row["id"]))}
    return OfConnection(figures, streams, growth.days(days, row["id"]))


class OfStream(NamedTuple):
    """`looked_through` is False where the stream has more versions than are looked through."""

    connection: Row
    figures: Row
    records: list[Row]
    files: list[Row]
    looked_through: bool


def stream(connection_name: str, name: str) -> OfStream | None:
    """A stream with its largest records and files; None where there is none of the name."""
    above = fetch_dicts(f"{_CONNECTIONS} WHERE c.connector_instance_id = ?", [connection_name])
    found = fetch_dicts(f"{_STREAMS} AND s.name = ?", (above[0]["id"], name)) if above else []
    if not found:
        return None
    stream_id = found[0]["id"]
    return OfStream(
        _counted(above[0]),
        _counted(found[0]),
        top.records_of(stream_id, LARGEST),
        top.files_of(stream_id, LARGEST),
        top.looks_through(stream_id),
    )


def _counted(row: Row) -> Row:
    """The row fit to be shown; one that has no figures yet is one that was never counted."""
    return shown(row) if row["dirty"] is not None else row | NEVER_COUNTED


# ---- sorting, searching, cutting ---------------------------------------------------------------


def _list(rows: list[Row], order: Order) -> List:
    counted_bytes = sum(row[TOTAL] for row in _known(rows))
    rows = [row | {"share": _share(row, counted_bytes)} for row in _sorted(rows, order)]
    wanted = order.search.casefold()
    matching = [row for row in rows if wanted in row["name"].casefold() or wanted in _connector(row)]
    chosen = matching[: order.limit]
    ids = {row["id"] for row in chosen}
    others = [row for row in rows if row["id"] not in ids]
    left_out: Row = {name: sum(row[name] for row in _known(others)) for name in (*MEASURE_NAMES, TOTAL)}
    return List(
        chosen,
        len(matching),
        len(others),
        left_out,
        counted_bytes,
        complete=_all_known(rows),
        left_out_complete=_all_known(others),
    )


def _connector(row: Row) -> str:
    return str(row.get("connector_id", "")).casefold()


def _known(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row["computed_at"] is not None]


def _all_known(rows: list[Row]) -> bool:
    return len(_known(rows)) == len(rows)


def _share(row: Row, whole: int) -> float | None:
    """The part of the whole, from 0 to 1."""
    if row["computed_at"] is None:
        return None
    return row[TOTAL] / whole if whole else 0.0


def _sorted(rows: list[Row], order: Order) -> list[Row]:
    """Equals by name; what is not known comes last, whichever way the rest is sorted."""
    rows = sorted(rows, key=lambda row: row["name"])
    if order.sort == NAME:
        return rows[::-1] if order.descending else rows
    known = [row for row in rows if row["computed_at"] is not None and row.get(order.sort) is not None]
    ids = {row["id"] for row in known}
    known.sort(key=lambda row: row[order.sort], reverse=order.descending)
    return known + [row for row in rows if row["id"] not in ids]
