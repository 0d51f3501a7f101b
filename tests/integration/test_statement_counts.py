"""What a read costs follows from what it shows, never from how much is stored."""

import pytest
from flask import Flask

from tests.conftest import Backend
from tests.support.factories import TOKEN, DatabaseProbe, fill, statements

READS = [
    "/_ref/dataset/summary",
    "/_ref/dataset/summary/streams",
    "/_ref/dataset/size",
    "/_ref/dataset/size?grain=connection",
    "/_ref/dataset/size?grain=stream&connector_instance_id=laptop&format=csv",
    "/_ref/dataset/top",
    "/_ref/dataset/top?scope=stream&measure=record_count",
    "/_ref/dataset/top?scope=record&limit=25",
    "/_ref/dataset/top?scope=blob",
    "/_ref/dataset/growth?connector_instance_id=laptop&stream=notes",
    "/_ref/dataset/contacts",
    "/_ref/metrics",
    "/dashboard",
    "/dashboard/hero",
    "/dashboard/connections/laptop",
    "/dashboard/streams?connection=laptop&stream=notes&q=00&after=0000100",
    "/dashboard/records?connection=laptop&stream=notes&key=0000001",
    "/v1/streams",
    "/v1/streams/notes/records?count=exact",
    "/v1/streams/notes/records?order=asc&limit=100&filter[t]=y",
    "/v1/streams/notes/records?changes_since=beginning",
    "/v1/streams/notes/records/0000001",
    "/v1/streams/notes/records/0000001/versions",
]


def costs(app: Flask) -> dict[str, list[str]]:
    caller, found = app.test_client(), {}
    caller.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKEN}"
    with caller.session_transaction() as session:
        session["owner"] = app.extensions["credentials"].session_fingerprint
    for path in READS:
        with statements() as seen:
            assert caller.get(path).status_code == 200
        found[path] = list(seen)
    return found


@pytest.mark.slow
def test_every_read_executes_the_same_statements_at_1000_and_20000_records(
    app: Flask, probe: DatabaseProbe, backend: Backend
) -> None:
    fill(1_000)
    costs(app)  # some of it is remembered for a minute
    few, plans = costs(app), {}
    # PostgreSQL plans by what it has counted lately; its plans of the largest queries are pinned apart.
    for sql in (
        set()
        if backend.kind == "postgres"
        else {sql for seen in few.values() for sql in seen if sql.startswith(("SELECT", "WITH"))}
    ):
        plans[sql] = probe(f"EXPLAIN QUERY PLAN {sql}", *(1 for _ in range(sql.count("?"))))
    fill(20_000)
    assert costs(app) == few
    for sql, plan in plans.items():
        assert probe(f"EXPLAIN QUERY PLAN {sql}", *(1 for _ in range(sql.count("?")))) == plan
