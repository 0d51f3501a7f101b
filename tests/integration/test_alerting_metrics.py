"""Metrics for alerts: each is there, bounded, documented, and names nobody."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from pdpp_ref import backup_time
from pdpp_ref.database import condition, db
from pdpp_ref.queries import silence
from pdpp_ref.server.lanes import Lanes
from pdpp_ref.timestamps import to_moment
from tests.integration.test_metrics import BEARER, scrape
from tests.support.factories import DatabaseProbe, fill, upsert, write

DOCS = Path(__file__).parents[2] / "docs"
LAST = "pdpp_connection_last_arrival_timestamp_seconds"


def test_the_build_the_disks_and_the_size_are_there(app: Flask) -> None:
    found = scrape(app)
    assert [labels for name, labels in found if name == "pdpp_build_info"] == [("0.1.0",)]
    folders = {"instance", "temporary"} | ({"database"} if db.is_in_process else set())
    free = {labels[0]: value for (name, labels), value in found.items() if name == "pdpp_disk_free_bytes"}
    assert set(free) == folders
    assert all(value > 0 for value in free.values())
    assert found["pdpp_database_bytes", ()] > 10_000


def test_sources_are_listed_by_number_from_the_longest_silent_on(app: Flask, probe: DatabaseProbe) -> None:
    for number in range(silence.MOST + 5):
        write(upsert("a"), connection=f"a private name {number}")
        day = f"2001-01-{number + 1:02}T00:00:00.000Z"
        name = f"a private name {number}"
        probe(
            f"UPDATE retained_size_connection SET latest_ingested_at = '{day}' WHERE connection_name = '{name}'"
        )
    found = scrape(app)
    arrivals = sorted(value for (name, _), value in found.items() if name == LAST)
    assert len(arrivals) == silence.MOST
    assert arrivals[0] == to_moment("2001-01-01T00:00:00.000Z").timestamp()
    assert arrivals[-1] == to_moment(f"2001-01-{silence.MOST:02}T00:00:00.000Z").timestamp()
    assert "private" not in app.test_client().get("/_ref/metrics", headers=BEARER).text


def test_the_last_backup_is_known_once_there_was_one(app: Flask) -> None:
    folder = Path(app.instance_path)
    (folder / backup_time.NAME).unlink(missing_ok=True)
    assert ("pdpp_last_backup_timestamp_seconds", ()) not in scrape(app)
    backup_time.remember(folder)
    assert scrape(app)["pdpp_last_backup_timestamp_seconds", ()] > 1_700_000_000
    (folder / backup_time.NAME).write_text("damaged")
    assert ("pdpp_last_backup_timestamp_seconds", ()) not in scrape(app)


def test_a_running_rebuild_reports_how_far_it_is(app: Flask, probe: DatabaseProbe) -> None:
    fill(10)
    assert ("pdpp_rebuild_progress_ratio", ()) not in scrape(app)
    probe("UPDATE retained_size_global SET rebuild_status = 'running', rebuild_total = 20")
    assert 0 <= scrape(app)["pdpp_rebuild_progress_ratio", ()] <= 1


def test_requests_that_have_a_thread_are_counted_by_lane(app: Flask) -> None:
    lanes = Lanes(app.extensions["lane_use"])
    seen: list[dict[tuple[str, tuple[str, ...]], float]] = []

    async def use() -> None:
        write, read = {"method": "POST", "raw_path": b"/v1/ingest/a"}, {"method": "GET", "raw_path": b"/"}
        async with lanes.enter(write), lanes.enter(read) as place:
            await place.leave()
            seen.append(scrape(app))

    asyncio.run(use())
    seen.append(scrape(app))
    busy: list[Any] = [
        [each["pdpp_busy_threads", (lane,)] for lane in ("reads", "writes", "streams")] for each in seen
    ]
    assert busy == [[0, 1, 1], [0, 0, 0]]


@pytest.mark.only("postgres")
def test_only_a_replica_lags(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ("pdpp_replica_lag_seconds", ()) not in scrape(app)
    monkeypatch.setattr(condition, "lag_seconds", lambda: 7.5)
    assert scrape(app)["pdpp_replica_lag_seconds", ()] == 7.5


def test_each_metric_is_in_the_guide(app: Flask) -> None:
    fill(1)
    text = app.test_client().get("/_ref/metrics", headers=BEARER).text
    named = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
    rules = (DOCS / "deploy" / "prometheus-rules.yml").read_text()
    named |= set(re.findall(r"pdpp_[a-z_]+", rules)) - {"pdpp_request_seconds_count"}
    guide = (DOCS / "operating.md").read_text()
    missing = {name for name in named if f"`{name}" not in guide and not name.startswith("pdpp_retained_")}
    assert missing == set()
