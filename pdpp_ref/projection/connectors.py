"""The parts of the global row's records by connector, which the summary ranks.

They change with the global row, under its lock, and are exact when it is.
"""

from ..database import execute


def add_records(connection_id: int, change: int) -> None:
    """Add to the connector of a connection whose own row has been changed, or removed, already."""
    if change and not execute(_ADD, (change, connection_id)):
        execute(f"{_SUM} WHERE c.connector_id = ({_CONNECTOR}) {_OF_EACH}", [connection_id])
    if change < 0:
        execute(f"{_REMOVE_EMPTY} AND connector_id = ({_CONNECTOR})", [connection_id])


def sum_all() -> None:
    """Replace all of them by sums over connections."""
    execute("DELETE FROM retained_size_connector")
    execute(f"{_SUM} {_OF_EACH}")


_CONNECTOR = "SELECT connector_id FROM connections WHERE id = ?"
_ADD = f"""
    UPDATE retained_size_connector
    SET record_count = record_count + ?
    WHERE connector_id = ({_CONNECTOR})
"""
_REMOVE_EMPTY = "DELETE FROM retained_size_connector WHERE record_count = 0"
_SUM = """
    INSERT INTO retained_size_connector (connector_id, record_count)
    SELECT c.connector_id, SUM(r.record_count)
    FROM connections c
    JOIN retained_size_connection r ON r.connection_id = c.id
"""
_OF_EACH = "GROUP BY c.connector_id HAVING SUM(r.record_count) > 0"
