"""The owner's lists: what is kept for each connection, and for each stream of one.

A list is sorted, searched and cut here, for pages and files alike.  A page costs what it shows: the
database sorts and adds up, and only rows that are shown are read.  A file has all rows, in batches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ..database import fetch_all, fetch_dicts
from ..models.measures import (
    COUNT_MEASURES,
    MEASURE_NAMES,
    TOTAL,
    TOTAL_SQL,
)
from ..projection.grains import CONNECTION, STREAM
from ..projection.rows import NEVER_COUNTED, shown
from . import growth, rankings

Row = dict[str, Any]

NAME, GROWTH = "name", "growth"
SORTS = (NAME, TOTAL, GROWTH, *MEASURE_NAMES)
MOST_ROWS = 100
LARGEST = 10
BATCH_ROWS = 500


class Order(NamedTuple):
    """How a list is wanted.  `search` is a part of a name, in any case of letters; `limit` is a page's."""

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


@dataclass(frozen=True)
class Whole:
    """All rows of a list, as a file has them: how many there are, and the rows, a batch at a time.

    They are read while they are iterated over, so the snapshot must last until then.
    """

    count: int
    batches: Iterator[list[Row]]


@dataclass(frozen=True)
class _Source:
    """The rows of a list: `rows` joins what is listed with its figures, `r`."""

    id: str
    name: str
    columns: str
    rows: str
    where: str
    values: tuple[Any, ...] = ()
    grows: bool = False

    def fetch(self, what: str, more: str = "", values: Sequence[Any] = ()) -> list[Any]:
        sql = f"SELECT {what} FROM {self.rows} WHERE {self.where} {more}"
        return fetch_all(sql, (*self.values, *values))

    def dicts(self, ids: Sequence[int]) -> list[Row]:
        """The rows of these ids, in their order, fit to be shown."""
        if not ids:
            return []
        sql = f"SELECT r.*, {self.columns} FROM {self.rows} WHERE {self.id} IN ({_marks(ids)})"
        found = {row["id"]: _counted(row) for row in fetch_dicts(sql, ids)}
        rows = [found[row_id] for row_id in ids]
        if self.grows:
            then = growth.before(ids)
            rows = [row | {GROWTH: _growth(row, then.get(row["id"]))} for row in rows]
        return rows


def _marks(of: Sequence[Any]) -> str:
    return ", ".join("?" * len(of))


_OF_CONNECTIONS = "c.id, c.connector_instance_id AS name, c.connector_id"
_CONNECTIONS = f"connections c LEFT JOIN {CONNECTION.table} r ON r.connection_id = c.id"
_A_CONNECTION = f"SELECT r.*, {_OF_CONNECTIONS} FROM {_CONNECTIONS} WHERE c.connector_instance_id = ?"
_STREAMS = f"streams s LEFT JOIN {STREAM.table} r ON r.stream_id = s.id"
_A_STREAM = f"SELECT r.*, s.id, s.name FROM {_STREAMS} WHERE s.connection_id = ? AND s.name = ?"

# The connections that retain something, or of which that is not known.
_ANYTHING = " OR ".join(f"r.{measure.name} <> 0" for measure in COUNT_MEASURES)
_EVERY_CONNECTION = _Source(
    "c.id",
    "c.connector_instance_id",
    _OF_CONNECTIONS,
    _CONNECTIONS,
    f"(r.dirty IS NULL OR r.dirty OR {_ANYTHING})",
    grows=True,
)


def _streams_of(connection_id: int) -> _Source:
    return _Source("s.id", "s.name", "s.id, s.name", _STREAMS, "s.connection_id = ?", (connection_id,))


def connections(order: Order) -> List:
    """The connections that retain something, or of which that is not known."""
    return _list(_EVERY_CONNECTION, order)


def every_connection(order: Order) -> Whole:
    return _whole(_EVERY_CONNECTION, order)


def _growth(row: Row, then: int | None) -> int | None:
    return None if then is None or row["computed_at"] is None else row[TOTAL] - then


class OfConnection(NamedTuple):
    figures: Row
    streams: List
    days: list[growth.Day]


def connection(name: str, order: Order, days: int) -> OfConnection | None:
    """A connection with its streams and its growth; None where there is none of the name."""
    found = fetch_dicts(_A_CONNECTION, [name])
    if not found:
        return None
    row = _counted(found[0])
    streams = _list(_streams_of(row["id"]), order)
    figures = row | {GROWTH: _growth(row, growth.before([row["id"]]).get(row["id"]))}
    return OfConnection(figures, streams, growth.days(days, row["id"]))


def every_stream(connection_name: str, order: Order) -> Whole | None:
    """All streams of a connection; None where there is none of the name."""
    found = fetch_dicts(_A_CONNECTION, [connection_name])
    return _whole(_streams_of(found[0]["id"]), order) if found else None


class OfStream(NamedTuple):
    """`looked_through` is False where the stream has more versions than are looked through."""

    connection: Row
    figures: Row
    records: list[Row]
    files: list[Row]
    looked_through: bool


