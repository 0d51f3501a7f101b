"""`pdpp-ref password`, called in this process, next to a running server."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from pdpp_ref.cli.errors import UsageError
from pdpp_ref.cli.password import password
from tests.conftest import Backend, Run

pytestmark = pytest.mark.only("sqlite")


def renewed(capfd: pytest.CaptureFixture[str]) -> str:
    capfd.readouterr()
    password.main([], standalone_mode=False)
    return capfd.readouterr().out.strip()


def status(client: FlaskClient, secret: str) -> int:
    return client.post("/owner/login", json={"password": secret}).status_code


@pytest.mark.slow
def test_a_new_password_replaces_the_old_one_in_a_running_server(
    make_app: Callable[..., Flask], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    app = make_app(OWNER_PASSWORD="")
    (first,) = re.findall(r"New owner password, shown only once: (\S+)", caplog.text)
    client = app.test_client()
    assert status(client, first) == 302
    sessions = app.extensions["owner_sessions"]
    cookie = client.get_cookie("pdpp_owner_session")
    assert cookie
    header = f"{cookie.key}={cookie.value}".encode()
    assert sessions.is_known(header)
    second = renewed(capfd)
    assert client.get("/dashboard").status_code == 401, "the session has ended"
    assert not sessions.is_known(header), "also for what is answered before Flask"
    assert [status(app.test_client(), secret) for secret in (first, second)] == [401, 302]


def test_a_password_that_is_set_is_not_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PDPP_OWNER_PASSWORD", "set by the owner")
    with pytest.raises(UsageError, match="PDPP_OWNER_PASSWORD"):
        password.main([], standalone_mode=False)
    assert not (tmp_path / "instance" / "owner_password.hash").exists()


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "instance").write_text("a file")
    with pytest.raises(Exception, match="the instance folder can't be used"):
        password.main([], standalone_mode=False)


@pytest.mark.slow
def test_the_program_itself_has_the_command(backend: Backend, run: Run) -> None:
    done = run("password")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"[\w-]{24}\n", done.stdout)
