"""Who uses a database through one way: two servers, three importers and a reader, and what they saw."""

import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.support import command
from tests.support.factories import TOKEN
from tests.support.server_process import Server

BEARER = {"Authorization": f"Bearer {TOKEN}"}
SUMMARY = "/_ref/dataset/summary"
BATCH_RECORDS = 20
PAUSE_SECONDS = 0.1
RETRY_SECONDS = 0.5
ANSWER_SECONDS = 12.0  # longer than any answer may take


@dataclass
class Seen:
    """What the clients of a way saw.

    `acknowledged` and `sent` are numbers of records, by connection.  `written` and `read` are the times at
    which a write was acknowledged, and a read said fresh.
    """

    acknowledged: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    written: list[tuple[str, float]] = field(default_factory=list)
    read: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    slowest: float = 0.0
    wrong: list[str] = field(default_factory=list)


def lines_from(first: int) -> str:
    """Records with consecutive keys, each at a time of its own."""
    return "".join(
        f'{{"type":"RECORD","stream":"notes","key":"{number}","data":{{"n":{number}}},'
        f'"emitted_at":"2026-01-01T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}Z"}}\n'
        for number in range(first, first + BATCH_RECORDS)
    )


class Way:
    """The clients of one way to connect."""

    def __init__(self, name: str, url: str, folder: Path) -> None:
        self.name = name
        self.seen = Seen()
        self._folder = folder
        self._stop = threading.Event()
        secrets = {"SECRET_KEY": "shared", "LOG_LEVEL": "error", "WORKERS": 1}
        self.servers = [
            Server(self._new_folder(f"server-{number}"), DATABASE_URL=url, **secrets) for number in (1, 2)
        ]
        self._threads: list[threading.Thread] = []
        self._processes: list[tuple[int, ...]] = []

    def _new_folder(self, name: str) -> Path:
        folder = self._folder / self.name / name
        folder.mkdir(parents=True)
        return folder

    def start(self) -> None:
        for number, server in enumerate(self.servers, 1):
            server.log = (self._folder / self.name / f"server-{number}.log").open("wb")
            server.__enter__()
        self._processes = [server.processes() for server in self.servers]
        self._import = subprocess.Popen(
            [command.PROGRAM, "import", "--connection", "command", "--connector", "trial"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self._folder / self.name / "import.log").open("wb"),
            env=self.servers[0].environment,
        )
        work = [(self._post, server, f"server-{n}") for n, server in enumerate(self.servers, 1)]
        self._threads = [threading.Thread(target=act, args=arguments) for act, *arguments in work]
        self._threads += [threading.Thread(target=self._pipe), threading.Thread(target=self._read)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let the importers finish what they have begun, and check that nothing has restarted."""
        self._stop.set()
        for thread in self._threads:
            thread.join(180)
        if self._threads and self._import.wait(60) != 0:
            self.seen.wrong.append(f"the import ended with {self._import.returncode}")
        for server, before in zip(self.servers, self._processes, strict=False):
            if server.processes() != before:
                self.seen.wrong.append("a process of a server has restarted")

    def remove(self) -> None:
        self._stop.set()
        if self._threads:
            self._import.kill()
        for server in self.servers:
            if hasattr(server, "process"):
                server.__exit__()
        for thread in self._threads:
            thread.join(180)

    # ---- importers -----------------------------------------------------------------------------

    def _batches(self, connection: str) -> Iterator[str]:
        """Batches until the end; each is acknowledged when the next is asked for."""
        for first in range(0, 10**9, BATCH_RECORDS):
            if self._stop.is_set():
                return
            self.seen.sent[connection] += BATCH_RECORDS
            yield lines_from(first)
            self.seen.acknowledged[connection] += BATCH_RECORDS
            self.seen.written.append((connection, time.monotonic()))
            time.sleep(PAUSE_SECONDS)

    def _post(self, server: Server, connection: str) -> None:
        """Send each batch until it is acknowledged."""
        path = f"/v1/ingest/notes?connector_id=trial&connector_instance_id={connection}"
        with httpx.Client(base_url=server.url, timeout=60) as client:
            for lines in self._batches(connection):
                while not self._is_answered(client, "POST", path, lines):
                    time.sleep(RETRY_SECONDS)

    def _is_answered(self, client: httpx.Client, method: str, path: str, content: str = "") -> bool:
        response = self._ask(client, method, path, content)
        return response is not None and response.status_code == 200

    def _ask(
        self, client: httpx.Client, method: str, path: str, content: str = ""
    ) -> httpx.Response | None:
        began = time.monotonic()
        try:
            response = client.request(method, path, content=content, headers=BEARER)
        except httpx.TransportError as error:
            self.seen.wrong.append(f"{method}: {type(error).__name__}")
            return None
        took = time.monotonic() - began
        self.seen.slowest = max(self.seen.slowest, took)
        self.seen.statuses[response.status_code] += 1
        if response.status_code not in (200, 503):
            self.seen.wrong.append(f"{method}: {response.status_code} {response.text[:200]}")
        if response.status_code == 503 and "Retry-After" not in response.headers:
            self.seen.wrong.append(f"{method}: 503 without Retry-After")
        if took > ANSWER_SECONDS:
            self.seen.wrong.append(f"{method}: {response.status_code} after {took:.1f} s")
        return response

    def _pipe(self) -> None:
        """Feed the command, which acknowledges with a STATE."""
        assert self._import.stdin
        assert self._import.stdout
        for number, lines in enumerate(self._batches("command")):
            state = json.dumps({"type": "STATE", "value": number}).encode()
            try:
                self._import.stdin.write(lines.encode() + state + b"\n")
                self._import.stdin.flush()
            except BrokenPipeError:
                break
            if self._import.stdout.readline().strip() != state:
                self.seen.wrong.append("the import has ended")
                break
        self._import.stdin.close()

    # ---- reader --------------------------------------------------------------------------------

    def _read(self) -> None:
        """Ask the servers in turn.  What is called fresh has all that was acknowledged before the question."""
        clients = [httpx.Client(base_url=server.url, timeout=60) for server in self.servers]
        number = 0
        while not self._stop.wait(PAUSE_SECONDS):
            before = self.seen.acknowledged.total()
            number += 1
            response = self._ask(clients[number % 2], "GET", SUMMARY)
            if response is None or response.status_code != 200:
                continue
            body = response.json()
            if body["projection"]["state"] != "fresh":
                continue
            self.seen.read.append(time.monotonic())
            if not before <= body["record_count"] <= self.seen.sent.total():
                self.seen.wrong.append(
                    f"fresh with {body['record_count']} records, {before} to {self.seen.sent.total()} expected"
                )
        for client in clients:
            client.close()
