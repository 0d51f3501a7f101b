"""The bounded pass: what it costs, where it stops, what it survives."""

import itertools
import os
import re
import time
from collections.abc import Callable
from typing import Any

import apsw
import peewee
import psycopg
import pytest

from pdpp_ref.database import db, fetch_all, write_transaction
from pdpp_ref.models import RecountCheckpoint
from pdpp_ref.models.measures import EXTENTS, MEASURES
from pdpp_ref.operations import verify
from pdpp_ref.projection import counting, dirty_rows, marks
from pdpp_ref.services import reconcile
from pdpp_ref.services.reconcile import (
    Limits,
    Pass,
    run_pass,
    run_until_fresh,
)
from tests.conftest import Backend
from tests.support.factories import (
    DatabaseProbe,
    delete,
    fill,
    mark,
    statements,
    stored,
    traced,
    upsert,
    whole,
    write,
)

LONG = os.environ.get("PDPP_TEST_LONG") == "1"
pytestmark = pytest.mark.usefixtures("app")
Read = Callable[[], dict[str, Any]]


UNHURRIED = Limits(rows=1_000, seconds=60)


def mark_everything() -> None:
    with write_transaction():
        marks.mark_all()


def rebuild() -> Pass:
    reconcile.begin_rebuild()
    return reconcile.finish_rebuild()


def many_streams(streams: int, records: int = 2) -> None:
    write(*(upsert(f"{n}", stream=f"s{s:05}") for s in range(streams) for n in range(records)))


def test_a_pass_recomputes_what_is_dirty(probe: DatabaseProbe) -> None:
    many_streams(3)
    probe("UPDATE retained_size_stream SET record_count = 99, blob_bytes = 5, dirty = TRUE")
    probe("UPDATE retained_size_connection SET record_count = 99, dirty = TRUE")
    probe("UPDATE retained_size_global SET record_count = 99, stream_count = 9, dirty = TRUE")
    assert run_pass(Limits()) == Pass(streams=3, connections=1, deferred=0, fresh=True)
    assert probe.wrong_but_clean() == []
    assert probe("SELECT stream_count FROM retained_size_global") == [(3,)]


WRONG_EXTENTS = [f"{extent.name} = {value}" for extent in EXTENTS for value in ("'2001-01-01'", "NULL")]


@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize("wrong", [*WRONG_EXTENTS, "record_times_unknown = NOT record_times_unknown"])
def test_a_pass_corrects_extents_of_rows_whose_measures_are_right(
    probe: DatabaseProbe, streams: int, wrong: str
) -> None:
    many_streams(streams)
    if "ingested" not in wrong:
        probe("UPDATE streams SET record_time_field = 'at'")
        write(*(upsert("dated", {"at": "2020-01-01T00:00:00Z"}, f"s{n:05}") for n in range(streams)))
        rebuild()
    for table in ("stream", "connection", "global"):
        if table != "global" or "unknown" not in wrong:
            probe(f"UPDATE retained_size_{table} SET {wrong}")
    mark_everything()
    assert run_pass(UNHURRIED).fresh
    assert list(verify.differences()) == []


def test_a_pass_is_idempotent_and_a_fresh_one_writes_nothing() -> None:
    many_streams(2)
    mark_everything()
    run_pass(Limits())
    before = stored()
    assert run_pass(Limits()) == Pass(fresh=True)
    assert stored() == before


@pytest.mark.parametrize("with_rollups", [True, False])
def test_a_pass_stops_at_its_rows_and_reads_in_turn_drain_the_rest(
    probe: DatabaseProbe, with_rollups: bool
) -> None:
    many_streams(7)
    mark_everything()
    if not with_rollups:
        probe("UPDATE retained_size_stream SET rollups_dirty = FALSE")
    assert run_pass(Limits(rows=3)) == Pass(streams=3, deferred=4 + 1 + 1)
    assert run_pass(Limits(rows=3)) == Pass(streams=3, deferred=1 + 1 + 1)
    assert run_pass(Limits(rows=3)) == Pass(streams=1, connections=1, fresh=True)
    assert probe.wrong_but_clean() == []


