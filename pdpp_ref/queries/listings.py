"""The owner's lists of connections and of a connection's streams, sorted, searched and limited.

A page costs what it shows: the database sorts and adds up, and only rows that are shown are read.  A
download has all rows, in batches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from msgspec.structs import asdict, replace

from ..database import fetch_all, placeholders
from ..models.measures import COUNT_MEASURES, MEASURE_NAMES, TOTAL, TOTAL_SQL, Measures
from ..projection.rows import ROW_COLUMNS, ProjectionRow, fetch_rows
from . import contents, growth
from .items import ItemRow

NAME, GROWTH = "name", "growth"
SORTS = (NAME, TOTAL, GROWTH, *MEASURE_NAMES)
MAX_ROWS = 100
LARGEST = 10
BATCH_ROWS = 500


class Order(NamedTuple):
    """How to sort a list.  `search` is a part of a name, in any case; `limit` applies to pages."""

    sort: str = TOTAL
    descending: bool = True
    search: str = ""
    limit: int = MAX_ROWS


class ListedRow(ProjectionRow, kw_only=True, frozen=True):
    """A connection or a stream.  `growth` is in bytes since growth.COMPARED_DAYS ago, None if unknown.

    `share` is the part of the list's total, from 0 to 1; None for a row that was never counted.
    """

    id: int
    name: str
    connector_id: str
    growth: int | None = None
    share: float | None = None


@dataclass(frozen=True)
class List:
    """`rows` are shown; `left_out` is the sum of the rows that are not; `others` is their number.

    `matching` is how many rows the search found.  Shares are of `counted_bytes`, the total of all rows
    that were ever counted.  If some never were, `complete` or `left_out_complete` is False, and these
    sums are minimums.
    """

    rows: list[ListedRow]
    matching: int
    others: int
    left_out: Measures
    counted_bytes: int
    complete: bool
    left_out_complete: bool


AnyRow = TypeVar("AnyRow", bound=Measures)


@dataclass(frozen=True)
class Batches(Generic[AnyRow]):
    """All rows of a list: how many there are, and the rows, a batch at a time.

    The rows are read while `batches` is iterated over, so the snapshot must last until then.
    """

    count: int
    batches: Iterator[list[AnyRow]]


@dataclass(frozen=True)
class _Source:
    """The common parts of a list's statements: columns, and the clauses FROM and WHERE.

    The rows of its grain are joined as `r`.  `identity`: the id, then what a search finds.
    """

    id: str
    name: str
    identity: str
    tables: str
    where: str
    grows: bool


# The connections that retain something, or may.
_CONNECTIONS = _Source(
    id="c.id",
    name="c.connector_instance_id",
    identity="c.id, c.connector_instance_id AS name, c.connector_id",
    tables="connections c LEFT JOIN retained_size_connection r ON r.connection_id = c.id",
    where="(r.dirty IS NULL OR r.dirty OR "
    + " OR ".join(f"r.{measure.name} <> 0" for measure in COUNT_MEASURES)
    + ")",
    grows=True,
)
# Of one connection, whose id is the value.
_STREAMS = _Source(
    id="s.id",
    name="s.name",
    identity="s.id, s.name, '' AS connector_id",
    tables="streams s LEFT JOIN retained_size_stream r ON r.stream_id = s.id",
    where="s.connection_id = ?",
    grows=False,
)


# ---- the lists ---------------------------------------------------------------------------------


def connections(order: Order) -> List:
    """The connections that retain something, or may."""
    return _list(_CONNECTIONS, order)


def all_connections(order: Order) -> Batches[ListedRow]:
    return _batches(_CONNECTIONS, order)


class ConnectionDetail(NamedTuple):
    """`days` are those of growth.days."""

    row: ListedRow
    streams: List
    days: list[growth.Day]


def connection(name: str, order: Order, days: int) -> ConnectionDetail | None:
    """A connection with its streams and its growth over so many days; None if there is none."""
    for row in _rows(_CONNECTIONS, "c.connector_instance_id = ?", [name]):
        return ConnectionDetail(row, _list(_STREAMS, order, row.id), growth.days(days, row.id))
    return None


def all_streams(connection_name: str, order: Order) -> Batches[ListedRow] | None:
    """All streams of a connection; None if there is none of the name."""
    connection_id = _connection_id(connection_name)
    return None if connection_id is None else _batches(_STREAMS, order, connection_id)


class StreamDetail(NamedTuple):
    """`all_searched` is False if the stream has more versions than are searched for the largest."""

    row: ListedRow
    records: list[ItemRow]
    files: list[ItemRow]
    all_searched: bool


def stream(connection_name: str, name: str) -> StreamDetail | None:
    """A stream with its largest records and files; None if there is none of the name."""
    stream_id = _stream_id(connection_name, name)
    if stream_id is None:
        return None
    (row,) = _rows(_STREAMS, "s.id = ?", [stream_id])
    return StreamDetail(
        row,
        contents.largest_records(stream_id, LARGEST),
        contents.largest_files(stream_id, LARGEST),
        contents.is_searched_whole(stream_id),
    )


def stream_contents(
    connection_name: str, name: str, of: Literal["record", "file"]
) -> Batches[ItemRow] | None:
    """All records of a stream, or all their files, by name; None if there is no such stream."""
    stream_id = _stream_id(connection_name, name)
    if stream_id is None:
        return None
    if of == "record":
        return Batches(contents.record_count(stream_id), contents.record_batches(stream_id, BATCH_ROWS))
    return Batches(contents.file_count(stream_id), contents.file_batches(stream_id, BATCH_ROWS))


def _connection_id(name: str) -> int | None:
    found = fetch_all("SELECT id FROM connections WHERE connector_instance_id = ?", [name])
    return found[0][0] if found else None


def _stream_id(connection_name: str, name: str) -> int | None:
    found = fetch_all(
        """
        SELECT s.id
        FROM streams s
        JOIN connections c ON c.id = s.connection_id
        WHERE c.connector_instance_id = ? AND s.name = ?
        """,
        (connection_name, name),
    )
    return found[0][0] if found else None


# ---- sorting, searching, limiting --------------------------------------------------------------


def _list(source: _Source, order: Order, *values: int) -> List:
    every, known, whole = _totals(source, values)
    # Without a search the database reads only rows that are shown.
    ids = _ids(source, order, values, None if order.search else order.limit)
    bytes_of_all = whole.total_retained_bytes
    rows = [
        replace(row, share=_share(row, bytes_of_all)) for row in _rows_by_id(source, ids[: order.limit])
    ]
    counted = [row for row in rows if row.computed_at is not None]
    others = every - len(rows)
    return List(
        rows=rows,
        matching=len(ids) if order.search else every,
        others=others,
        left_out=_difference(whole, counted),
        counted_bytes=bytes_of_all,
        complete=known == every,
        left_out_complete=known - len(counted) == others,
    )


def _totals(source: _Source, values: Sequence[int]) -> tuple[int, int, Measures]:
    """How many rows there are, how many were ever counted, and the sums of those."""
    ((every, known, *sums),) = fetch_all(
        f"""
        SELECT COUNT(*), COUNT(r.computed_at), {_SUMS}
        FROM {source.tables}
        WHERE {source.where}
        """,
        values,
    )
    return every, known, Measures(**dict(zip(MEASURE_NAMES, sums, strict=True)))


_SUMS = ", ".join(
    f"COALESCE(SUM(r.{name}) FILTER (WHERE r.computed_at IS NOT NULL), 0)" for name in MEASURE_NAMES
)


def _rows_by_id(source: _Source, ids: Sequence[int]) -> list[ListedRow]:
    """The rows of these ids, in their order."""
    if not ids:
        return []
    by_id = {row.id: row for row in _rows(source, f"{source.id} IN ({placeholders(ids)})", ids)}
    return [by_id[row_id] for row_id in ids]


def _rows(source: _Source, where: str, values: Sequence[Any]) -> list[ListedRow]:
    """The rows for which `where` holds, with their growth."""
    rows = fetch_rows(
        ListedRow,
        f"""
        SELECT {source.identity}, {ROW_COLUMNS}
        FROM {source.tables}
        WHERE {where}
        """,
        values,
    )
    if not (rows and source.grows):
        return rows
    baselines = growth.baselines([row.id for row in rows])
    return [replace(row, growth=growth_since(row, baselines.get(row.id))) for row in rows]


def growth_since(row: ProjectionRow, baseline: int | None) -> int | None:
    """The change of a row's total, in bytes, since it was the baseline; None if unknown."""
    if baseline is None or row.computed_at is None:
        return None
    return row.total_retained_bytes - baseline


