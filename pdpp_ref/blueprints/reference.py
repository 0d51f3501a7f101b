"""The operator's JSON under `/_ref`: reference-only, not part of the protocol."""

from typing import Any

from flask import Blueprint, Response, current_app, jsonify

from ..services import summary
from .auth import owner_or_operator

blueprint = Blueprint("reference", __name__, url_prefix="/_ref")


@blueprint.get("/dataset/summary")
@owner_or_operator
def dataset_summary() -> Response:
    return jsonify(summary.body(summary.read(_auto())))


def _auto() -> Any:
    return current_app.extensions["auto_reconcile"]
