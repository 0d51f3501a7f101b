"""The owner deletes a connection, a stream or a record: asked once, and answered with what was done."""

from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
from flask import Blueprint, current_app, redirect, request, session, url_for
from msgspec import structs, to_builtins

from ..canonical import deletion, erasure
from ..canonical.erased import Names
from ..canonical.errors import NotFound
from ..database import fetch_value, read_snapshot
from ..models.measures import Measures
from ..queries import browsing, items, sizes
from ..queries.streams import find as find_streams
from ..schemas.server import DeleteForm
from ..services import cleaning
from ..timestamps import utc_now
from .auth import check_form, owner_only
from .errors import ApiError
from .extensions import add_to_erasure_file
from .openapi.decorator import FORM, PAGE, operation
from .owner.room import DeletePage, DeleteQuery, Done, DonePage
from .responses import render

blueprint = Blueprint("deletes_by_owner", __name__)

_SESSION_KEY = "deleted"
_SHOWN_CHARACTERS = 100  # of a name, because a cookie stores it
_CLEANING_SECONDS = 2.0
_NOT_FOUND = ("connection_not_found", "stream_not_found", "record_not_found", "invalid_request")


class _Target(NamedTuple):
    """What is to be deleted; `""` is no name."""

    connection: str
    stream: str
    key: str


class _Counted(NamedTuple):
    """Its measures from `as_of`, None if they are not known; and what identifies it."""

    measures: Measures | None
    as_of: str | None
    is_current: bool
    seen: str


@blueprint.get("/dashboard/delete")
@owner_only
@operation("Ask whether to delete something", PAGE, query=DeleteQuery, errors=_NOT_FOUND)
def ask(query: DeleteQuery) -> str:
    target = _Target(query.connection, query.stream, query.key)
    with read_snapshot():
        counted = _counted(target)
        return render(DeletePage(target.connection, target.stream, target.key, *counted))


@blueprint.post("/dashboard/delete")
@owner_only
@operation(
    "Delete a connection, a stream or a record",
    {302: "Sign in first.", 303: "Done, or gone already; the page says which."},
    errors=("invalid_request", "csrf_token_required", "body_too_large"),
    body={FORM: DeleteForm},
)
def delete() -> Any:
    check_form()
    if any("\0" in value for value in request.form.values()):
        raise ApiError("invalid_request", "A name contains a NUL character.")
    target = _Target(*(request.form.get(name, "") for name in _Target._fields))
    how = "erase" if request.form.get("how") == "erase" and target.key else "delete"
    if not target.connection or (target.key and not target.stream):
        raise ApiError("invalid_request", "The form is not complete. Go back and send it again.")
    with suppress(NotFound, ApiError):
        with read_snapshot():
            counted = _counted(target)
        session[_SESSION_KEY] = to_builtins(_carry_out(target, how, counted, request.form.get("seen", "")))
        current_app.extensions["housekeeping"].wake()
    return redirect(url_for("deletes_by_owner.deleted"), 303)


@blueprint.get("/dashboard/deleted")
@owner_only
@operation("What was just deleted, and when", PAGE)
def deleted() -> str:
    with suppress(msgspec.ValidationError):
        return render(DonePage(msgspec.convert(session.get(_SESSION_KEY), Done)))
    return render(DonePage(None))


def _carry_out(target: _Target, how: Any, counted: _Counted, seen: str) -> Done:
    """Raises NotFound."""
    connection, stream, key = target
    if how == "erase":
        erasure.erase(Names(connection, stream, key))
        add_to_erasure_file()
        cleaning.clean(_CLEANING_SECONDS)
    elif key:
        deletion.delete_record(connection, stream, key)
    elif stream:
        deletion.delete_stream(connection, stream, seen)
    else:
        deletion.delete_connection(connection, seen)
    # The name of a record that was erased is stored nowhere.
    names = [name[:_SHOWN_CHARACTERS] for name in (connection, stream) if name]
    done = Done("record" if key else "stream" if stream else "connection", how, names, utc_now())
    if counted.measures is None or not counted.is_current:
        return done
    measures = counted.measures
    return structs.replace(
        done,
        records=measures.record_count,
        versions=measures.record_history_count,
        files=measures.blob_count,
        size=measures.total_retained_bytes,
    )


# ---- what it is ----------------------------------------------------------------------------------


def _counted(target: _Target) -> _Counted:
    """Raises ApiError if there is nothing of this name."""
    if target.key:
        return _record(target)
    rows = sizes.rows("stream" if target.stream else "connection", target.connection, target.stream or None)
    seen = _stream_seen(target) if target.stream else _connection_seen(target)
    if seen is None:
        raise ApiError("stream_not_found" if target.stream else "connection_not_found")
    if not rows or rows[0].computed_at is None:
        return _Counted(None, None, False, seen)
    return _Counted(rows[0], rows[0].computed_at, not rows[0].dirty, seen)


def _record(target: _Target) -> _Counted:
    found = browsing.find(*target)
    if found is None:
        raise ApiError("record_not_found")
    row = items.record(found.stream_id, target.key)
    return _Counted(row, row.computed_at, not row.dirty, str(found.version) if found.is_live else "")


def _stream_seen(target: _Target) -> str | None:
    streams = find_streams(None, target.connection, target.stream)
    return streams[0].incarnation if streams else None


def _connection_seen(target: _Target) -> str | None:
    seen: str | None = fetch_value(
        "SELECT created_at FROM connections WHERE connector_instance_id = ?", [target.connection]
    )
    return seen
