"""Servers under load: requests a second, latencies and memory, measured with wrk.

All servers run at the same time and take turns: `pdpp-ref serve`, a bare Flask route on granian with 2 workers and
on the server that pdpp-ref uses, and one that is given by its URL, which is sent the same GETs.
"""

import importlib.util
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple
from urllib.parse import quote, urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener

from pdpp_ref.services.freshness import ARRIVING
from tests.benchmarks import corpus
from tests.benchmarks.figures import COMMAND, run
from tests.benchmarks.places import Place
from tests.benchmarks.results import Load, Memory, Spread
from tests.benchmarks.servers import BARE_NAMES, COMMANDS, PASSWORD, TOKEN, Server, fetch

WITHOUT = "or leave out the load with --no-load."
AGAINST_TOKEN = "AGAINST_TOKEN"  # the variable with the bearer token for --against
CONNECTIONS = (1, 4, 16, 64, 256)
IDLE, IMPORTING = "idle", "importing"
OURS = "pdpp-ref"
SUMMARY, HERO, HEALTH, RECORDS = "summary", "hero poll", "healthz", "page of records"
BARE = "bare route"
SUMMARY_PATH = "/_ref/dataset/summary"
STORED, IMPORTED = 20_000, 100_000  # records: before, and in each import while requests are answered
HERE = Path(__file__).parent


class Target(NamedTuple):
    server: str
    path: str
    url: str
    headers: dict[str, str]
    status: int = 200


class Answered(NamedTuple):
    """What wrk reports.  Latencies are in ms."""

    per_second: float
    p50_ms: float
    p99_ms: float
    failed: int


def check_installed() -> None:
    """End the program, with what to do, if something that loads or is loaded is not here."""
    if shutil.which("wrk") is None:
        sys.exit(f"wrk is not installed.  Install it (Debian: apt-get install wrk), {WITHOUT}")
    if importlib.util.find_spec("granian") is None:
        sys.exit(f"granian is not installed.  `make bench` installs it; run that, {WITHOUT}")


def measure(
    place: Place, against: str | None, rounds: int, seconds: int
) -> tuple[list[Load], list[Memory]]:
    """Load everything, idle and then during imports, for so many seconds each time."""
    with place.loaded(STORED) as url, ExitStack() as running:
        environment = place.environment(url)
        ours = running.enter_context(Server.ours(environment))
        targets = _targets(ours, environment)
        body = fetch(targets[0].url, targets[0].headers)[1]
        bares = {kind: running.enter_context(Server.bare(kind, len(body))) for kind in COMMANDS}
        others = [Target(BARE_NAMES[kind], BARE, server.url, {}) for kind, server in bares.items()]
        found = _in_turn([*targets, *others, *_against(against)], place.kind, IDLE, rounds, seconds)
        memory = [Memory(place.kind, OURS, ours.memory_mb())]
        memory += [
            Memory(place.kind, BARE_NAMES[kind], server.memory_mb()) for kind, server in bares.items()
        ]
        with _importing(place, environment):
            found += _in_turn(targets, place.kind, IMPORTING, rounds, seconds)
    return found, memory


def parsed(printed: str) -> Answered:
    """What `wrk_report.lua` prints in the last line of wrk's output."""
    line = json.loads(printed.strip().splitlines()[-1])
    per_second = line["requests"] / (line["microseconds"] / 1e6)
    return Answered(per_second, line["p50"] / 1000, line["p99"] / 1000, line["failed"])


def goals(loads: Sequence[Load], memory: Sequence[Memory]) -> Iterator[tuple[bool, str]]:
    """(whether it is met, what is aimed at and what was measured), for one database."""
    rate = {_named(each): each.per_second.median for each in loads}

    def ours(path: str = SUMMARY, state: str = IDLE, connections: int = 4) -> float:
        return rate[OURS, path, state, connections]

    for connections, least in ((4, 1.2), (64, 1.5)):
        ratio = ours(connections=connections) / rate[BARE_NAMES["granian"], BARE, IDLE, connections]
        yield ratio >= least, f"summary, {connections} connections: {least} of bare granian: {ratio:.2f}"
    for other in sorted({each.server for each in loads} - {OURS, *BARE_NAMES.values()}):
        ratio = ours() / rate[other, SUMMARY, IDLE, 4]
        yield ratio >= 3, f"summary, 4 connections: 3 times {other}: {ratio:.2f}"
    many = next(each for each in loads if _named(each) == (OURS, SUMMARY, IDLE, 64))
    yield many.p99_ms < 4 * many.p50_ms, f"p99 under 4 times p50 at 64: {many.p99_ms / many.p50_ms:.1f}"
    for path in (HERO, HEALTH):
        ratio = ours(path) / ours()
        yield ratio >= 1, f"{path} at least as fast as the summary: {ratio:.2f}"
    for state in (IDLE, IMPORTING):
        # One connection alone waits for each response, and keeps one of two processes busy.
        least = min(ours(state=state, connections=number) for number in CONNECTIONS if number > 1) / ours()
        yield (
            least >= 0.5,
            f"summary with 4 to {max(CONNECTIONS)} connections, {state}: never below half: {least:.2f}",
        )
    (used,) = (each.mb for each in memory if each.server == OURS)
    yield used < 120, f"memory while serving under 120 MB: {used:.0f} MB"


