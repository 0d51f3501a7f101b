"""What every test's application compiles alike is compiled once a process: URL rules, templates, the API document.

Without this an application takes four times as long to make, and most tests do little else.
"""

from functools import wraps
from typing import Any

from flask import Flask
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from werkzeug.routing import Rule

from pdpp_ref.blueprints.openapi.document import document

_builders: dict[tuple[Any, ...], Any] = {}
_documents: dict[tuple[Any, ...], dict[str, Any]] = {}


def share_url_builders() -> None:
    """A rule's function that builds URLs follows from its parts and defaults alone."""
    compile_builder = Rule._compile_builder

    @wraps(compile_builder)
    def shared(rule: Rule, append_unknown: bool = True) -> Any:
        key = (tuple(rule._trace), repr(rule.defaults), append_unknown)
        if key not in _builders:
            _builders[key] = compile_builder(rule, append_unknown)
        return _builders[key]

    Rule._compile_builder = shared  # type: ignore[method-assign]


class Templates(BytecodeCache):
    """Compiled templates of all applications; a changed source has another key."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if code := self._known.get((bucket.key, bucket.checksum)):
            bucket.bytecode_from_string(code)

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._known[bucket.key, bucket.checksum] = bucket.bytecode_to_string()


def api_document(app: Flask) -> dict[str, Any]:
    """The document of an application that serves requests, which gets no more routes."""
    if (known := app.extensions.get("api_document")) is None:
        known = app.extensions["api_document"] = _document(app)
    return known


def _document(app: Flask) -> dict[str, Any]:
    key = tuple(
        (rule.rule, rule.endpoint, *sorted(rule.methods or ())) for rule in app.url_map.iter_rules()
    )
    if key not in _documents:
        _documents[key] = document(app)
    return _documents[key]
