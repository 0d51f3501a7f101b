"""A PostgreSQL server for the tests: started by them in a temporary folder, or named in the environment.

PDPP_TEST_POSTGRES_URL names one whose user may create databases.  Otherwise the binaries are those on
the PATH or of a distribution; as root they run as the user `postgres`, since the server refuses root.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit, urlunsplit

import psycopg

from tests.support.places import fast_folder

NAMED = "PDPP_TEST_POSTGRES_URL"
MISSING = (
    "No PostgreSQL for the tests.  Install 15 or newer (Debian: apt-get install postgresql), "
    f"or set {NAMED} to the URL of a server whose user may create databases."
)
# A crash of the machine is not tested here; a crash of the server loses nothing without these.
QUICK = {"fsync": "off", "full_page_writes": "off"}
OPTIONS = {"max_connections": "500", "max_wal_size": "256MB", "shared_buffers": "64MB", "autovacuum": "off"}


def binaries() -> Path | None:
    """The folder of initdb and pg_ctl: the newest of a distribution's, or what is on the PATH."""
    newest = sorted(
        (folder for folder in Path("/usr/lib/postgresql").glob("*/bin") if folder.parent.name.isdigit()),
        key=lambda folder: int(folder.parent.name),
    )
    if newest:
        return newest[-1] if int(newest[-1].parent.name) >= 15 else None
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


