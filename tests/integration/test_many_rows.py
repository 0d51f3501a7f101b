"""More rows than a statement may have values: no setting within its range makes a pass fail.

SQLite allows 32,766 values, PostgreSQL 65,535; here no statement may have more than five hundred and a few.
PDPP_TEST_LONG=1 tries the real numbers.
"""

import os
from collections.abc import Callable
from typing import Any

import apsw
import pytest

from pdpp_ref.config import declarations
from pdpp_ref.database import db
from pdpp_ref.projection.apart import Row
from pdpp_ref.services import reconcile
from pdpp_ref.services.reconcile import Limits, run_until_fresh
from tests.conftest import Backend
from tests.support.factories import DatabaseProbe, statements

LONG = os.environ.get("PDPP_TEST_LONG") == "1"
VALUES = 65_535 if LONG else 530
ROWS = 70_000 if LONG else 540
MOST = Limits(rows=100_000, seconds=600)

pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture(autouse=True)
def _few_values(backend: Backend, app: object) -> None:
    if backend.kind == "sqlite" and not LONG:
        db.connect(reuse_if_open=True)
        db.connection().limit(apsw.SQLITE_LIMIT_VARIABLE_NUMBER, VALUES)


def add_streams(probe: DatabaseProbe, connections: int, streams: int) -> None:
    """So many connections and streams, without rows in the projection."""
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {})"
    at = "'2026-01-01T00:00:00.000Z'"
    probe("BEGIN")
    probe(
        "INSERT INTO connections (connector_id, connector_instance_id, created_at) "
        f"{numbers.format(connections)} SELECT 'files', 'c' || i, {at} FROM n"
    )
    probe(
        "INSERT INTO streams (connection_id, name, last_version, created_at, incarnation) "
        f"{numbers.format(streams)} SELECT 1 + i % {connections}, 's' || i, 0, {at}, 'x' FROM n"
    )
    probe("COMMIT")


def most_values(work: Callable[[], Any]) -> int:
    with statements() as seen:
        work()
    return max(sql.count("?") + sql.count("%s") + sql.count("$") for sql in seen)


def test_the_range_is_the_documented_one() -> None:
    (rows,) = [each.kind for each in declarations() if each.name == "RECONCILE_MAX_ROWS"]
    assert getattr(rows, "most", None) == MOST.rows


@pytest.mark.parametrize("of", ["streams", "connections"])
@pytest.mark.one_on_postgres
def test_a_pass_may_have_more_rows_than_a_statement_values(probe: DatabaseProbe, of: str) -> None:
    add_streams(probe, ROWS if of == "connections" else 1, ROWS)
    assert most_values(lambda: run_until_fresh(MOST)) <= VALUES
    assert probe.dirty() == (0, 0, 0)
    probe("UPDATE retained_size_stream SET rollups_dirty = FALSE")
    reconcile.begin_rebuild()
    assert probe.dirty() == (ROWS, ROWS if of == "connections" else 1, 1)
    done = reconcile.run_pass(Limits(rows=2 * MOST.rows, seconds=600))
    assert (done.fresh, done.streams) == (True, ROWS)
    assert probe.wrong_but_clean() == []


def test_more_rows_set_aside_than_a_statement_values(probe: DatabaseProbe) -> None:
    add_streams(probe, 2, ROWS)
    run_until_fresh(MOST)
    probe("UPDATE retained_size_stream SET dirty = TRUE")
    probe("UPDATE retained_size_connection SET dirty = TRUE")
    probe("UPDATE retained_size_global SET dirty = TRUE")
    aside = reconcile.no_rows_set_aside()
    bad = probe("SELECT stream_id FROM retained_size_stream WHERE connection_id = 1 OR stream_id % 99 > 0")
    aside.failed({Row("stream", key): "corrupt" for (key,) in bad})
    done = run_until_fresh(MOST, aside=aside)
    assert (done.fresh, done.streams, done.connections) == (False, ROWS - len(bad), 0)
    assert len(aside.still_dirty()) == len(bad) > 0.9 * ROWS
