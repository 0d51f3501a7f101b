"""Fixtures: a database of its own for each test, on SQLite and on PostgreSQL, and the application over it.

A test that has to do with the database runs on both.  `@pytest.mark.only("sqlite")` is for what the
other one does not have, as pragmas, files and plans, and for what comes before any database.  One
server serves all processes of a run; it starts when the first test needs it.
"""

import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import settings

from pdpp_ref import (
    create_app,
    database,
    migrations,
    timestamps,
)
from pdpp_ref.database import db
from pdpp_ref.services.reconcile import Limits
from tests.support import command, compiled, places, postgres
from tests.support.conformance import CheckedClient
from tests.support.factories import PASSWORD, TOKEN, Calendar, Clock
from tests.support.probe import DatabaseProbe

# The folder of the shared server, and the URL of one that was named, for the processes that xdist starts; no
# PDPP_ names, as tests take those away.
SHARED, NAMED = "SHARED_POSTGRES_OF_THIS_RUN", "POSTGRES_OF_THIS_RUN"
DATABASES = ("sqlite", "postgres")
UNHURRIED_SECONDS = 4
LONG = os.environ.get("PDPP_TEST_LONG") == "1"
COMMAND = command.PROGRAM
# Hundreds of tests start Python; it need not compile the package each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
if LONG:
    os.environ.setdefault("PYTEST_TIMEOUT", "0")  # a long trial takes as long as it takes
Run = Callable[..., subprocess.CompletedProcess[str]]


compiled.share_url_rules()
TEMPLATES = compiled.Templates()
# How long an example takes is the machine's affair.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fast", action="store_true", help="without slow tests and PostgreSQL, and three cases of each"
    )


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """More processes than cores: many tests wait for a server, a browser or a lock, but few fast ones."""
    return (os.cpu_count() or 1) + (0 if config.option.fast else 2)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "only(*databases): what only these have")
    config.addinivalue_line("markers", "slow: left out by `make test-fast`")
    config.addinivalue_line("markers", "one_on_postgres: of several cases, only the first runs there")
    config.addinivalue_line("markers", "durable: SQLite waits for the disk, as it does in use")
    # A shell starts a background job with SIGINT ignored, and its children would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # The folder of pytest's temporary folders, here and in the processes that xdist starts.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(places.fast_folder()))
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    if named := os.environ.get(postgres.NAMED):
        os.environ[NAMED] = named
        return
    shared = postgres.Shared()
    config.add_cleanup(shared.remove)
    os.environ[SHARED] = str(shared.folder)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.fast:
        _leave_out(config, items, [i for i in items if i.get_closest_marker("slow") or needs_postgres(i)])
        _leave_out(config, items, list(_middle_cases(items)))
    elif not LONG:
        _leave_out(config, items, list(_further_cases(items)))


def _leave_out(config: pytest.Config, items: list[pytest.Item], left_out: list[pytest.Item]) -> None:
    left = set(left_out)
    items[:] = [item for item in items if item not in left]
    config.hook.pytest_deselected(items=left_out)


def _middle_cases(items: list[pytest.Item]) -> Iterator[pytest.Item]:
    """Of a test with many cases in a database, all but the first, one in the middle, and the last."""
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if "backend" in getattr(item, "fixturenames", ()):
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for of_test in cases.values():
        middle = len(of_test) // 2
        yield from (*of_test[1:middle], *of_test[middle + 1 : -1])


def _further_cases(items: list[pytest.Item]) -> Iterator[pytest.Item]:
    """Cases of a test that differ before they reach the database: all on SQLite, and one on PostgreSQL."""
    seen = set()
    for item in items:
        if item.get_closest_marker("one_on_postgres") and needs_postgres(item):
            test = item.nodeid.partition("[")[0]
            if test in seen:
                yield item
            seen.add(test)


def pytest_collection_finish() -> None:
    """What was imported and collected stays, so the collector of garbage need not visit it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def needs_postgres(item: pytest.Item) -> bool:
    parameters = getattr(item, "callspec", None)
    return "server" in getattr(item, "fixturenames", ()) or (
        parameters is not None and "postgres" in parameters.params.values()
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        only = metafunc.definition.get_closest_marker("only")
        usual = DATABASES[:1] if metafunc.config.option.fast else DATABASES
        metafunc.parametrize("backend", only.args if only else usual, indirect=True)


@dataclass(frozen=True)
class Backend:
    """Where a test's database is: `url` is the setting."""

    kind: str
    url: str

    def probe(self) -> DatabaseProbe:
        return DatabaseProbe(self.url)


@pytest.fixture(scope="session")
def server() -> str:
    """The URL of the PostgreSQL server."""
    try:
        return os.environ.get(NAMED) or postgres.shared_url(Path(os.environ[SHARED]))
    except RuntimeError as missing:
        pytest.fail(str(missing))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.fail(f"{error}\n{postgres.MISSING}")


