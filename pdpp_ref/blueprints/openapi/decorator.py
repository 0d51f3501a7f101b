"""A view's parameters and responses, declared at the view; parsing and OpenAPI follow from that."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, wraps
from typing import Any, NamedTuple, TypeVar

import msgspec
from flask import request
from msgspec import Struct, inspect

from ..errors import ApiError
from ..responses import is_protocol

View = TypeVar("View", bound=Callable[..., Any])
Query = TypeVar("Query", bound=Struct)


@dataclass(frozen=True)
class Media:
    """A body that is not JSON."""

    type: str
    about: str


REFERENCE_ONLY = "/_ref/"
FORM = "application/x-www-form-urlencoded"
PAGE = Media("text/html", "The page.")
CSV = Media(
    "text/csv", "The rows alone, as in RFC 4180; a cell that a spreadsheet would run begins with '."
)

# A JSON body, a body of another kind, or none and the meaning of the status.
Content = type[Struct] | Media | str
# One of them, or several that a client may choose from.
Responses = Content | tuple[Content, ...]


class Security(NamedTuple):
    """Who may call: any one of the schemes, with the scope; and the errors for others."""

    schemes: tuple[str, ...]
    errors: tuple[str, ...]
    redirects: bool = False
    scope: str | None = None


ANYBODY = Security((), ())


@dataclass(frozen=True)
class Operation:
    """`body` and `headers`: what a request may carry, by media type and by name."""

    summary: str
    responses: Mapping[int, Responses]
    errors: tuple[str, ...]
    query: type[Struct] | None
    body: Mapping[str, type[Struct] | str]
    headers: Mapping[str, tuple[str, ...]]


def operation(
    summary: str,
    responses: Responses | Mapping[int, Responses],
    *,
    errors: tuple[str, ...] = (),
    query: type[Struct] | None = None,
    body: Mapping[str, type[Struct] | str] | None = None,
    headers: Mapping[str, tuple[str, ...]] | None = None,
) -> Callable[[View], View]:
    """Declare a view.  With `query`, the view is called with `query=` the parsed parameters."""
    by_status = responses if isinstance(responses, Mapping) else {200: responses}
    declared = Operation(summary, by_status, errors, query, body or {}, headers or {})
    # msgspec prepares a type when it first meets it.  If two threads do so at once, the process crashes.
    for kind in (query, *declared.body.values()):
        if isinstance(kind, type):
            msgspec.json.Decoder(kind)

    def declare(view: Any) -> Any:
        @wraps(view)
        def with_query(*args: Any, **kwargs: Any) -> Any:
            if is_protocol():
                _check_known(query)
            if query is not None:
                kwargs["query"] = _parsed(query)
            return view(*args, **kwargs)

        view.operation = with_query.operation = declared  # type: ignore[attr-defined]
        return with_query

    return declare


# ---- query parameters --------------------------------------------------------------------------


def _check_known(kind: type[Struct] | None) -> None:
    """The protocol's routes ignore no parameter: it may be one that narrows what is asked for."""
    known = () if kind is None else kind.__struct_encode_fields__
    nested = frozenset() if kind is None else nested_parameters(kind)
    for name in request.args:
        field, bracket, rest = name.partition("[")
        if name not in known and not (bracket and rest.endswith("]") and field in nested):
            raise ApiError(
                "invalid_request", f"Unsupported query parameter: {name[:100]}.", param=name[:100]
            )


def _parsed(kind: type[Query]) -> Query:
    """The declared parameters; a read takes the first of a repeated one, and a write none."""
    given = _given(kind)
    if request.method not in ("GET", "HEAD"):
        repeated = [name for name in kind.__struct_fields__ if len(request.args.getlist(name)) > 1]
        if repeated:
            raise ApiError("invalid_request", f"{repeated[0]} is given more than once.")
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ApiError("invalid_request", _wanted(kind, str(error))) from None


def _given(kind: type[Struct]) -> dict[str, Any]:
    """The parameters by field: `filter[a]=1` is an entry of the field `filter`, if that is a dict.

    Under /_ref an empty parameter means its default, as in a form that is sent without a choice.
    """
    given: dict[str, Any] = {}
    is_reference = request.path.startswith(REFERENCE_ONLY)
    for name, value in request.args.items():
        if is_reference and not value:
            continue
        field, bracket, rest = name.partition("[")
        if bracket and rest.endswith("]") and field in nested_parameters(kind):
            entries = given.setdefault(field, {})
            if isinstance(entries, dict):
                entries[rest[:-1]] = value
        elif name in kind.__struct_fields__:
            given[name] = value
    return given


@cache
def nested_parameters(kind: type[Struct]) -> frozenset[str]:
    """The fields that are dicts, each sent as several parameters: `filter[a]=1&filter[b]=2`."""
    declared = inspect.type_info(kind)
    assert isinstance(declared, inspect.StructType)
    return frozenset(
        field.name for field in declared.fields if isinstance(_bare(field.type), inspect.DictType)
    )


def _bare(kind: inspect.Type) -> inspect.Type:
    return kind.type if isinstance(kind, inspect.Metadata) else kind


def _wanted(kind: type[Struct], error: str) -> str:
    """Names the parameter and what it must be; the value itself is not repeated."""
    found = re.search(r"(?:field `|\$\.)(\w+)`", error)
    assert found, "every error of a flat struct names its field"
    parameter = inspect.type_info(kind)
    assert isinstance(parameter, inspect.StructType)
    (field,) = (each for each in parameter.fields if each.name == found[1])
    return f"{field.name} must be {_in_words(field.type)}."


def _in_words(kind: inspect.Type) -> str:
    match kind:
        case inspect.Metadata():
            return (kind.extra or {}).get("wanted") or _in_words(kind.type)
        case inspect.UnionType():
            return _in_words(kind.types[0])
        case inspect.LiteralType():
            return f"one of {', '.join(map(str, kind.values))}"
        case inspect.IntType():
            return "a whole number"
        case inspect.BoolType():
            return "true or false"
        case inspect.DictType():
            return "given with a name in brackets"
    return "given, and not empty"
