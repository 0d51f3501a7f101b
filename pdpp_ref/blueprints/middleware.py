"""Before and after every request: its Request-Id, the database, and the security headers."""

import gzip
import os
from functools import lru_cache

from flask import Flask, Response, g, request
from werkzeug.routing import BaseConverter

from ..database import check_ready, db
from . import errors, routing
from .errors import ApiError
from .limits import MAX_FORM_BYTES
from .responses import PROTOCOL_PATHS, FinalResponse, is_protocol

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
PROTOCOL_VERSION = "2026-04-06"
_REFERENCE = {**HEADERS, "Cache-Control": "no-store", "PDPP-Surface": "reference-only"}
_PROTOCOL = {**HEADERS, "Cache-Control": "no-store", "PDPP-Version": PROTOCOL_VERSION}
# These respond even if the database can't be reached; only a named token has to be looked up there.
WITHOUT_DATABASE = (
    "static",
    "monitoring.healthz",
    "monitoring.readyz",
    "monitoring.metrics",
    "openapi.openapi",
    "auth.login_form",
    "auth.login",
    "auth.logout",
)
# These read nothing from the database, but must fail if it is not the one that was prepared.
WITHOUT_READS = ("dashboard.index", "downloads.page", "downloads.state", "downloads.file")


class AnyPathConverter(BaseConverter):
    """A part of a path with any character in it; Werkzeug's own stop at a line's end or a slash."""

    regex = r"(?s:.+)"
    part_isolating = False


def init_app(app: Flask) -> None:
    app.url_map.converters["anything"] = AnyPathConverter
    app.url_map.merge_slashes = False
    app.config["MAX_CONTENT_LENGTH"] = MAX_FORM_BYTES
    app.before_request(_begin)
    routing.init_app(app)
    app.after_request(_finish)
    errors.init_app(app)


def new_request_id() -> str:
    return os.urandom(16).hex()


def final_headers(path: str, request_id: str) -> dict[str, str]:
    """Those of every response but static files."""
    shared = _PROTOCOL if path.startswith(PROTOCOL_PATHS) else _REFERENCE
    return {**shared, "Request-Id": request_id}


def _begin() -> None:
    g.request_id = new_request_id()
    # PostgreSQL rejects NUL in text, and no stored name contains it.
    if "\0" in request.path or (
        request.query_string and any("\0" in value for value in request.args.values())
    ):
        raise ApiError("invalid_request", "The address contains a NUL character.")
    if is_protocol() and request.headers.get("PDPP-Version", PROTOCOL_VERSION) != PROTOCOL_VERSION:
        raise ApiError("unsupported_version", f"This server speaks PDPP-Version {PROTOCOL_VERSION}.")
    endpoint = request.endpoint
    if endpoint not in WITHOUT_DATABASE:
        # Each thread keeps its connection: opening one for every request halves the throughput.
        db.connect(reuse_if_open=True)
    if endpoint in WITHOUT_READS:
        check_ready()


def _finish(response: FinalResponse) -> FinalResponse:
    request_id = g.get("request_id", "")
    if request.endpoint == "static":
        response.final = (*HEADERS.items(), ("Request-Id", request_id))
        _compress(response)
        return response
    final = final_headers(request.path, request_id)
    if "Cache-Control" in response.headers:
        del final["Cache-Control"]
    response.final = tuple(final.items())
    return response


def _compress(response: Response) -> None:
    """Compress files, above all htmx.

    Pages are not: compressing them together with a secret, such as a form's token, can leak it.
    """
    response.vary.add("Accept-Encoding")
    if response.status_code != 200 or request.accept_encodings["gzip"] <= 0 or request.method == "HEAD":
        return
    response.direct_passthrough = False
    etag, _ = response.get_etag()
    data = response.get_data()
    response.close()  # the file itself is not sent
    response.set_data(_zipped(data))
    response.headers["Content-Encoding"] = "gzip"
    if etag:
        response.set_etag(etag, weak=True)  # the same file, but not the same bytes


@lru_cache(maxsize=32)
def _zipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)
