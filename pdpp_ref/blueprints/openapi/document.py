"""The OpenAPI 3.1 document: made from the URL map and from what the views declare."""

import re
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from typing import Any

import msgspec
from flask import Blueprint, Flask, Response, current_app
from msgspec import Struct
from werkzeug.routing import Rule

from ...credentials import FIGURES
from ...schemas import server, types
from ..auth import SAFE_METHODS, requires
from ..errors import ERRORS
from ..responses import JSON
from .decorator import (
    ANYBODY,
    PAGE,
    Content,
    Media,
    Operation,
    Responses,
    Security,
    nested_parameters,
    operation,
)

blueprint = Blueprint("openapi", __name__)

Schema = dict[str, Any]

ABOUT = (
    "The exact account of what a personal data server stores; writing to it, and reading it back.  "
    "Everything under `/_ref`, and the owner's pages, is **reference-only**: it serves this implementation "
    "and is not part of the protocol, and each of its responses has the header `PDPP-Surface: "
    "reference-only`.  Unknown parameters are refused under `/v1`, ignored elsewhere.  If a parameter is "
    "repeated, a read uses the first and a write is refused.  Times are UTC."
)
REFERENCE_ONLY, PROTOCOL, FILES = "reference-only", "connectors", "files"
TAGS = {
    REFERENCE_ONLY: "Only for this implementation; not part of the protocol.",
    PROTOCOL: "For programs that send, read and delete records.",
    FILES: "Static files of the pages.",
}
SCHEMES = {
    "session": {"type": "apiKey", "in": "cookie", "name": "pdpp_owner_session"},
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "The operator's token, or a named one.  Each route lists the scope that it needs.",
    },
}
HEADERS = {
    "Request-Id": {"description": "Names this request in the server's log.", "schema": {"type": "string"}},
    "PDPP-Surface": {
        "description": "This route is not part of the protocol.",
        "schema": {"const": REFERENCE_ONLY},
    },
    "PDPP-Version": {
        "description": "The version of the protocol; a request that names another one is refused.",
        "schema": {"type": "string"},
    },
}
_PART = r"<(?:\w+:)?(\w+)>"
# The parts of a path, by name; each may contain any character, percent-encoded.
PARTS = {
    "stream": types.Stream,
    "key": types.Key,
    "connection": types.Connection,
    "name": types.Connection,
}


@blueprint.get("/_ref/openapi.json")
@requires(FIGURES)
@operation("This document", Media(JSON, "An OpenAPI 3.1 document."))
def openapi() -> Response:
    made = current_app.extensions.setdefault("openapi", {})
    if not made:
        made["text"] = msgspec.json.encode(document(current_app)) + b"\n"
    return Response(made["text"], mimetype=JSON)


def init_app(app: Flask) -> None:
    """Declares the one view that is Flask's own."""
    statuses: dict[int, Responses] = {
        200: Media("*/*", "The file."),
        206: Media("*/*", "A part of it."),
        304: "It is unchanged.",
    }
    declare = operation("A file of the pages", statuses, errors=("not_found", "range_not_satisfiable"))
    declare(app.view_functions["static"])


def document(app: Flask) -> Schema:
    """Every route of the application.  Raises LookupError for a view that is not declared."""
    paths: dict[str, Schema] = {}
    routes = sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule)
    declared = {rule.endpoint: _declared(app, rule) for rule in routes}
    schemas = _schemas(operation for operation, _ in declared.values())
    for rule in routes:
        for method in sorted(rule.methods or ()):
            if method not in ("HEAD", "OPTIONS"):
                described = _operation(rule, method, *declared[rule.endpoint])
                paths.setdefault(path_of(rule), {})[method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": "pdpp-ref", "version": version("pdpp-ref"), "description": ABOUT},
        "tags": [{"name": name, "description": about} for name, about in TAGS.items()],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": SCHEMES, "headers": HEADERS},
    }


def _declared(app: Flask, rule: Rule) -> tuple[Operation, Security]:
    view = app.view_functions[rule.endpoint]
    found = getattr(view, "operation", None)
    if found is None:
        raise LookupError(f"{rule.endpoint} ({rule.rule}) is not declared; give its view an @operation")
    return found, getattr(view, "security", ANYBODY)


def path_of(rule: Rule) -> str:
    return re.sub(_PART, r"{\1}", rule.rule)


def _operation(rule: Rule, method: str, declared: Operation, security: Security) -> Schema:
    tag = FILES if rule.endpoint == "static" else PROTOCOL if _is_protocol(rule) else REFERENCE_ONLY
    described: Schema = {
        "operationId": rule.endpoint,
        "summary": declared.summary,
        "tags": [tag],
        "security": [_requirement(scheme, security.scope) for scheme in security.schemes],
        "parameters": [*_parts(rule), *_query(declared.query), *_headers(declared)],
        "responses": _responses(rule, method, declared, security, tag),
    }
    if declared.body:
        content = {media: {"schema": _body_schema(kind)} for media, kind in declared.body.items()}
        described["requestBody"] = {"content": content, "required": True}
    return described


