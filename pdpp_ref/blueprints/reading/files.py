"""Sending a file: its headers, and its bytes or a range of them."""

import re
from contextlib import ExitStack

from flask import Response, request

from ...queries import files
from ...queries.files import Reference
from ..errors import error_response
from ..responses import streamed
from .ranges import Unsatisfiable, single_range

DEFAULT_TYPE = "application/octet-stream"
# A browser shows these in place; anything else might be a program that runs as this site's page.
SHOWN = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/avif")
_TYPE = re.compile(
    r"[\w!#$&^.+-]{1,100}/[\w!#$&^.+-]{1,100}(?:; ?[\w!#$&^.+-]{1,50}=[\w!#$&^.+-]{1,100})*", re.ASCII
)


def send(sha256: str, reference: Reference) -> Response:
    """The file, the range that was asked for, or 304 or 416."""
    etag = f'"{sha256}"'
    size = reference.byte_length
    if _is_known(etag):
        response = Response(status=304)
    else:
        try:
            part = _asked_for(etag, size)
        except Unsatisfiable:
            response = error_response("range_not_satisfiable", html=False)
            response.headers["Content-Range"] = f"bytes */{size}"
            return response
        response = _body(sha256, reference, part)
    response.headers["ETag"] = etag
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["Cache-Control"] = "private, no-store"
    return response


def _is_known(etag: str) -> bool:
    """Whether the client has the file: `If-None-Match`."""
    return request.if_none_match.contains_weak(etag.strip('"')) or request.if_none_match.star_tag


def _asked_for(etag: str, size: int) -> tuple[int, int] | None:
    condition = request.headers.get("If-Range")
    if request.method != "GET" or condition not in (None, etag):
        return None
    return single_range(request.headers.get("Range"), size)


def _body(sha256: str, reference: Reference, part: tuple[int, int] | None) -> Response:
    size = reference.byte_length
    start, end = part or (0, size)
    kind = media_type(reference.mime_type)
    if request.method == "HEAD" or start == end:
        response = Response(content_type=kind)
    else:
        response = streamed(files.read(sha256, start, end), kind, ExitStack())
    if part:
        response.status_code = 206
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    response.headers["Content-Length"] = str(end - start)
    if kind not in SHOWN:
        response.headers["Content-Disposition"] = "attachment"
    return response


def media_type(sent: str | None) -> str:
    """The media type as the sender said it, if it is one."""
    return sent if sent and _TYPE.fullmatch(sent) else DEFAULT_TYPE
