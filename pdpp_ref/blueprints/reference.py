"""The operator's JSON under `/_ref`: reference-only, not part of the protocol."""

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, current_app, jsonify, request

from ..services import sizes, summary
from ..services.background_rebuild import BackgroundRebuild
from .auth import owner_or_operator
from .http import ApiError, auto_reconcile

blueprint = Blueprint("reference", __name__, url_prefix="/_ref")


@blueprint.get("/dataset/summary")
@owner_or_operator
def dataset_summary() -> Response:
    return jsonify(summary.body(summary.read(auto_reconcile())))


@blueprint.get("/dataset/summary/streams")
@owner_or_operator
def dataset_summary_streams() -> Response:
    connector = request.args.get("connector_id")
    found = summary.read(auto_reconcile(), lambda: sizes.streams(connector))
    return jsonify(
        object="dataset_summary_streams",
        filters={"connector_id": connector},
        projection=summary.freshness(found),
        streams=found.more,
    )


@blueprint.get("/dataset/size")
@owner_or_operator
def dataset_size() -> Response:
    grain = request.args.get("grain", "global")
    if grain not in sizes.GRAINS:
        raise ApiError(400, "invalid_request", f"grain must be one of {', '.join(sizes.GRAINS)}.")
    names = (request.args.get("connector_instance_id"), request.args.get("stream"))
    found = summary.read(auto_reconcile(), lambda: sizes.rows(grain, *names))
    projection = sizes.projection(found, auto_reconcile())
    return jsonify(object="ref_dataset_size", grain=grain, rows=found.more, projection=projection)


@blueprint.post("/dataset/summary/reconcile")
@owner_or_operator
def reconcile_summary() -> Response:
    done = auto_reconcile().run()
    return jsonify(
        object="dataset_summary_reconcile",
        reconciled=done.reconciled,
        deferred=done.deferred,
        summary=summary.body(summary.load(auto_reconcile())),
    )


@blueprint.post("/dataset/size/reconcile")
@owner_or_operator
def reconcile_size() -> Response:
    done = auto_reconcile().run()
    return jsonify(
        object="ref_dataset_size_reconcile",
        streams=done.streams,
        connections=done.connections,
        projection=sizes.global_size(),
    )


@blueprint.post("/dataset/summary/rebuild")
@owner_or_operator
def rebuild_summary() -> Response:
    return jsonify(_rebuild(lambda: summary.body(summary.load(auto_reconcile()))))


@blueprint.post("/dataset/size/rebuild")
@owner_or_operator
def rebuild_size() -> Response:
    return jsonify(object="ref_dataset_size_rebuild", projection=_rebuild(sizes.global_size))


def _rebuild(look: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Start or join the rebuild; the body is of before it, in state `rebuilding`."""
    found: BackgroundRebuild = current_app.extensions["background_rebuild"]
    return found.start(look)
