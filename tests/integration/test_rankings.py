"""The largest: against sorting everything, at any size, under any name."""

import json
import secrets
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict

from pdpp_ref.canonical import blobs, deletion, retention
from pdpp_ref.database import db
from pdpp_ref.parsing.messages import Change
from pdpp_ref.queries import rankings
from pdpp_ref.services import reconcile
from tests.support.factories import (
    TOTAL,
    DatabaseProbe,
    assert_sized_and_ranked,
    delete,
    fill,
    statements,
    top_rows,
    upsert,
    write,
)

pytestmark = pytest.mark.usefixtures("app")

HOSTILE = [
    "a\nb",
    "a/b",
    '"',
    "'; DROP TABLE records",
    "\x01\x1f",
    "é😀",
    "x" * 1000,
    "<script>",
    " ",
    "A",
    "a",
]
names = st.sampled_from(HOSTILE)
operations = st.lists(
    st.tuples(
        st.sampled_from(["write", "write", "write", "delete", "file", "prune", "delete stream"]),
        names,
        names,
        names,
        st.integers(0, 40),
    ),
    max_size=40,
)


@pytest.mark.slow
@given(operations)
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_rankings_of_random_data_under_hostile_names(
    probe: DatabaseProbe, operations: list[tuple[str, str, str, str, int]]
) -> None:
    for (name,) in probe("SELECT connector_instance_id FROM connections"):
        deletion.delete_connection(name)
    live: set[tuple[str, str, str]] = set()
    for what, connection, stream, key, number in operations:
        place = (connection, stream, key)
        if what == "write":
            write(upsert(key, "x" * number, stream), connection=connection, connector=connection)
            live.add(place)
        elif what == "delete":
            write(delete(key, stream), connection=connection, connector=connection)
            live.discard(place)
        elif what == "file" and place in live:
            blobs.store(*place, iter([b"y" * number]))
        elif what == "prune":
            retention.prune(1 + number % 3)
        elif what == "delete stream" and any(known[:2] == place[:2] for known in live):
            deletion.delete_stream(connection, stream)
            live = {known for known in live if known[:2] != place[:2]}
    probe("UPDATE retained_size_global SET dirty = TRUE")
    reconcile.run_until_fresh()
    assert_sized_and_ranked(probe)


def test_a_row_says_what_and_where_it_is() -> None:
    write(upsert("a", {"n": 1}), upsert("a", {"n": 22}), connection="laptop", connector="files")
    blobs.store("laptop", "notes", "a", iter([b"12345"]))
    row = asdict(*top_rows("record", "total_retained_bytes", 10))
    assert json.loads(row["grain_key"]) == ["laptop", "notes", "a"]
    assert row["computed_at"]
    assert {name: row[name] for name in row if name not in ("grain_key", "computed_at")} == {
        "scope": "record",
        "measure": "total_retained_bytes",
        "rank": 1,
        "record_key": "a",
        "blob_id": None,
        "grain": "record",
        "connector_id": "files",
        "connector_instance_id": "laptop",
        "stream": "notes",
        "record_count": 1,
        "current_record_json_bytes": 8,
        "record_history_count": 2,
        "record_history_json_bytes": 15,
        "blob_count": 1,
        "blob_bytes": 5,
        "total_retained_bytes": 28,
        "dirty": False,
    }
    file = asdict(*top_rows("blob", "blob_bytes", 10))
    assert (file["record_key"], file["blob_bytes"], file["total_retained_bytes"]) == ("a", 5, 5)
    assert json.loads(file["grain_key"])[3] == file["blob_id"]


def test_sums_past_the_exact_floats_are_exact(probe: DatabaseProbe) -> None:
    fill(1)
    probe("UPDATE retained_size_connection SET record_history_json_bytes = 9007199254740993")
    (row,) = rankings.rows("connection", "record_history_json_bytes", 1)
    assert row.record_history_json_bytes == 9007199254740993


