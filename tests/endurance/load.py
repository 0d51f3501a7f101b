"""A server under load for minutes or hours: owners, operators and importers, and repairs that fail.

`make load MINUTES=60`.  It ends by itself, prints what it measured, and exits 1 where something is
not as it must be: an answer that is an error, an attempt before its time, memory, file handles or
the write-ahead log that grow, a slow page, a figure that is wrong.  The page's time is the server's
own; what the callers see has their own waiting in it, for a processor that all of them share.
"""

import argparse
import multiprocessing
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from pdpp_ref.timestamps import utc_now
from tests.support.factories import PASSWORD, TOKEN
from tests.support.probe import DatabaseProbe
from tests.support.server_process import Server

COOLDOWN_SECONDS = 1  # doubles with each failure
FAILING_SECONDS, RECONCILED_SECONDS = 14, 20
SAMPLE_SECONDS = 0.25
PAUSE_SECONDS = 0.1
OWNERS, IMPORTERS = 4, 2
OPERATOR_READS = (
    "summary",
    "summary/streams",
    "size",
    "size?grain=connection",
    "size?grain=stream&format=csv",
    "top",
    "top?scope=stream&measure=record_count",
    "top?scope=record&limit=25",
    "top?scope=blob",
)
BEARER = {"Authorization": f"Bearer {TOKEN}"}
MEBIBYTE = 2**20

HERO_P99_MS = 50
GROWTH_MB, GROWTH_HANDLES = 32, 4
LOG_MB = 64

Reported = dict[str, Any]


# ---- who calls, each in a process of its own ---------------------------------------------------


def repeat(url: str, until: float, act: Callable[[httpx.Client, int], str | None], reported: Any) -> None:
    """Act until the time is up, and tell how long each took, and what was wrong."""
    times, wrong, number = [], [], 0
    with httpx.Client(base_url=url, timeout=60) as client:
        while time.monotonic() < until:
            began = time.perf_counter()
            try:
                found = act(client, number)
            except httpx.TransportError as error:
                found = type(error).__name__
            times.append((time.perf_counter() - began) * 1000)
            if found:
                wrong.append(found)
            number += 1
            time.sleep(PAUSE_SECONDS)
    reported.put({"kind": act.__name__, "times": times, "wrong": wrong[:5], "wrongs": len(wrong)})


def owner(client: httpx.Client, number: int) -> str | None:
    if number == 0:
        client.post("/owner/login", json={"password": PASSWORD})
    response = client.get("/dashboard/hero")
    text = response.text
    broken = "broken" in text or "Traceback" in text
    return None if response.status_code == 200 and not broken else f"{response.status_code} {text[:200]}"


def operator(client: httpx.Client, number: int) -> str | None:
    path = f"/_ref/dataset/{OPERATOR_READS[number % len(OPERATOR_READS)]}"
    response = client.get(path, headers=BEARER)
    return None if response.status_code == 200 else f"{path}: {response.status_code} {response.text[:200]}"


def importer(client: httpx.Client, number: int) -> str | None:
    """Records of a bounded number of keys, now and then a file, a delete, a stream that goes away."""
    stream, key = f"stream-{number % 20}", number * 37 % 5_000
    lines = "".join(
        f'{{"key":"{(key + each) % 5_000}","data":{{"n":{number},"t":"{"x" * (each % 90)}"}}}}\n'
        for each in range(300)
    )
    of = "connector_id=files&connector_instance_id=load"
    calls = [("POST", f"/v1/ingest/{stream}?{of}", lines)]
    if number % 7 == 0:
        at = f"connector_instance_id=load&stream={stream}&key={key}"
        calls.append(("POST", f"/v1/blobs?{at}", f"a file {number % 50}" * 1_000))
    if number % 11 == 0:
        calls.append(("DELETE", f"/v1/streams/{stream}/records/{key}?connector_instance_id=load", ""))
    if number % 301 == 300:
        calls.append(("DELETE", f"/v1/streams/{stream}/records?connector_instance_id=load", ""))
    for method, path, content in calls:
        response = client.request(method, path, content=content, headers=BEARER)
        # 404: the other importer has taken it away meanwhile.
        if response.status_code not in (200, 201, 404):
            return f"{method} {path}: {response.status_code} {response.text[:200]}"
    return None


# ---- what is watched ---------------------------------------------------------------------------


