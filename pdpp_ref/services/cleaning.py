"""Overwriting what erased records left in the database's files.

A reader that began before an erasure still needs the old state; cleaning waits until it has finished.
"""

import time

import peewee

from ..database import Busy, db, fetch_value, problem

PAGES_PER_STEP = 2_000  # 8 MB; no writer has to wait for longer than that takes
PAUSE_SECONDS = 0.02

# Where bytes of what was erased may remain, and until when.
UNUSED_SPACE, OLD_SPACE, DEAD_ROWS, OTHER_RECORDS = (
    "unused_space",
    "old_space",
    "dead_rows",
    "other_records",
)
PLACES = {
    UNUSED_SPACE: "until those who are reading the database have finished; the server then overwrites it",
    OLD_SPACE: "until pdpp-ref compact is run: the database was created by an earlier version",
    DEAD_ROWS: "until PostgreSQL has vacuumed its tables and recycled its log",
    OTHER_RECORDS: "until the other records that have the same file are erased, too",
}


def step() -> bool:
    """One step of housekeeping.  Returns whether there is more to do; raises Busy."""
    try:
        return not db.clean_pages(PAGES_PER_STEP)
    except peewee.OperationalError as error:
        if problem(error) == "busy":
            raise Busy from error
        raise


def shorten_log() -> bool:
    """Empty a long write-ahead log while nobody uses it.  For housekeeping: there is never more to do."""
    db.shorten_log()
    return False


def clean(seconds: float) -> list[str]:
    """Clean for so long at most; housekeeping does the rest.  Returns where bytes may remain."""
    if not db.leaves_remnants:
        return [DEAD_ROWS]
    deadline = time.monotonic() + seconds
    remains = [] if _is_done_by(deadline) else [UNUSED_SPACE]
    if fetch_value("SELECT has_remnants FROM pdpp_ref_schema"):
        remains.append(OLD_SPACE)
    return remains


def _is_done_by(deadline: float) -> bool:
    while True:
        try:
            if not step():
                return True
        except Busy:
            time.sleep(PAUSE_SECONDS)
        if time.monotonic() > deadline:
            return False
