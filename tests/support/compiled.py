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

# What `Rule.compile` sets, and the two functions in it that are bound to their rule.
_COMPILED = ("_parts", "_trace", "_converters", "arguments", "_build", "_build_unknown")
_BOUND = ("_build", "_build_unknown")
_rules: dict[tuple[Any, ...], dict[str, Any]] = {}
_documents: dict[tuple[Any, ...], dict[str, Any]] = {}


def share_url_rules() -> None:
    """What a rule compiles to follows from its text, its defaults, and the classes of its converters."""
    compile_rule = Rule.compile

    @wraps(compile_rule)
    def shared(rule: Rule) -> None:
        assert rule.map
        converters = rule.map.converters.items()
        key = (rule.rule, rule.host, rule.subdomain, rule.merge_slashes, repr(rule.defaults), *converters)
        if key not in _rules:
            compile_rule(rule)
            found = {name: getattr(rule, name) for name in _COMPILED}
            _rules[key] = found | {name: found[name].__func__ for name in _BOUND}
        for name, value in _rules[key].items():
            setattr(rule, name, value.__get__(rule) if name in _BOUND else value)

    Rule.compile = shared  # type: ignore[method-assign]


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
