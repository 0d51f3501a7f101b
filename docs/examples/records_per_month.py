"""Records per month: a second projection, on the marks, passes, cooldown and states of the first."""

import time

from peewee import BigIntegerField, ForeignKeyField, TextField

from pdpp_ref import database
from pdpp_ref.database import execute, fetch_all
from pdpp_ref.models import Stream, Table
from pdpp_ref.services.reconcile import Limits, Pass
from pdpp_ref.services.summary import state_of


class CountedStream(Table):
    stream = ForeignKeyField(Stream, primary_key=True, on_delete="CASCADE")
    generation = BigIntegerField()  # of the stream's row in `retained_size_stream` when it was counted


class RecordMonth(Table):
    stream = ForeignKeyField(CountedStream, on_delete="CASCADE")
    month = TextField()
    record_count = BigIntegerField()


BEHIND = """FROM retained_size_stream r JOIN streams s ON s.id = r.stream_id
            LEFT JOIN counted_stream c ON c.stream_id = s.id
            WHERE (r.dirty OR r.generation IS DISTINCT FROM c.generation)"""
COUNT = """INSERT INTO record_month (stream_id, month, record_count)
           SELECT stream_id, SUBSTR(COALESCE(NULLIF(record_time, ''), ingested_at), 1, 7), COUNT(*)
           FROM records WHERE stream_id = ? GROUP BY 1, 2"""
MONTHS = """SELECT month, SUM(m.record_count) FROM record_month m
            JOIN retained_size_stream r ON r.stream_id = m.stream_id GROUP BY 1 ORDER BY 1"""


def run_pass(limits: Limits, *, wait: bool = True) -> Pass:
    """Count streams that have changed; a dirty stream must be reconciled first, so it is skipped."""
    deadline = time.monotonic() + limits.seconds
    with database.reconcile_transaction(wait=wait, seconds=limits.seconds):
        locks = database.for_no_key_update("r", wait=False) + database.for_key_share("s", wait=False)
        changed = f"SELECT r.stream_id, r.generation {BEHIND} AND NOT r.dirty LIMIT ?{locks}"
        for done, row in enumerate(fetch_all(changed, [limits.rows])):
            if done and time.monotonic() > deadline:
                break
            execute("DELETE FROM counted_stream WHERE stream_id = ?", row[:1])
            execute("INSERT INTO counted_stream (stream_id, generation) VALUES (?, ?)", row)
            execute(COUNT, row[:1])
        return Pass(fresh=not is_dirty())


def is_dirty() -> bool:
    return bool(fetch_all(f"SELECT 1 {BEHIND} LIMIT 1"))


def read(auto):
    """The state, and how many records there are of each month; after at most one pass."""
    auto.attempt(is_dirty)
    with database.read_snapshot():
        rows = fetch_all(MONTHS)
        return state_of(is_dirty(), auto.running), dict(rows)
