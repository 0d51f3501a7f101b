"""What all responses share: a Request-Id, the security headers, one shape of error."""

import gzip
import logging
import uuid
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from functools import lru_cache
from itertools import chain

import peewee
from flask import Flask, Response, current_app, g, render_template, request
from werkzeug.exceptions import HTTPException, SecurityError
from werkzeug.routing import BaseConverter

from ..database import (
    PROBLEM_TEXT,
    Busy,
    check_ready,
    db,
    problem,
)
from ..services.auto_reconcile import AutoReconcile
from . import errors, routing
from .errors import ApiError
from .openapi.decorator import reply

log = logging.getLogger(__name__)

POLICY = (
    "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'self'; object-src 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# What is answered without the database: files, and whether the process is up.
ASKS_NOBODY = ("static", "monitoring.healthz")
# What needs nothing of it, and is still no answer of a server that must not go on.
READS_NOTHING = ("auth.login_form", "auth.login", "auth.logout", "dashboard.index", "openapi.openapi")
MAX_BODY_BYTES = 1024 * 1024  # of forms and small JSON; ingest has a limit of its own


class Anything(BaseConverter):
    """A part of a path with any character in it; Werkzeug's own stop at a line's end or a slash."""

    regex = r"(?s:.+)"
    part_isolating = False


def init_app(app: Flask) -> None:
    app.url_map.converters["anything"] = Anything
    app.url_map.merge_slashes = False
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.before_request(_begin)
    routing.init_app(app)
    app.after_request(_finish)
    app.register_error_handler(ApiError, _api_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(SecurityError, lambda _: error("unknown_host", html=False))
    app.register_error_handler(peewee.DatabaseError, _storage_error)
    app.register_error_handler(Busy, _storage_error)
    app.register_error_handler(Exception, _unexpected_error)


def _begin() -> None:
    g.request_id = uuid.uuid4().hex
    # Each server thread keeps its connection: opening one for every request halves the throughput.
    # No name holds one, and not every database can be asked for it.
    if "\0" in request.path or any("\0" in value for value in request.args.values()):
        raise ApiError("invalid_request", "The address holds a NUL character.")
    if request.endpoint not in ASKS_NOBODY:
        db.connect(reuse_if_open=True)
    if request.endpoint in READS_NOTHING:
        check_ready()


def _finish(response: Response) -> Response:
    response.headers["Request-Id"] = g.get("request_id", "")
    for name, value in HEADERS.items():
        response.headers[name] = value
    if request.endpoint == "static":
        _compress(response)
    else:
        response.headers["Cache-Control"] = "no-store"
        if not request.path.startswith("/v1/"):
            response.headers["PDPP-Surface"] = "reference-only"
    return response


def _compress(response: Response) -> None:
    """Files of the pages go compressed, most of all htmx.

    Pages do not: what is compressed together with a secret, such as a form's token, can give it away.
    """
    response.vary.add("Accept-Encoding")
    if response.status_code != 200 or request.accept_encodings["gzip"] <= 0 or request.method == "HEAD":
        return
    response.direct_passthrough = False
    etag, _ = response.get_etag()
    data = response.get_data()
    response.close()  # the file, which is not what will be sent
    response.set_data(_zipped(data))
    response.headers["Content-Encoding"] = "gzip"
    if etag:
        response.set_etag(etag, weak=True)  # the same file, and not the same bytes


@lru_cache(maxsize=32)
def _zipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def auto_reconcile() -> AutoReconcile:
    """This process's attempts at repair, which every read of figures goes through."""
    found: AutoReconcile = current_app.extensions["auto_reconcile"]
    return found


def streamed(parts: Iterator[bytes], kind: str, held: ExitStack) -> Response:
    """A body that is made while it is sent; what is `held` ends with it, or when the client has gone.

    The first part is made at once, and what goes wrong by then is answered as anywhere.  Later the
    body is broken off, which HTTP/1.1 shows: its last chunk does not come.
    """
    first = next(parts)
    body = _guarded(chain((first,), parts), held.pop_all(), g.request_id)
    first = next(body)  # one that has not begun would not end what is held
    if request.method == "HEAD":  # nobody will ask for more, nor close it
        body.close()
    response = Response(chain((first,), body), content_type=kind)
    response.call_on_close(body.close)
    return response


def _guarded(parts: Iterator[bytes], held: ExitStack, request_id: str) -> Generator[bytes]:
    try:
        with held:
            yield from parts
    except Exception as raised:
        kind = problem(raised)
        told = type(raised).__name__ if kind == "other" else PROBLEM_TEXT[kind]
        log.error("request %s broke off: %s", request_id, told)
        db.close()  # whatever state it is in, the next request starts with a new connection
        raise


def wants_html() -> bool:
    """A browser that opens a page, as against a client of an API or an htmx request."""
    best = request.accept_mimetypes.best_match(["application/json", "text/html"])
    explicit = "text/html" in request.headers.get("Accept", "")
    return explicit and best == "text/html" and not request.path.startswith(("/_ref", "/v1/"))


def error(code: str, message: str = "", *, html: bool = True) -> Response:
    """A response of the one shape, or a page for a browser unless `html` is off."""
    raised = ApiError(code, message)
    return _told(raised.status, code, raised.message, html=html)


def _told(status: int, code: str, message: str, *, html: bool = True) -> Response:
    if html and wants_html():
        page = render_template("error.html", message=message)
        return Response(page, status, mimetype="text/html")
    response = reply(errors.body(status, code, message, g.get("request_id")), status)
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _api_error(raised: ApiError) -> Response:
    return error(raised.code, raised.message)


def _http_error(raised: HTTPException) -> Response:
    status = raised.code or 500
    if raised.response is not None or status < 400:
        return raised.get_response()  # type: ignore[return-value]  # a redirect, say
    response = _told(status, *errors.of_status(status))
    for name, value in raised.get_headers():
        if name in ("Allow", "Retry-After"):
            response.headers[name] = value
    return response


def _storage_error(raised: Exception) -> Response:
    kind = "busy" if isinstance(raised, Busy) else problem(raised)
    log.error("request %s failed: %s", g.get("request_id"), PROBLEM_TEXT[kind])
    if kind == "other":
        db.close()  # whatever state it is in, the next request starts with a new connection
    return error("storage_unavailable", errors.of_problem(kind))


def _unexpected_error(raised: Exception) -> Response:
    # The type alone: a message may hold personal data.
    log.error("request %s failed: %s", g.get("request_id"), type(raised).__name__)
    return error("internal_error")