@pytest.mark.parametrize("scope", rankings.MEASURES_OF)
def test_nothing_ranks_nothing(scope: str) -> None:
    for measure in rankings.MEASURES_OF[scope]:
        assert rankings.rows(scope, measure, 25) == []


def every_ranking() -> list[tuple[str, str]]:
    return [(scope, measure) for scope, measures in rankings.MEASURES_OF.items() for measure in measures]


def cost_of_rankings(probe: DatabaseProbe) -> dict[tuple[str, str], int]:
    """How many steps of SQLite's machine each ranking takes: time that does not depend on the machine."""
    found = {}
    for ranking in every_ranking():
        steps = 0

        def count() -> bool:
            nonlocal steps
            steps += 1
            return False

        connection: Any = db.connection()
        connection.set_progress_handler(count, 10)
        rankings.rows(*ranking, 25)
        connection.set_progress_handler(None)
        found[ranking] = steps * 10
    return found


@pytest.mark.slow
@pytest.mark.only("sqlite")
def test_a_ranking_costs_the_same_at_any_number_of_equal_records(probe: DatabaseProbe) -> None:
    """All of one size is the worst case: a sort would have to look at every one."""
    fill(1_000)
    fill(30, "changed", size=10)
    fill(30, "changed", size=20)
    with statements() as seen:
        few = cost_of_rankings(probe)
    fill(50_000)
    with statements() as seen_again:
        many = cost_of_rankings(probe)
    assert len(seen) == len(seen_again)
    for ranking, steps in many.items():
        assert steps < 2 * few[ranking] + 200, ranking


@pytest.mark.only("sqlite")
def test_no_ranking_sorts_or_scans_records(probe: DatabaseProbe) -> None:
    fill(100)
    with statements() as seen:
        cost_of_rankings(probe)
    for sql in {one for one in seen if "FROM records" in one or "FROM retained_size_record" in one}:
        values = tuple(1 for _ in range(sql.count("?")))
        plan = " ".join(row[-1] for row in probe(f"EXPLAIN QUERY PLAN {sql}", *values))
        # Only streams whose names begin alike are sorted.
        assert "TEMP B-TREE" not in plan.replace("TEMP B-TREE FOR LAST TERM", ""), (sql, plan)
        assert "SCAN records" not in plan or "INDEX" in plan, (sql, plan)


def test_a_large_write_keeps_what_it_touches_alone(probe: DatabaseProbe) -> None:
    fill(500)
    assert probe("SELECT COUNT(*) FROM retained_size_record") == [(0,)]
    write(Change("notes", "0000001", "{}"), delete("0000002"), delete("never"))
    assert probe("SELECT key, record_count FROM retained_size_record ORDER BY key") == [
        ("0000001", 1),
        ("0000002", 0),
    ]


@pytest.mark.parametrize("few", [0, 2, 200])
def test_equals_in_many_streams_rank_by_name(
    few: int, probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rankings, "FEW_STREAMS", few)
    for connection, stream in (("z", "a"), ("b", "y"), ("m", "m"), ("b", "x"), ("a", "gone"), ("y", "b")):
        write(upsert("k", stream=stream), upsert("j", stream=stream), connection=connection)
        write(upsert("k", 2, stream=stream), upsert("l", stream=stream), connection=connection)
        blobs.store(connection, stream, "j", iter([b"12345"]))
    write(upsert("gone", stream="empty"), delete("gone", stream="empty"), connection="a")
    deletion.delete_stream("a", "gone")
    assert_sized_and_ranked(probe)
    for scope in rankings.MEASURES_OF:
        (first,) = rankings.rows(scope, TOTAL, 1)
        assert rankings.largest_total(scope) == first.total_retained_bytes


def test_the_longest_names_are_ranked_too(probe: DatabaseProbe) -> None:
    """They are random, so that no database can compress them."""
    first, second = (secrets.token_hex(1_024) for _ in range(2))
    for stream in (second, first, f"{second[:-1]}g"):
        write(upsert("a", stream=stream), connection=second)
    assert_sized_and_ranked(probe)
