"""What the totals cost: reading them, reconciling some of them, and rebuilding all.

"Raw" of a pass only reads: the sums themselves, through the same covering indexes, in no transaction.  Ours
stores them too, durably.
"""

from collections.abc import Sequence
from functools import partial

from pdpp_ref.config import Settings
from pdpp_ref.database import write_transaction
from pdpp_ref.models.measures import MEASURE_NAMES
from pdpp_ref.parts import auto_reconcile
from pdpp_ref.projection import marks
from pdpp_ref.projection.grains import CONNECTION, GLOBAL, STREAM
from pdpp_ref.services import reconcile, summary
from tests.benchmarks import corpus
from tests.benchmarks.figures import Goal, Times, figure, in_turn
from tests.benchmarks.places import Place
from tests.support.factories import statements
from tests.support.probe import DatabaseProbe

REBUILDS = 3  # at most: each takes seconds
# A pass that ran out of time would be measured as a fast one.
SETTINGS = Settings(reconcile_budget_ms=60_000)
MANY = 10  # times as many of what takes milliseconds

Streams = list[tuple[int, int]]  # (stream, connection)

COUNTS = (
    "SELECT COUNT(*), SUM(json_bytes) FROM records WHERE stream_id = ?",
    "SELECT COUNT(*), SUM(json_bytes) FROM record_changes WHERE stream_id = ?",
    "SELECT COUNT(*), SUM(byte_length) FROM blob_bindings WHERE stream_id = ?",
)
SUMS = ", ".join(f"SUM({name})" for name in MEASURE_NAMES)
SUM_OF_CONNECTIONS = f"SELECT {SUMS} FROM retained_size_connection"
COLUMNS = ", ".join(MEASURE_NAMES)
# The whole projection with as few statements as there are tables to read.
REBUILD = (
    *(
        f"""
        UPDATE retained_size_stream AS r
        SET {count} = c.number, {size} = c.bytes
        FROM (SELECT stream_id, COUNT(*) AS number, SUM({length}) AS bytes FROM {table} GROUP BY stream_id) c
        WHERE c.stream_id = r.stream_id
        """
        for table, length, count, size in (
            ("records", "json_bytes", "record_count", "current_record_json_bytes"),
            ("record_changes", "json_bytes", "record_history_count", "record_history_json_bytes"),
            ("blob_bindings", "byte_length", "blob_count", "blob_bytes"),
        )
    ),
    f"""
    UPDATE retained_size_connection AS r
    SET ({COLUMNS}) = (SELECT {SUMS} FROM retained_size_stream s WHERE s.connection_id = r.connection_id)
    """,
    f"UPDATE retained_size_global SET ({COLUMNS}) = (SELECT {SUMS} FROM retained_size_connection)",
)
GRAINS = (STREAM, CONNECTION, GLOBAL)
# What else a rebuild stores: the earliest and latest times of all rows, and their snapshots of the day.
REST_OF_REBUILD = (
    *(f"UPDATE {grain.table} SET {grain.set_extents}" for grain in GRAINS),
    *(
        f"""
        INSERT INTO {grain.days} ({grain.key}, day, unknown, previous_generation, generation, {COLUMNS})
        SELECT {grain.key}, SUBSTR(computed_at, 1, 10), FALSE, generation - 1, generation, {COLUMNS}
        FROM {grain.table}
        WHERE TRUE
        ON CONFLICT ({grain.key}, day) DO UPDATE
        SET ({COLUMNS}) = ({", ".join(f"excluded.{name}" for name in MEASURE_NAMES)})
        """
        for grain in GRAINS
    ),
)


@figure("fresh summary", other="one SELECT of the global row")
def fresh_summary(place: Place) -> Times:
    """What the dashboard's poll and `GET /_ref/dataset/summary` read."""
    with place.stored() as raw:
        other = partial(raw, "SELECT * FROM retained_size_global WHERE id = 1")
        taken = in_turn(place.repeat * MANY, _read, other)
        return Times(*taken, _statements())


@figure("reconcile the totals", other="the sum over all connections", goal=Goal(seconds=0.003))
def reconcile_totals(place: Place) -> Times:
    """A read that finds only the global row dirty."""
    with place.stored() as raw:
        return _passes(place, [], partial(raw, SUM_OF_CONNECTIONS))


@figure(
    "reconcile 1 stream of 5,000",
    other="the sums of its records, versions and files",
    goal=Goal(seconds=0.01),
)
def reconcile_large(place: Place) -> Times:
    """A read that finds one stream dirty."""
    with place.stored() as raw:
        streams = corpus.streams_of("mail")
        return _passes(place, streams, partial(_count, raw, streams))


