"""`pdpp-ref token`, called in this process."""

import re
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from flask import Flask

from pdpp_ref import credentials, tokens
from pdpp_ref.cli import token as module
from pdpp_ref.cli.errors import UsageError
from tests.conftest import Backend, Run
from tests.support.factories import DatabaseProbe

Call = Callable[..., str]


@pytest.fixture
def call(
    app: Flask, backend: Backend, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Call:
    """Runs the command and returns its output.  Raises UsageError where the command would exit with 2."""
    monkeypatch.setenv("PDPP_DATABASE_URL", backend.url)

    def run(*arguments: str) -> str:
        module.token.main(list(arguments), standalone_mode=False)
        return capfd.readouterr().out

    return run


def test_new_prints_the_token_alone(call: Call) -> None:
    out = call("new", "bank", "--scope", "read, write", "--connection", "my bank", "--expires", "30")
    assert re.fullmatch(r"pdpp_[0-9a-f]{40}\n", out)
    found = tokens.find(credentials.digest(out.strip()))
    assert found
    assert (found.name, found.scopes, found.connection) == ("bank", ("write", "read"), "my bank")
    assert found.is_valid
    assert found.expires_at


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["bank", "--scope", "read"], "there is a token bank already"),
        (["a b", "--scope", "read"], "NAME must have"),
        (["-", "--scope", "read"], "NAME must have"),
        (["x" * 65, "--scope", "read"], "NAME must have"),
        (["é", "--scope", "read"], "NAME must have"),
        (["new\n", "--scope", "read"], "NAME must have"),
        (["new", "--scope", "read,admin"], "admin is not a scope; the scopes are figures, maintain"),
        (["new", "--scope", ""], '"" is not a scope'),
        (["new", "--scope", "read,figures", "--connection", "bank"], "figures is about all connections"),
        (["new", "--scope", "maintain", "--connection", "bank"], "maintain is about all connections"),
        (["new", "--scope", "read", "--connection", ""], "connection"),
        (["new", "--scope", "read", "--expires", "0"], "--expires"),
        (["new"], "--scope"),
    ],
)
def test_what_makes_no_token_is_reported(call: Call, arguments: list[str], reason: str) -> None:
    call("new", "bank", "--scope", "write")
    before = tokens.listed()
    with pytest.raises(click.ClickException) as refused:
        call("new", *arguments)
    assert reason in refused.value.format_message()
    assert refused.value.exit_code == 2
    assert tokens.listed() == before


def test_scopes_of_all_data_have_no_connection(call: Call) -> None:
    with pytest.raises(UsageError):
        call("new", "bank", "--scope", "figures", "--connection", "bank")
    assert call("new", "bank", "--scope", "write,read,erase", "--connection", "bank")


def test_list_shows_each_token_and_no_secret(call: Call, probe: DatabaseProbe) -> None:
    assert call("list") == ""
    call("new", "bank", "--scope", "write,read", "--connection", "my\nbank")
    call("new", "old", "--scope", "figures", "--expires", "1")
    call("new", "prometheus", "--scope", "figures")
    call("revoke", "prometheus")
    probe("UPDATE tokens SET created_at = '2026-01-02T03:04:05.000Z'")
    probe("UPDATE tokens SET expires_at = '2026-01-03T03:04:05.000Z' WHERE name = 'old'")
    probe("UPDATE tokens SET last_used_at = '2026-01-02T13:04:05.000Z' WHERE name = 'old'")
    probe("UPDATE tokens SET revoked_at = '2026-01-04T13:04:05.000Z' WHERE name = 'prometheus'")
    assert call("list").splitlines() == [
        "NAME        SCOPES      CONNECTION  CREATED     EXPIRES     LAST USE           ACCESS",
        'bank        write,read  "my\\nbank"  2026-01-02  never       never              valid',
        "old         figures     all         2026-01-02  2026-01-03  2026-01-02T13:04Z  expired",
        "prometheus  figures     all         2026-01-02  never       never              revoked 2026-01-04",
    ]


def test_revoke_ends_a_token(call: Call) -> None:
    secret = call("new", "bank", "--scope", "write").strip()
    assert call("revoke", "bank") == "Revoked bank.\n"
    assert call("revoke", "bank") == "bank is revoked already.\n"
    found = tokens.find(credentials.digest(secret))
    assert found
    assert not found.is_valid
    with pytest.raises(UsageError, match="there is no token zz"):
        call("revoke", "zz")


def test_a_rotated_token_replaces_the_old_one_in_a_running_server(
    call: Call, make_app: Callable[..., Flask], caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(OPERATOR_TOKEN="")
    (first,) = re.findall(r"New operator token, shown only once: (\S+)", caplog.text)
    second = call("rotate").strip()
    third = call("rotate").strip()
    assert re.fullmatch(r"pdpp_[0-9a-f]{40}", third)
    client = app.test_client()
    statuses = [
        client.get("/_ref/metrics", headers={"Authorization": f"Bearer {secret}"}).status_code
        for secret in (first, second, third)
    ]
    assert statuses == [401, 401, 200]


def test_a_token_that_is_set_is_not_rotated(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PDPP_OPERATOR_TOKEN", "set by the operator")
    with pytest.raises(UsageError, match="PDPP_OPERATOR_TOKEN"):
        call("rotate")
    assert not (tmp_path / "instance" / "operator_token.hash").exists()


@pytest.mark.only("sqlite")
def test_the_program_itself_has_the_command(run: Run) -> None:
    made = run("token", "new", "bank", "--scope", "write")
    assert (made.returncode, made.stderr) == (0, "")
    assert re.fullmatch(r"pdpp_[0-9a-f]{40}\n", made.stdout)
    again = run("token", "new", "bank", "--scope", "write")
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr == "Error: there is a token bank already, valid or not; choose another name\n"
