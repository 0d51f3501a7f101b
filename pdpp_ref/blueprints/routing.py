"""Addresses of streams and records: a path is split at its slashes first, and decoded then.

A stream or a key may hold any character, `/records/` included.  WSGI passes a path that is decoded
already, in which a slash of a name is like any other.  So the path as requested is used, if the
server passes that too and it is the same path.  If there is only the decoded one, it has to have a
single meaning: otherwise nothing is done.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from flask import Flask, current_app, request
from werkzeug.exceptions import NotFound
from werkzeug.routing import Map, Rule

from ..access import METHODS
from ..parsing.messages import MAX_NAME_BYTES
from .errors import ApiError

PREFIX = "/v1/streams/"
RAW = ("REQUEST_URI", "RAW_URI")  # this and most servers; gunicorn and Werkzeug
MOST_PARTS = 2 * MAX_NAME_BYTES + 8  # two names of slashes alone
_SCHEME_AND_HOST = re.compile(r"\A[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")


class Reading(NamedTuple):
    """One way to read a path: the rule and the values of its names."""

    rule: Rule
    names: dict[str, str]


def init_app(app: Flask) -> None:
    app.before_request(check_encoding)
    app.before_request(resolve)


def check_encoding() -> None:
    """Refuse a path that is not UTF-8: no name contains that, and nothing is guessed."""
    environ = request.environ
    path = environ.get("PATH_INFO", "")
    # Some servers decode %FF in the path to a replacement character.
    asked = "".join(environ.get(name, "") for name in (*RAW, "QUERY_STRING"))
    if path.isascii() and asked.isascii() and "%" not in asked and "#" not in asked:
        return
    try:
        path.encode("latin-1").decode()
        for name in (*RAW, "QUERY_STRING"):
            unquote_to_bytes(environ.get(name, "").encode("latin-1")).decode()
    except UnicodeError:
        raise ApiError("invalid_request", "The address is not percent-encoded UTF-8.") from None
    if any("#" in environ.get(name, "") for name in RAW):
        raise ApiError("invalid_request", "Percent-encode a # in an address as %23.")


def resolve() -> None:
    """Read an address under PREFIX by its parts; Werkzeug may have matched another one."""
    if not request.path.startswith(PREFIX) or request.method == "OPTIONS":
        return
    raw = _raw_path()
    parts = (request.path if raw is None else raw)[len(PREFIX) :].split("/")
    if len(parts) > MOST_PARTS:
        raise ApiError("invalid_request", "The address is longer than any name.")
    rules = _rules(current_app.url_map, request.method)
    found = [] if raw is None else list(_exact(rules, parts))
    found = found or list(islice(_readings(rules, parts, raw is not None), 2))
    if len(found) > 1:
        raise ApiError("ambiguous_address")
    if found:
        request.url_rule, request.view_args = found[0].rule, dict(found[0].names)
        request.routing_exception = None
    elif any(_has_empty_name(rule, parts) for rule in rules):
        raise ApiError("invalid_request", "A stream or a key in the address is empty.")
    elif request.routing_exception is None:
        raise NotFound


def _raw_path() -> str | None:
    """The path as requested, if it is the one that Werkzeug has decoded."""
    script = request.environ.get("SCRIPT_NAME", "")
    decoded = "/" + (script + request.environ.get("PATH_INFO", "")).lstrip("/")  # as Werkzeug does
    for name in RAW:
        asked = _SCHEME_AND_HOST.sub("", request.environ.get(name, ""), count=1).partition("?")[0]
        asked = "/" + asked.lstrip("/")
        try:
            is_same = unquote_to_bytes(asked.encode("latin-1")) == decoded.encode("latin-1")
        except UnicodeError:
            continue
        if is_same and asked.startswith(script + PREFIX):
            return asked[len(script) :]
    return None


@lru_cache(maxsize=len(METHODS))
def _rules(routes: Map, method: str) -> list[Rule]:
    """The rules of a method under PREFIX, whose names are parts of their own."""
    return [
        rule
        for rule in routes.iter_rules()
        if rule.rule.startswith(PREFIX) and method in (rule.methods or ())
    ]


def _template(rule: Rule) -> list[str]:
    return rule.rule[len(PREFIX) :].split("/")


def _name(part: str) -> str | None:
    """The name in an `<anything:name>` of a template; None for a literal word."""
    return part[1:-1].partition(":")[2] if part.startswith("<") else None


def _exact(rules: list[Rule], parts: list[str]) -> Iterator[Reading]:
    """One part for each name, if each name is encoded as a whole."""
    for rule in rules:
        names = _matched(_template(rule), [[part] for part in parts], decode=True)
        if names is not None:
            yield Reading(rule, names)


def _readings(rules: list[Rule], parts: list[str], decode: bool) -> Iterator[Reading]:
    """All ways to read the parts, if some of their slashes may belong to names."""
    for rule in rules:
        template = _template(rule)
        for groups in _grouped(template, parts):
            names = _matched(template, groups, decode)
            if names is not None:
                yield Reading(rule, names)


def _grouped(template: list[str], parts: list[str]) -> Iterator[list[list[str]]]:
    """All ways to give each place of the template one or more parts; a literal word gets only its own."""
    place, rest = template[0], template[1:]
    if not rest:
        if parts:
            yield [parts]
    elif _name(place) is None:
        if parts[:1] == [place]:
            yield from ([[place], *others] for others in _grouped(rest, parts[1:]))
    else:
        for count in range(1, len(parts) - len(rest) + 1):
            if _name(rest[0]) is not None or parts[count] == rest[0]:
                yield from ([parts[:count], *others] for others in _grouped(rest, parts[count:]))


def _matched(template: list[str], groups: list[list[str]], decode: bool) -> dict[str, str] | None:
    """The values of the names, or None if the groups do not fit or a name is empty."""
    if len(template) != len(groups):
        return None
    names = {}
    for place, group in zip(template, groups, strict=True):
        text = "/".join(_decoded(part) if decode else part for part in group)
        name = _name(place)
        if (name is None and text != place) or not text:
            return None
        if name is not None:
            names[name] = text
    return names


def _decoded(part: str) -> str:
    return unquote_to_bytes(part.encode("latin-1")).decode()


def _has_empty_name(rule: Rule, parts: list[str]) -> bool:
    template = _template(rule)
    return len(template) == len(parts) and all(
        part == place or _name(place) is not None for place, part in zip(template, parts, strict=True)
    )
