"""Every error of a route: its code, status, meaning and response."""

import logging
from http import HTTPStatus
from math import ceil
from typing import Any, NamedTuple

import peewee
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, SecurityError

from ..canonical.errors import Refused
from ..database import PROBLEM_TEXT, Busy, db, problem
from ..schemas.server import Error, ErrorDetail
from .owner.pages import ErrorPage
from .responses import render, reply, wants_html
from .return_paths import came_from, here

log = logging.getLogger(__name__)


class Meaning(NamedTuple):
    """`about` is for the description of the API, and the message if there is none more exact."""

    status: int
    about: str


NO_CONNECTION = "There is no connection of this name."
ERRORS = {
    "invalid_request": Meaning(400, "A parameter or the body is invalid."),
    "invalid_gzip": Meaning(400, "The body is not complete gzip data."),
    "invalid_cursor": Meaning(400, "The cursor or token does not belong to this request."),
    "invalid_expand": Meaning(400, "No stream has declared a relation, so nothing can be expanded."),
    "unsupported_version": Meaning(400, "This server does not speak this version of the protocol."),
    "digest_mismatch": Meaning(400, "The bytes received do not have this digest. Send them again."),
    "unknown_host": Meaning(
        400, "This server does not answer to the requested host name. Add it to PDPP_TRUSTED_HOSTS."
    ),
    "owner_session_required": Meaning(
        401, "Sign in as the owner, or send a bearer token that has the scope."
    ),
    "bearer_token_required": Meaning(401, "Send a bearer token that has the scope."),
    "invalid_password": Meaning(401, "The password is wrong."),
    "insufficient_scope": Meaning(403, "The token does not have the scope that this needs."),
    "cross_site_request": Meaning(403, "This request came from another site's page."),
    "csrf_token_required": Meaning(403, "The form has expired."),
    "not_found": Meaning(404, "There is nothing at this address."),
    "connection_not_found": Meaning(404, "There is no such connection."),
    "stream_not_found": Meaning(404, "There is no such stream."),
    "record_not_found": Meaning(404, "There is no such record."),
    "connector_instance_not_found": Meaning(404, "There is no such connection of this connector."),
    "blob_not_found": Meaning(404, "No live record has this file."),
    "method_not_allowed": Meaning(405, "This address does not accept this method."),
    "ambiguous_address": Meaning(
        409, "This address can be read in more than one way. Use /v1/records?stream=…&key=… instead."
    ),
    "ambiguous_connection": Meaning(409, "Several connections have this. Name one with connection_id."),
    "connector_mismatch": Meaning(409, "The connection belongs to another connector."),
    "cursor_expired": Meaning(
        410, "Changes since this token are no longer known. Start again with changes_since=beginning."
    ),
    "request_timeout": Meaning(408, "The rest of the request did not arrive in time. Send it again."),
    "body_too_large": Meaning(413, "The body is larger than this address accepts."),
    "unsupported_encoding": Meaning(415, "The encoding of the body is not supported."),
    "range_not_satisfiable": Meaning(416, "The file does not have these bytes."),
    "too_many_requests": Meaning(429, "Too many attempts. Wait a while."),
    "internal_error": Meaning(500, "Something went wrong. Try again."),
    "storage_unavailable": Meaning(
        503, "The server can't read or write its records right now. Nothing is lost; try again."
    ),
    "server_busy": Meaning(503, "The server is busy with other requests. Try again."),
    "insufficient_storage": Meaning(
        507, "The server's disk does not have the room for this. Make room, then send it again."
    ),
}

# Requests that Flask and its extensions refuse, by status alone.
_OF_STATUS = {
    400: "invalid_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    416: "range_not_satisfiable",
    429: "too_many_requests",
}

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    410: "gone_error",
    429: "rate_limit_error",
}

RETRY_SECONDS = 5
_HEADERS = {
    401: [("WWW-Authenticate", "Bearer")],
    429: [("Retry-After", "60")],
    503: [("Retry-After", str(RETRY_SECONDS))],
}

