"""While others hold the lock that writers need, nobody waits for longer than it takes to say so."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import httpx
import pytest
from flask import Flask

from pdpp_ref.database import Busy, fetch_all, impatient, patience, write_attempt, write_transaction
from tests.conftest import Backend
from tests.support.factories import PASSWORD, TOKEN, DatabaseProbe, fill, upsert, write
from tests.support.server_process import served

pytestmark = pytest.mark.slow  # each waits
BEARER = {"Authorization": f"Bearer {TOKEN}"}
INGEST = "/v1/ingest/notes?connector_id=files"
LINES = b"".join(b'{"key":"new %d","data":{}}\n' % number for number in range(50))


@contextmanager
def locked(backend: Backend) -> Iterator[DatabaseProbe]:
    """What every writer needs is held by another program, until the block or its transaction ends."""
    with backend.probe() as other:
        other("BEGIN IMMEDIATE" if backend.kind == "sqlite" else "BEGIN")
        other("UPDATE retained_size_global SET id = id")
        try:
            yield other
        finally:
            other("ROLLBACK")


def refused_after() -> float:
    """How long it takes until a write is."""
    began = time.monotonic()
    with pytest.raises(Busy):
        write(upsert("another"))
    return time.monotonic() - began


def sometimes(is_quick: Callable[[], bool]) -> bool:
    """On a busy machine anything may take longer once."""
    return any(is_quick() for _ in range(5))


def test_a_request_that_has_waited_waits_less_for_a_lock(app: Flask, backend: Backend) -> None:
    fill(1)
    with locked(backend), impatient(waited=patience.LOCK_SECONDS):
        assert refused_after() < 3


def test_all_waits_of_a_request_count(
    app: Flask, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(1)
    monkeypatch.setattr(patience, "LOCK_SECONDS", 1.2)
    monkeypatch.setattr(patience, "BRIEF_SECONDS", 0.2)
    monkeypatch.setattr(patience, "LEAST_SECONDS", 0.1)

    def second_wait() -> float:
        with impatient(), ThreadPoolExecutor(1) as threads:
            with locked(backend) as other:
                threads.submit(lambda: time.sleep(0.7) or other("COMMIT; BEGIN"))  # type: ignore[func-returns-value]
                with suppress(Busy):  # a slow machine: the other was late
                    write(upsert(str(time.monotonic_ns())))
            with locked(backend):
                return refused_after()

    assert sometimes(lambda: second_wait() < 1)
    with locked(backend):
        assert refused_after() > 1, "a command has new patience for each transaction"


@pytest.mark.only("postgres")
def test_all_waits_of_a_transaction_count(
    app: Flask, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite has one lock, taken at the beginning."""
    fill(1)
    monkeypatch.setattr(patience, "LOCK_SECONDS", 1.2)
    monkeypatch.setattr(patience, "BRIEF_SECONDS", 0.2)
    monkeypatch.setattr(patience, "LEAST_SECONDS", 0.1)

    def both_waits() -> float:
        with backend.probe() as first, locked(backend), ThreadPoolExecutor(1) as threads:
            first("BEGIN; SELECT FROM streams FOR UPDATE")
            threads.submit(lambda: time.sleep(0.8) or first("ROLLBACK"))  # type: ignore[func-returns-value]
            return refused_after()

    assert sometimes(lambda: both_waits() < 1.6)


def test_connectors_that_wait_lock_nobody_out(app: Flask, backend: Backend) -> None:
    with (
        served(app) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
        ThreadPoolExecutor(16) as threads,
    ):
        client.post("/owner/login", json={"password": PASSWORD})
        client.post(INGEST, headers=BEARER, content=b'{"key":"old","data":{}}')

        def send() -> tuple[httpx.Response, float]:
            began = time.monotonic()
            response = client.post(INGEST, headers=BEARER, content=LINES)
            return response, time.monotonic() - began

        with locked(backend):
            sent = [threads.submit(send) for _ in range(16)]
            while not all(each.done() for each in sent):
                for path in ("/healthz", "/healthz?x", "/dashboard/hero", "/readyz"):
                    began = time.monotonic()
                    assert client.get(path).status_code == 200
                    assert time.monotonic() - began < 1
                time.sleep(0.2)
        for response, seconds in (each.result() for each in sent):
            assert response.status_code == 503
            assert int(response.headers["Retry-After"]) > 0
            assert seconds < 7
        assert client.get("/_ref/dataset/summary", headers=BEARER).json()["record_count"] == 1
        assert send()[0].json()["records_accepted"] == 50


@pytest.mark.only("sqlite")
def test_a_writer_sees_at_once_that_sqlites_lock_is_free(
    app: Flask, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it has waited; by itself SQLite would look after 0.1 s."""
    pauses: list[float] = []
    with locked(backend) as other:

        def sleep(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 300:
                other("COMMIT; BEGIN")

        monkeypatch.setattr(patience.time, "sleep", sleep)
        write(upsert("one"))
    assert len(pauses) == 300
    assert max(pauses) <= 0.002
    assert fetch_all("PRAGMA busy_timeout") == [(5000,)], "what else needs a lock waits as before"


@pytest.mark.only("sqlite")
def test_an_attempt_does_not_wait_for_sqlites_lock(
    app: Flask, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience.time, "sleep", lambda _: pytest.fail("it waits"))
    with locked(backend), pytest.raises(Busy), write_attempt():
        pass


def test_a_lock_is_waited_for(app: Flask, backend: Backend) -> None:
    fill(1)
    with ThreadPoolExecutor(1) as threads, locked(backend) as other:
        threads.submit(lambda: time.sleep(0.5) or other("COMMIT; BEGIN"))  # type: ignore[func-returns-value]
        with impatient(waited=4.0), write_transaction():
            pass
        write(upsert("one"))
