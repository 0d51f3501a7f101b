"""What a start imports, says and logs: by the real command."""

import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from pdpp_ref.cli.main import COMMANDS
from tests.conftest import Backend, Run
from tests.support.factories import PASSWORD
from tests.support.server_process import Server

# What takes long to import, and is not for every command.
WEB = {"flask", "jinja2", "werkzeug", "uvicorn", "prometheus_client", "wtforms"}
ARGUMENTS = {
    "import": ("--connection", "c"),
    "prune-history": ("--keep", "1"),
    "delete": ("--connection", "c"),
    "erase": ("--connection", "c", "--stream", "s", "--key", "k"),
    "backup": ("file",),
    "copy": ("--to", "sqlite:///copied.sqlite3"),
    "token": ("list",),
}
SERVERS = ("serve", "demo")


# Stores the names of all modules that were imported by the end.
SCRIPT = """
import atexit, pathlib, sys
atexit.register(lambda: pathlib.Path("modules").write_text(" ".join(sys.modules)))
from pdpp_ref.cli.main import main
main(prog_name="pdpp-ref")
"""


def imported(*arguments: str, environment: dict[str, str], folder: Path) -> set[str]:
    """What a command imports."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode in (0, 2), done.stderr
    return set((folder / "modules").read_text().split())


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in SERVERS])
def test_a_command_imports_no_web_server_and_no_other_driver(
    environment: dict[str, str], backend: Backend, tmp_path: Path, command: str
) -> None:
    found = imported(command, *ARGUMENTS.get(command, ()), environment=environment, folder=tmp_path)
    assert {"peewee", "click"} <= found
    is_password = command == "password"  # which is hashed, and not in the database
    assert not (WEB - ({"werkzeug"} if is_password else set())) & found
    assert ("psycopg" in found) == (backend.kind == "postgres" and not is_password)


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("option", ["--version", "--nonsense"])
def test_a_call_without_a_command_imports_no_database(
    environment: dict[str, str], tmp_path: Path, option: str
) -> None:
    assert not {"peewee", "apsw", "msgspec"} & imported(option, environment=environment, folder=tmp_path)


@pytest.mark.only("sqlite")
def test_a_server_on_sqlite_imports_no_other_driver(environment: dict[str, str], tmp_path: Path) -> None:
    """It ends at once, because the port is not one that it may have."""
    found = imported("serve", "--host", "256.0.0.1", environment=environment, folder=tmp_path)
    assert "uvicorn" in found
    assert "psycopg" not in found


def test_the_package_itself_imports_none_of_its_parts() -> None:
    script = "import sys, pdpp_ref; print(*[name for name in sys.modules if name.startswith('pdpp_ref')])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["pdpp_ref"]


@pytest.mark.only("sqlite")
def test_a_misspelled_variable_is_one_line(run: Run) -> None:
    done = run("summary", PDPP_OPERATOR_TOKENS="a secret")
    assert done.returncode == 0
    assert done.stderr == "PDPP_OPERATOR_TOKENS is not a setting; the closest one is PDPP_OPERATOR_TOKEN\n"


# ---- what is logged ------------------------------------------------------------------------------


@pytest.mark.parametrize(("level", "requests"), [("", 1), ("info", 1), ("warning", 0), ("error", 0)])
def test_each_request_is_logged_as_info(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], level: str, requests: int
) -> None:
    with Server(tmp_path, LOG_LEVEL=level) as server, urlopen(f"{server.url}/healthz") as response:
        assert response.status == 200
    assert capfd.readouterr().err.count('"route": "/healthz"') == requests


@pytest.mark.parametrize("level", ["info", "error"])
def test_new_credentials_are_shown_once_at_every_level(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], level: str
) -> None:
    for shown in (1, 0):
        with Server(tmp_path, LOG_LEVEL=level, OWNER_PASSWORD="", OPERATOR_TOKEN=""):
            pass
        log = capfd.readouterr().err
        assert log.count("New owner password, shown only once: ") == shown
        assert log.count("New operator token, shown only once: ") == shown


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_a_password_that_somebody_chose_is_never_shown(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], command: str
) -> None:
    with Server(tmp_path, command):
        pass
    shown = capfd.readouterr()
    assert "Sign in" in shown.out
    assert PASSWORD not in shown.out + shown.err


@pytest.mark.only("sqlite")
def test_flask_shows_new_credentials_too(environment: dict[str, str], tmp_path: Path) -> None:
    script = "from pdpp_ref import create_app; create_app()"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    lines = done.stderr.splitlines()
    assert [line.rsplit(": ", 1)[0] for line in lines] == [
        "New owner password, shown only once",
        "New operator token, shown only once",
    ]
