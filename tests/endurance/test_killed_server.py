"""`kill -9` of a server in the middle of many clients' writes: each answer that was given holds.

Each client writes to a connection of its own and follows in a dictionary what must be stored, so
that of the one request without an answer, all or nothing may be there.
"""

import copy
import hashlib
import json
import os
import random
import threading
import time
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Backend
from tests.support.factories import TOKEN
from tests.support.probe import DatabaseProbe
from tests.support.server_process import Server

SERVERS_KILLED = 250 if os.environ.get("PDPP_TEST_LONG") == "1" else 1
CLIENTS = 3
STREAMS = ("notes", "photos")
FILES = (b"a file", b"a larger file " * 20_000)

# Of each stream: the live records' data, how many versions there are, the files' (key, digest).
Stream = tuple[dict[str, str], int, set[tuple[str, str]]]


class Client(threading.Thread):
    """`stored` is what must be there; `either` is that, and what may be there of the last request."""

    def __init__(self, server: Server, name: str, seed: int) -> None:
        super().__init__()
        self.connection, self.chance = name, random.Random(f"{name} {seed}")
        self.http = httpx.Client(
            base_url=server.url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30
        )
        self.stored: dict[str, Stream] = {}
        self.either = [self.stored]
        self.answers = 0
        self.numbers = count()
        self.wrong: str | None = None

    def run(self) -> None:
        acts = [self.ingest] * 4 + [self.upload, self.delete, self.delete_stream, self.rebuild, self.read]
        try:
            while self.wrong is None:
                self.chance.choice(acts)(self.chance.choice(STREAMS))
        except httpx.TransportError:
            pass  # the server is dead
        finally:
            self.http.close()

    def ask(self, after: dict[str, Stream], method: str, path: str, **more: Any) -> None:
        self.either = [self.stored, after]
        response = self.http.request(method, path, **more)
        if response.status_code >= 300:
            self.wrong = f"{method} {path}: {response.status_code} {response.text}"
        self.stored = after
        self.either = [after]
        self.answers += 1

    def ingest(self, stream: str) -> None:
        after = copy.deepcopy(self.stored)
        live, versions, files = after.get(stream, ({}, 0, set()))
        lines = []
        for _ in range(self.chance.choice([1, 20, 1_500])):
            key, data = str(self.chance.randrange(300)), f'{{"n":{next(self.numbers)}}}'
            if key in live and self.chance.random() < 0.2:
                data = live[key]  # the same again; no other data comes twice, so nothing is a replay
            versions += live.get(key) != data
            live[key] = data
            lines.append(f'{{"key":"{key}","data":{data}}}\n')
        after[stream] = (live, versions, files)
        path = f"/v1/ingest/{stream}?connector_id=files&connector_instance_id={self.connection}"
        self.ask(after, "POST", path, content="".join(lines))

    def upload(self, stream: str) -> None:
        after = copy.deepcopy(self.stored)
        live, _, files = after.get(stream, ({}, 0, set()))
        if live:
            key, content = self.chance.choice(sorted(live)), self.chance.choice(FILES)
            files.add((key, hashlib.sha256(content).hexdigest()))
            path = f"/v1/blobs?connector_instance_id={self.connection}&stream={stream}&key={key}"
            self.ask(after, "POST", path, content=content)

    def delete(self, stream: str) -> None:
        after = copy.deepcopy(self.stored)
        live, versions, files = after.get(stream, ({}, 0, set()))
        if live:
            key = self.chance.choice(sorted(live))
            del live[key]
            after[stream] = (live, versions + 1, files)
            path = f"/v1/streams/{stream}/records/{key}?connector_instance_id={self.connection}"
            self.ask(after, "DELETE", path)

    def delete_stream(self, stream: str) -> None:
        after = copy.deepcopy(self.stored)
        if stream in after and self.chance.random() < 0.3:
            del after[stream]
            path = f"/v1/streams/{stream}/records?connector_instance_id={self.connection}"
            self.ask(after, "DELETE", path)

    def rebuild(self, _: str) -> None:
        self.ask(self.stored, "POST", "/_ref/dataset/summary/rebuild")

    def read(self, _: str) -> None:
        self.ask(self.stored, "GET", "/_ref/dataset/summary")


def found(probe: DatabaseProbe, connection: str) -> dict[str, Stream]:
    named = "SELECT s.name, s.id FROM streams s JOIN connections c ON c.id = connection_id WHERE"
    return {
        stream: (
            dict(probe("SELECT key, data FROM records WHERE stream_id = ?", number)),
            probe("SELECT COUNT(*) FROM record_changes WHERE stream_id = ?", number)[0][0],
            set(probe("SELECT key, sha256 FROM blob_bindings WHERE stream_id = ?", number)),
        )
        for stream, number in probe(f"{named} connector_instance_id = ?", connection)
    }


@pytest.mark.parametrize("seed", range(SERVERS_KILLED))
def test_a_killed_server_keeps_all_that_it_answered(seed: int, backend: Backend, tmp_path: Path) -> None:
    with Server(tmp_path, DATABASE_URL=backend.url) as server:
        clients = [Client(server, f"client {number}", seed) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        time.sleep(random.Random(seed).uniform(0.02, 0.8))
    for client in clients:
        client.join(30)
        assert client.wrong is None
    with backend.probe() as probe:
        probe.await_the_dead()
        for client in clients:
            assert found(probe, client.connection) in client.either
        assert probe.wrong_but_clean() == []
        with Server(tmp_path, DATABASE_URL=backend.url) as again:
            until = time.monotonic() + 20
            while state(again) != "fresh":
                assert probe.wrong_but_clean() == []
                assert time.monotonic() < until, "it was not repaired by reads alone"
    server.run("verify")


def state(server: Server) -> str:
    path = f"{server.url}/_ref/dataset/summary"
    response = httpx.get(path, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30)
    return str(json.loads(response.text)["projection"]["state"])