def test_a_rebuild_whose_beginning_changes_no_row_fails(probe: DatabaseProbe) -> None:
    many_streams(1)
    before = stored()
    probe.ignore("UPDATE OF rebuild_status ON retained_size_global")
    with pytest.raises(peewee.OperationalError):
        reconcile.begin_rebuild()
    assert stored() == before


def test_even_one_row_a_pass_gets_there() -> None:
    many_streams(2)
    mark_everything()
    passes = [run_pass(Limits(rows=1)) for _ in range(4)]
    assert [(done.streams, done.connections, done.fresh) for done in passes] == [
        (1, 0, False),
        (1, 0, False),
        (0, 1, False),
        (0, 0, True),
    ]


def test_no_time_at_all_still_makes_a_step(probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "CHUNK_VERSIONS", 2)  # as many as each stream has
    many_streams(3)
    for number in range(3):
        mark("laptop", f"s{number:05}")
    done = run_pass(Limits(seconds=0))
    assert (done.streams, done.fresh) == (1, False)
    assert probe("SELECT dirty FROM retained_size_global") == [(True,)]


def test_what_is_counted_for_rollups_is_stored_whatever_the_time() -> None:
    many_streams(3)
    mark_everything()
    assert run_pass(Limits(seconds=0)).streams == 3


def test_the_first_stale_since_stays_until_all_is_done(summary: Read, make_app: Any) -> None:
    many_streams(4)
    mark_everything()
    since = stored()["retained_size_global"][0]["stale_since"]
    auto = make_app(RECONCILE_MAX_ROWS=1).extensions["auto_reconcile"]
    from pdpp_ref.services import summary as reading

    for _ in range(5):
        found = reading.read(auto)
        assert (found.state, found.totals.stale_since) == ("stale", since)
    assert reading.read(auto).state == "fresh"


# ---- the largest stream ------------------------------------------------------------------------


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "CHUNK_VERSIONS", 10)


def one_chunk() -> Pass:
    return run_pass(Limits(seconds=-1))


@pytest.mark.usefixtures("small_chunks")
def test_a_large_stream_is_counted_over_several_passes(probe: DatabaseProbe) -> None:
    fill(35)
    probe("UPDATE retained_size_stream SET record_count = 1")
    mark("laptop", "notes")
    passes = [one_chunk() for _ in range(4)]
    assert [done.streams for done in passes] == [0, 0, 0, 1]
    assert run_until_fresh().streams == 0
    assert probe.wrong_but_clean() == []
    assert RecountCheckpoint.select().count() == 0


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("passes_before", [0, 1, 2, 3])
def test_writes_between_the_passes_are_counted_once(passes_before: int, probe: DatabaseProbe) -> None:
    fill(30)
    mark("laptop", "notes")
    for _ in range(passes_before):
        one_chunk()
    write(upsert("0000001", "changed"), upsert("0000015", "changed"), upsert("new"))
    write(delete("0000002"), delete("0000025"), delete("new"))
    write(upsert("0000002", "back"), upsert("0000001", "again"))
    while not one_chunk().fresh:
        pass
    assert probe.wrong_but_clean() == []


@pytest.mark.usefixtures("small_chunks")
def test_a_mark_during_a_reconcile_begins_it_again(probe: DatabaseProbe) -> None:
    fill(30)
    mark("laptop", "notes")
    one_chunk()
    one_chunk()
    # Something changed that no delta told of: that is what a mark means.
    probe("DELETE FROM records WHERE key = '0000001'")
    mark("laptop", "notes")
    assert RecountCheckpoint.select().count() == 0
    while not one_chunk().fresh:
        pass
    assert probe.wrong_but_clean() == []


@pytest.mark.slow
def test_the_bound_holds_for_a_stream_of_any_size() -> None:
    records = 120_000 if LONG else 60_000
    fill(records, size=1)
    mark("laptop", "notes")
    slowest, passes, done = 0.0, 0, Pass()
    while not done.fresh and passes < 1000:
        began = time.thread_time()
        done = run_pass(Limits(seconds=0))
        slowest = max(slowest, time.thread_time() - began)
        passes += 1
    assert done.fresh
    assert passes >= records // reconcile.CHUNK_VERSIONS, "each pass counts one chunk"
    assert slowest < 2, "seconds of work in a pass of one chunk: far under this on any machine"


