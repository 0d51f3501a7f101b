"""What an operator watches of a database: how large it is, and how far behind."""

from pathlib import Path

from . import unused_space
from .proxy import db
from .statements import fetch_value

# The age of the last commit that was replayed says too much while nobody writes.  But that nothing is left
# to replay says something only while a primary is followed.  What was never replayed came with a copy that
# is older than the server's start.
_LAG = """
    SELECT
        CASE
            WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()
                AND EXISTS (SELECT 1 FROM pg_stat_wal_receiver)
            THEN 0
            ELSE EXTRACT(
                EPOCH FROM
                clock_timestamp() - COALESCE(pg_last_xact_replay_timestamp(), pg_postmaster_start_time())
            )::float8
        END
    """


def size_bytes() -> int:
    """With the log, on SQLite."""
    if db.is_in_process:
        return Path(db.database).stat().st_size + unused_space.log_bytes(db.database)
    return int(fetch_value("SELECT pg_database_size(current_database())"))


def lag_seconds() -> float | None:
    """How old a replica's data is, 0 if it follows a primary and has all that has arrived.

    None on a primary.  Call it in a transaction.
    """
    return max(0.0, float(fetch_value(_LAG))) if db.is_replica() else None
