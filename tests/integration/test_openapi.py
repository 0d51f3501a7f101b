"""The description of the API: whole, valid, and what the contract says.

That every response conforms to it is held by the client of all tests, `tests/support/conformance.py`.
"""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from flask import Flask
from flask.testing import FlaskClient

from pdpp_ref.blueprints import errors
from pdpp_ref.blueprints.openapi.document import document, path_of
from tests.support import contract
from tests.support.conformance import wrong
from tests.support.factories import TOKEN, upsert, write

META = json.loads((Path(__file__).parents[1] / "openapi-3.1/schema.json").read_text())
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def described(app: Flask) -> dict[str, Any]:
    return document(app)


def test_it_is_openapi_3_1(described: dict[str, Any]) -> None:
    found = [error.message for error in jsonschema_rs.Draft202012Validator(META).iter_errors(described)]
    assert found == []
    for schema in described["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)


def test_it_is_served_to_operators(client: FlaskClient, described: dict[str, Any]) -> None:
    response = client.get("/_ref/openapi.json", headers=BEARER)
    assert response.get_json() == described
    assert response.headers["PDPP-Surface"] == "reference-only"
    assert client.get("/_ref/openapi.json").status_code == 401


def test_every_route_is_in_it(app: Flask, described: dict[str, Any]) -> None:
    rules = list(app.url_map.iter_rules())
    assert len(rules) > 15
    for rule in rules:
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            assert described["paths"][path_of(rule)][method.lower()]["summary"]


def test_a_route_that_is_not_declared_is_reported(app: Flask) -> None:
    app.add_url_rule("/new", "new", lambda: "")
    with pytest.raises(LookupError, match="/new"):
        document(app)


def test_every_route_and_error_is_in_the_documentation(described: dict[str, Any]) -> None:
    text = (Path(__file__).parents[2] / "docs/api.md").read_text()
    for path, methods in described["paths"].items():
        assert [method for method in methods if f"`{method.upper()} {path}`" not in text] == [], path
    for code, meaning in errors.ERRORS.items():
        assert f"| {meaning.status} | `{code}` | {meaning.about} |" in text


def test_reference_only_routes_say_so(described: dict[str, Any]) -> None:
    for path, methods in described["paths"].items():
        for operation in methods.values():
            only = (
                path.startswith(("/_ref/", "/dashboard", "/owner/", "/healthz", "/readyz")) or path == "/"
            )
            assert ("reference-only" in operation["tags"]) is only, path
            for response in operation["responses"].values():
                assert "Request-Id" in response["headers"]
                assert ("PDPP-Surface" in response["headers"]) is only, path


def test_who_may_call_is_reported(described: dict[str, Any]) -> None:
    schemes = {
        "/_ref/dataset/summary": ["session", "bearer"],
        "/dashboard": ["session"],
        "/healthz": [],
    }
    for path, wanted in schemes.items():
        assert [name for each in described["paths"][path]["get"]["security"] for name in each] == wanted
    assert described["paths"]["/v1/ingest/{stream}"]["post"]["security"] == [
        {"session": []},
        {"bearer": ["write"]},
    ]
    cookie = described["components"]["securitySchemes"]["session"]
    assert (cookie["in"], cookie["name"]) == ("cookie", "pdpp_owner_session")


OPTIONAL = {
    "Freshness": ["set_aside"],
    "Ingested": ["records_removed", "activations_skipped"],
    "BlobStored": ["byte_length", "created"],
    "ErrorDetail": ["param", "retry_with", "available_connections"],
}


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    ("schema", "fields"),
    [
        ("Summary", contract.SUMMARY),
        ("TopConnector", contract.TOP_CONNECTOR),
        ("Freshness", contract.FRESHNESS),
        ("Projection", contract.PROJECTION),
        ("AutoReconcileStatus", contract.ATTEMPTS),
        ("StreamSummaries", contract.STREAMS),
        ("StreamSummary", contract.STREAM),
        ("Sizes", contract.SIZES),
        ("GlobalSize", ["grain", *contract.FIGURES]),
        ("ConnectionSize", ["grain", *contract.NAMES["connection"], *contract.FIGURES]),
        ("StreamSize", ["grain", *contract.NAMES["stream"], *contract.FIGURES]),
        ("Top", contract.TOP),
        ("BlobStored", ["object", "blob_id", "sha256", "size_bytes", "mime_type"]),
        ("StoredState", ["object", "connector_id", "grant_id", "state", "updated_at"]),
        ("SummaryReconcile", ["object", "reconciled", "deferred", "summary"]),
        ("SizeReconcile", ["object", "streams", "connections", "projection"]),
        ("SizeRebuild", ["object", "projection"]),
        (
            "Ingested",
            [
                "stream",
                "records_attempted",
                "records_accepted",
                "records_rejected",
                "rejections",
                "errors",
            ],
        ),
        ("ErrorDetail", contract.ERROR),
    ],
)
def test_bodies_have_the_contracts_fields_and_no_other(
    described: dict[str, Any], schema: str, fields: list[str]
) -> None:
    found = described["components"]["schemas"][schema]
    optional = OPTIONAL.get(schema, [])
    assert list(found["properties"]) == [*fields, *optional]
    assert found["required"] == fields
    assert found["additionalProperties"] is False
    for name, field in found["properties"].items():
        if name.endswith(("_count", "_bytes")):
            assert (field["type"], field["minimum"]) == ("integer", 0)
        if name.endswith(("_at", "_time", "_since")):
            kinds = [each.get("format", each["type"]) for each in field["anyOf"]]
            assert kinds == ["date-time", "null"]


