"""What reads cost: pages of records, the owner's pages, metrics and rankings, in this process.

Of routes, "other" is a bare Flask route that returns as many bytes, through the same kind of test client.  Where
the size is 100,000, lists have 1,000 connections with 10,000 streams, and rankings 50,000 streams.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from flask import Flask
from flask.testing import FlaskClient

from pdpp_ref import create_app
from pdpp_ref.database import db, fetch_all, read_snapshot
from pdpp_ref.models.measures import MEASURE_NAMES
from pdpp_ref.queries import records as records_read
from pdpp_ref.queries import streams as streams_read
from tests.benchmarks.figures import Goal, Times, figure, in_turn
from tests.benchmarks.places import Place
from tests.benchmarks.servers import PASSWORD, TOKEN
from tests.support.probe import DatabaseProbe

PAGE_RECORDS = 100
MANY = 10
IN_MS = 0.001
LARGE_STREAM = """
    SELECT s.id, c.connector_instance_id, s.name
    FROM streams s
    JOIN connections c ON c.id = s.connection_id
    WHERE c.connector_instance_id = 'mail'
"""
OF_NAMES = """
    SELECT s.id
    FROM streams s
    JOIN connections c ON c.id = s.connection_id
    WHERE c.connector_instance_id = ? AND s.name = ?
"""
MIDDLE = "SELECT key FROM records WHERE stream_id = ? ORDER BY key LIMIT 1 OFFSET ?"
ROWS = """
    SELECT key, version, data, json_bytes, emitted_at
    FROM records
    WHERE stream_id = ? AND key > ?
    ORDER BY key
    LIMIT 101
