"""The owner's lists of connections and of a connection's streams, sorted, searched and limited.

A page costs what it shows: the database sorts and adds up, and only rows that are shown are read.  A
download has all rows, in batches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from msgspec.structs import replace

from ..database import fetch_all, placeholders
from ..models.measures import EVERY_MEASURE, MEASURE_NAMES, Measures
from ..projection.rows import ROW_COLUMNS, ProjectionRow, fetch_rows, global_row
from . import contents, growth, silence
from .items import ItemRow
from .list_order import (
    ARRIVAL,
    CONNECTIONS,
    CONTACT,
    GROWTH,
    MAX_ROWS,
    NAME,
    SILENCE,
    SORTS,
    STREAMS,
    Order,
    Source,
    sorted_ids,
)

__all__ = ["ARRIVAL", "CONTACT", "GROWTH", "MAX_ROWS", "NAME", "SILENCE", "SORTS", "Order"]

LARGEST = 10
BATCH_ROWS = 500


class ListedRow(ProjectionRow, kw_only=True, frozen=True):
    """A connection or a stream.  `growth` is in bytes since growth.COMPARED_DAYS ago, None if unknown.

    `share` is the part of the list's total, from 0 to 1; None for a row that was never counted.  Of a
    connection, the times are those of silence.Contact.
    """

    id: int
    name: str
    connector_id: str
    growth: int | None = None
    share: float | None = None
    last_contact_at: str | None = None
    usual_seconds: int | None = None
    silent_from: str | None = None

    @property
    def is_silent(self) -> bool:
        return silence.is_silent(self.silent_from)


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


class Counted(NamedTuple):
    """How many rows a list has without a search, how many were ever counted, and the sums of those."""

    every: int
    known: int
    whole: Measures


AnyRow = TypeVar("AnyRow", bound=Measures)


@dataclass(frozen=True)
class Batches(Generic[AnyRow]):
    """All rows of a list: how many there are, and the rows, a batch at a time.

    The rows are read while `batches` is iterated over, so the snapshot must last until then.
    """

    count: int
    batches: Iterator[list[AnyRow]]


# ---- the lists ---------------------------------------------------------------------------------


def connections(order: Order) -> List:
    """The connections that retain something, or may."""
    return _list(CONNECTIONS, order, _exact_totals())


def _exact_totals() -> Counted | None:
    """Of all connections; None if one of them may not be exact, or has lost its row."""
    totals = global_row()
    ((connections, rows),) = fetch_all(
        """
        SELECT
            (SELECT COUNT(*) FROM connections),
            (SELECT COUNT(*) FROM retained_size_connection)
        """
    )
    if totals.dirty or rows < connections:
        return None
    return Counted(totals.connection_count, totals.connection_count, totals)


def all_connections(order: Order) -> Batches[ListedRow]:
    return _batches(CONNECTIONS, order)


class ConnectionDetail(NamedTuple):
    """`days` are those of growth.days."""

    row: ListedRow
    streams: List
    days: list[growth.Day]


def connection(name: str, order: Order, days: int) -> ConnectionDetail | None:
    """A connection with its streams and its growth over so many days; None if there is none."""
    for row in _rows(CONNECTIONS, "c.connector_instance_id = ?", [name]):
        streams = _list(STREAMS, order, _exact_totals_of(row), row.id)
        return ConnectionDetail(row, streams, growth.days(days, row.id))
    return None


def _exact_totals_of(connection: ListedRow) -> Counted | None:
    """The same of a connection's streams, those included that retain nothing."""
    ((streams, rows),) = fetch_all(
        """
        SELECT
            (SELECT COUNT(*) FROM streams WHERE connection_id = ?),
            (SELECT COUNT(*) FROM retained_size_stream WHERE connection_id = ?)
        """,
        (connection.id, connection.id),
    )
    return None if connection.dirty or rows < streams else Counted(streams, streams, connection)


def all_streams(connection_name: str, order: Order) -> Batches[ListedRow] | None:
    """All streams of a connection; None if there is none of the name."""
    found = connection_id(connection_name)
    return None if found is None else _batches(STREAMS, order, found)