@pytest.fixture(scope="session")
def reused(server: str, worker_id: str, testrun_uid: str) -> Iterator[postgres.Reused]:
    """One database for all tests of this process."""

    def prepare(url: str) -> None:
        database.connect(url, Path())
        migrations.prepare()
        db.close()

    with postgres.new_database(server, f"pdpp_{testrun_uid[:8]}_{worker_id}") as url:
        yield postgres.Reused(url, prepare)


@pytest.fixture
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """A database for this test alone."""
    if request.param == "sqlite":
        yield Backend("sqlite", f"sqlite:///{tmp_path}/test.sqlite3")
    else:
        reused = request.getfixturevalue("reused")
        yield Backend("postgres", reused.url)
        reused.reset()


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No PDPP_ variable of the person who runs the tests reaches one, and no instance folder."""
    for name in [name for name in os.environ if name.startswith("PDPP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PDPP_INSTANCE_PATH", str(tmp_path / "instance"))


@pytest.fixture(autouse=True)
def _own_signals() -> Iterator[None]:
    """What this process does with signals, the processes that it starts inherit."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
        signal.signal(number, handler)
    assert before == after, "the test has changed what this process does with signals"


@pytest.fixture(autouse=True)
def _fast_disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test cuts the power of its own process, so SQLite need not wait for the disk there."""
    if not request.node.get_closest_marker("durable"):
        monkeypatch.setitem(database.PRAGMAS, "synchronous", "off")


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pass leaves work to the next because the machine is busy, unless the test says how long it may take."""
    monkeypatch.setattr(Limits.__init__, "__defaults__", (Limits.rows, float(UNHURRIED_SECONDS)))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def calendar(monkeypatch: pytest.MonkeyPatch) -> type[Calendar]:
    """The wall clock, which stands still at noon of 2026-03-01 until its `moment` is set."""
    monkeypatch.setattr(timestamps, "datetime", Calendar)
    monkeypatch.setattr(Calendar, "moment", Calendar.moment)
    return Calendar


@pytest.fixture(scope="session")
def prepared_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file as the program makes it, to be copied."""
    path = tmp_path_factory.mktemp("prepared") / "prepared.sqlite3"
    database.connect(f"sqlite:///{path}", Path())
    migrations.prepare()
    db.close()
    return path


@pytest.fixture
def make_app(
    request: pytest.FixtureRequest, backend: Backend, clock: Clock, tmp_path: Path
) -> Iterator[Callable[..., Flask]]:
    apps: list[Flask] = []

    def make(**settings: Any) -> Flask:
        db.close() if db.obj and not db.is_closed() else None
        file = tmp_path / "test.sqlite3"
        if backend.kind == "sqlite" and not file.exists() and timestamps.datetime is datetime:
            shutil.copy(request.getfixturevalue("prepared_file"), file)
        defaults = {
            "DATABASE_URL": backend.url,
            "OWNER_PASSWORD": PASSWORD,
            "OPERATOR_TOKEN": TOKEN,
            "SECRET_KEY": "a key for tests alone",
            "RECONCILE_BUDGET_MS": UNHURRIED_SECONDS * 1000,
        }
        made = create_app(defaults | settings, clock=clock)
        apps.append(made)
        made.test_client_class = CheckedClient
        made.jinja_env.bytecode_cache = TEMPLATES
        return made

    yield make
    for made in apps:  # the database is reset next, which a rebuild would disturb
        made.extensions["background_rebuild"].wait()
    if db.obj and not db.is_closed():
        db.close()


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app()


@pytest.fixture
def probe(app: Flask, backend: Backend) -> Iterator[DatabaseProbe]:
    """The database as another program sees it."""
    with backend.probe() as found:
        yield found


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Somebody who has not signed in."""
    return app.test_client()


@pytest.fixture
def owner(app: Flask) -> FlaskClient:
    signed_in = app.test_client()
    assert signed_in.post("/owner/login", json={"password": PASSWORD}).status_code == 302
    return signed_in


@pytest.fixture
def summary(app: Flask) -> Callable[[], dict[str, Any]]:
    """What the operator reads."""
    caller = app.test_client()

    def read() -> dict[str, Any]:
        response = caller.get("/_ref/dataset/summary", headers={"Authorization": f"Bearer {TOKEN}"})
        assert response.status_code == 200
        body: dict[str, Any] = response.get_json()
        return body

    return read


# ---- the command ---------------------------------------------------------------------------------


@pytest.fixture
def environment(tmp_path: Path, backend: Backend) -> dict[str, str]:
    return {
        **os.environ,
        "PDPP_DATABASE_URL": backend.url,
        "PDPP_INSTANCE_PATH": str(tmp_path / "instance"),
    }


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Run:
    def call(*arguments: str, stdin: str | bytes = "", **settings: str) -> subprocess.CompletedProcess[str]:
        given = stdin.encode() if isinstance(stdin, str) else stdin
        done = command.run(*arguments, stdin=given, cwd=tmp_path, env=environment | settings)
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    return call
