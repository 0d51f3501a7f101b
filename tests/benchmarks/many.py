"""What reads cost of many connections and streams: `python -m tests.benchmarks.many [sqlite|postgres] [WORD ...]`.

Each world is built by statements, in a database of its own, at three sizes.  Of each path, the shortest time
until the last byte and processor time of this process, in ms; the former as a multiple of that of a bare Flask
route that returns as many bytes, asked in turn; and its exponent against the world's size.  WORDs select
worlds by name.
"""

import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from flask import Flask, request
from flask.testing import FlaskClient

from pdpp_ref import create_app
from pdpp_ref.timestamps import days_before
from tests.support import postgres
from tests.support.factories import PASSWORD, TOKEN
from tests.support.probe import MEASURES, DatabaseProbe

ROUNDS = 5
TIME = "'2026-01-01T00:00:00.000Z'"
ROW = ", ".join((*MEASURES, "computed_at", "generation"))


class World(NamedTuple):
    """So many connections with so many streams each, a record's measures in each stream, and days of growth.

    `ties`: all are equally large.  `empty`: streams retain nothing.
    """

    name: str
    connections: int
    streams: int
    days: int
    paths: tuple[str, ...]
    ties: bool = False
    empty: bool = False

    def at(self, part: float) -> "World":
        """The same at a part of its size."""
        if self.connections == 1:
            return self._replace(streams=max(1, round(self.streams * part)))
        return self._replace(connections=max(1, round(self.connections * part)))


DASHBOARD = (
    "/dashboard",
    *(f"/dashboard?sort={name}" for name in ("name", "growth", "blob_bytes", "record_count")),
    "/dashboard?sort=record_history_count&order=asc",
    "/dashboard?q=99",
    "/dashboard?q=99&sort=growth",
    "/dashboard?limit=500",
    "/dashboard?days=365",
    "/dashboard/hero",
)
CONNECTION = (
    "/dashboard/connections/c1",
    "/dashboard/connections/c1?sort=name",
    "/dashboard/connections/c1?sort=record_count&order=asc",
    "/dashboard/connections/c1?q=99",
    "/dashboard/connections/c1?limit=500",
)
TOTALS = (
    "/_ref/dataset/summary",
    "/_ref/metrics",
    "/_ref/dataset/top",
    "/_ref/dataset/top?scope=stream&measure=record_count&limit=25",
    "/_ref/dataset/top?scope=record&measure=record_history_count",
)
LISTS = (
    "/_ref/dataset/size?grain=connection",
    "/_ref/dataset/size?grain=stream",
    "/_ref/dataset/summary/streams",
    "/v1/streams",
)
WORLDS = (
    World("connections with streams", 1_000, 10, 30, (*DASHBOARD, *CONNECTION[:1], *TOTALS, *LISTS)),
    World("many connections", 12_000, 1, 3, (*DASHBOARD, *TOTALS)),
    World("one connection", 1, 10_000, 3, (*CONNECTION, *TOTALS)),
    World("equal streams", 40_000, 1, 0, ("/dashboard", *TOTALS), ties=True),
    World("empty streams", 1, 60_000, 0, TOTALS, ties=True, empty=True),
    World("years", 1_000, 1, 400, ("/dashboard", "/dashboard?sort=growth", "/dashboard?days=365")),
)


def build(probe: DatabaseProbe, world: World) -> None:
    """Store a world in an empty database, with records for the rankings to find."""
    probe("BEGIN")
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {})"
    probe(
        "INSERT INTO connections (connector_id, connector_instance_id, created_at) "
        f"{numbers.format(world.connections)} SELECT 'k' || (i % 50), 'c' || i, {TIME} FROM n"
    )
    probe(
        "INSERT INTO streams (connection_id, name, last_version, created_at, incarnation) "
        f"{numbers.format(world.streams)} "
        f"SELECT c.id, 's' || n.i, {int(not world.empty)}, {TIME}, c.id || '-' || n.i FROM connections c, n"
    )
    size, count = "7" if world.ties else "(id * 7919) % 9000 + 7", "1"
    if world.empty:
        size = count = "0"
    else:
        for table in ("records", "record_changes"):
            probe(
                f"INSERT INTO {table} (stream_id, key, version, data, json_bytes, ingested_at) "
                f"SELECT id, 'a', 1, '{{\"a\":1}}', 7, {TIME} FROM streams"
            )
    one = f"{count}, {size}, {count}, {size}, 0, 0, {TIME}, 1"
    probe(
        "INSERT INTO retained_size_stream "
        f"(stream_id, connection_id, connection_name, stream_name, {ROW}) "
        f"SELECT s.id, c.id, c.connector_instance_id, s.name, {one.replace('(id', '(s.id')} "
        "FROM streams s JOIN connections c ON c.id = s.connection_id"
    )
    _sum_up(probe, world)
    _grow(probe, world)
    probe("COMMIT")
    probe("ANALYZE")