@pytest.mark.slow
def test_thousands_of_dirty_rows_are_drained_within_the_bound(
    probe: DatabaseProbe, backend: Backend, make_app: Any
) -> None:
    from pdpp_ref.services import summary as reading

    auto = make_app(RECONCILE_BUDGET_MS=60_000).extensions["auto_reconcile"]  # of rows, not of time
    # Those of PostgreSQL take as long, to and from a server.
    streams = (10_000 if LONG else 3_000) if backend.kind == "sqlite" else (2_000 if LONG else 500)
    many_streams(streams, records=1)
    mark_everything()
    assert reading.read(auto).state == "stale"
    assert probe.dirty()[0] == streams - 64
    reads = next(n for n in itertools.count(2) if reading.read(auto).state == "fresh")
    assert reads <= streams // 64 + 3
    assert probe.wrong_but_clean() == []


# ---- a projection that was never built ---------------------------------------------------------


@pytest.mark.parametrize("lost", ["stream", "connection", "global", "all"])
def test_lost_rows_are_found_again(lost: str, probe: DatabaseProbe, summary: Read) -> None:
    many_streams(3)
    for grain in ("stream", "connection", "global") if lost == "all" else (lost,):
        probe(f"DELETE FROM retained_size_{grain}")
    mark()
    assert summary()["projection"]["state"] == "fresh"
    assert summary()["stream_count"] == 3
    assert probe.wrong_but_clean() == []
    for grain, rows in (("stream", 3), ("connection", 1), ("global", 1)):
        assert probe(f"SELECT COUNT(*) FROM retained_size_{grain}") == [(rows,)]


def test_more_lost_rows_than_one_pass_finds(probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dirty_rows, "DISCOVER_ROWS", 3)
    many_streams(8)
    for grain in ("stream", "connection", "global"):
        probe(f"DELETE FROM retained_size_{grain}")
    for _ in range(10):
        done = run_pass(Limits())
        assert probe.wrong_but_clean() == [], "never fresh before all are found"
        if done.fresh:
            break
    assert done.fresh
    assert probe("SELECT stream_count FROM retained_size_global") == [(8,)]


def test_a_lost_row_that_would_make_a_sum_wrong_is_found_at_once(
    probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dirty_rows, "CHECKED_STREAMS", 0)
    many_streams(5)
    probe("DELETE FROM retained_size_stream WHERE stream_id = (SELECT MAX(id) FROM streams)")
    mark("laptop")
    assert run_pass(UNHURRIED).fresh
    assert list(verify.differences()) == []


def test_a_lost_row_elsewhere_is_found_in_time_and_no_pass_walks_the_list_of_all(
    probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dirty_rows, "CHECKED_STREAMS", 2)
    many_streams(6)
    first, last = probe("SELECT MIN(id), MAX(id) FROM streams")[0]
    probe("DELETE FROM retained_size_stream WHERE stream_id = ?", last)
    begins = iter([first - 1, last - 1])
    monkeypatch.setattr(dirty_rows._chance, "randint", lambda *_: next(begins))
    lost = "SELECT COUNT(*) FROM retained_size_stream"
    mark()
    assert run_pass(UNHURRIED).fresh
    assert probe(lost) == [(5,)], "it has looked at the first two"
    assert probe("SELECT record_count FROM retained_size_global") == [(12,)]
    mark()
    assert run_pass(UNHURRIED).fresh
    assert probe(lost) == [(6,)]
    assert list(verify.differences()) == []


# ---- what it costs -----------------------------------------------------------------------------


def cost(of: Callable[[], Any]) -> list[str]:
    with statements() as seen:
        of()
    return [re.sub('"s[0-9a-f]{32}"', "a savepoint", sql) for sql in seen]


COSTS = {
    "sqlite": {"fresh": 5, "global": 29, "stream": 49},
    "postgres": {"fresh": 4, "global": 29, "stream": 49},
}


