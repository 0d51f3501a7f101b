"""What speaks PostgreSQL's protocol and is not PostgreSQL, or stands before it.

The program relies on locks: a sum locks its row, and then sees all that was committed before.  Where locks
do nothing, or a statement sees less, totals would be wrong and called fresh.  So such an engine is refused.
"""

from collections.abc import Callable, Sequence
from typing import Any

from .errors import DatabaseUnusable, of_driver

POOLS_STATEMENTS = (
    "the pooler gives each statement another session; set its pool_mode to transaction or session"
)
_COCKROACH = "CockroachDB accepts advisory locks and does nothing, so totals would be wrong; use PostgreSQL"
_YUGABYTE = (
    "YugabyteDB's transactions see and lock other rows than PostgreSQL's, so totals would be wrong; "
    "use PostgreSQL"
)
_DISTRIBUTED = (
    "Citus has distributed a table by a column, so a sum would not see one moment; "
    "run undistribute_table on each table, or use schema-based sharding"
)
_VERSION = "SELECT version(), to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL"
# Tables of a distributed schema have the method n, as have reference tables: they are whole on a node.
_IS_DISTRIBUTED = """
    SELECT EXISTS (
        SELECT 1
        FROM pg_catalog.pg_dist_partition
        WHERE partmethod <> 'n' AND pg_table_is_visible(logicalrelid)
    )
    """


def check(connection: Any, fetch: Callable[[str], Sequence[Any]]) -> None:
    """Refuse an engine by what it announces on a connection, and says if asked; `fetch` returns a row.

    Raises DatabaseUnusable.
    """
    if connection.pgconn.parameter_status(b"crdb_version"):
        raise DatabaseUnusable(_COCKROACH)
    _check_version((connection.pgconn.parameter_status(b"server_version") or b"").decode())
    version, has_citus = fetch(_VERSION)
    _check_version(version)
    if has_citus and fetch(_IS_DISTRIBUTED)[0]:
        raise DatabaseUnusable(_DISTRIBUTED)


def _check_version(version: str) -> None:
    if "CockroachDB" in version:
        raise DatabaseUnusable(_COCKROACH)
    if "-YB-" in version:
        raise DatabaseUnusable(_YUGABYTE)


def pools_statements(error: BaseException) -> bool:
    """Whether this is how pgbouncer refuses a transaction in that mode."""
    return "statement pooling" in str(of_driver(error))