"""


@figure("page of 100 records", other="selecting the stream and the same rows", goal=Goal(ratio=2))
def page_of_records(place: Place) -> Times:
    """100 records from the middle of the largest stream, found by its names, without HTTP."""
    with place.stored() as raw:
        ((stream_id, *names),) = fetch_all(LARGE_STREAM)
        ((in_stream,),) = raw("SELECT COUNT(*) FROM records WHERE stream_id = ?", stream_id)
        ((middle,),) = raw(MIDDLE, stream_id, in_stream // 2)
        return Times(
            *in_turn(
                place.repeat * MANY, partial(_page, names, middle), partial(_raw_page, raw, names, middle)
            )
        )


@figure("dashboard", other="a bare route", goal=Goal(seconds=50 * IN_MS))
def dashboard(place: Place) -> Times:
    """`/dashboard`: the 100 largest connections of size / 100, with size / 10 streams."""
    return _routes(place, "/dashboard", Lists(place.records // 100, 10))


@figure("dashboard by growth", other="a bare route", goal=Goal(seconds=50 * IN_MS))
def dashboard_by_growth(place: Place) -> Times:
    """`/dashboard?sort=growth`, of the same connections."""
    return _routes(place, "/dashboard?sort=growth", Lists(place.records // 100, 10))


@figure("page of a connection", other="a bare route", goal=Goal(seconds=50 * IN_MS))
def connection(place: Place) -> Times:
    """The page of a connection that has all of size / 10 streams."""
    return _routes(place, "/dashboard/connections/connection%201", Lists(1, place.records // 10))


@figure("metrics", other="a bare route", goal=Goal(seconds=20 * IN_MS))
def metrics(place: Place) -> Times:
    """`GET /_ref/metrics`, with size / 2 streams."""
    return _routes(place, "/_ref/metrics", Lists(place.records // 20, 10))


@figure("top streams, all equal", other="a bare route", goal=Goal(seconds=20 * IN_MS))
def top_equal(place: Place) -> Times:
    """`GET /_ref/dataset/top` by records, of size / 2 streams which all have the same number."""
    path = "/_ref/dataset/top?scope=stream&measure=record_count&limit=25"
    return _routes(place, path, Lists(place.records // 20, 10))


@figure("top streams, all empty", other="a bare route", goal=Goal(seconds=20 * IN_MS))
def top_empty(place: Place) -> Times:
    """`GET /_ref/dataset/top` by versions, of size / 2 streams which have none."""
    path = "/_ref/dataset/top?scope=stream&measure=record_history_count&limit=25"
    return _routes(place, path, Lists(place.records // 20, 10, records=0))


def _page(names: list[str], middle: str) -> None:
    with read_snapshot():
        (stream,) = streams_read.find(None, *names)
        found = records_read.page(stream.id, middle, PAGE_RECORDS, descending=False)
    assert found.records


def _raw_page(raw: DatabaseProbe, names: list[str], middle: str) -> None:
    ((found,),) = raw(OF_NAMES, *names)
    assert raw(ROWS, found, middle)


# ---- routes --------------------------------------------------------------------------------------


class Lists(NamedTuple):
    """Connections, streams of each, and records of each stream."""

    connections: int
    streams: int
    records: int = 10


def _routes(place: Place, path: str, lists: Lists) -> Times:
    with _client(place, lists) as client:
        size = len(_get(client, path))
        bare = _bare(size)
        ours, other = in_turn(place.repeat * 2, partial(_get, client, path), partial(_get, bare, "/"))
        return Times(ours, other, f"{size:,} bytes")


@contextmanager
def _client(place: Place, lists: Lists) -> Iterator[FlaskClient]:
    """A client of an application that has these lists, which the owner has signed in with."""
    with place.empty() as url, tempfile.TemporaryDirectory() as folder:
        settings = {"INSTANCE_PATH": folder, "DATABASE_URL": url, "OWNER_PASSWORD": PASSWORD}
        app = create_app(settings | {"OPERATOR_TOKEN": TOKEN, "SECRET_KEY": "of a benchmark"})
        with DatabaseProbe(url) as probe:
            _make(probe, lists)
        client = app.test_client()
        client.post("/owner/login", json={"password": PASSWORD})
        yield client
        db.close()


def _get(client: FlaskClient, path: str) -> bytes:
    answer = client.get(path)
    assert answer.status_code == 200, answer.status
    return answer.data


def _bare(size: int) -> FlaskClient:
    app, body = Flask("bare"), "x" * size
    app.add_url_rule("/", view_func=lambda: body)
    return app.test_client()


AT = "'2026-01-01T00:00:00.000Z'"
NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {})"
SIZES = "record_count, current_record_json_bytes, record_history_count, record_history_json_bytes"
ADDED = ", ".join((*MEASURE_NAMES, "stream_count"))
ADD = ", ".join(f"SUM({name})" for name in (*MEASURE_NAMES, "stream_count"))


def _make(probe: DatabaseProbe, lists: Lists) -> None:
    """The rows that lists are read from, without the records."""
    in_stream, in_connection = (
        f"{number}, {number * 300}, {number}, {number * 300}"
        for number in (lists.records, lists.records * lists.streams)
    )
    probe("BEGIN")
    probe(
        f"""
        INSERT INTO connections (connector_id, connector_instance_id, created_at)
        {NUMBERS.format(lists.connections)}
        SELECT 'kind ' || i % 7, 'connection ' || i, {AT}
        FROM n
        """
    )
    probe(
        f"""
        INSERT INTO streams (connection_id, name, last_version, created_at)
        {NUMBERS.format(lists.streams)}
        SELECT c.id, 'stream ' || i, {lists.records}, {AT}
        FROM connections c, n
        """
    )
    probe(
        f"""
        INSERT INTO retained_size_stream
            (stream_id, connection_id, connection_name, stream_name, computed_at, {SIZES})
        SELECT s.id, c.id, c.connector_instance_id, s.name, {AT}, {in_stream}
        FROM streams s
        JOIN connections c ON c.id = s.connection_id
        """
    )
    probe(
        f"""
        INSERT INTO retained_size_connection
            (connection_id, connection_name, stream_count, computed_at, {SIZES})
        SELECT id, connector_instance_id, {lists.streams}, {AT}, {in_connection}
        FROM connections
        """
    )
    probe(
        f"""
        UPDATE retained_size_global
        SET ({ADDED}) = (SELECT {ADD} FROM retained_size_connection),
            connection_count = {lists.connections},
            computed_at = {AT}
        """
    )
    probe("COMMIT")