@pytest.mark.slow
def test_a_read_executes_the_same_statements_at_1000_and_20000_records(
    summary: Read, backend: Backend
) -> None:
    def prepared_read(what: str) -> list[str]:
        fill(200, "small")
        if what != "fresh":
            mark(*(("laptop", "small") if what == "stream" else ()))
        return cost(summary)

    costs = COSTS[backend.kind]
    fill(1_000)
    few = {what: prepared_read(what) for what in costs}
    fill(20_000, "large", size=1)
    many = {what: prepared_read(what) for what in costs}
    assert few == many
    assert {what: len(seen) for what, seen in few.items()} == costs


@pytest.mark.only("sqlite")
def test_no_statement_of_a_pass_scans_the_streams(probe: DatabaseProbe) -> None:
    many_streams(3)
    mark()
    for sql in cost(lambda: run_pass(UNHURRIED)):
        if sql.startswith("SELECT") and "streams WHERE id > ?" not in sql:  # that one has a limit
            plan = probe(f"EXPLAIN QUERY PLAN {sql}", *(1 for _ in range(sql.count("?"))))
            scans = [
                row[-1] for row in plan if re.match(r"SCAN (s|r|streams|retained_size_stream)\b", row[-1])
            ]
            assert all("_dirty" in scan for scan in scans), (sql, scans)


def test_a_rebuild_of_small_streams_costs_the_same_statements_for_any_number() -> None:
    costs = []
    for streams in (3, 30):
        many_streams(streams)
        reconcile.begin_rebuild()
        costs.append(whole(cost(lambda: run_pass(UNHURRIED))))
    assert costs[0] == costs[1]


def test_a_rebuild_writes_the_row_of_a_stream_twice() -> None:
    """Each time costs a place in all its indexes: once to mark it, once to clean it with its rollups."""
    many_streams(3)

    def rebuild() -> None:
        reconcile.begin_rebuild()
        assert run_pass(UNHURRIED).fresh

    written = [sql for sql in cost(rebuild) if sql.startswith("UPDATE retained_size_stream SET")]
    of_names = [sql for sql in written if sql.startswith("UPDATE retained_size_stream SET connection_name")]
    assert len(set(written) - set(of_names)) == 2, written


def test_a_fresh_read_touches_two_tables_of_the_projection(summary: Read) -> None:
    fill(10)
    *begin, totals, connectors, commit = cost(summary)
    assert [sql.partition(";")[0] for sql in begin] in (
        ["BEGIN DEFERRED", "SELECT version, unfinished FROM pdpp_ref_schema"],
        ["BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"],  # and all else in the same message
    )
    assert commit in ("commit;", "COMMIT")
    assert re.fullmatch(r"SELECT [\w, ]+ FROM retained_size_global", totals)
    assert connectors.startswith("SELECT connector_id, record_count FROM retained_size_connector ORDER BY ")


def plan_of_a_reconcile(explain: str, table: str) -> list[tuple[Any, ...]]:
    measures = [measure for measure in MEASURES if measure.table == table]
    return fetch_all(f"{explain} {counting.count_query(table, measures)}", (1, 0, 10))


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("table", ["records", "record_changes", "blob_bindings"])
def test_a_reconcile_reads_a_covering_index_alone(table: str) -> None:
    plan = plan_of_a_reconcile("EXPLAIN QUERY PLAN", table)
    assert [row[3] for row in plan] == [
        f"SEARCH {table} USING COVERING INDEX {plan[0][3].split()[5]} (stream_id=? AND version>? AND version<?)"
    ]


@pytest.mark.only("postgres")
@pytest.mark.parametrize("table", ["records", "record_changes", "blob_bindings"])
def test_a_reconcile_reads_an_index_alone(table: str, probe: DatabaseProbe) -> None:
    fill(2_000)
    probe("INSERT INTO blobs SELECT 'b' || n, n, '' FROM generate_series(1, 2000) n")
    probe(
        "INSERT INTO blob_bindings (stream_id, key, sha256, version, byte_length) "
        "SELECT 1, 'k', sha256, byte_length, byte_length FROM blobs"
    )
    probe("VACUUM ANALYZE")
    db.execute_sql("SET enable_seqscan = off")  # the tables are small
    plan = " ".join(line for (line,) in plan_of_a_reconcile("EXPLAIN", table))
    assert "Index Only Scan using " in plan
    assert "Filter" not in plan


