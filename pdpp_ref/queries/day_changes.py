"""What a day's growth comes from: the connections and streams that changed on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..database import fetch_as, placeholders
from ..projection.grains import CONNECTION, GLOBAL, STREAM, Grain
from . import growth

MOST = 100


class Origin(NamedTuple):
    """A connection, or one of its streams, and the bytes that it grew by; None: unknown."""

    connector: str
    connection: str
    stream: str | None
    change: int | None


@dataclass(frozen=True)
class Origins:
    """The rows that changed most, after those whose change is unknown; number and sum of the others."""

    rows: list[Origin]
    others: int
    left_out: int


@dataclass(frozen=True)
class DayChanges:
    """`change` is that of everything, or of the connection.  None: unknown.

    `elsewhere` is the part of it that no connection or stream accounts for: what was deleted since.
    None if a part is unknown.
    """

    day: str
    change: int | None
    elsewhere: int | None
    connections: Origins
    streams: Origins


def of_day(day: str, connection_id: int | None = None) -> DayChanges:
    """The changes of a day (UTC) by connection and stream, or those of one connection by stream."""
    grain, key = (GLOBAL, 1) if connection_id is None else (CONNECTION, connection_id)
    change = growth.change_on(grain, key, day)
    of_connections = {} if connection_id is not None else _changes(CONNECTION, day, None)
    of_streams = _changes(STREAM, day, connection_id)
    parts = of_streams if connection_id is not None else of_connections
    return DayChanges(
        day,
        change,
        _rest(change, list(parts.values())),
        _origins(CONNECTION, of_connections),
        _origins(STREAM, of_streams),
    )


def _changes(grain: Grain, day: str, connection_id: int | None) -> dict[int, int | None]:
    """The change of each row that has a snapshot of the day."""
    where = f"c.id IN (SELECT {grain.key} FROM {grain.days} WHERE day = ?)"
    values: list[int | str] = [day]
    if grain is STREAM:
        # A deleted stream has no connection.
        where += " AND c.connection_id IS NOT NULL" if connection_id is None else " AND c.connection_id = ?"
        values += [] if connection_id is None else [connection_id]
    before = growth.totals_at(grain, growth.day_before(day), where, values)
    after = growth.totals_at(grain, day, where, values)
    return {row_id: growth.difference(before.get(row_id), total) for row_id, total in after.items()}


def _rest(change: int | None, parts: Sequence[int | None]) -> int | None:
    known = [part for part in parts if part is not None]
    return None if change is None or len(known) < len(parts) else change - sum(known)


def _origins(grain: Grain, changes: dict[int, int | None]) -> Origins:
    """Of rows that have not changed by a byte nothing is said."""
    changed = {row_id: change for row_id, change in changes.items() if change != 0}
    by_size = sorted(changed, key=lambda each: (changed[each] is not None, -abs(changed[each] or 0), each))
    shown, others = by_size[:MOST], by_size[MOST:]
    names = {each.id: each for each in _names(grain, shown)}
    rows = [
        Origin(names[each].connector, names[each].connection, names[each].stream, changed[each])
        for each in shown
    ]
    return Origins(rows, len(others), sum(changed[row_id] or 0 for row_id in others))


class _Name(NamedTuple):
    id: int
    connector: str
    connection: str
    stream: str | None


def _names(grain: Grain, ids: Sequence[int]) -> list[_Name]:
    if not ids:
        return []
    if grain is CONNECTION:
        return fetch_as(
            _Name,
            f"""
            SELECT id, connector_id, connector_instance_id, NULL
            FROM connections
            WHERE id IN ({placeholders(ids)})
            """,
            ids,
        )
    return fetch_as(
        _Name,
        f"""
        SELECT s.id, c.connector_id, c.connector_instance_id, s.name
        FROM streams s
        JOIN connections c ON c.id = s.connection_id
        WHERE s.id IN ({placeholders(ids)})
        """,
        ids,
    )