# Messages for problems of a database; other problems have the message of `storage_unavailable`.
_OF_PROBLEM = {
    "full": "The server's disk is full. Nothing is lost; make room on it, then try again.",
    "upgraded": "The database was upgraded by another version of this server. Restart this one.",
    "unfinished": "A copy to this database is not finished. Run it again until it is.",
}


class ApiError(Exception):
    """An error to respond with; the message is for the client and says what to do.

    `retry_after`: seconds until the client may try again.  `details` are further fields of ErrorDetail.
    """

    def __init__(
        self, code: str, message: str = "", *, retry_after: float | None = None, **details: Any
    ) -> None:
        self.status, about = ERRORS[code]
        self.code = code
        self.message = message or about
        self.retry_after = retry_after
        self.details = details
        super().__init__(self.message)


def init_app(app: Flask) -> None:
    app.register_error_handler(ApiError, _api_error)
    app.register_error_handler(Refused, lambda raised: error_response(raised.code))
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(SecurityError, lambda _: error_response("unknown_host", html=False))
    app.register_error_handler(peewee.DatabaseError, _storage_error)
    app.register_error_handler(Busy, _storage_error)
    app.register_error_handler(Exception, _unexpected_error)


def error_response(code: str, message: str = "", *, html: bool = True, **details: Any) -> Response:
    """A response of the one shape, or a page for a browser unless `html` is off."""
    raised = ApiError(code, message)
    return _response(raised.status, code, raised.message, html=html, **details)


def _response(status: int, code: str, message: str, *, html: bool = True, **details: Any) -> Response:
    if html and wants_html():
        response = Response(render(_page(status, code, message)), status, mimetype="text/html")
    else:
        response = reply(body(status, code, message, g.get("request_id"), **details), status)
    response.headers.extend(headers(status))
    return response


def _page(status: int, code: str, message: str) -> ErrorPage:
    """For a browser: with a way on, and without the names of parameters."""
    if code == "invalid_request":
        return ErrorPage("The address of this page is not valid. A part of it may be missing or mistyped.")
    if code == "csrf_token_required":
        return ErrorPage(message, back_to=came_from())
    may_pass = status in (408, 429) or status >= 500
    return ErrorPage(message, again=here() if may_pass and request.method in ("GET", "HEAD") else None)


def headers(status: int) -> list[tuple[str, str]]:
    """What an error of a status says in its headers, besides the body."""
    return _HEADERS.get(status, [])


def body(status: int, code: str, message: str, request_id: str | None, **details: Any) -> Error:
    """The one shape."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return Error(error=ErrorDetail(type=kind, code=code, message=message, request_id=request_id, **details))


def of_status(status: int) -> tuple[str, str]:
    """The code and the message for a status that has none."""
    code = _OF_STATUS.get(status)
    if code:
        return code, ERRORS[code].about
    phrase = HTTPStatus(status).phrase
    return phrase.lower().replace(" ", "_"), f"{phrase}."


# ---- handlers ----------------------------------------------------------------------------------


def _api_error(raised: ApiError) -> Response:
    response = error_response(raised.code, raised.message, **raised.details)
    if raised.retry_after is not None:
        response.headers["Retry-After"] = str(ceil(raised.retry_after))
    return response


def _http_error(raised: HTTPException) -> Response:
    status = raised.code or 500
    if raised.response is not None or status < 400:
        return raised.get_response()  # type: ignore[return-value]  # a redirect, say
    response = _response(status, *of_status(status))
    for name, value in raised.get_headers():
        if name in ("Allow", "Retry-After"):
            response.headers[name] = value
    return response


def _storage_error(raised: Exception) -> Response:
    kind = "busy" if isinstance(raised, Busy) else problem(raised)
    log.error("request %s failed: %s", g.get("request_id"), PROBLEM_TEXT[kind])
    if kind == "other":
        db.close()  # whatever state it is in, the next request starts with a new connection
    return error_response("storage_unavailable", _OF_PROBLEM.get(kind, ""))


def _unexpected_error(raised: Exception) -> Response:
    # The type alone: a message may hold personal data.
    log.error("request %s failed: %s", g.get("request_id"), type(raised).__name__)
    return error_response("internal_error")
