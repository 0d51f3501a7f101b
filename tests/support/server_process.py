"""A server process with a folder, a port and settings of its own."""

import itertools
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.request import urlopen

import pytest
from flask import Flask

from pdpp_ref.descriptors import can_read
from pdpp_ref.server import Server as Uvicorn
from pdpp_ref.server import listen
from tests.support import command
from tests.support.factories import PASSWORD, TOKEN, DatabaseProbe

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext


_numbers = itertools.count()


def free_port() -> int:
    """One that no other process of this run takes meanwhile, nor the system for a client's end."""
    first = 10_000 + os.getpid() % 200 * 100
    while True:
        port = first + next(_numbers) % 100
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextmanager
def closing_descriptor(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def served(app: Flask) -> Iterator[int]:
    """The application on the real server, in a thread of this process: the port."""
    sockets = listen("127.0.0.1", 0)
    server = Uvicorn(app, os.getppid())
    thread = threading.Thread(target=server.run, args=(sockets,), daemon=True)
    thread.start()
    try:
        yield int(sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(60)


class Server:
    """`pdpp-ref serve` or `demo` as a process with a folder, a port and settings of its own.

    `under` is the beginning of a command that runs another one; `log` is a file for its messages.
    """

    under: tuple[str, ...] = ()
    log: IO[bytes] | None = None

    def __init__(self, folder: Path, command: str = "serve", **settings: int | str) -> None:
        port = str(free_port())
        self.call = [command, "--port", port]
        self.url = f"http://127.0.0.1:{port}"
        self.database = folder / ("demo" if command == "demo" else "") / "pdpp-ref.sqlite3"
        self.database.parent.mkdir(parents=True, exist_ok=True)
        own = {"INSTANCE_PATH": folder, "DATABASE_URL": f"sqlite:///{self.database}"}
        own |= {"OWNER_PASSWORD": PASSWORD, "OPERATOR_TOKEN": TOKEN} | settings
        self.environment = {name: value for name, value in os.environ.items() if name[:5] != "PDPP_"}
        self.environment |= {f"PDPP_{name}": str(value) for name, value in own.items()}

    def __enter__(self) -> "Server":
        call = [*self.under, command.PROGRAM, *self.call]
        self.process = subprocess.Popen(call, env=self.environment, stdout=self.log, stderr=self.log)
        until = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < until:
            with suppress(OSError), urlopen(f"{self.url}/owner/login", timeout=5):
                return self
            time.sleep(0.05)
        self.__exit__()
        pytest.fail("the server did not come up")

    def __exit__(self, *_: object) -> None:
        """Kill its processes, and wait until the system has closed all that they had open."""
        for pid in self.processes():
            with suppress(ProcessLookupError), closing_descriptor(os.pidfd_open(pid)) as ended:
                os.kill(pid, signal.SIGKILL)
                assert can_read(ended, 60), "a killed process goes on"
        self.process.wait()

    def processes(self) -> tuple[int, ...]:
        """Its own and those that serve; none if it has ended."""
        pid = self.process.pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except FileNotFoundError:
            return ()
        return (pid, *map(int, children))

    def run(self, *arguments: str, given: str = "") -> None:
        done = command.run(*arguments, env=self.environment, stdin=given.encode())
        assert done.returncode == 0, done.stderr.decode()

    def sign_in(self, context: "BrowserContext") -> None:
        assert context.request.post(f"{self.url}/owner/login", data={"password": PASSWORD}).ok

    def add_record(self, connection: str = "laptop") -> None:
        line = '{"type": "RECORD", "stream": "notes", "key": "%s", "data": {"text": "hello"}}\n'
        self.run("import", "--connection", connection, given=line % time.monotonic_ns())

    def set_last_arrival(self, moment: datetime) -> None:
        """Pages say for some seconds that records are arriving."""
        text = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        with DatabaseProbe(self.database) as probe:
            probe("UPDATE retained_size_global SET latest_ingested_at = ?", text)

    @contextmanager
    def broken(self) -> Iterator[DatabaseProbe]:
        """With totals that are marked and can't be put right."""
        with DatabaseProbe(self.database) as probe:
            probe.fail_reconcile()
            try:
                self.run("mark-dirty")
                yield probe
            finally:
                probe.restore()