@figure("reconcile 20 streams of 250", other="the sums of their records, versions and files")
def reconcile_twenty(place: Place) -> Times:
    """A read that finds all streams of one connection dirty."""
    with place.stored() as raw:
        streams = corpus.streams_of("account 0")
        return _passes(place, streams, partial(_count, raw, streams))


@figure(
    "rebuild",
    other="one UPDATE for each table that is summed, in one transaction",
    goal=Goal(ratio=2, records=1_000_000),
)
def rebuild(place: Place) -> Times:
    """Marking everything and reconciling it."""
    with place.stored() as raw:
        ours, other = in_turn(min(place.repeat, REBUILDS), _rebuild, partial(_rebuild_raw, raw))
        _check(raw)
        ((streams,),) = raw("SELECT COUNT(*) FROM streams")
        return Times(ours, other, f"{streams:,} streams", place.records)


@figure("rebuild, with updates", other="the same UPDATEs")
def rebuild_with_updates(place: Place) -> Times:
    """The corpus in which one record of each stream has a history."""
    with place.opened() as raw:
        corpus.load(place.records)
        corpus.update_some()
        ours, other = in_turn(min(place.repeat, REBUILDS), _rebuild, partial(_rebuild_raw, raw))
        _check(raw)
        return Times(ours, other, amount=place.records)


@figure("rebuild of 1 stream", other="the same UPDATEs")
def rebuild_one(place: Place) -> Times:
    """One stream, in which each record has one version."""
    return _rebuild_stream(place, place.records, 1)


@figure("rebuild of 1 updated stream", other="the same UPDATEs")
def rebuild_updated(place: Place) -> Times:
    """One stream, in which each record has two versions: the rollup of each is derived again."""
    return _rebuild_stream(place, place.records // 2, 2)


@figure("rebuild, its floor", other="the UPDATEs that `rebuild` is compared with")
def rebuild_floor(place: Place) -> Times:
    """These and what else a rebuild stores, the extents and snapshots of all rows, in one transaction."""
    with place.stored() as raw:
        whole = partial(_rebuild_raw, raw, (*REBUILD, *REST_OF_REBUILD))
        ours, other = in_turn(place.repeat, whole, partial(_rebuild_raw, raw))
        _check(raw)
        return Times(ours, other)


def _read() -> None:
    found = summary.read(auto_reconcile(SETTINGS))
    assert found.state == "fresh"


def _passes(place: Place, streams: Streams, other: partial[None]) -> Times:
    before = partial(_mark, streams)
    ours, raw = in_turn(place.repeat * MANY, _read, other, before)
    before()
    return Times(ours, raw, _statements())


def _mark(streams: Streams) -> None:
    with write_transaction():
        marks.mark_global()
        for stream, connection in streams:
            marks.mark_stream(stream, connection)


def _count(raw: DatabaseProbe, streams: Streams) -> None:
    for stream, _ in streams:
        for sql in COUNTS:
            raw(sql, stream)


def _statements() -> str:
    """How many SQL statements a read runs, BEGIN, COMMIT and PRAGMA included."""
    with statements() as seen:
        _read()
    return f"{len(seen)} statements"


def _rebuild_stream(place: Place, keys: int, versions: int) -> Times:
    with place.opened() as raw:
        corpus.write_versions(1, keys, versions)
        ours, other = in_turn(min(place.repeat, REBUILDS), _rebuild, partial(_rebuild_raw, raw))
        _check(raw)
        return Times(ours, other, amount=keys * versions)


def _rebuild() -> None:
    reconcile.begin_rebuild()
    reconcile.finish_rebuild()


def _rebuild_raw(raw: DatabaseProbe, texts: Sequence[str] = REBUILD) -> None:
    raw("BEGIN")
    for sql in texts:
        raw(sql)
    raw("COMMIT")


def _check(raw: DatabaseProbe) -> None:
    """Every stream's row, and the totals, have what raw counts: neither can have skipped the work."""
    for stream, *figures in raw(f"SELECT stream_id, {COLUMNS} FROM retained_size_stream"):
        counted = [value or 0 for sql in COUNTS for value in raw(sql, stream)[0]]
        assert figures == counted, f"stream {stream}: {figures} is not {counted}"
    assert raw(SUM_OF_CONNECTIONS) == raw(f"SELECT {COLUMNS} FROM retained_size_global"), (
        "the totals differ"
    )
