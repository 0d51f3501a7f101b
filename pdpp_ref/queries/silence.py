"""Connections from which nothing has arrived for the longest time."""

from typing import NamedTuple

from ..database import fetch_as

MOST = 20


class LastArrival(NamedTuple):
    connection_id: int
    at: str


def longest() -> list[LastArrival]:
    """At most MOST, the longest silent first, of connections that have live records."""
    return fetch_as(
        LastArrival,
        """
        SELECT connection_id, latest_ingested_at
        FROM retained_size_connection
        WHERE latest_ingested_at IS NOT NULL
        ORDER BY latest_ingested_at, connection_id
        LIMIT ?
        """,
        [MOST],
    )
