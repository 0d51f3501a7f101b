"""The operator's JSON under `/_ref`: reference-only, not part of the protocol."""

from collections.abc import Callable
from typing import Annotated, TypeVar

from flask import Blueprint, Response, current_app
from msgspec import Meta, Struct

from .. import schemas
from ..queries import rankings, sizes
from ..services import summary
from ..services.background_rebuild import BackgroundRebuild
from . import csv_export
from .auth import owner_or_operator
from .errors import ApiError
from .middleware import auto_reconcile
from .openapi.decorator import CSV, operation, reply

blueprint = Blueprint("reference", __name__, url_prefix="/_ref")

Looked = TypeVar("Looked")


class StreamsQuery(Struct):
    connector_id: Annotated[str | None, Meta(description="Leaves this connector's streams.")] = None


class Export(Struct):
    format: schemas.Format = "json"
    download: Annotated[bool, Meta(description="JSON comes as a file too; CSV always does.")] = False


class SizeQuery(Export):
    grain: schemas.Grain = "global"
    connector_instance_id: Annotated[str | None, Meta(description="Leaves this connection's rows.")] = None
    stream: Annotated[str | None, Meta(description="Leaves rows of streams of this name.")] = None


class TopQuery(Export):
    scope: schemas.Scope = "connection"
    measure: schemas.RankedBy = "total_retained_bytes"
    limit: Annotated[
        int, Meta(description=f"Taken for 1 below it, and for {rankings.MOST_ROWS} above.")
    ] = 10


@blueprint.get("/dataset/summary")
@owner_or_operator
@operation("The totals, and how fresh they are", schemas.Summary)
def dataset_summary() -> Response:
    return reply(summary.body(summary.read(auto_reconcile())))


@blueprint.get("/dataset/summary/streams")
@owner_or_operator
@operation("Each stream's records", schemas.StreamSummaries, query=StreamsQuery)
def dataset_summary_streams(query: StreamsQuery) -> Response:
    found = summary.read(auto_reconcile(), lambda: sizes.streams(query.connector_id))
    filters = schemas.StreamFilters(connector_id=query.connector_id)
    projection = summary.freshness(found)
    return reply(schemas.StreamSummaries(filters=filters, projection=projection, streams=found.more))


@blueprint.get("/dataset/size")
@owner_or_operator
@operation("Every measure at a grain", (schemas.Sizes, CSV), query=SizeQuery, errors=("invalid_request",))
def dataset_size(query: SizeQuery) -> Response:
    names = (query.connector_instance_id, query.stream)
    found = summary.read(auto_reconcile(), lambda: sizes.rows(query.grain, *names))
    projection = sizes.projection(found, auto_reconcile())
    body = schemas.Sizes(grain=query.grain, rows=found.more, projection=projection)
    return _export(query, f"size-{query.grain}", body, schemas.SIZE_ROWS[query.grain])


@blueprint.get("/dataset/top")
@owner_or_operator
@operation("The largest, by a measure", (schemas.Top, CSV), query=TopQuery, errors=("invalid_request",))
def dataset_top(query: TopQuery) -> Response:
    scope, measure = query.scope, query.measure
    if measure not in rankings.MEASURES_OF[scope]:
        allowed = ", ".join(rankings.MEASURES_OF[scope])
        raise ApiError("invalid_request", f"measure must be one of {allowed} for the scope {scope}.")
    limit = min(max(query.limit, 1), rankings.MOST_ROWS)
    found = summary.read(auto_reconcile(), lambda: rankings.rows(scope, measure, limit))
    rows: list[Struct] = [schemas.TopRow(**row) for row in found.more]
    projection = sizes.projection(found, auto_reconcile())
    body = schemas.Top(scope=scope, measure=measure, rows=rows, projection=projection)
    return _export(query, f"top-{scope}-by-{measure}", body, schemas.TopRow)


def _export(query: Export, what: str, body: schemas.Sizes | schemas.Top, kind: type[Struct]) -> Response:
    """The body, or its rows alone as CSV; as a file that is named for what it holds and as of when."""
    if query.format == "csv":
        response = Response(csv_export.csv_text(kind, body.rows), content_type="text/csv; charset=utf-8")
    else:
        response = reply(body)
    if query.download or query.format == "csv":
        name = csv_export.file_name(what, body.projection.computed_at, query.format)
        response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


@blueprint.post("/dataset/summary/reconcile")
@owner_or_operator
@operation("Run one bounded pass now", schemas.SummaryReconcile)
def reconcile_summary() -> Response:
    done = auto_reconcile().run()
    body = summary.body(summary.load(auto_reconcile()))
    return reply(schemas.SummaryReconcile(reconciled=done.reconciled, deferred=done.deferred, summary=body))


@blueprint.post("/dataset/size/reconcile")
@owner_or_operator
@operation("Run one bounded pass now", schemas.SizeReconcile)
def reconcile_size() -> Response:
    done = auto_reconcile().run()
    row = sizes.global_size()
    return reply(schemas.SizeReconcile(streams=done.streams, connections=done.connections, projection=row))


@blueprint.post("/dataset/summary/rebuild")
@owner_or_operator
@operation("Start the recount of everything, or join it", schemas.Summary)
def rebuild_summary() -> Response:
    return reply(_rebuild(lambda: summary.body(summary.load(auto_reconcile()))))


@blueprint.post("/dataset/size/rebuild")
@owner_or_operator
@operation("Start the recount of everything, or join it", schemas.SizeRebuild)
def rebuild_size() -> Response:
    return reply(schemas.SizeRebuild(projection=_rebuild(sizes.global_size)))


def _rebuild(look: Callable[[], Looked]) -> Looked:
    """Start or join the rebuild; the body is of before it, in state `rebuilding`."""
    found: BackgroundRebuild = current_app.extensions["background_rebuild"]
    return found.start(look)
