"""Pages walk indexes: a page costs the same however much is stored."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from pdpp_ref.database import db, execute, fetch_all, write_transaction
from pdpp_ref.models.measures import TOTAL
from pdpp_ref.queries import (
    changes,
    files,
    growth,
    list_order,
    listings,
    rankings,
    records,
    versions,
)
from tests.conftest import Backend
from tests.support.factories import DatabaseProbe, delete, fill, make_connections, statements, upsert, write
from tests.support.reading import RECORDS, read


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The statements of the modules that read pages, with the values of the last time."""
    seen: dict[str, Any] = {}

    def noting(run: Any) -> Any:
        def noted(*arguments: Any) -> Any:
            sql, *values = [each for each in arguments if not callable(each)]
            seen[sql] = values[0] if values else ()
            return run(*arguments)

        return noted

    for module in (records, versions, changes, files, growth, list_order, rankings):
        for name in ("fetch_all", "fetch_as", "fetch_column", "fetch_rows", "fetch_value"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, noting(getattr(module, name)))
    return seen


def test_no_page_scans_or_sorts_what_is_stored(
    asked: dict[str, Any], backend: Backend, probe: DatabaseProbe
) -> None:
    fill(4_000)
    write(*(delete(f"{number:07}") for number in range(0, 4_000, 2)))
    write(*(upsert(f"{number:07}", {"n": 2}) for number in range(1, 99, 2)))
    explain = "EXPLAIN QUERY PLAN"
    if backend.kind == "postgres":
        probe("VACUUM ANALYZE")
        explain = "EXPLAIN"
    ((stream, last),) = probe("SELECT id, last_version FROM streams")
    for descending in (True, False):
        assert len(records.page(stream, None, 10, descending=descending).records) == 10
        assert len(records.page(stream, "0002001", 10, descending=descending).records) == 10
    assert records.record(stream, "0000001")
    newest = versions.newest_version(stream, "0000001")
    assert newest == versions.page(stream, "0000001", newest or 0, 10).versions[0].version
    assert versions.newest_version(stream, "0000002")
    assert changes.page(stream, 3_999, 3_999, last, 10).last_version
    for sql, values in asked.items():
        plan = "\n".join(str(row[-1]) for row in fetch_all(f"{explain} {sql}", values))
        assert "Seq Scan" not in plan, (sql, plan)
        scans = [line for line in plan.split("\n") if line.startswith("SCAN ")]
        assert set(scans) <= {"SCAN chain", "SCAN CONSTANT ROW"}, (sql, plan)
        if "FROM chain" not in sql:  # no longer than was asked for
            assert "TEMP B-TREE" not in plan, (sql, plan)
            assert "Sort" not in plan, (sql, plan)
    assert len(asked) >= 10


def test_a_page_costs_the_same_statements_for_any_number_of_rows(owner: FlaskClient) -> None:
    fill(150)
    costs = []
    for limit in (1, 10, 100):
        with statements() as seen:
            read(owner, RECORDS, limit=limit)
        costs.append([sql for sql in seen if sql.startswith("SELECT")])
    assert costs[0] == costs[1] == costs[2]
    assert len(costs[0]) <= 3


@pytest.mark.parametrize("sort", [TOTAL, "record_count", "blob_bytes"])
def test_lists_and_rankings_read_what_they_show(
    sort: str, asked: dict[str, Any], backend: Backend, probe: DatabaseProbe
) -> None:
    make_connections(probe, 3_000)
    write(upsert("a"))
    days = ", ".join(f"('2026-01-{day:02}')" for day in range(1, 29))
    probe(
        "INSERT INTO retained_size_connection_days (connection_id, day) "
        f"SELECT id, column1 FROM connections, (VALUES {days}) AS d"
    )
    explain = "EXPLAIN QUERY PLAN"
    if backend.kind == "postgres":
        probe("VACUUM ANALYZE")
        explain = "EXPLAIN"
    assert len(listings.connections(listings.Order(sort, limit=10)).rows) == 10
    assert len(rankings.rows("connection", sort, 10)) == 10
    assert rankings.largest_total("connection")
    ordered = 0
    for sql, values in asked.items():
        plan = "\n".join(str(row[-1]) for row in fetch_all(f"{explain} {sql}", values))
        assert "Seq Scan on retained_size_connection_days" not in plan, (sql, plan)
        if "ORDER BY" in sql and "DESC" in sql and "retained_size_connection_days" not in sql:
            ordered += 1
            assert "_by_" in plan, (sql, plan)
            assert "TEMP B-TREE" not in plan, (sql, plan)
            assert "Sort" not in plan, (sql, plan)
    assert ordered >= 3


@pytest.mark.only("postgres")
@pytest.mark.usefixtures("app")
@pytest.mark.parametrize(
    ("condition", "values", "keys"),
    [
        ("(stream_id, key) = :each", [], [(1, "0000000"), (1, "another")]),
        ("stream_id = ? AND key = :each", [1], ["0000000", "another"]),
    ],
)
def test_a_row_is_looked_up_by_its_key_whatever_the_statistics_say(
    probe: DatabaseProbe, condition: str, values: list[int], keys: list[Any]
) -> None:
    """With one record in each stream, any index that begins with the stream looks as good."""
    for stream in "abc":
        fill(1, stream)
    probe("VACUUM ANALYZE")
    wanted = db.look_up(f"SELECT key, version FROM records WHERE {condition}", values, keys, 1)
    with write_transaction():
        execute("SET LOCAL enable_seqscan TO off")  # three rows would be read as a whole
        plan = db.execute_sql(f"EXPLAIN {wanted[0]}", wanted[1]).fetchall()
    assert "records_pkey" in str(plan)
    assert db.execute_sql(*wanted).fetchall() == [("0000000", 1)]
