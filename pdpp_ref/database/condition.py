"""What an operator watches of a database: how large it is, and how far behind."""

from pathlib import Path

from . import unused_space
from .proxy import db
from .statements import fetch_value

_LAG = """
    SELECT
        CASE
            WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()
            THEN 0
            ELSE EXTRACT(EPOCH FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8
        END
    """


def size_bytes() -> int:
    """With the log, on SQLite."""
    if db.is_in_process:
        return Path(db.database).stat().st_size + unused_space.log_bytes(db.database)
    return int(fetch_value("SELECT pg_database_size(current_database())"))


def lag_seconds() -> float | None:
    """How old a replica's data is, 0 if it has all that has arrived; None on a primary.

    Call it in a transaction.
    """
    if not db.is_replica():
        return None
    seconds = fetch_value(_LAG)
    return None if seconds is None else max(0.0, float(seconds))
