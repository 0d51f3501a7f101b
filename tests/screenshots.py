"""A server process and a browser to see the dashboard with; as a program, pictures of its states."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

import pytest
from playwright.sync_api import BrowserContext, sync_playwright

from tests import tools
from tests.world import PASSWORD, TOKEN, Outside

PROGRAM = str(Path(sys.executable).with_name("pdpp-ref"))
NAMED_CHROMIUM = os.environ.get("PDPP_TEST_CHROMIUM")  # read before conftest takes the variable away
FOLDER = Path(__file__).parent.parent / "docs/screenshots"


def chromium_path() -> str:
    advice = "run `make setup-tests`, or apt-get install chromium, or set PDPP_TEST_CHROMIUM"
    return NAMED_CHROMIUM or tools.chromium() or pytest.fail(f"no Chromium: {advice}")


class Server:
    """`pdpp-ref serve` or `demo` as a process with a folder, a port and settings of its own."""

    def __init__(self, folder: Path, command: str = "serve", **settings: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        self.call = [command, "--port", port]
        self.url = f"http://127.0.0.1:{port}"
        self.database = folder / ("demo" if command == "demo" else "") / "pdpp-ref.sqlite3"
        self.database.parent.mkdir(parents=True, exist_ok=True)
        own = {"INSTANCE_PATH": folder, "DATABASE_URL": f"sqlite:///{self.database}"}
        own |= {"OWNER_PASSWORD": PASSWORD, "OPERATOR_TOKEN": TOKEN} | settings
        self.environment = {name: value for name, value in os.environ.items() if name[:5] != "PDPP_"}
        self.environment |= {f"PDPP_{name}": str(value) for name, value in own.items()}

    def __enter__(self) -> "Server":
        self.process = subprocess.Popen([PROGRAM, *self.call], env=self.environment)
        until = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < until:
            with suppress(OSError), urlopen(f"{self.url}/owner/login", timeout=5):
                return self
            time.sleep(0.05)
        self.__exit__()
        pytest.fail("the server did not come up")

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def run(self, *arguments: str, given: str = "") -> None:
        subprocess.run([PROGRAM, *arguments], env=self.environment, input=given, text=True, check=True)

    def sign_in(self, context: BrowserContext) -> None:
        assert context.request.post(f"{self.url}/owner/login", data={"password": PASSWORD}).ok

    def add_record(self, connection: str = "laptop") -> None:
        line = '{"type": "RECORD", "stream": "notes", "key": "%s", "data": {"text": "hello"}}\n'
        self.run("import", "--connection", connection, given=line % time.monotonic_ns())

    @contextmanager
    def broken(self) -> Iterator[Outside]:
        """With totals that are marked and can't be put right."""
        with Outside(self.database) as outside:
            outside.fail_repair()
            try:
                self.run("mark-dirty")
                yield outside
            finally:
                outside.mend()


def unwell(server: Server) -> Iterator[str]:
    """Bring a server with records, one that waits long after a failure, into each state but the good."""
    with server.broken() as outside:
        yield "updating"
        outside("UPDATE retained_size_global SET stale_since = '2024-01-01T00:00:00.000Z'")
        yield "delayed"
        outside("UPDATE retained_size_global SET rebuild_status = 'running'")
        outside("UPDATE retained_size_global SET rebuild_total = (SELECT COUNT(*) FROM record_changes)")
        outside("UPDATE retained_size_stream SET dirty = 1 WHERE stream_id % 3 = 1")
        yield "recounting"
        for grain in ("stream", "connection", "global"):
            outside(f"UPDATE retained_size_{grain} SET dirty = 1, computed_at = NULL")
        yield "first_count"


def main() -> None:
    chromium = chromium_path()
    with TemporaryDirectory() as place, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)

        def draw(on: Server, state: str, name: str = "", width: int = 1280, scheme: str = "light") -> None:
            with browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme) as tab:
                on.sign_in(tab)
                page = tab.new_page()
                page.goto(f"{on.url}/dashboard")
                page.wait_for_selector(f"#hero.{state}")
                page.screenshot(path=FOLDER / f"{name or state}.png", full_page=True)

        with Server(Path(place) / "new") as server:
            draw(server, "empty")
        with Server(Path(place) / "sample", "demo", RECONCILE_COOLDOWN_SECONDS=3600) as server:
            for scheme in ("light", "dark"):
                draw(server, "fresh", f"dashboard-wide-{scheme}", scheme=scheme)
                draw(server, "fresh", f"dashboard-narrow-{scheme}", 390, scheme)
            for state in unwell(server):
                draw(server, state)


if __name__ == "__main__":
    main()
