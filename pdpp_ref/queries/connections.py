"""Connections by name, and those of a connector."""

from typing import NamedTuple

from ..database import fetch_as


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
