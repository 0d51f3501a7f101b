"""Making responses: JSON, pages, and streamed bodies."""

import logging
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import msgspec
from flask import Response, g, render_template, request
from msgspec import Struct

from ..database import PROBLEM_TEXT, db, problem

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

log = logging.getLogger(__name__)

JSON = "application/json"
WHOLE_BYTES = 1024 * 1024
PROTOCOL_PATHS = "/v1/"


class FinalResponse(Response):
    """What every response becomes.  `final` are headers that Werkzeug would check and copy, twice each."""

    final: Sequence[tuple[str, str]] = ()

    def get_wsgi_response(
        self, environ: "WSGIEnvironment"
    ) -> tuple[Iterable[bytes], str, list[tuple[str, str]]]:
        parts, status, headers = super().get_wsgi_response(environ)
        return parts, status, [*headers, *self.final]


def reply(body: Struct, status: int = 200) -> Response:
    """The body as JSON, fields in the order of their declaration, integers of any size exact."""
    return Response(msgspec.json.encode(body) + b"\n", status, mimetype=JSON)


class Page(Protocol):
    """A dataclass with everything that its template shows."""

    template: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]


def render(page: Page) -> str:
    """The page's template.  Its context is the page, as `page`, and what Flask and Flask-WTF add."""
    return render_template(page.template, page=page)


def is_protocol() -> bool:
    """Whether the request is for a route of the protocol; the others are reference-only."""
    return request.path.startswith(PROTOCOL_PATHS)


def wants_html() -> bool:
    """A browser that opens a page, as against a client of an API or an htmx request."""
    best = request.accept_mimetypes.best_match(["application/json", "text/html"])
    explicit = "text/html" in request.headers.get("Accept", "")
    return explicit and best == "text/html" and not request.path.startswith(("/_ref", "/v1/"))


def whole_or_streamed(parts: Iterator[bytes], media_type: str, resources: ExitStack) -> Response:
    """A response of the parts: made at once if it is small, streamed otherwise."""
    begun = bytearray()
    for part in parts:
        begun += part
        if len(begun) > WHOLE_BYTES:
            return streamed(chain([bytes(begun)], parts), media_type, resources)
    return Response(bytes(begun), content_type=media_type)


def json_listing(body: Struct, name: str, batches: Iterable[Sequence[Struct]]) -> Iterator[bytes]:
    """`reply`'s text of the body, with all rows in its list of that name, which is empty; in parts."""
    head, empty, tail = msgspec.json.encode(body).partition(f'"{name}":[]'.encode())
    yield head + empty[:-1]
    comma = b""
    for rows in filter(None, batches):
        yield comma + msgspec.json.encode(rows)[1:-1]
        comma = b","
    yield b"]" + tail + b"\n"


def streamed(parts: Iterator[bytes], media_type: str, resources: ExitStack) -> Response:
    """A streamed body; `resources` are closed after it, or if the client disconnects.

    The first part is made at once, so an error until then gets an ordinary response.  A later error
    ends the body early, which HTTP/1.1 shows: its last chunk is missing.
    """
    first = next(parts)
    body = _guarded(chain((first,), parts), resources.pop_all(), g.request_id)
    first = next(body)  # a generator that has not started would not close the resources
    if request.method == "HEAD":  # nobody will read more or close it
        body.close()
    response = Response(chain((first,), body), content_type=media_type)
    response.call_on_close(body.close)
    return response


def _guarded(parts: Iterator[bytes], resources: ExitStack, request_id: str) -> Generator[bytes]:
    try:
        with resources:
            yield from parts
    except Exception as raised:
        kind = problem(raised)
        reason = type(raised).__name__ if kind == "other" else PROBLEM_TEXT[kind]
        log.error("request %s broke off: %s", request_id, reason)
        db.close()  # whatever state it is in, the next request starts with a new connection
        raise