def _named(load: Load) -> tuple[str, str, str, int]:
    return load.server, load.path, load.state, load.connections


# ---- what is asked -------------------------------------------------------------------------------


def _targets(server: Server, environment: Mapping[str, str]) -> list[Target]:
    new_token = [*COMMAND, "token", "new", "bench", "--scope", "read"]
    reader = run(new_token, environment).printed.strip()
    records = f"/v1/streams/messages/records?{urlencode({'connector_id': 'mail', 'limit': 100})}"
    cookie, revision = _signed_in(server)
    return [
        Target(OURS, SUMMARY, server.url + SUMMARY_PATH, _bearer(TOKEN)),
        Target(OURS, HERO, f"{server.url}/dashboard/hero?seen={quote(revision)}", {"Cookie": cookie}, 204),
        Target(OURS, HEALTH, f"{server.url}/healthz", {}),
        Target(OURS, RECORDS, server.url + records, _bearer(reader)),
    ]


def _signed_in(server: Server) -> tuple[str, str]:
    """The owner's cookie, and the revision that the dashboard shows once no more records are arriving."""
    time.sleep(ARRIVING.total_seconds() + 1)
    cookies = HTTPCookieProcessor()
    opener = build_opener(cookies)
    body = json.dumps({"password": PASSWORD}).encode()
    opener.open(Request(f"{server.url}/owner/login", body, {"Content-Type": "application/json"})).close()
    with opener.open(f"{server.url}/dashboard") as page:
        found = re.search(r"seen=([^\"&]+)", page.read().decode())
    assert found, "the dashboard does not poll"
    return "; ".join(f"{each.name}={each.value}" for each in cookies.cookiejar), found[1]


def _against(url: str | None) -> list[Target]:
    if url is None:
        return []
    token = os.environ.get(AGAINST_TOKEN)
    headers, base = _bearer(token) if token else {}, url.rstrip("/")
    return [Target(url, SUMMARY, base + SUMMARY_PATH, headers), Target(url, HEALTH, f"{base}/healthz", {})]


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


# ---- asking --------------------------------------------------------------------------------------


def _in_turn(targets: Sequence[Target], database: str, state: str, rounds: int, seconds: int) -> list[Load]:
    """Each target with each number of connections, all of them once in each round."""
    taken: dict[tuple[int, int], list[Answered]] = {}
    for target in targets:
        status = fetch(target.url, target.headers)[0]
        assert status == target.status or state == IMPORTING, (
            f"{target.path} of {target.server} answers {status}"
        )
    for _ in range(rounds):
        for connections in CONNECTIONS:
            for place, target in enumerate(targets):
                taken.setdefault((place, connections), []).append(_wrk(target, connections, seconds))
    return [_load(targets[place], database, state, number, each) for (place, number), each in taken.items()]


def _load(
    target: Target, database: str, state: str, connections: int, answered: Sequence[Answered]
) -> Load:
    return Load(
        database=database,
        server=target.server,
        path=target.path,
        state=state,
        connections=connections,
        per_second=Spread.of([each.per_second for each in answered]),
        p50_ms=statistics.median(each.p50_ms for each in answered),
        p99_ms=statistics.median(each.p99_ms for each in answered),
        failed=sum(each.failed for each in answered),
    )


def _wrk(target: Target, connections: int, seconds: int) -> Answered:
    headers = [part for name, value in target.headers.items() for part in ("-H", f"{name}: {value}")]
    amount = ["-t", "1", "-c", str(connections), "-d", f"{seconds:g}s", "--timeout", "10s"]
    command = ["wrk", *amount, "-s", str(HERE / "wrk_report.lua"), *headers, target.url]
    return parsed(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


@contextmanager
def _importing(place: Place, environment: Mapping[str, str]) -> Iterator[None]:
    """Meanwhile `pdpp-ref import` runs, again and again, each time into a new connection."""
    ended = Event()
    with tempfile.NamedTemporaryFile(dir=place.folder, suffix=".jsonl") as file:
        corpus.write_one_stream(Path(file.name), IMPORTED)

        def work() -> None:
            number = 0
            while not ended.is_set():
                number += 1
                call = [sys.executable, *COMMAND, "import", file.name, "--connection", f"load {number}"]
                with subprocess.Popen(call, env=dict(environment), stderr=subprocess.DEVNULL) as importing:
                    while importing.poll() is None and not ended.wait(0.05):
                        pass
                    importing.terminate()

        worker = Thread(target=work)
        worker.start()
        try:
            yield
        finally:
            ended.set()
            worker.join()
