"""What a view takes and answers, declared at the view: it is parsed by it and described from it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, NamedTuple, TypeVar

import msgspec
from flask import Response, request
from msgspec import Struct, inspect

from ..errors import ApiError

View = TypeVar("View", bound=Callable[..., Any])
Query = TypeVar("Query", bound=Struct)

JSON = "application/json"


@dataclass(frozen=True)
class Media:
    """A body that is not JSON."""

    type: str
    about: str


FORM = "application/x-www-form-urlencoded"
PAGE = Media("text/html", "The page.")
CSV = Media(
    "text/csv", "The rows alone, as RFC 4180 has it; a cell that a spreadsheet would run begins with '."
)

# A JSON body, a body of another kind, or none and what the status means.
Answer = type[Struct] | Media | str
# One of them, or several that a client may choose from.
Answers = Answer | tuple[Answer, ...]


class Access(NamedTuple):
    """Who may call: any one of the schemes, and what is told to others."""

    schemes: tuple[str, ...]
    errors: tuple[str, ...]
    redirects: bool = False


ANYBODY = Access((), ())


@dataclass(frozen=True)
class Operation:
    """`body` and `headers`: what a request may carry, by media type and by name."""

    summary: str
    answers: Mapping[int, Answers]
    errors: tuple[str, ...]
    query: type[Struct] | None
    body: Mapping[str, type[Struct] | str]
    headers: Mapping[str, tuple[str, ...]]


def operation(
    summary: str,
    answers: Answers | Mapping[int, Answers],
    *,
    errors: tuple[str, ...] = (),
    query: type[Struct] | None = None,
    body: Mapping[str, type[Struct] | str] | None = None,
    headers: Mapping[str, tuple[str, ...]] | None = None,
) -> Callable[[View], View]:
    """Declare a view.  With `query`, the view is called with `query=` the parsed parameters."""
    told = answers if isinstance(answers, Mapping) else {200: answers}
    declared = Operation(summary, told, errors, query, body or {}, headers or {})

    def declare(view: Any) -> Any:
        if query is None:
            view.operation = declared
            return view

        @wraps(view)
        def with_query(*args: Any, **kwargs: Any) -> Any:
            return view(*args, query=_parsed(query), **kwargs)

        with_query.operation = declared  # type: ignore[attr-defined]
        return with_query

    return declare


def reply(body: Struct, status: int = 200) -> Response:
    """The body as JSON, fields in the order of their declaration, integers of any size exact."""
    return Response(msgspec.json.encode(body) + b"\n", status, mimetype=JSON)


# ---- query parameters --------------------------------------------------------------------------


def _parsed(kind: type[Query]) -> Query:
    """The parameters that are declared; of one that is repeated, the first, unless it is a write."""
    if request.method not in ("GET", "HEAD"):
        repeated = [name for name in kind.__struct_fields__ if len(request.args.getlist(name)) > 1]
        if repeated:
            raise ApiError("invalid_request", f"{repeated[0]} is given more than once.")
    try:
        return msgspec.convert(request.args.to_dict(), kind, strict=False)
    except msgspec.ValidationError as error:
        raise ApiError("invalid_request", _wanted(kind, str(error))) from None


def _wanted(kind: type[Struct], error: str) -> str:
    """Names the parameter and what is wanted of it; what came is not repeated."""
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
    return "given, and not empty"
