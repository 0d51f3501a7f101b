"""The owner makes room: a preview of what pruning frees, pruning, and rules of retention."""

import re
from typing import Any

from flask import Blueprint, current_app, redirect, request, url_for

from ..canonical import foresight, prunings, retention_rules
from ..canonical.errors import StreamNotFound
from ..canonical.prunings import Report
from ..canonical.retention import Policy
from ..database import read_snapshot
from ..parsing.messages import Rejected, check_name
from ..queries import prunable
from ..queries.streams import find as find_streams
from ..queries.streams import is_connection
from ..schemas.server import PruneForm, RuleForm
from ..timestamps import parse_time
from .auth import check_form, owner_only
from .errors import NO_CONNECTION, ApiError
from .openapi.decorator import FORM, PAGE, operation
from .owner.requests import DownloadQuery
from .owner.room import (
    MAX_KEEP,
    Preview,
    PreviewFragment,
    PruningFragment,
    PruningPage,
    RoomPage,
    RoomQuery,
    Scope,
    delete_url,
    foreseen_from,
    room_url,
)
from .responses import render

blueprint = Blueprint("room", __name__)

COUNT_SECONDS = 0.25
_NOT_FOUND = ("connection_not_found", "stream_not_found", "invalid_request")


@blueprint.record_once
def _add_globals(state: Any) -> None:
    state.app.jinja_env.globals.update(room_url=room_url, delete_url=delete_url)


@blueprint.get("/dashboard/room")
@owner_only
@operation("What could be pruned, and what that frees", PAGE, query=RoomQuery, errors=_NOT_FOUND)
def room(query: RoomQuery) -> str:
    scope = _scope(query.connection, query.stream)
    policy = _policy_of(query)
    preview = None if policy is None else _preview(scope, policy, query.counted)
    with read_snapshot():
        rules = retention_rules.rules(scope.connection or None, scope.stream or None)
        reports = [each for each in prunings.reports() if _is_within(each, scope)]
    return render(RoomPage(scope, preview, rules, reports, query.rule))


@blueprint.get("/dashboard/room/count")
@owner_only
@operation("The part of that page that counts bytes", PAGE, query=RoomQuery, errors=_NOT_FOUND)
def count(query: RoomQuery) -> str:
    policy = _policy_of(query)
    if policy is None:
        raise ApiError("invalid_request", "Say what stays: a number of versions, or a day.")
    return render(PreviewFragment(_preview(_scope(query.connection, query.stream), policy, query.counted)))


@blueprint.post("/dashboard/room")
@owner_only
@operation(
    "Ask for old versions to be pruned",
    {302: "Sign in first.", 303: "It is being done; its page shows how far it is."},
    errors=(*_NOT_FOUND, "csrf_token_required", "body_too_large"),
    body={FORM: PruneForm},
)
def ask() -> Any:
    check_form()
    policy, scope = _policy(), _scope(request.form.get("connection", ""), request.form.get("stream", ""))
    request_id = request.form.get("id", "")
    if policy is None or not re.fullmatch("[0-9a-f]{32}", request_id):
        raise ApiError("invalid_request", "The form is not complete. Go back and send it again.")
    with read_snapshot():
        expected = prunable.count(*policy, *scope.request(policy)[1:]).versions
    prunings.ask(request_id, scope.request(policy), expected)
    current_app.extensions["housekeeping"].wake()
    return redirect(url_for("room.pruning", pruning_id=request_id), 303)


@blueprint.get("/dashboard/room/prunings/<pruning_id>")
@owner_only
@operation("How far a pruning is, or what was done", PAGE, errors=("not_found",))
def pruning(pruning_id: str) -> str:
    return render(PruningPage(_found(pruning_id)))


@blueprint.get("/dashboard/room/prunings/<pruning_id>/state")
@owner_only
@operation("The part of that page that changes", PAGE, query=DownloadQuery, errors=("not_found",))
def pruning_state(pruning_id: str, query: DownloadQuery) -> str:
    report = _found(pruning_id)
    return render(PruningFragment(report, announce=bool(report.finished_at) and query.seen != "done"))


@blueprint.post("/dashboard/room/rule")
@owner_only
@operation(
    "Set or remove a stream's rule of retention",
    {302: "Sign in first.", 303: "Done; the page says so."},
    errors=("stream_not_found", "invalid_request", "csrf_token_required", "body_too_large"),
    body={FORM: RuleForm},
)
def set_rule() -> Any:
    check_form()
    scope = _scope(request.form.get("connection", ""), request.form.get("stream", ""))
    if not scope.stream:
        raise ApiError("stream_not_found")
    policy = _policy()
    try:
        if policy is None:
            retention_rules.remove_rule(*scope)
        else:
            retention_rules.set_rule(*scope, policy.keep)
    except StreamNotFound:
        raise ApiError("stream_not_found") from None
    current_app.extensions["housekeeping"].wake()
    return redirect(room_url(**scope.names, rule="set" if policy else "removed"), 303)


# ---- what is asked for ---------------------------------------------------------------------------


def _scope(connection: str, stream: str) -> Scope:
    """Raises ApiError if there is nothing of these names."""
    for what, name in (("connection", connection), ("stream", stream)):
        if name:
            _check(what, name)
    if stream and not connection:
        raise ApiError("invalid_request", "A stream is given with its connection.")
    with read_snapshot():
        if connection and not is_connection(connection, None):
            raise ApiError("connection_not_found", NO_CONNECTION)
        if stream and not find_streams(None, connection, stream):
            raise ApiError("stream_not_found", "There is no stream of this name.")
    return Scope(connection, stream)


def _check(what: str, name: str) -> None:
    try:
        check_name(what, name)
    except Rejected:
        raise ApiError("invalid_request", f"This can't be the name of a {what}.") from None


def _policy_of(query: RoomQuery) -> Policy | None:
    """Raises ApiError."""
    if query.keep is not None:
        return Policy(query.keep)
    return Policy(before=_day(query.before)) if query.before else None


def _policy() -> Policy | None:
    """That of the form, if it has one.  Raises ApiError."""
    keep, before = request.form.get("keep", ""), request.form.get("before", "")
    if keep:
        if not re.fullmatch(r"\d{1,7}", keep, re.ASCII) or not 1 <= int(keep) <= MAX_KEEP:
            raise ApiError("invalid_request", "The number of versions must be a whole number, at least 1.")
        return Policy(int(keep))
    return Policy(before=_day(before)) if before else None


def _day(text: str) -> str:
    moment = parse_time(text) if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) else None
    if moment is None:
        raise ApiError("invalid_request", "The day must be a date, as 2026-01-31.")
    return moment


def _preview(scope: Scope, policy: Policy, counted: str) -> Preview:
    wanted = scope.request(policy)
    with read_snapshot():
        found = prunable.count(*policy, wanted.connection, wanted.stream)
    preview = Preview(scope, policy, found, foreseen_from(counted))
    listed = {stream.stream_id for stream in preview.listed}
    foreseen = foresight.count(wanted, preview.foreseen, COUNT_SECONDS, listed)
    return Preview(scope, policy, found, foreseen)


def _found(pruning_id: str) -> Report:
    """Raises ApiError."""
    report = prunings.find(pruning_id)
    if report is None:
        raise ApiError("not_found", "This report is no longer there.")
    return report


def _is_within(report: Report, scope: Scope) -> bool:
    """Whether a report is about the scope, or a part of it."""
    return scope.connection in ("", report.connection) and scope.stream in ("", report.stream)