@dataclass
class Watch:
    """Samples of the server; and of each attempt that failed after another, how long that was at most.

    An attempt was made between two samples: `failed_at` is of the sample before it.
    """

    server: Server
    samples: list[Reported] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    waits: list[tuple[range, float]] = field(default_factory=list)
    failed_at: tuple[int, float] = (0, 0.0)
    sampled_at: float = 0.0

    def sample(self, client: httpx.Client) -> None:
        began = time.monotonic()
        text = client.get("/_ref/metrics", headers=BEARER).text
        found = dict(re.findall(r"^(pdpp_reconcile_\w+) (\S+)$", text, re.MULTILINE))
        failures = int(float(found["pdpp_reconcile_failures_total"]))
        in_a_row = int(float(found["pdpp_reconcile_consecutive_failures"]))
        now = time.monotonic()
        before, since = self.failed_at
        if failures > before:
            if in_a_row > 1:
                # Of several since the last sample, all waits are in the time since the one before.
                first = max(in_a_row - (failures - before), 1)
                self.waits.append((range(first, in_a_row), now - since))
            self.failed_at = (failures, self.sampled_at)
        self.sampled_at = began
        process = Path(f"/proc/{self.server.process.pid}")
        log = Path(f"{self.server.database}-wal")
        memory = re.search(r"VmRSS:\s+(\d+)", (process / "status").read_text())
        assert memory
        self.samples.append(
            {
                "memory": int(memory[1]) / 1024,
                "handles": len(list((process / "fd").iterdir())),
                "log": log.stat().st_size / MEBIBYTE if log.exists() else 0.0,
                "attempts": int(float(found["pdpp_reconcile_attempts_total"])),
            }
        )

    def check(self) -> None:
        """After the first third, nothing grows; and no attempt came before its time, nor never."""
        for failures, waited in self.waits:
            least = sum(COOLDOWN_SECONDS * 2 ** (number - 1) for number in failures)
            if waited < least:
                self.wrong.append(f"after failures {failures} the next came within {waited:.2f} s")
        third = len(self.samples) // 3
        for name, most in (("memory", GROWTH_MB), ("handles", GROWTH_HANDLES)):
            middle, last = (self._median(name, start, start + third) for start in (third, 2 * third))
            if last - middle > most:
                self.wrong.append(f"{name} grew from {middle:.0f} to {last:.0f}")
        if self.largest("log") > LOG_MB:
            self.wrong.append(f"the write-ahead log grew to {self.largest('log'):.0f} MiB")

    def _median(self, name: str, start: int, stop: int) -> float:
        return statistics.median(each[name] for each in self.samples[start:stop])

    def largest(self, name: str) -> float:
        return float(max(each[name] for each in self.samples))

    def thirds(self, name: str) -> str:
        third = len(self.samples) // 3
        return " -> ".join(
            f"{self._median(name, third * part, third * (part + 1)):.0f}" for part in range(3)
        )


def watch(server: Server, minutes: float) -> tuple[Watch, list[Reported]]:
    until, reported = time.monotonic() + minutes * 60, multiprocessing.Queue()
    callers = [owner] * OWNERS + [operator] + [importer] * IMPORTERS
    processes = [
        multiprocessing.Process(target=repeat, args=(server.url, until, act, reported)) for act in callers
    ]
    for process in processes:
        process.start()
    found, failing, turn = Watch(server), False, time.monotonic() + RECONCILED_SECONDS
    with DatabaseProbe(server.database) as probe, httpx.Client(base_url=server.url, timeout=60) as client:
        while time.monotonic() < until:
            if time.monotonic() > turn:
                failing = not failing
                if failing:
                    probe.fail_reconcile()
                    probe(
                        "UPDATE retained_size_global SET dirty = TRUE, stale_since = COALESCE(stale_since, ?)",
                        utc_now(),
                    )
                else:
                    probe.restore()
                    server.run("prune-history", "--keep", "2")
                turn = time.monotonic() + (FAILING_SECONDS if failing else RECONCILED_SECONDS)
            found.sample(client)
            time.sleep(SAMPLE_SECONDS)
        if failing:
            probe.restore()
    answers = [reported.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(60)
    return found, answers


def hero_under(client: httpx.Client, seconds: float) -> float:
    """The part of the hero's requests that the server itself was done with in that time."""
    text = client.get("/_ref/metrics", headers=BEARER).text
    of_hero = r'pdpp_request_seconds_bucket\{le="([^"]+)",method="GET",route="/dashboard/hero",status="200"\} (\S+)'
    buckets = {float(bound): float(count) for bound, count in re.findall(of_hero, text)}
    return buckets[seconds] / buckets[float("inf")]


def finish(server: Server, found: Watch, answers: list[Reported]) -> None:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for _ in range(400):
            body = client.get("/_ref/dataset/summary", headers=BEARER).json()
            if body["projection"]["state"] == "fresh":
                break
            time.sleep(0.1)
        else:
            found.wrong.append(f"it did not become fresh: {body['projection']}")
        quick = hero_under(client, HERO_P99_MS / 1000)
        print(f"hero within {HERO_P99_MS} ms, by the server's own clock: {quick:.2%}")
        if quick < 0.99:
            found.wrong.append("the hero is too slow, by the server's own clock")
    found.check()
    print(f"{body['record_count']:,} records, {body['total_retained_bytes']:,} bytes kept")
    try:
        server.run("verify")
    except subprocess.CalledProcessError:
        found.wrong.append("verify found differences")
    for kind in sorted({each["kind"] for each in answers}):
        times = sorted(ms for each in answers if each["kind"] == kind for ms in each["times"])
        wrong = [text for each in answers if each["kind"] == kind for text in each["wrong"]]
        found.wrong += [f"{kind}: {text}" for text in wrong]
        p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
        print(f"{kind}: {len(times):,} calls, p50 {p50:.0f} ms, p99 {p99:.0f} ms, most {times[-1]:.0f} ms")


def main() -> int:
    parsed = argparse.ArgumentParser(description="Load a server for a while, and watch it.")
    parsed.add_argument("--minutes", type=float, default=3)
    minutes = parsed.parse_args().minutes
    with tempfile.TemporaryDirectory() as folder:
        settings = {"RECONCILE_COOLDOWN_SECONDS": COOLDOWN_SECONDS}
        with Server(Path(folder), **settings) as server:
            found, answers = watch(server, minutes)
            finish(server, found, answers)
    for name in ("memory", "handles", "log"):
        print(f"{name}, median of each third: {found.thirds(name)}; most {found.largest(name):.0f}")
    print(f"attempts {found.samples[-1]['attempts']}, failed {found.failed_at[0]}")
    print(f"{len(found.waits)} waits of 1, 2, 4, ... s were looked at; wrong: {len(found.wrong)}")
    print("".join(f"  {line}\n" for line in found.wrong[:20]), end="")
    return bool(found.wrong)


if __name__ == "__main__":
    sys.exit(main())
