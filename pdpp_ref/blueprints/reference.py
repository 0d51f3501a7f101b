"""The operator's JSON under `/_ref`: reference-only, not part of the protocol."""

from collections.abc import Callable
from typing import Annotated, TypeVar

from flask import Blueprint, Response, current_app
from msgspec import Meta, Struct

from ..services import sizes, summary, wire
from ..services.background_rebuild import BackgroundRebuild
from .auth import owner_or_operator
from .http import auto_reconcile
from .operations import operation, reply

blueprint = Blueprint("reference", __name__, url_prefix="/_ref")

Looked = TypeVar("Looked")


class StreamsQuery(Struct):
    connector_id: Annotated[str | None, Meta(description="Leaves this connector's streams.")] = None


class SizeQuery(Struct):
    grain: wire.Grain = "global"
    connector_instance_id: Annotated[str | None, Meta(description="Leaves this connection's rows.")] = None
    stream: Annotated[str | None, Meta(description="Leaves rows of streams of this name.")] = None


@blueprint.get("/dataset/summary")
@owner_or_operator
@operation("The totals, and how fresh they are", wire.Summary)
def dataset_summary() -> Response:
    return reply(summary.body(summary.read(auto_reconcile())))


@blueprint.get("/dataset/summary/streams")
@owner_or_operator
@operation("Each stream's records", wire.StreamSummaries, query=StreamsQuery)
def dataset_summary_streams(query: StreamsQuery) -> Response:
    found = summary.read(auto_reconcile(), lambda: sizes.streams(query.connector_id))
    filters = wire.StreamFilters(connector_id=query.connector_id)
    projection = summary.freshness(found)
    return reply(wire.StreamSummaries(filters=filters, projection=projection, streams=found.more))


@blueprint.get("/dataset/size")
@owner_or_operator
@operation("Every measure at a grain", wire.Sizes, query=SizeQuery, errors=("invalid_request",))
def dataset_size(query: SizeQuery) -> Response:
    names = (query.connector_instance_id, query.stream)
    found = summary.read(auto_reconcile(), lambda: sizes.rows(query.grain, *names))
    projection = sizes.projection(found, auto_reconcile())
    return reply(wire.Sizes(grain=query.grain, rows=found.more, projection=projection))


@blueprint.post("/dataset/summary/reconcile")
@owner_or_operator
@operation("Run one bounded pass now", wire.SummaryReconcile)
def reconcile_summary() -> Response:
    done = auto_reconcile().run()
    body = summary.body(summary.load(auto_reconcile()))
    return reply(wire.SummaryReconcile(reconciled=done.reconciled, deferred=done.deferred, summary=body))


@blueprint.post("/dataset/size/reconcile")
@owner_or_operator
@operation("Run one bounded pass now", wire.SizeReconcile)
def reconcile_size() -> Response:
    done = auto_reconcile().run()
    row = sizes.global_size()
    return reply(wire.SizeReconcile(streams=done.streams, connections=done.connections, projection=row))


@blueprint.post("/dataset/summary/rebuild")
@owner_or_operator
@operation("Start the recount of everything, or join it", wire.Summary)
def rebuild_summary() -> Response:
    return reply(_rebuild(lambda: summary.body(summary.load(auto_reconcile()))))


@blueprint.post("/dataset/size/rebuild")
@owner_or_operator
@operation("Start the recount of everything, or join it", wire.SizeRebuild)
def rebuild_size() -> Response:
    return reply(wire.SizeRebuild(projection=_rebuild(sizes.global_size)))


def _rebuild(look: Callable[[], Looked]) -> Looked:
    """Start or join the rebuild; the body is of before it, in state `rebuilding`."""
    found: BackgroundRebuild = current_app.extensions["background_rebuild"]
    return found.start(look)