def stream(connection_name: str, name: str) -> OfStream | None:
    """A stream with its largest records and files; None where there is none of the name."""
    found = _stream(connection_name, name)
    if found is None:
        return None
    above, row = found
    stream_id = row["id"]
    return OfStream(
        _counted(above),
        _counted(row),
        rankings.records_of(stream_id, LARGEST),
        rankings.files_of(stream_id, LARGEST),
        rankings.looks_through(stream_id),
    )


def everything_in(connection_name: str, name: str, of: Literal["record", "file"]) -> Whole | None:
    """All records of a stream or all their files, by name; None where there is no such stream."""
    found = _stream(connection_name, name)
    if found is None:
        return None
    stream_id = found[1]["id"]
    if of == "record":
        return Whole(rankings.count_of_records(stream_id), rankings.every_record(stream_id, BATCH_ROWS))
    return Whole(rankings.count_of_files(stream_id), rankings.every_file(stream_id, BATCH_ROWS))


def _stream(connection_name: str, name: str) -> tuple[Row, Row] | None:
    """A stream's connection and the stream, as they are stored."""
    above = fetch_dicts(_A_CONNECTION, [connection_name])
    found = fetch_dicts(_A_STREAM, (above[0]["id"], name)) if above else []
    return (above[0], found[0]) if found else None


def _counted(row: Row) -> Row:
    """The row fit to be shown; one that has no figures yet is one that was never counted."""
    return shown(row) if row["dirty"] is not None else row | NEVER_COUNTED


# ---- sorting, searching, cutting ---------------------------------------------------------------


def _list(source: _Source, order: Order) -> List:
    every, known, *sums = source.fetch(f"COUNT(*), COUNT(r.computed_at), {_SUMS}")[0]
    whole: Row = {name: figure or 0 for name, figure in zip(_ADDED, sums, strict=True)}
    # Without a search the database leaves out what is not shown.
    found = _ids(source, order, None if order.search else order.limit)
    rows = source.dicts(found[: order.limit])
    rows = [row | {"share": _share(row, whole[TOTAL])} for row in rows]
    counted = [row for row in rows if row["computed_at"] is not None]
    others = every - len(rows)
    return List(
        rows,
        len(found) if order.search else every,
        others,
        {name: whole[name] - sum(row[name] for row in counted) for name in _ADDED},
        whole[TOTAL],
        complete=known == every,
        left_out_complete=known - len(counted) == others,
    )


_ADDED = (*MEASURE_NAMES, TOTAL)
_SUMS = ", ".join(
    f"SUM({expression}) FILTER (WHERE r.computed_at IS NOT NULL)"
    for expression in (*MEASURE_NAMES, TOTAL_SQL)
)


def _whole(source: _Source, order: Order) -> Whole:
    ids = _ids(source, order)
    starts = range(0, len(ids), BATCH_ROWS)
    return Whole(len(ids), (source.dicts(ids[start : start + BATCH_ROWS]) for start in starts))


def _ids(source: _Source, order: Order, limit: int | None = None) -> list[int]:
    """The rows that the search finds, by their ids, in the order that is wanted."""
    if order.sort == GROWTH and source.grows:
        rows = _by_growth(source, order.descending)
    else:
        cut = "" if limit is None else f" LIMIT {limit:d}"
        rows = source.fetch(source.columns, f"ORDER BY {_by(source, order)}{cut}")
    wanted = order.search.casefold()
    if not wanted:
        return [row_id for row_id, *_ in rows]
    return [row_id for row_id, *names in rows if any(wanted in name.casefold() for name in names)]


def _by(source: _Source, order: Order) -> str:
    """Equals by name; what is not known comes last, whichever way the rest is sorted."""
    way = "DESC" if order.descending else "ASC"
    if order.sort == NAME:
        return f"{source.name} {way}"
    if order.sort == GROWTH:  # known of no row
        return source.name
    value = TOTAL_SQL if order.sort == TOTAL else f"r.{order.sort}"
    known = f"CASE WHEN r.computed_at IS NOT NULL THEN {value} END"
    return f"r.computed_at IS NULL, {known} {way}, {source.name}"


def _by_growth(source: _Source, descending: bool) -> list[Any]:
    then = growth.before()
    known, others = [], []
    figures = f"CASE WHEN r.computed_at IS NOT NULL THEN {TOTAL_SQL} END"
    for *row, total in source.fetch(f"{source.columns}, {figures}", f"ORDER BY {source.name}"):
        before = then.get(row[0])
        if total is None or before is None:
            others.append(row)
        else:
            known.append((total - before, row))
    known.sort(key=lambda each: each[0], reverse=descending)
    return [row for _, row in known] + others


def _share(row: Row, whole: int) -> float | None:
    """The part of the whole, from 0 to 1."""
    if row["computed_at"] is None:
        return None
    return row[TOTAL] / whole if whole else 0.0