class Server:
    """One server with a folder of its own, reached through a socket in that folder."""

    def __init__(self, lifeline: Path | None = None, **options: str) -> None:
        """`lifeline` names a pipe that somebody holds open as long as the server is to run; without one that
        is this process.
        """
        found = binaries()
        if found is None:
            raise RuntimeError(MISSING)
        self._binaries = found
        self._options = OPTIONS | options
        # Short, as the path of a socket may have about 100 characters.
        self.folder = Path(
            tempfile.mkdtemp(
                prefix="pdpp-pg-", dir=fast_folder() if options.get("fsync") == "off" else "/tmp"
            )
        )
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres")
        # Ends with the server if this process is killed before it could remove it.
        stop = self._command("pg_ctl", "stop", "--mode", "immediate", "--silent")
        wait = "sys.stdin.read()"
        if lifeline:  # nobody waits for the watcher
            wait = f"os.fork() and os._exit(0); open({str(lifeline)!r}).read()"
        watch = f"import os, shutil, subprocess, sys; {wait}; subprocess.run({stop}, stderr=-3, cwd='/tmp')"
        self._watcher = subprocess.Popen(
            [sys.executable, "-c", f"{watch}; shutil.rmtree({str(self.folder)!r}, ignore_errors=True)"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        if lifeline:
            self._watcher.communicate()
        try:
            self._create()
            self.start()
        except BaseException:
            self.remove()
            raise

    def _create(self) -> None:
        self._run(
            "initdb", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--auth=trust", "--username=pdpp"
        )
        # `locked` has to give a password; everybody else is believed.
        rules = self.folder / "data/pg_hba.conf"
        rules.write_text(f"local all locked scram-sha-256\n{rules.read_text()}")

    @property
    def url(self) -> str:
        return self.url_of("pdpp", "postgres")

    def url_of(self, user: str, database: str) -> str:
        return f"postgresql://{user}@/{database}?host={quote(str(self.folder), safe='')}"

    def _command(self, program: str, *arguments: str) -> list[str]:
        command = [str(self._binaries / program), "--pgdata", str(self.folder / "data"), *arguments]
        return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else command

    def _run(self, program: str, *arguments: str) -> None:
        command = self._command(program, *arguments)
        # Into a file: the server keeps what it inherits, and a pipe would never end.
        with open(self.folder / "log", "a") as log:
            subprocess.run(
                command, check=True, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def start(self) -> None:
        settings = {"listen_addresses": "", "unix_socket_directories": str(self.folder), **self._options}
        given = " ".join(f"-c {name}={value or chr(39) * 2}" for name, value in settings.items())
        self._run("pg_ctl", "start", "--wait", "--log", str(self.folder / "server.log"), "--options", given)

    def stop(self, mode: str = "fast") -> None:
        """`immediate` is a crash: nothing is written out, and the next start recovers."""
        self._run("pg_ctl", "stop", "--wait", "--mode", mode)

    def running(self) -> bool:
        return (self.folder / "data/postmaster.pid").exists()

    def remove(self) -> None:
        self._watcher.stdin.close()  # type: ignore[union-attr]
        self._watcher.wait(600)  # to delete the files of thousands of tables takes minutes


class Shared:
    """The server of all processes of a run, which the first one that asks for it starts.

    It ends with this process.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pdpp-pg-shared-"))
        os.mkfifo(self.folder / "lifeline")
        self._lifeline = os.open(self.folder / "lifeline", os.O_RDWR)

    def remove(self) -> None:
        os.close(self._lifeline)
        url = self.folder / "url"
        until = time.monotonic() + 60
        while url.exists() and folder_of(url.read_text()).exists() and time.monotonic() < until:
            time.sleep(0.02)
        shutil.rmtree(self.folder)


def shared_url(folder: Path) -> str:
    """The URL of the server of a `Shared.folder`.  Raises RuntimeError if there is no PostgreSQL here."""
    url = folder / "url"
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not url.exists():
            url.write_text(Server(folder / "lifeline", **QUICK).url)
    return url.read_text()


def folder_of(url: str) -> Path:
    """The folder of a server that we started."""
    return Path(parse_qs(urlsplit(url).query).get("host", [""])[0])


def at(server: str, database: str) -> str:
    """The URL of another database of a server."""
    return urlunsplit(urlsplit(server)._replace(path=f"/{database}"))


def report_of_deadlocks(url: str) -> str:
    """What the log of a server that we started says of them: who waited for whom, and with what."""
    log = folder_of(url) / "server.log"
    lines = log.read_text().splitlines() if log.exists() else ["see the server's log"]
    found = [number for number, line in enumerate(lines) if "deadlock detected" in line]
    return "\n".join(line for number in found for line in lines[number : number + 8])


@contextmanager
def new_database(server: str, name: str) -> Iterator[str]:
    """The URL of a database that lasts as long as the context.

    Its collation is not by code point, as that of most servers is not.
    """
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        admin.execute(
            f"CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
        )
    try:
        yield at(server, name)
    finally:
        with psycopg.connect(server, autocommit=True) as admin:
            admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


RESETS = "resets the database of a test"  # an application_name
_connections: dict[str, psycopg.Connection] = {}


def _admin(url: str) -> psycopg.Connection:
    """This process's own connection to a database, kept: to connect takes as long as to bring a database back."""
    if url not in _connections or _connections[url].closed:
        _connections[url] = psycopg.connect(
            url, autocommit=True, prepare_threshold=None, application_name=RESETS
        )
    return _connections[url]


class Reused:
    """A database that is brought back, again and again, to what `prepare` makes of an empty one.

    To create one takes 0.1 to 0.4 s, which is longer than most tests do.
    """

    def __init__(self, url: str, prepare: Callable[[str], None]) -> None:
        self.url = url
        self._prepare = prepare
        self._create()

    def _create(self) -> None:
        self._prepare(self.url)
        with psycopg.connect(self.url, autocommit=True) as admin:
            admin.execute("CREATE SCHEMA first_rows")
            self._tables = [name for (name,) in admin.execute(_TABLES)]
            for table in self._tables:
                admin.execute(f"CREATE TABLE first_rows.{table} AS TABLE public.{table}")
            self._schema = admin.execute(_SCHEMA).fetchall()
            self._numbers = [
                (name, *admin.execute(f"SELECT last_value, is_called FROM {name}").fetchone())
                for (name,) in admin.execute(_SEQUENCES).fetchall()
            ]

    def reset(self) -> None:
        # What others were at may end a moment after they were told to, and they may have ended our connection.
        for _ in range(10):
            with suppress(psycopg.OperationalError):
                return self._reset()
        raise RuntimeError("others still use the database")

    def _reset(self) -> None:
        admin = _admin(self.url)
        admin.execute(_END_OTHERS)
        if admin.execute(_SCHEMA).fetchall() != self._schema:
            admin.execute("DROP SCHEMA public, first_rows CASCADE; CREATE SCHEMA public")
            self._create()
        elif self._tables:
            self._bring_back(admin)

    def _bring_back(self, admin: psycopg.Connection) -> None:
        # Much is truncated, which takes a moment for however little there is; little is deleted.
        much = admin.execute("SELECT 1 FROM record_changes OFFSET 1000 LIMIT 1").fetchall()
        empty = (
            [f"TRUNCATE {', '.join(self._tables)}"] if much else map("DELETE FROM {}".format, self._tables)
        )
        first = [f"INSERT INTO {table} TABLE first_rows.{table}" for table in reversed(self._tables)]
        with admin.transaction():
            admin.execute("; ".join([*empty, *first]))
            for number in self._numbers:
                admin.execute("SELECT setval(%s, %s, %s)", number)


# Those that refer to others come before them.
_TABLES = (
    "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace "
    "ORDER BY oid DESC"
)
_SEQUENCES = (
    "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace"
)
_SCHEMA = (
    "SELECT relname::text, attname::text FROM pg_attribute JOIN pg_class c ON c.oid = attrelid "
    "WHERE relnamespace = 'public'::regnamespace UNION ALL "
    "SELECT tgrelid::regclass::text, tgname::text FROM pg_trigger WHERE NOT tgisinternal UNION ALL "
    "SELECT 'function', proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1, 2"
)
_END_OTHERS = (
    "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)
