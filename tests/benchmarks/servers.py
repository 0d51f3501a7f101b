"""Servers to load: ours as its user starts it, and bare Flask on others.  Each is a process group of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.request import Request, urlopen

from tests.benchmarks.figures import COMMAND

PASSWORD = "the owner of a benchmark"
TOKEN = "the operator of a benchmark"
BARE = "tests.benchmarks.bare:app"
WORKERS = "2"
STARTS_WITHIN = 60  # seconds
# The command of each server for a bare Flask route; `{port}` is filled in.
COMMANDS = {
    "granian": ("granian", "--interface", "wsgi", "--workers", WORKERS, "--blocking-threads", "1", "--no-ws",
                "--log-level", "error", "--port", "{port}", BARE),
    "uvicorn": ("uvicorn", "--interface", "wsgi", "--workers", WORKERS, "--no-access-log", "--log-level", "error",
                "--port", "{port}", BARE),
}  # fmt: skip

BARE_NAMES = {
    "granian": f"bare Flask, granian with {WORKERS} workers",
    "uvicorn": f"bare Flask, uvicorn with {WORKERS} workers",
}


class Server:
    """A running server; `port` and `url` are where it answers."""

    def __init__(self, arguments: list[str], environment: Mapping[str, str], port: int, ready: str) -> None:
        self.port, self.url = port, f"http://127.0.0.1:{port}"
        self._ready = ready
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            env=environment,
            cwd=Path(__file__).parents[2],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @classmethod
    def ours(cls, environment: Mapping[str, str]) -> "Server":
        """`pdpp-ref serve`."""
        port = _free_port()
        secrets = {"PDPP_OWNER_PASSWORD": PASSWORD, "PDPP_OPERATOR_TOKEN": TOKEN}
        return cls([*COMMAND, "serve", "--port", str(port)], {**environment, **secrets}, port, "/healthz")

    @classmethod
    def bare(cls, kind: str, body_bytes: int) -> "Server":
        """One Flask route that returns a dict of so many bytes as JSON."""
        port = _free_port()
        arguments = [each.format(port=port) for each in COMMANDS[kind]]
        return cls(["-m", *arguments], {**os.environ, "BARE_BYTES": str(body_bytes)}, port, "/")

    def __enter__(self) -> "Server":
        until = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < until and self.process.poll() is None:
            with suppress(OSError), urlopen(f"{self.url}{self._ready}", timeout=5):
                return self
            time.sleep(0.05)
        self.__exit__()
        sys.exit(f"the server did not start: {self.process.args!r}")

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def memory_mb(self) -> float:
        """Of all its processes: what they have for themselves, and their share of what they share (PSS)."""
        return sum(map(_pss_kb, _processes_of(self.process.pid))) / 1024


def fetch(url: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
    """Status and body of a GET."""
    with urlopen(Request(url, headers=dict(headers)), timeout=60) as answer:
        return answer.status, answer.read()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _processes_of(group: int) -> list[int]:
    """The processes of a group; Linux only."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            # The name, in parentheses, may have spaces.  State, parent and group follow it.
            if int((entry / "stat").read_text().rpartition(")")[2].split()[2]) == group:
                found.append(int(entry.name))
    return found


def _pss_kb(process: int) -> int:
    with suppress(OSError):
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return 0