def test_no_pass_reads_a_records_text(summary: Read) -> None:
    fill(50)
    mark_everything()
    seen = cost(summary)
    assert not [sql for sql in seen if '"data"' in sql or " data" in sql or "json_extract" in sql]


def test_clean_streams_are_not_counted(summary: Read) -> None:
    many_streams(30)
    mark("laptop", "s00007")
    counted = [sql for sql in cost(summary) if "FROM records" in sql and "COUNT" in sql]
    assert len(counted) == 1


# ---- failures ----------------------------------------------------------------------------------


def test_a_failure_at_any_statement_leaves_all_as_it_was(
    summary: Read, probe: DatabaseProbe, backend: Backend
) -> None:
    many_streams(3)
    mark_everything()
    before = stored()
    lost = apsw.IOError if backend.kind == "sqlite" else psycopg.OperationalError
    for failed_at in itertools.count(1):
        ordinal = itertools.count(1)

        def fail_then(_: str, ordinal: Any = ordinal, failed_at: int = failed_at) -> None:
            if next(ordinal) == failed_at:
                raise lost("disk I/O error")

        try:
            with traced(fail_then):
                run_pass(Limits())
        except peewee.DatabaseError:
            assert stored() == before, f"statement {failed_at}"
        else:  # the statement was one for rows, which have a savepoint
            assert probe.wrong_but_clean() == [], f"statement {failed_at}"
            mark_everything()
            before = stored()
        if next(ordinal) <= failed_at:
            break
        assert not db.in_transaction()
    assert failed_at > 20
    assert probe.wrong_but_clean() == []


def test_rebuild_counts_everything_and_shows_itself_while_it_does(
    probe: DatabaseProbe, summary: Read, make_app: Any
) -> None:
    many_streams(3)
    probe("UPDATE retained_size_stream SET record_count = 1")
    before = summary()
    reconcile.begin_rebuild()
    probe.fail_reconcile()
    during = summary()
    assert during["projection"]["state"] == "rebuilding"
    assert during["projection"]["rebuild_status"] == "running"
    assert during["record_count"] == before["record_count"], "the figures of before, dated"
    assert during["projection"]["computed_at"] == before["projection"]["computed_at"]
    probe.restore()
    assert rebuild().fresh
    after = summary()
    assert after["projection"]["rebuild_status"] == "idle"
    assert probe.wrong_but_clean() == []


def test_a_rebuild_that_was_interrupted_is_resumed_where_it_stopped(probe: DatabaseProbe) -> None:
    many_streams(4)
    reconcile.begin_rebuild()
    run_pass(Limits(rows=3))
    assert probe("SELECT COUNT(*) FROM retained_size_stream WHERE dirty") == [(1,)]
    assert rebuild().streams == 1


def test_a_rebuild_that_fails_says_so(probe: DatabaseProbe, summary: Read) -> None:
    many_streams(2)
    probe.fail_reconcile()
    with pytest.raises(peewee.DatabaseError):
        rebuild()
    block = summary()["projection"]
    assert (block["state"], block["rebuild_status"]) == ("failed", "failed")
    probe.restore()
    assert rebuild().fresh
    assert probe.wrong_but_clean() == []


def test_progress_of_a_rebuild_counts_versions() -> None:
    many_streams(3, records=4)
    reconcile.begin_rebuild()
    assert dirty_rows.versions_left() == 12
    run_pass(Limits(rows=1))
    assert dirty_rows.versions_left() == 8


def test_run_until_fresh_reports_every_pass() -> None:
    many_streams(5)
    mark_everything()
    reported: list[Pass] = []
    done = run_until_fresh(Limits(rows=2), reported.append)
    assert (done.streams, done.connections) == (5, 1)
    assert len(reported) == 4