def _requirement(scheme: str, scope: str | None) -> dict[str, list[str]]:
    """The scopes of a session are all of them."""
    return {scheme: [scope] if scope and scheme == "bearer" else []}


def _is_protocol(rule: Rule) -> bool:
    return rule.rule.startswith("/v1/")


# ---- parameters --------------------------------------------------------------------------------


def _parts(rule: Rule) -> Iterator[Schema]:
    for name in re.findall(_PART, rule.rule):
        schema = msgspec.json.schema(PARTS.get(name, str)) | {"minLength": 1}
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _query(kind: type[Struct] | None) -> Iterator[Schema]:
    if kind is None:
        return
    found = msgspec.json.schema_components([kind])[1][kind.__name__]
    for name, schema in found["properties"].items():
        schema = _without_null(schema)
        about = schema.pop("description", None)
        parameter = {"name": name, "in": "query", "required": name in found["required"], "schema": schema}
        if name in nested_parameters(kind):
            parameter |= {"style": "deepObject", "explode": True}
        yield parameter | ({"description": about} if about else {})


def _without_null(schema: Schema) -> Schema:
    """A query can omit a parameter, but has no null."""
    (first, *_) = schema.get("anyOf", [{}])
    others = {name: value for name, value in schema.items() if name != "anyOf" and value is not None}
    return {**first, **others}


def _headers(declared: Operation) -> Iterator[Schema]:
    for name, values in declared.headers.items():
        yield {"name": name, "in": "header", "required": False, "schema": {"enum": list(values)}}


def _body_schema(kind: type[Struct] | str) -> Schema:
    return {"type": "string", "description": kind} if isinstance(kind, str) else _ref(kind)


# ---- responses ---------------------------------------------------------------------------------


def _responses(rule: Rule, method: str, declared: Operation, security: Security, tag: str) -> Schema:
    responses: dict[int, Any] = {}
    for status, kinds in declared.responses.items():
        responses[status] = _response(kinds if isinstance(kinds, tuple) else (kinds,))
    if security.redirects:
        responses.setdefault(302, {"description": "A browser without a session is redirected to the form."})
    pages = tag != PROTOCOL and not rule.rule.startswith("/_ref/")
    codes = _codes(method, declared, security) + (["unsupported_version"] if tag == PROTOCOL else [])
    responses |= _errors(codes, pages)
    shared = ["Request-Id", *({REFERENCE_ONLY: ["PDPP-Surface"], PROTOCOL: ["PDPP-Version"]}.get(tag, []))]
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in shared}
    return {str(status): responses[status] | {"headers": headers} for status in sorted(responses)}


def _response(kinds: tuple[Content, ...]) -> Schema:
    first = kinds[0]
    if isinstance(first, str):
        return {"description": first}
    about = first.about if isinstance(first, Media) else str(first.__doc__)
    by_type: dict[str, list[Schema]] = {}
    for kind in kinds:
        if not isinstance(kind, str):
            by_type.setdefault(kind.type if isinstance(kind, Media) else JSON, []).append(_schema_of(kind))
    content = {
        media: {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}
        for media, schemas in by_type.items()
    }
    return {"description": about, "content": content}


def _schema_of(kind: Content) -> Schema:
    if isinstance(kind, type):
        return _ref(kind)
    return {} if isinstance(kind, Media) and kind.type in (JSON, "*/*") else {"type": "string"}


def _codes(method: str, declared: Operation, security: Security) -> list[str]:
    """The errors of the view, of its guard, and of any request."""
    unsafe = [] if method in SAFE_METHODS else ["cross_site_request"]
    anywhere = ["invalid_request", "unknown_host", "internal_error", "storage_unavailable"]
    return [*security.errors, *declared.errors, *unsafe, *anywhere]


def _errors(codes: list[str], pages: bool) -> dict[int, Schema]:
    """Each status with its codes; a browser that opens a page gets a page with the same message."""
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault(ERRORS[code].status, []).append(code)
    return {status: _error(found, pages) for status, found in by_status.items()}


def _error(codes: list[str], pages: bool) -> Schema:
    one_of: Schema = {"properties": {"error": {"properties": {"code": {"enum": codes}}}}}
    content: Schema = {JSON: {"schema": {"allOf": [_ref(server.Error), one_of]}}}
    if pages:
        content[PAGE.type] = {"schema": {"type": "string"}}
    about = "  ".join(f"`{code}`: {ERRORS[code].about}" for code in codes)
    return {"description": about, "content": content}


# ---- schemas -----------------------------------------------------------------------------------

_TEMPLATE = "#/components/schemas/{name}"


def _ref(kind: type[Struct]) -> Schema:
    return {"$ref": _TEMPLATE.format(name=kind.__name__)}


def _schemas(operations: Iterable[Operation]) -> Schema:
    kinds: dict[Any, None] = {server.Error: None}
    for declared in operations:
        contents = (each if isinstance(each, tuple) else (each,) for each in declared.responses.values())
        every = [kind for content in contents for kind in content] + list(declared.body.values())
        kinds |= dict.fromkeys(kind for kind in every if isinstance(kind, type))
    return msgspec.json.schema_components(list(kinds), ref_template=_TEMPLATE)[1]
