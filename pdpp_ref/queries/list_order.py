"""The order of the owner's lists: the ids of their rows, sorted, searched and limited."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ..database import fetch_all, fetch_column, placeholders
from ..models.measures import COUNT_MEASURES, MEASURE_NAMES, TOTAL, TOTAL_SQL
from ..projection.grains import CONNECTION, STREAM, Grain
from . import growth, silence

NAME, GROWTH = "name", "growth"
CONTACT, SILENCE, ARRIVAL = "last_contact_at", "silent_from", "latest_ingested_at"
SORTS = (NAME, TOTAL, GROWTH, CONTACT, SILENCE, ARRIVAL, *MEASURE_NAMES)
MAX_ROWS = 100
FEW_FOUND = 500  # of more rows that a search finds, all are sorted


class Order(NamedTuple):
    """How to sort a list.  `search` is a part of a name, in any case; `limit` applies to pages."""

    sort: str = TOTAL
    descending: bool = True
    search: str = ""
    limit: int = MAX_ROWS


@dataclass(frozen=True)
class Source:
    """The common parts of a list's statements: columns, and the clauses FROM and WHERE.

    The rows of its grain are joined as `r`.  `found` is SQL for what a search looks in: the id, then texts.
    `times` is SQL for what a list of all connections or streams is sorted by if it is not a measure.
    `counted` is the same list while all its rows are known to be exact, so that an index can sort them.
    """

    id: str
    name: str
    tables: str
    where: str
    grain: Grain
    found: str
    times: dict[str, str] = field(default_factory=dict)
    identity: str = ""
    counted: "Source | None" = None


_RETAINS_ANYTHING = "(" + " OR ".join(f"r.{measure.name} <> 0" for measure in COUNT_MEASURES) + ")"
_FOUND_CONNECTIONS = "SELECT id, connector_instance_id, connector_id FROM connections"
_FOUND_STREAMS = "SELECT id, name FROM streams WHERE connection_id = ?"
# The connections that retain something, or may.
CONNECTIONS = Source(
    id="c.id",
    name="c.connector_instance_id",
    identity=f"c.id, c.connector_instance_id AS name, c.connector_id, {silence.CONTACT_COLUMNS}",
    tables=(
        "connections c LEFT JOIN retained_size_connection r ON r.connection_id = c.id "
        + silence.CONTACTS_JOINED
    ),
    times={CONTACT: "k.last_contact_at", SILENCE: "k.silent_from", ARRIVAL: "r.latest_ingested_at"},
    where=f"(r.dirty IS NULL OR r.dirty OR {_RETAINS_ANYTHING})",
    grain=CONNECTION,
    found=_FOUND_CONNECTIONS,
    counted=Source(
        id="r.connection_id",
        name="r.connection_name",
        tables="retained_size_connection r",
        where=_RETAINS_ANYTHING,
        grain=CONNECTION,
        found=_FOUND_CONNECTIONS,
    ),
)
# Of one connection, whose id is the value.
STREAMS = Source(
    id="s.id",
    name="s.name",
    identity="s.id, s.name, '' AS connector_id",
    tables="streams s LEFT JOIN retained_size_stream r ON r.stream_id = s.id",
    times={CONTACT: "s.last_contact_at", SILENCE: "NULL", ARRIVAL: "r.latest_ingested_at"},
    where="s.connection_id = ?",
    grain=STREAM,
    found=_FOUND_STREAMS,
    counted=Source(
        id="r.stream_id",
        name="r.stream_name",
        tables="retained_size_stream r",
        where="r.connection_id = ?",
        grain=STREAM,
        found=_FOUND_STREAMS,
    ),
)


def sorted_ids(source: Source, order: Order, values: Sequence[int], limit: int | None = None) -> list[int]:
    """The ids of the rows that the search finds, sorted; without a search at most `limit`, if given."""
    if not order.search:
        return _sorted(source, order, values, None, limit)
    found = _found(source, order.search, values)
    if len(found) <= FEW_FOUND:
        return _sorted(source, order, values, list(found), None) if found else []
    return [row_id for row_id in _sorted(source, order, values, None, None) if row_id in found]


def _found(source: Source, search: str, values: Sequence[int]) -> Collection[int]:
    """The ids of rows with this in a name, those included that the list leaves out."""
    wanted = search.casefold()
    rows = fetch_all(source.found, values)
    return {row_id for row_id, *names in rows if wanted in "\n".join(names).casefold()}


def _sorted(
    source: Source, order: Order, values: Sequence[int], among: list[int] | None, limit: int | None
) -> list[int]:
    """The ids of all rows, or of those among these."""
    where = source.where
    if among is not None:
        where, values = f"{where} AND {source.id} IN ({placeholders(among)})", [*values, *among]
    if order.sort == GROWTH:
        return _by_growth(source, where, values, among, order.descending)
    return fetch_column(
        f"""
        SELECT {source.id}
        FROM {source.tables}
        WHERE {where}
        ORDER BY {_order_by(source, order)}
        {"" if limit is None else f"LIMIT {limit:d}"}
        """,
        values,
    )


def _order_by(source: Source, order: Order) -> str:
    """Equals are sorted by name; unknown values come last in either direction."""
    way = "DESC" if order.descending else "ASC"
    if order.sort == NAME:
        return f"{source.name} {way}"
    if time := source.times.get(order.sort):
        return f"{time} IS NULL, {time} {way}, {source.name}"
    value = TOTAL_SQL if order.sort == TOTAL else f"r.{order.sort}"
    if source.counted is None:
        return f"{value} {way}, {source.name}"
    known = f"CASE WHEN r.computed_at IS NOT NULL THEN {value} END"
    return f"r.computed_at IS NULL, {known} {way}, {source.name}"


def _by_growth(
    source: Source, where: str, values: Sequence[int], among: list[int] | None, descending: bool
) -> list[int]:
    within = values[0] if source.grain is STREAM else None
    baselines = growth.baselines(among, source.grain, within)
    rows = fetch_all(
        f"""
        SELECT {source.id}, CASE WHEN r.computed_at IS NOT NULL THEN {TOTAL_SQL} END
        FROM {source.tables}
        WHERE {where}
        ORDER BY {source.name}
        """,
        values,
    )
    changes: dict[int, int] = {}
    others = []
    for row_id, total in rows:
        baseline = baselines.get(row_id)
        if total is None or baseline is None:
            others.append(row_id)
        else:
            changes[row_id] = total - baseline
    return sorted(changes, key=changes.__getitem__, reverse=descending) + others
