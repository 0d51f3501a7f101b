"""Connections: all of them, one by its name, and those of a connector."""

from typing import NamedTuple

from ..database import fetch_as
from ..models.measures import TOTAL_SQL


class ConnectionRow(NamedTuple):
    """`total_retained_bytes` is None if it was never counted, `last_arrival` if nothing ever arrived.

    `is_exact`: the size is not waiting to be reconciled.  `number` is how metrics name it.
    """

    connection: str
    connector: str
    streams: int
    total_retained_bytes: int | None
    is_exact: bool
    last_arrival: str | None
    number: int


def rows() -> list[ConnectionRow]:
    """All connections, by name."""
    return fetch_as(
        ConnectionRow,
        f"""
        SELECT
            c.connector_instance_id,
            c.connector_id,
            COUNT(s.id),
            CASE WHEN r.computed_at IS NOT NULL THEN {TOTAL_SQL} END,
            COALESCE(NOT r.dirty, FALSE),
            MAX(s.last_ingested_at),
            c.id
        FROM connections c
        LEFT JOIN retained_size_connection r ON r.connection_id = c.id
        LEFT JOIN streams s ON s.connection_id = c.id
        GROUP BY c.id, c.connector_instance_id, c.connector_id, r.connection_id
        ORDER BY c.connector_instance_id
        """,
    )


class KnownConnection(NamedTuple):
    name: str
    connector: str


def of_name(name: str) -> KnownConnection | None:
    """The connection of a name; None if there is none."""
    found = fetch_as(
        KnownConnection,
        """
        SELECT connector_instance_id, connector_id
        FROM connections
        WHERE connector_instance_id = ?
        """,
        [name],
    )
    return found[0] if found else None


def of_connector(connector: str) -> list[KnownConnection]:
    """A connector's connections, by name."""
    return fetch_as(
        KnownConnection,
        """
        SELECT connector_instance_id, connector_id
        FROM connections
        WHERE connector_id = ?
        ORDER BY connector_instance_id
        """,
        [connector],
    )
