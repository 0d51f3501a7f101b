"""A pgbouncer for the tests; in transaction mode each transaction gets whichever of a few sessions is free."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import psycopg

MISSING = "No pgbouncer for the tests.  Install it (Debian: apt-get install pgbouncer)."


class Pooler:
    """One in front of a server's socket, with a socket in a folder of its own.  As root it runs as the
    user `postgres`, since it refuses root.
    """

    def __init__(self, server: str, sessions: int = 2, mode: str = "transaction") -> None:
        if not shutil.which("pgbouncer"):
            raise RuntimeError(MISSING)
        self.folder = Path(tempfile.mkdtemp(prefix="pdpp-pool-", dir="/tmp"))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]  # names the socket, and nothing listens on it
        of_server = parse_qs(urlsplit(server).query)
        behind = of_server.get("host", [urlsplit(server).hostname or "127.0.0.1"])[0]
        (self.folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={behind} port={urlsplit(server).port or 5432}"
            f" user={urlsplit(server).username}\n"
            f"[pgbouncer]\nunix_socket_dir = {self.folder}\nlisten_port = {self._port}\nlisten_addr =\n"
            f"auth_type = any\npool_mode = {mode}\n"
            f"default_pool_size = {sessions}\nmax_client_conn = 100\nlog_connections = 0\n"
            f"logfile = {self.folder}/log\npidfile = {self.folder}/pid\n"
        )
        command = ["pgbouncer", str(self.folder / "pgbouncer.ini")]
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres")
            command = ["runuser", "-u", "postgres", "--", *command]
        # Ends with it if this process is killed before it could remove it.
        watch = (
            f"import shutil, subprocess, sys; p = subprocess.Popen({command}, stdout=-3, stderr=-3); "
            f"sys.stdin.read(); p.terminate(); p.wait(); shutil.rmtree({str(self.folder)!r}, ignore_errors=True)"
        )
        self._watcher = subprocess.Popen(
            [sys.executable, "-c", watch], stdin=subprocess.PIPE, cwd="/tmp", start_new_session=True
        )
        self._await(server)

    def _await(self, server: str) -> None:
        until = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url(server)).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > until:
                    self.remove()
                    raise
                time.sleep(0.05)

    def url(self, direct: str) -> str:
        """The address of a database here, of which `direct` is the one at the server."""
        parts = urlsplit(direct)
        user = parts.username or "postgres"
        return f"postgresql://{user}@{parts.path}?host={quote(str(self.folder), safe='')}&port={self._port}"

    def remove(self) -> None:
        assert self._watcher.stdin is not None
        self._watcher.stdin.close()
        self._watcher.wait(60)
