"""Requests that write and requests that read don't take each other's capacity."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from flask import Flask

from pdpp_ref.server import lanes
from tests.support.factories import TOKEN
from tests.support.server_process import served

pytestmark = [pytest.mark.only("sqlite"), pytest.mark.slow]  # it comes before any database
BEARER = {"Authorization": f"Bearer {TOKEN}"}
INGEST = "/v1/ingest/notes?connector_id=files"


@pytest.fixture
def url(app: Flask) -> Iterator[str]:
    with served(app) as port:
        yield f"http://127.0.0.1:{port}"


def test_writers_that_wait_take_nothing_from_readers(
    app: Flask, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "WAIT_SECONDS", 1.0)
    released = threading.Event()
    monkeypatch.setitem(app.view_functions, "ingest.ingest_lines", lambda stream: str(released.wait(60)))
    with ThreadPoolExecutor(40) as threads:
        posts = [
            threads.submit(httpx.post, url + INGEST, headers=BEARER, timeout=60)
            for _ in range(lanes.WRITES + 30)
        ]
        time.sleep(0.5)
        for path in ("/healthz", "/owner/login", "/_ref/dataset/summary", "/_ref/dataset/top"):
            began = time.monotonic()
            assert httpx.get(url + path, headers=BEARER, timeout=60).status_code == 200
            assert time.monotonic() - began < 5
        time.sleep(1.0)
        released.set()
        statuses = [each.result() for each in posts]
    refused = [each for each in statuses if each.status_code == 503]
    assert len(refused) == 30
    assert {each.json()["error"]["code"] for each in refused} == {"server_busy"}
    assert all(int(each.headers["Retry-After"]) > 0 for each in refused)
    assert [each.status_code for each in statuses].count(200) == lanes.WRITES


def test_readers_that_hang_do_not_stop_health_or_the_summary(
    app: Flask, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    monkeypatch.setitem(app.view_functions, "auth.login_form", lambda: str(released.wait(60)))
    with ThreadPoolExecutor(lanes.READS) as threads:
        hanging = [threads.submit(httpx.get, f"{url}/owner/login", timeout=60) for _ in range(lanes.READS)]
        time.sleep(0.5)
        for path in ("/healthz", "/_ref/dataset/summary"):
            assert httpx.get(url + path, headers=BEARER, timeout=5).status_code == 200
        released.set()
        assert {each.result().status_code for each in hanging} == {200}
