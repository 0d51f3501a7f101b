"""Responses held against the OpenAPI document; the test client does so with every one of every test."""

import json
from contextlib import suppress
from typing import Any

import jsonschema_rs
from flask import Flask, request
from flask.testing import FlaskClient
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from pdpp_ref.blueprints import routing
from pdpp_ref.blueprints.errors import ApiError
from pdpp_ref.blueprints.openapi.document import path_of
from tests.support.compiled import api_document

Document = dict[str, Any]


def wrong(text: Document, path: str | None, method: str, status: int, kind: str, body: str) -> str | None:
    """What a response has that the document does not allow it, or None.

    `path` is as in the document, or None where nothing there was asked for.
    """
    if path is None:
        schema = {"$ref": "#/components/schemas/Error"}
        return _wrong_body(text, schema, body) if kind == "application/json" else None
    known = text["paths"][path][method.lower()]["responses"]
    if str(status) not in known:
        return f"{method} {path} answers {status}, which is not described"
    content = known[str(status)].get("content", {})
    if not body or "*/*" in content or (300 <= status < 400 and not content):
        return None
    if kind not in content:
        return f"{method} {path} answers {kind}, which is not described for {status}"
    return _wrong_body(text, content[kind]["schema"], body) if kind == "application/json" else None


def _wrong_body(text: Document, schema: Any, body: str) -> str | None:
    found = [error.message for error in _validator(text, json.dumps(schema)).iter_errors(json.loads(body))]
    return "; ".join(found) or None


# By document and schema: to write a document's components out again takes longer than most requests.  An
# identity stays in use as long as its document, which stands beside the validator.
_validators: dict[tuple[int, str], tuple[Document, Any]] = {}


def _validator(text: Document, schema: str) -> Any:
    key = id(text), schema
    if key not in _validators:
        whole = json.loads(schema) | {"components": text["components"]}
        _validators[key] = text, jsonschema_rs.validator_for(whole, validate_formats=True)
    return _validators[key][1]


class CheckedClient(FlaskClient):
    """A test client that fails on a response that the document does not describe."""

    def open(self, *args: Any, **kwargs: Any) -> Any:
        response = super().open(*args, **kwargs)
        method, path = response.request.method, response.request.path
        if method not in ("OPTIONS", "TRACE"):
            method = "GET" if method == "HEAD" else method
            found = _asked_for(self.application, response.request.environ, path, method)
            kind = response.mimetype or ""
            # Only files of the pages are compressed, and any body of theirs conforms.
            is_packed = "Content-Encoding" in response.headers
            text = "" if is_packed else response.get_data().decode(errors="replace")
            fault = wrong(api_document(self.application), found, method, response.status_code, kind, text)
            assert fault is None, fault
        return response


# By document, method and address, which alone decide it; the document is the same object for all applications
# that have the same routes.
_paths: dict[tuple[Any, ...], str | None] = {}


def _asked_for(app: Flask, environ: Document, path: str, method: str) -> str | None:
    """The path in the document that a request is for."""
    raw = [environ.get(name) for name in ("SCRIPT_NAME", "PATH_INFO", *routing.RAW)]
    key = id(api_document(app)), method, path, *raw
    if key not in _paths:
        _paths[key] = _match(app, environ, path, method)
    return _paths[key]


def _match(app: Flask, environ: Document, path: str, method: str) -> str | None:
    if path.startswith(routing.PREFIX):  # not read as Werkzeug reads a path
        with app.request_context(dict(environ)), suppress(ApiError, HTTPException):
            routing.resolve()
            return path_of(request.url_rule) if request.url_rule else None
    try:
        rule, _ = app.url_map.bind("localhost").match(path, method, return_rule=True)
    except (HTTPException, RequestRedirect):
        return None
    return path_of(rule)
