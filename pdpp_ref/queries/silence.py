"""Which sources have stopped: when a connection was last in contact, and when its last record arrived."""

from typing import NamedTuple

from ..database import fetch_as, fetch_value
from ..timestamps import utc_now

MOST = 20
# Of `connections c` and what CONTACTS_JOINED adds; for a NamedTuple or Struct with these fields.
CONTACT_COLUMNS = "k.last_contact_at, k.usual_seconds, k.silent_from"
CONTACTS_JOINED = "LEFT JOIN connection_contacts k ON k.connection_id = c.id"


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


class Contact(NamedTuple):
    """A connection's contacts.  `last_arrival_at` is the arrival of its newest live record.

    `usual_seconds` and `silent_from` are None if there were too few contacts to know what is usual.
    """

    connector_id: str
    connector_instance_id: str
    last_contact_at: str | None
    usual_seconds: int | None
    silent_from: str | None
    last_arrival_at: str | None


def contacts(connection: str | None = None) -> list[Contact]:
    """Of all connections or of one, by name."""
    return fetch_as(
        Contact,
        f"""
        SELECT c.connector_id, c.connector_instance_id, {CONTACT_COLUMNS}, r.latest_ingested_at
        FROM connections c
        LEFT JOIN retained_size_connection r ON r.connection_id = c.id
        {CONTACTS_JOINED}
        {"" if connection is None else "WHERE c.connector_instance_id = ?"}
        ORDER BY c.connector_instance_id
        """,
        [] if connection is None else [connection],
    )


def is_silent(silent_from: str | None) -> bool:
    """Whether a source has stayed away for longer than usual, and a grace."""
    return silent_from is not None and silent_from < utc_now()


def count() -> int:
    """How many connections are silent now."""
    found: int = fetch_value("SELECT COUNT(*) FROM connection_contacts WHERE silent_from < ?", [utc_now()])
    return found