def _difference(whole: Measures, rows: Sequence[Measures]) -> Measures:
    return Measures(
        **{name: value - sum(getattr(row, name) for row in rows) for name, value in asdict(whole).items()}
    )


def _share(row: ListedRow, whole: int) -> float | None:
    if row.computed_at is None:
        return None
    return row.total_retained_bytes / whole if whole else 0.0


def _batches(source: _Source, order: Order, *values: int) -> Batches[ListedRow]:
    ids = _ids(source, order, values)
    starts = range(0, len(ids), BATCH_ROWS)
    return Batches(len(ids), (_rows_by_id(source, ids[start : start + BATCH_ROWS]) for start in starts))


def _ids(source: _Source, order: Order, values: Sequence[int], limit: int | None = None) -> list[int]:
    """The ids of the rows that the search finds, sorted."""
    if order.sort == GROWTH and source.grows:
        rows = _by_growth(source, values, order.descending)
    else:
        rows = fetch_all(
            f"""
            SELECT {source.identity}
            FROM {source.tables}
            WHERE {source.where}
            ORDER BY {_order_by(source, order)}
            {"" if limit is None else f"LIMIT {limit:d}"}
            """,
            values,
        )
    wanted = order.search.casefold()
    if not wanted:
        return [row_id for row_id, *_ in rows]
    return [row_id for row_id, *names in rows if any(wanted in name.casefold() for name in names)]


def _order_by(source: _Source, order: Order) -> str:
    """Equals are sorted by name; unknown values come last in either direction."""
    way = "DESC" if order.descending else "ASC"
    if order.sort == NAME:
        return f"{source.name} {way}"
    if order.sort == GROWTH:  # unknown for all streams
        return source.name
    value = TOTAL_SQL if order.sort == TOTAL else f"r.{order.sort}"
    known = f"CASE WHEN r.computed_at IS NOT NULL THEN {value} END"
    return f"r.computed_at IS NULL, {known} {way}, {source.name}"


def _by_growth(source: _Source, values: Sequence[int], descending: bool) -> list[Any]:
    baselines = growth.baselines()
    rows = fetch_all(
        f"""
        SELECT {source.identity}, CASE WHEN r.computed_at IS NOT NULL THEN {TOTAL_SQL} END
        FROM {source.tables}
        WHERE {source.where}
        ORDER BY {source.name}
        """,
        values,
    )
    known, others = [], []
    for *identity, total in rows:
        baseline = baselines.get(identity[0])
        if total is None or baseline is None:
            others.append(identity)
        else:
            known.append((total - baseline, identity))
    known.sort(key=lambda each: each[0], reverse=descending)
    return [identity for _, identity in known] + others
