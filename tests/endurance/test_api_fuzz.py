"""Requests made up from the OpenAPI document, fitting and not, at every route.

PDPP_TEST_LONG=1 makes up many more.
"""

import os
import re
from copy import deepcopy
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, note, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from pdpp_ref.blueprints.openapi.document import document
from tests.support.compiled import api_document
from tests.support.factories import PASSWORD, TOKEN, DatabaseProbe, fill

EXAMPLES = 1_000 if os.environ.get("PDPP_TEST_LONG") == "1" else 12
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# Listed, so that every test process collects the same; a test below holds the list to the document.
ROUTES = [
    "GET /",
    "GET /_ref/dataset/contacts",
    "GET /_ref/dataset/growth",
    "GET /_ref/dataset/growth/day",
    "GET /_ref/dataset/room",
    "GET /_ref/dataset/size",
    "GET /_ref/dataset/summary",
    "GET /_ref/dataset/summary/streams",
    "GET /_ref/dataset/top",
    "GET /_ref/metrics",
    "GET /_ref/openapi.json",
    "GET /_ref/retention",
    "GET /dashboard",
    "GET /dashboard/connections",
    "GET /dashboard/connections/{name}",
    "GET /dashboard/days",
    "GET /dashboard/delete",
    "GET /dashboard/deleted",
    "GET /dashboard/downloads/{file_id}",
    "GET /dashboard/downloads/{file_id}/page",
    "GET /dashboard/downloads/{file_id}/state",
    "GET /dashboard/hero",
    "GET /dashboard/records",
    "GET /dashboard/room",
    "GET /dashboard/room/count",
    "GET /dashboard/room/prunings/{pruning_id}",
    "GET /dashboard/room/prunings/{pruning_id}/state",
    "GET /dashboard/streams",
    "GET /dashboard/tokens",
    "GET /healthz",
    "GET /readyz",
    "GET /owner/login",
    "GET /static/{filename}",
    "GET /v1/blobs/{blob_id}",
    "GET /v1/records",
    "GET /v1/streams",
    "GET /v1/streams/{stream}",
    "GET /v1/streams/{stream}/records",
    "GET /v1/streams/{stream}/records/{key}",
    "GET /v1/streams/{stream}/records/{key}/versions",
    "POST /_ref/dataset/size/rebuild",
    "POST /_ref/dataset/size/reconcile",
    "POST /_ref/dataset/summary/rebuild",
    "POST /_ref/dataset/summary/reconcile",
    "POST /dashboard/delete",
    "POST /dashboard/downloads",
    "POST /dashboard/refresh",
    "POST /dashboard/room",
    "POST /dashboard/room/rule",
    "POST /dashboard/tokens/revoke",
    "POST /owner/login",
    "POST /owner/logout",
    "POST /v1/blobs",
    "POST /v1/ingest/{stream}",
    "GET /v1/state/{connector}",
    "PUT /_ref/retention",
    "PUT /v1/state/{connector}",
    "DELETE /_ref/retention",
    "DELETE /v1/connections/{connection}",
    "DELETE /v1/records",
    "DELETE /v1/streams/{stream}/records",
    "DELETE /v1/streams/{stream}/records/{key}",
]


@schemathesis.serializer("application/x-ndjson")
def _as_it_is(_: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


def test_the_list_of_routes_is_the_documents(app: Flask) -> None:
    paths = document(app)["paths"]
    assert sorted(ROUTES) == sorted(f"{method.upper()} {path}" for path in paths for method in paths[path])


# What is there to be found, so that some requests find something.
KNOWN = {
    "stream": "notes",
    "key": "0000001",
    "connection": "laptop",
    "name": "laptop",
    "connector_id": "files",
    "connector_instance_id": "laptop",
    "connection_id": "laptop",
    "changes_since": "beginning",
}


def signed_in(app: Flask, who: str) -> dict[str, Any]:
    if who == "nobody":
        return {}
    if who == "operator":
        return {"headers": {"Authorization": f"Bearer {TOKEN}"}}
    client = app.test_client()
    client.post("/owner/login", json={"password": PASSWORD})
    return {"cookies": {"pdpp_owner_session": client.get_cookie("pdpp_owner_session").value}}


_operations: dict[int, Any] = {}


def operations(app: Flask) -> Any:
    """The document's, which all applications share: to prepare them takes longer than to send requests."""
    text = api_document(app)
    if id(text) not in _operations:
        _operations[id(text)] = schemathesis.openapi.from_dict(deepcopy(text))
    return _operations[id(text)]


def requests(operation: Any) -> Any:
    """Those that fit the document, those that fit and find something, and those that do not fit."""
    reported = [(each.name, each.location) for each in operation.iter_parameters()]
    parts = {name: KNOWN[name] for name, where in reported if where == "path" and name in KNOWN}
    query = {name: KNOWN[name] for name, where in reported if where == "query" and name in KNOWN}
    aimed = operation.as_strategy(path_parameters=parts or None, query=query or None)
    unfit = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    return operation.as_strategy() | aimed | unfit


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("route", ROUTES)
def test_no_request_is_answered_in_a_way_that_is_not_described(
    app: Flask, probe: DatabaseProbe, route: str
) -> None:
    send_requests(app, probe, route, "nobody", "owner", "operator")


@pytest.mark.only("postgres")
@pytest.mark.parametrize("route", ROUTES)
def test_nor_is_one_on_postgresql_of_somebody_who_may_send_it(
    app: Flask, probe: DatabaseProbe, route: str
) -> None:
    send_requests(app, probe, route, "operator" if re.match("(POST|DELETE) /v1/", route) else "owner")


def send_requests(app: Flask, probe: DatabaseProbe, route: str, *callers: str) -> None:
    """Each request from each of the callers."""
    method, path = route.split(" ", 1)
    fill(3)
    described = operations(app)
    described.app = app
    operation = described[path][method]
    known = {who: signed_in(app, who) for who in callers}

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=EXAMPLES < 100,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=requests(operation))
    def ask(case: Any) -> None:
        for who, credentials in known.items():
            note(f"as {who}")
            case.call_and_validate(**credentials, checks=CHECKS)

    ask()
    app.extensions["background_rebuild"].wait()
    assert probe.wrong_but_clean() == []
