"""Fixtures: a database file of its own for each test, and the application over it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from pdpp_ref import create_app
from pdpp_ref.database import db
from tests.conformance import CheckedClient
from tests.world import PASSWORD, TOKEN, Clock, Outside


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No PDPP_ variable of the person who runs the tests reaches one, and no instance folder."""
    import os

    for name in [name for name in os.environ if name.startswith("PDPP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PDPP_INSTANCE_PATH", str(tmp_path / "instance"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_app(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., Flask]]:
    def make(**settings: Any) -> Flask:
        db.close() if db.obj and not db.is_closed() else None
        defaults = {
            "DATABASE_URL": f"sqlite:///{tmp_path}/test.sqlite3",
            "OWNER_PASSWORD": PASSWORD,
            "OPERATOR_TOKEN": TOKEN,
            "SECRET_KEY": "a key for tests alone",
        }
        made = create_app(defaults | settings, clock=clock)
        made.test_client_class = CheckedClient
        return made

    yield make
    if db.obj and not db.is_closed():
        db.close()


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app()


@pytest.fixture
def outside(app: Flask, tmp_path: Path) -> Iterator[Outside]:
    """The database file as another program sees it."""
    with Outside(tmp_path / "test.sqlite3") as found:
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
