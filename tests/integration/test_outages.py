"""A database host that disappears: nobody waits for it for long, and its return is noticed at once."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import peewee
import pytest
from flask import Flask

from pdpp_ref import database
from pdpp_ref.database import db, fetch_value, impatient, read_snapshot
from tests.conftest import Backend
from tests.support import postgres
from tests.support.factories import TOKEN, DatabaseProbe, fill
from tests.support.link import Link, silent_host
from tests.support.server_process import served

pytestmark = [pytest.mark.only("postgres"), pytest.mark.slow]
BEARER = {"Authorization": f"Bearer {TOKEN}"}
SUMMARY, LIST, INGEST = "/_ref/dataset/summary", "/_ref/dataset/top", "/v1/ingest/notes?connector_id=files"


@pytest.fixture
def link(backend: Backend) -> Iterator[Link]:
    if not postgres.folder_of(backend.url).is_dir():
        pytest.skip("it forwards to the socket of a server on this machine")
    found = Link(backend.url)
    yield found
    found.restore()
    db.close()
    found.remove()


@contextmanager
def client_of(app: Flask) -> Iterator[httpx.Client]:
    with served(app) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        yield client


class Answer(NamedTuple):
    status: int
    seconds: float


def ask(client: httpx.Client, path: str = SUMMARY) -> Answer:
    """A write, if the path is of one."""
    began = time.monotonic()
    method = "POST" if path == INGEST else "GET"
    content = b'{"key":"a","data":{}}' if method == "POST" else b""
    found = client.request(method, path, headers=BEARER, content=content)
    if found.status_code == 503:
        assert found.headers["Retry-After"]
    return Answer(found.status_code, time.monotonic() - began)


def until_answered(client: httpx.Client, path: str, within: float) -> None:
    began = time.monotonic()
    while ask(client, path).status != 200:
        assert time.monotonic() - began < within
        time.sleep(0.05)


def test_a_cut_link_is_noticed_and_so_is_its_return(
    make_app: Callable[..., Flask], backend: Backend, link: Link
) -> None:
    app = make_app(DATABASE_URL=link.url(backend.url))
    fill(1)
    paths = [SUMMARY] * 6 + [LIST] * 12 + [INGEST] * 8
    with client_of(app) as client, ThreadPoolExecutor(len(paths)) as threads:
        assert {ask(client, path).status for path in (SUMMARY, LIST, INGEST, "/readyz")} == {200}
        link.cut()
        waiting = [threads.submit(ask, client, path) for path in paths]
        for path in ("/healthz", "/healthz?x"):  # by its route too
            assert ask(client, path) < Answer(200, 1)
        ready = ask(client, "/readyz")
        assert ready.status == 503
        assert ready.seconds < 3
        answers = [each.result() for each in waiting]
        assert {each.status for each in answers} == {503}
        assert max(each.seconds for each in answers) < 10
        for path in (SUMMARY, LIST, INGEST):
            at_once = ask(client, path)
            assert at_once.status == 503
            assert at_once.seconds < 0.5, "it is known by then"
        link.restore()
        for path in (SUMMARY, LIST, INGEST, "/readyz"):
            until_answered(client, path, within=5)


def test_a_server_process_that_hangs_holds_nobody_else(
    make_app: Callable[..., Flask], backend: Backend, link: Link, probe: DatabaseProbe
) -> None:
    app = make_app(DATABASE_URL=backend.url.replace("?", "?application_name=frozen&"))
    fill(1)
    with client_of(app) as client:
        assert [ask(client, path).status for path in (SUMMARY, LIST)] == [200, 200]
        found = probe("SELECT pid FROM pg_stat_activity WHERE application_name = 'frozen'")
        frozen = [process for (process,) in found]
        for process in frozen:
            os.kill(process, signal.SIGSTOP)
        try:
            for path in (SUMMARY, SUMMARY, LIST):
                answer = ask(client, path)
                assert answer.status in (200, 503)
                assert answer.seconds < 10
            until_answered(client, SUMMARY, within=5)
        finally:
            for process in frozen:
                os.kill(process, signal.SIGCONT)


def connect(url: str) -> float:
    """In a thread of its own: how long the first answer takes."""
    began = time.monotonic()

    def work() -> None:
        assert fetch_value("SELECT 1") == 1
        db.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    return time.monotonic() - began


def test_a_host_that_drops_packets_is_tried_once(backend: Backend, link: Link) -> None:
    with silent_host() as port:
        database.connect(link.url(backend.url, before=f"127.0.0.1:{port},"), Path())
        assert 1 < connect(backend.url) < 10
        assert connect(backend.url) < 1, "the other host comes first now"


def test_threads_connect_at_the_same_time(backend: Backend, link: Link) -> None:
    with silent_host() as port, ThreadPoolExecutor(8) as threads:
        database.connect(link.url(backend.url, before=f"127.0.0.1:{port},"), Path())
        began = time.monotonic()
        list(threads.map(connect, [backend.url] * 8))
        assert time.monotonic() - began < 6


def test_threads_learn_at_the_same_time_that_nobody_answers(backend: Backend) -> None:
    def fails(_: int) -> None:
        with pytest.raises(peewee.OperationalError):
            db.connect()

    with silent_host() as port, ThreadPoolExecutor(8) as threads:
        database.connect(f"postgresql://x@127.0.0.1:{port}/x?connect_timeout=2", Path())
        began = time.monotonic()
        list(threads.map(fails, range(8)))
        assert time.monotonic() - began < 10


def test_nobody_impatient_waits_for_a_statement_for_ever(app: Flask) -> None:
    began = time.monotonic()
    with pytest.raises(peewee.OperationalError), impatient(2.0), read_snapshot():
        fetch_value("SELECT pg_sleep(60)")
    assert time.monotonic() - began < 5
    with impatient(2.0):
        assert fetch_value("SELECT 1") == 1
    assert fetch_value("SELECT 1 FROM pg_sleep(2.5)") == 1, "commands wait"


def test_the_system_gives_up_a_connection_that_gets_no_acknowledgement(
    backend: Backend, link: Link
) -> None:
    for setting, expected in (("", 10_000), ("?tcp_user_timeout=7000", 7000)):
        database.connect(link.url(backend.url) + setting, Path())
        descriptor = os.dup(db.connection().fileno())
        with socket.socket(fileno=descriptor) as opened:
            assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == expected
        db.close()
