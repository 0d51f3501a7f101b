"""The owner's downloads: prepared in the background, then sent with a length and in ranges."""

import secrets
from functools import partial
from typing import Any

from flask import Blueprint, Response, redirect, request, session, url_for
from werkzeug.wsgi import wrap_file

from ..database import read_snapshot
from ..operations import downloads
from ..operations.export import Selection
from ..schemas.server import DownloadForm
from ..services.prepared_files import DiskFull, Job, PreparedFile, Reader, TooManyFiles
from ..timestamps import utc_now
from .auth import check_form, owner_only
from .errors import ApiError, error_response
from .extensions import prepared_files
from .openapi.decorator import FORM, PAGE, Media, operation
from .owner.file_names import file_name
from .owner.pages import GONE, DownloadFragment, DownloadPage, DownloadView
from .owner.requests import DownloadQuery
from .reading.ranges import Unsatisfiable, single_range
from .responses import render

blueprint = Blueprint("downloads", __name__)

LINES = Media("application/x-ndjson", "The lines, as `pdpp-ref import` reads them.")
ZIP = Media("application/zip", "The lines, and each file named by its digest.")
_SESSION_KEY = "downloads"


@blueprint.post("/dashboard/downloads")
@owner_only
@operation(
    "Prepare a download",
    {302: "Sign in first.", 303: "It is being prepared; its page shows how far it is."},
    errors=(
        "invalid_request",
        "csrf_token_required",
        "not_found",
        "body_too_large",
        "too_many_requests",
        "insufficient_storage",
    ),
    body={FORM: DownloadForm},
)
def prepare() -> Any:
    check_form()
    try:
        file_id = prepared_files().request(_job(), _session_secret())
    except DiskFull:
        raise ApiError("insufficient_storage") from None
    except TooManyFiles:
        message = "Other downloads are being prepared. Wait until one of them is ready."
        raise ApiError("too_many_requests", message) from None
    return redirect(url_for("downloads.page", file_id=file_id), 303)


@blueprint.get("/dashboard/downloads/<file_id>/page")
@owner_only
@operation("How far a download is", PAGE, errors=("not_found",))
def page(file_id: str) -> str:
    return render(DownloadPage(_view(_found(file_id))))


@blueprint.get("/dashboard/downloads/<file_id>/state")
@owner_only
@operation("The part of a download's page that changes", PAGE, query=DownloadQuery)
def state(file_id: str, query: DownloadQuery) -> str:
    file = _find(file_id)
    view = _view(file) if file else GONE
    return render(DownloadFragment(view, announce=view.state != query.seen))


@blueprint.get("/dashboard/downloads/<file_id>")
@owner_only
@operation(
    "A download that is ready, or a range of it",
    {200: (LINES, ZIP), 206: (LINES, ZIP), 302: "It is not ready, see its page; or sign in first."},
    errors=("not_found", "range_not_satisfiable"),
)
def file(file_id: str) -> Any:
    found = _found(file_id)
    if found.state != "ready":
        return redirect(url_for("downloads.page", file_id=file_id))
    etag = f'"{found.id}"'
    try:
        part = _asked_for(etag, found.size)
    except Unsatisfiable:
        refused = error_response("range_not_satisfiable", html=False)
        refused.headers["Content-Range"] = f"bytes */{found.size}"
        return refused
    response = _sent(found, part)
    response.headers["ETag"] = etag
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["Content-Disposition"] = f'attachment; filename="{found.name}"'
    return response


# ---- what is asked for ---------------------------------------------------------------------------


def _job() -> Job:
    """Raises ApiError if there is nothing of these names."""
    form = request.form
    if any("\0" in value for value in form.values()):
        raise ApiError("invalid_request", "A name contains a NUL character.")
    names = [form.get(name) or None for name in ("connection", "stream", "key")]
    if None in names and any(names[names.index(None) :]):
        raise ApiError("invalid_request", "A stream is given with its connection, a key with its stream.")
    connection, stream, key = names
    selection = Selection(connection, stream, history=bool(form.get("history")), key=key)
    with_files = bool(form.get("files"))
    with read_snapshot():
        extent = downloads.extent(selection, with_files)
    if extent is None:
        raise ApiError("not_found", "There is nothing of this name.")
    return Job(
        content=(selection, with_files),
        name=file_name(filter(None, names), utc_now(), "zip" if with_files else "jsonl"),
        records=extent.lines,
        size=extent.size,
        write=partial(downloads.write, selection, with_files),
    )


def _session_secret() -> str:
    """A download belongs to the session that asked for it."""
    secret: str = session.setdefault(_SESSION_KEY, secrets.token_urlsafe(16))
    return secret


def _find(file_id: str) -> PreparedFile | None:
    return prepared_files().find(file_id, session.get(_SESSION_KEY, ""))


def _found(file_id: str) -> PreparedFile:
    """Raises ApiError if it is not there, or not for this session."""
    file = _find(file_id)
    if file is None:
        raise _gone()
    return file


def _gone() -> ApiError:
    return ApiError("not_found", "This download is no longer there. Prepare it again.")


def _view(file: PreparedFile) -> DownloadView:
    return DownloadView(
        state=file.state,
        id=file.id,
        name=file.name,
        records=file.records,
        written=file.written,
        size=file.size,
        problem=file.problem,
        gaps=file.gaps,
    )


# ---- sending -------------------------------------------------------------------------------------


def _asked_for(etag: str, size: int) -> tuple[int, int] | None:
    if request.headers.get("If-Range") not in (None, etag):
        return None
    return single_range(request.headers.get("Range"), size)


def _sent(found: PreparedFile, part: tuple[int, int] | None) -> Response:
    """The server sends the file itself, when its client can take more: no thread waits for that."""
    start, end = part or (0, found.size)
    reader: Reader | None = prepared_files().open(found, start, end)
    if reader is None:
        raise _gone()
    kind = ZIP if found.name.endswith(".zip") else LINES
    response = Response(
        wrap_file(request.environ, reader),  # type: ignore[arg-type]  # only its methods are needed
        content_type=kind.type,
        direct_passthrough=True,
    )
    response.content_length = end - start
    if part:
        response.status_code = 206
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{found.size}"
    return response