def test_parameters_are_reported_with_their_values_and_defaults(described: dict[str, Any]) -> None:
    reported = described["paths"]["/_ref/dataset/size"]["get"]["parameters"]
    (grain,) = (each for each in reported if each["name"] == "grain")
    assert (grain["name"], grain["required"]) == ("grain", False)
    assert set(grain["schema"]["enum"]) == {"global", "connection", "stream"}
    assert grain["schema"]["default"] == "global"
    for path, methods in described["paths"].items():
        for operation in methods.values():
            reported = [each["name"] for each in operation["parameters"] if each["in"] == "path"]
            assert all(f"{{{name}}}" in path for name in reported)
            assert len(reported) == path.count("{")


def test_errors_are_reported_by_code(described: dict[str, Any]) -> None:
    responses = described["paths"]["/v1/streams/{stream}/records/{key}"]["delete"]["responses"]
    (_, codes) = responses["409"]["content"]["application/json"]["schema"]["allOf"]
    assert codes["properties"]["error"]["properties"]["code"]["enum"] == [
        "ambiguous_connection",
        "connector_mismatch",
        "ambiguous_address",
    ]
    assert set(responses) == {"200", "204", "400", "401", "403", "404", "409", "500", "503"}


def test_every_error_has_a_status_and_a_sentence() -> None:
    for meaning in errors.ERRORS.values():
        assert 400 <= meaning.status < 600
        assert meaning.about.endswith(".")


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("change", ["more", "less", "other", "status", "code"])
def test_what_does_not_conform_is_noticed(
    described: dict[str, Any], client: FlaskClient, change: str
) -> None:
    write(upsert("a"))
    body = client.get("/_ref/dataset/size?grain=stream", headers=BEARER).get_json()
    status = 200
    if change == "more":
        body["rows"][0]["extra"] = 1
    elif change == "less":
        del body["rows"][0]["stream"]
    elif change == "other":
        body["rows"][0]["record_count"] = -1
    elif change == "status":
        status = 418
    else:
        status, body = 401, client.get("/_ref/dataset/size").get_json()
        body["error"]["code"] = "other"
    text = json.dumps(body)
    assert wrong(described, "/_ref/dataset/size", "GET", status, "application/json", text)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("grain=x", "grain must be one of connection, global, stream."),
        ("grain=x&grain=stream", "grain must be one of connection, global, stream."),
    ],
)
def test_a_wrong_parameter_is_reported_by_name(client: FlaskClient, query: str, message: str) -> None:
    response = client.get(f"/_ref/dataset/size?{query}", headers=BEARER)
    assert response.status_code == 400
    assert response.get_json()["error"]["message"] == message


def test_of_a_repeated_parameter_the_first_counts_and_others_are_ignored(client: FlaskClient) -> None:
    response = client.get("/_ref/dataset/size?grain=stream&grain=x&other=1", headers=BEARER)
    assert (response.status_code, response.get_json()["grain"]) == (200, "stream")


def test_integers_of_any_size_are_exact(client: FlaskClient, probe: Any) -> None:
    write(upsert("a"))
    exact = 2**62 + 1
    probe("UPDATE retained_size_global SET blob_bytes = ?", exact)
    assert f'"blob_bytes":{exact},' in client.get("/_ref/dataset/summary", headers=BEARER).text