def _sum_up(probe: DatabaseProbe, world: World) -> None:
    sums = ", ".join(f"COALESCE(SUM({name}), 0)" for name in MEASURES)
    retaining = 0 if world.empty else world.streams
    probe(
        f"INSERT INTO retained_size_connection (connection_id, connection_name, {ROW}, stream_count) "
        f"SELECT connection_id, connection_name, {sums}, {TIME}, 1, {retaining} "
        "FROM retained_size_stream GROUP BY connection_id, connection_name"
    )
    probe(
        "INSERT INTO retained_size_connector (connector_id, record_count) "
        "SELECT c.connector_id, SUM(r.record_count) FROM connections c "
        "JOIN retained_size_connection r ON r.connection_id = c.id "
        "GROUP BY c.connector_id HAVING SUM(r.record_count) > 0"
    )
    probe("DELETE FROM retained_size_global")
    probe(
        f"INSERT INTO retained_size_global (id, {ROW}, stream_count, connection_count) "
        f"SELECT 1, {sums}, {TIME}, 1, SUM(stream_count), {0 if world.empty else world.connections} "
        "FROM retained_size_connection"
    )


def _grow(probe: DatabaseProbe, world: World) -> None:
    """A snapshot for each of the last days, linked to the one before; the last has the row's generation."""
    for grain, key in (("connection", "connection_id"), ("global", "id")):
        for number in range(world.days):
            probe(
                f"INSERT INTO retained_size_{grain}_days "
                f"({key}, day, {', '.join(MEASURES)}, generation, previous_generation) "
                f"SELECT {key}, '{days_before(world.days - number)}', {', '.join(MEASURES)}, "
                f"{number + 1}, {number} FROM retained_size_{grain}"
            )
        if world.days:
            probe(f"UPDATE retained_size_{grain} SET generation = {world.days}")


# ---- measuring ---------------------------------------------------------------------------------


class Cost(NamedTuple):
    """The shortest time of a path in ms, and as a multiple of a bare route's; `work` is processor time."""

    ms: float
    work: float
    of_bare: float


def costs(url: str, world: World) -> dict[str, Cost]:
    """Of each path of a world, which is built in an empty database."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"INSTANCE_PATH": folder, "DATABASE_URL": url, "OWNER_PASSWORD": PASSWORD}
        app = create_app(settings | {"OPERATOR_TOKEN": TOKEN, "SECRET_KEY": "of a benchmark"})
        with DatabaseProbe(url) as probe:
            build(probe, world)
        client = app.test_client()
        client.post("/owner/login", json={"password": PASSWORD})
        bare = bare_app().test_client()

        found = {}
        for path in world.paths:
            of_bare = f"/?bytes={ask(client, path).size}"
            pairs = [(ask(client, path), ask(bare, of_bare)) for _ in range(ROUNDS)]
            ms, plain = (min(answer.ms for answer in answers) for answers in zip(*pairs, strict=True))
            found[path] = Cost(ms, min(ours.work for ours, _ in pairs), ms / plain)
        return found


def bare_app() -> Flask:
    app = Flask(__name__)
    app.add_url_rule("/", view_func=lambda: "x" * int(request.args["bytes"]))
    return app


class Answer(NamedTuple):
    ms: float
    work: float
    size: int


def ask(client: FlaskClient, path: str) -> Answer:
    began, worked = time.perf_counter(), time.process_time()
    response = client.get(path)
    size = len(response.data)
    assert response.status_code == 200, (path, response.status_code)
    return Answer((time.perf_counter() - began) * 1000, (time.process_time() - worked) * 1000, size)


def exponent(sizes: list[float], values: list[float]) -> float:
    """The slope of the values against the sizes, both logarithmic."""
    x, y = [math.log(each) for each in sizes], [math.log(each) for each in values]
    return statistics.linear_regression(x, y).slope


@contextmanager
def databases(kind: str) -> Iterator[Callable[[], str]]:
    """Returns the URLs of new databases."""
    with tempfile.TemporaryDirectory() as folder:
        made: list[str] = []
        if kind == "sqlite":

            def new() -> str:
                made.append("")
                return f"sqlite:///{folder}/{len(made)}.sqlite3"

            yield new
            return
        server = postgres.Server()

        def create() -> str:
            made.append(f"many_{len(made)}")
            with DatabaseProbe(server.url) as probe:
                probe(f"CREATE DATABASE {made[-1]}")
            return server.url_of("pdpp", made[-1])

        try:
            yield create
        finally:
            server.remove()


PARTS = (0.3, 1.0)


def main(kind: str = "sqlite", *words: str) -> None:
    with databases(kind) as new:
        for world in WORLDS:
            if words and not any(word in world.name for word in words):
                continue
            found = [costs(new(), world.at(part)) for part in PARTS]
            print(f"\n{kind}: {world.name}, {world.connections:,} x {world.streams:,} x {world.days} days")
            for path, cost in found[-1].items():
                slope = exponent(list(PARTS), [each[path].ms for each in found])
                print(
                    f"{cost.ms:8.1f} ms {cost.work:8.1f} of work {cost.of_bare:7.1f} of bare   exponent {slope:5.2f}   {path}",
                    flush=True,
                )


if __name__ == "__main__":
    main(*sys.argv[1:])