class StreamDetail(NamedTuple):
    """`days` are those of growth.days.

    `all_searched` is False if the stream has more versions than are searched for the largest.
    """

    row: ListedRow
    days: list[growth.Day]
    records: list[ItemRow]
    files: list[ItemRow]
    all_searched: bool


def stream(connection_name: str, name: str, days: int) -> StreamDetail | None:
    """A stream with its growth over so many days, its largest records and files; None if there is none."""
    found = stream_id(connection_name, name)
    if found is None:
        return None
    (row,) = _rows(STREAMS, "s.id = ?", [found])
    return StreamDetail(
        row,
        growth.days(days, stream_id=found),
        contents.largest_records(found, LARGEST),
        contents.largest_files(found, LARGEST),
        contents.is_searched_whole(found),
    )


def stream_contents(
    connection_name: str, name: str, of: Literal["record", "file"]
) -> Batches[ItemRow] | None:
    """All records of a stream, or all their files, by name; None if there is no such stream."""
    found = stream_id(connection_name, name)
    if found is None:
        return None
    if of == "record":
        return Batches(contents.record_count(found), contents.record_batches(found, BATCH_ROWS))
    return Batches(contents.file_count(found), contents.file_batches(found, BATCH_ROWS))


def connection_id(name: str) -> int | None:
    found = fetch_all("SELECT id FROM connections WHERE connector_instance_id = ?", [name])
    return found[0][0] if found else None


def stream_id(connection_name: str, name: str) -> int | None:
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


def _list(source: Source, order: Order, exact: Counted | None, *values: int) -> List:
    """`exact` are the list's totals, if all its rows are exact."""
    every, known, whole = exact or _totals(source, values)
    # What is no measure is sorted in the same way whether rows are exact or not.
    is_ranked = exact is not None and order.sort in EVERY_MEASURE
    by = source.counted if is_ranked and source.counted else source
    # Without a search the database reads only rows that are shown.
    ids = sorted_ids(by, order, values, order.limit)
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


def _totals(source: Source, values: Sequence[int]) -> Counted:
    ((every, known, *sums),) = fetch_all(
        f"""
        SELECT COUNT(*), COUNT(r.computed_at), {_SUMS}
        FROM {source.tables}
        WHERE {source.where}
        """,
        values,
    )
    return Counted(every, known, Measures(**dict(zip(MEASURE_NAMES, sums, strict=True))))


_SUMS = ", ".join(
    f"COALESCE(SUM(r.{name}) FILTER (WHERE r.computed_at IS NOT NULL), 0)" for name in MEASURE_NAMES
)


def _rows_by_id(source: Source, ids: Sequence[int]) -> list[ListedRow]:
    """The rows of these ids, in their order."""
    if not ids:
        return []
    by_id = {row.id: row for row in _rows(source, f"{source.id} IN ({placeholders(ids)})", ids)}
    return [by_id[row_id] for row_id in ids]


def _rows(source: Source, where: str, values: Sequence[Any]) -> list[ListedRow]:
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
    if not rows:
        return rows
    baselines = growth.baselines([row.id for row in rows], source.grain)
    return [replace(row, growth=growth_since(row, baselines.get(row.id))) for row in rows]


def growth_since(row: ProjectionRow, baseline: int | None) -> int | None:
    """The change of a row's total, in bytes, since it was the baseline; None if unknown."""
    if baseline is None or row.computed_at is None:
        return None
    return row.total_retained_bytes - baseline


def _difference(whole: Measures, rows: Sequence[Measures]) -> Measures:
    return Measures(
        **{name: getattr(whole, name) - sum(getattr(row, name) for row in rows) for name in MEASURE_NAMES}
    )


def _share(row: ListedRow, whole: int) -> float | None:
    if row.computed_at is None:
        return None
    return row.total_retained_bytes / whole if whole else 0.0


def _batches(source: Source, order: Order, *values: int) -> Batches[ListedRow]:
    ids = sorted_ids(source, order, values)
    starts = range(0, len(ids), BATCH_ROWS)
    return Batches(len(ids), (_rows_by_id(source, ids[start : start + BATCH_ROWS]) for start in starts))
