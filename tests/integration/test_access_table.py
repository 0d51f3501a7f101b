"""Every route with every kind of credential, held against the table in docs/security.md.

A new route needs a row there.  `<connection>` and the like stand for what exists.
"""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from flask import Flask
from flask.testing import FlaskClient

from pdpp_ref import tokens
from pdpp_ref.credentials import OF_RECORDS, OPERATOR, SCOPES
from pdpp_ref.timestamps import utc_now
from tests.support.factories import PASSWORD, TOKEN, DatabaseProbe, fill

SECURITY = Path(__file__).parents[2] / "docs/security.md"
COLUMNS = ("nobody", "owner", "operator", *SCOPES, "another connection")
PLACES = {
    "connection": "laptop",
    "name": "laptop",
    "connector": "files",
    "stream": "notes",
    "key": "0000000",
    "blob_id": "blob_sha256_" + "0" * 64,
    "filename": "style.css",
    "file_id": "unknown",
    "day": "2026-01-31",
    "pruning_id": "unknown",
}
OTHER = "phone"


class Row(NamedTuple):
    """`cells`: by column, `yes`, `401` or `403`."""

    method: str
    path: str
    cells: dict[str, str]

    @property
    def rule(self) -> tuple[str, str]:
        return self.method, _shape(self.path.partition("?")[0])

    @property
    def address(self) -> str:
        return re.sub(r"<(\w+)>", lambda place: PLACES[place[1]], self.path)


def _shape(rule: str) -> str:
    return re.sub(r"<[^>]*>", "<>", rule)


def rows() -> list[Row]:
    table = SECURITY.read_text().partition("| request ")[2].partition("\n\n")[0]
    heading, _, *lines = f"| request {table}".splitlines()
    assert _cells(heading)[1:] == list(COLUMNS)
    found = []
    for line in lines:
        call, *cells = _cells(line)
        method, path = call.split(" ")
        found.append(Row(method, path, dict(zip(COLUMNS, cells, strict=True))))
    return found


def _cells(line: str) -> list[str]:
    return [cell.strip().strip("`") for cell in line.strip("|").split("|")]


def test_every_route_is_in_the_table(app: Flask) -> None:
    routes = {
        (method, _shape(rule.rule))
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
        if method not in ("HEAD", "OPTIONS")
    }
    assert {row.rule for row in rows()} == routes


@pytest.fixture
def credentials(app: Flask, probe: DatabaseProbe) -> dict[str, tuple[str, dict[str, Any]]]:
    """By kind: the column that it must be like, and the headers or cookies of its requests."""
    fill(2)
    fill(2, connection=OTHER)
    signed_in = app.test_client()
    signed_in.post("/owner/login", json={"password": PASSWORD})
    cookie = signed_in.get_cookie("pdpp_owner_session")
    assert cookie
    records = tuple(sorted(OF_RECORDS))
    found = {
        "nothing": ("nobody", {}),
        "wrong": ("nobody", _bearer("pdpp_" + "0" * 40)),
        "expired": ("nobody", _bearer(tokens.create("expired", SCOPES, None, 1))),
        "revoked": ("nobody", _bearer(tokens.create("revoked", SCOPES, None, None))),
        "session": ("owner", {"Cookie": f"{cookie.key}={cookie.value}"}),
        "operator": ("operator", _bearer(TOKEN)),
        "this connection": ("records", _bearer(tokens.create("this", records, PLACES["connection"], None))),
        "other": ("another connection", _bearer(tokens.create("other", records, OTHER, None))),
    }
    tokens.revoke("revoked")
    probe("UPDATE tokens SET expires_at = ? WHERE name = 'expired'", utc_now(timedelta(seconds=-1)))
    return found | {scope: (scope, _bearer(tokens.create(scope, (scope,), None, None))) for scope in SCOPES}


def _bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def test_every_route_answers_each_credential_as_the_table_says(
    app: Flask, credentials: dict[str, tuple[str, dict[str, Any]]]
) -> None:
    app.test_client_class = FlaskClient  # other tests compare the bodies with their description
    # A rebuild would continue in the background.
    app.extensions["background_rebuild"].start = lambda read, _aside: read()
    wrong = []
    for row in rows():
        for kind, (column, headers) in credentials.items():
            client = app.test_client(use_cookies=False)
            response = client.open(row.address, method=row.method, headers=headers)
            status = response.status_code
            found = str(status) if status in (401, 403) else "yes" if status < 500 else str(status)
            if found != _expected(row, column):
                wrong.append((row.method, row.path, kind, found, _expected(row, column)))
            response.close()
    app.extensions["prepared_files"].wait()
    assert wrong == []


def _expected(row: Row, column: str) -> str:
    if column == "records":  # a token with every scope of records opens what any of them opens
        return min((row.cells[scope] for scope in OF_RECORDS), key=["yes", "403", "401"].index)
    return row.cells[column]


def test_the_columns_follow_from_the_scopes() -> None:
    """A row that is open to tokens is open to one scope, and to the operator if that has it."""
    for row in rows():
        opened = [scope for scope in SCOPES if row.cells[scope] == "yes"]
        if row.cells["nobody"] == "yes" or not opened:
            continue
        assert len(opened) == 1, row
        assert (row.cells["operator"] == "yes") is (opened[0] in OPERATOR.scopes), row
        assert row.cells["owner"] == "yes", row
