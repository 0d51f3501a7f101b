"""Followers of the change feed build exact copies while others write, delete and prune.

PDPP_TEST_LONG=1 tries for five minutes on each database, the ordinary run for a moment.  PDPP_TEST_SEED
repeats a trial.
"""

import os
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from pdpp_ref.canonical import retention
from pdpp_ref.database import Busy, db
from pdpp_ref.queries import changes
from tests.support.factories import PASSWORD, delete, upsert, write
from tests.support.reading import RECORDS, Follower, walk

SECONDS = 300 if os.environ.get("PDPP_TEST_LONG") == "1" else 1.5
SEED = int(os.environ.get("PDPP_TEST_SEED") or random.randrange(10**6))
KEYS = [f"k{number}" for number in range(40)]


class Trial:
    """Threads that write, prune and follow until the time is up."""

    def __init__(self, app: Flask, seconds: float) -> None:
        app.test_client_class = FlaskClient  # conformance is checked elsewhere, and takes time
        self.app = app
        self.end = time.monotonic() + seconds
        self.walks = 0

    def run(self) -> list[Follower]:
        write(*(upsert(key) for key in KEYS[::2]))
        with ThreadPoolExecutor(8) as threads:
            works = [self._writer(SEED), self._writer(SEED + 1), self._pruner()]
            followers = [threads.submit(self._follower, limit) for limit in (1, 7, 100)]
            for work in [threads.submit(self._repeat, work) for work in works]:
                work.result()
            return [follower.result() for follower in followers]

    def _repeat(self, work: Callable[[], Any]) -> None:
        try:
            while time.monotonic() < self.end:
                with suppress(Busy):
                    work()
                time.sleep(0.002)
        finally:
            db.close()

    def _writer(self, seed: int) -> Callable[[], Any]:
        choices = random.Random(seed)

        def write_some() -> None:
            some = choices.sample(KEYS, choices.randint(1, 4))
            write(
                *(
                    delete(key) if choices.random() < 0.4 else upsert(key, {"n": choices.random()})
                    for key in some
                )
            )

        return write_some

    def _pruner(self) -> Callable[[], Any]:
        return lambda: retention.prune(1)

    def _follower(self, limit: int) -> Follower:
        client = signed_in(self.app)
        follower = Follower(client, limit=limit)
        try:
            while time.monotonic() < self.end:
                follower.follow()
                self.walks += 1
            return follower
        finally:
            db.close()


def signed_in(app: Flask) -> FlaskClient:
    client = app.test_client()
    client.post("/owner/login", json={"password": PASSWORD})
    return client


def live(app: Flask) -> dict[str, Any]:
    return {row["id"]: row["data"] for row in walk(signed_in(app), RECORDS, limit=100)}


def test_a_follower_has_an_exact_copy_while_others_write(app: Flask) -> None:
    print(f"seed {SEED}")
    trial = Trial(app, SECONDS)
    followers = trial.run()
    assert trial.walks >= 3
    for follower in followers:
        follower.follow()  # what was written after its last walk
        assert follower.copy == live(app)
        assert any(row.get("deleted") for row in follower.seen)


@pytest.mark.only("sqlite")
def test_a_trial_finds_a_feed_without_tombstones(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "_deleted", lambda *_: [])
    followers = Trial(app, 1).run()
    for follower in followers:
        follower.follow()
    assert any(follower.copy != live(app) for follower in followers)
