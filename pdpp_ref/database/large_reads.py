"""Reading more than fits into memory."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .proxy import db
from .statements import fetching


@contextmanager
def sorting_on_disk() -> Iterator[None]:
    """Statements in the block sort in temporary files.  Transactions begin inside it.

    PostgreSQL always does, from some size on.  SQLite is set to use memory for what it sorts.
    """
    if not db.is_in_process:
        yield
        return
    ((usual,),) = db.execute_sql("PRAGMA temp_store").fetchall()
    db.execute_sql("PRAGMA temp_store = file")
    try:
        yield
    finally:
        db.execute_sql(f"PRAGMA temp_store = {usual}")


def fetch_lazily(sql: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
    """The rows of one SELECT inside a transaction, few of them in memory at a time."""
    with fetching():
        if db.is_in_process:
            yield from db.execute_sql(sql, values)
            return
        with db.connection().cursor("rows") as cursor:
            cursor.execute(db.translate_placeholders(sql), values)
            yield from cursor
