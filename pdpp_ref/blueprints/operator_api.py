"""The operator's JSON under `/_ref`: reference-only, not part of the protocol."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from typing import Annotated

from flask import Blueprint, Response
from msgspec import Meta, Struct

from ..credentials import FIGURES, MAINTAIN
from ..models.measures import TOTAL
from ..projection.rows import global_row
from ..queries import rankings, sizes
from ..schemas import dataset
from ..schemas.dataset import Format, Grain, RankedBy, Scope
from ..services import summary as summaries
from . import csv_export
from .auth import requires
from .errors import ApiError
from .extensions import auto_reconcile, background_rebuild
from .openapi.decorator import CSV, operation
from .responses import JSON, json_listing, reply, whole_or_streamed

blueprint = Blueprint("reference", __name__, url_prefix="/_ref")


class StreamsQuery(Struct):
    connector_id: Annotated[str | None, Meta(description="Return only this connector's streams.")] = None


class Export(Struct):
    format: Format = "json"
    download: Annotated[bool, Meta(description="Send JSON as a file too; CSV always is one.")] = False


class SizeQuery(Export):
    grain: Grain = "global"
    connector_instance_id: Annotated[
        str | None, Meta(description="Return only rows of this connection.")
    ] = None
    stream: Annotated[str | None, Meta(description="Return only rows of streams with this name.")] = None


class TopQuery(Export):
    scope: Scope = "connection"
    measure: RankedBy = TOTAL
    limit: Annotated[int, Meta(description=f"Clamped to 1–{rankings.MAX_ROWS}.")] = 10


@blueprint.get("/dataset/summary")
@requires(FIGURES)
@operation("The totals, and how fresh they are", dataset.Summary)
def dataset_summary() -> Response:
    return reply(dataset.summary_body(summaries.read(auto_reconcile())))


@blueprint.get("/dataset/summary/streams")
@requires(FIGURES)
@operation("Each stream's records", dataset.StreamSummaries, query=StreamsQuery)
def dataset_summary_streams(query: StreamsQuery) -> Response:
    with summaries.reading(auto_reconcile()) as summary:
        streams = sizes.connector_streams(query.connector_id)
    return reply(
        dataset.StreamSummaries(
            filters=dataset.StreamFilters(connector_id=query.connector_id),
            projection=dataset.freshness(summary),
            streams=[dataset.stream_summary(stream) for stream in streams],
        )
    )


@blueprint.get("/dataset/size")
@requires(FIGURES)
@operation("Every measure at a grain", (dataset.Sizes, CSV), query=SizeQuery, errors=("invalid_request",))
def dataset_size(query: SizeQuery) -> Response:
    with ExitStack() as resources:
        summary = resources.enter_context(summaries.reading(auto_reconcile()))
        found = sizes.batches(query.grain, query.connector_instance_id, query.stream)
        body = dataset.Sizes(
            grain=query.grain, rows=[], projection=dataset.projection(summary, auto_reconcile())
        )
        rows = ([dataset.size(row) for row in batch] for batch in found)
        kind = dataset.SIZE_ROWS[query.grain]
        return _export(query, f"size-{query.grain}", body, kind, rows, resources)


@blueprint.get("/dataset/top")
@requires(FIGURES)
@operation("The largest, by a measure", (dataset.Top, CSV), query=TopQuery, errors=("invalid_request",))
def dataset_top(query: TopQuery) -> Response:
    scope, measure = query.scope, query.measure
    if measure not in rankings.MEASURES_OF[scope]:
        allowed = ", ".join(rankings.MEASURES_OF[scope])
        raise ApiError("invalid_request", f"measure must be one of {allowed} for the scope {scope}.")
    with summaries.reading(auto_reconcile()) as summary:
        found = rankings.rows(scope, measure, min(max(query.limit, 1), rankings.MAX_ROWS))
    body = dataset.Top(
        scope=scope, measure=measure, rows=[], projection=dataset.projection(summary, auto_reconcile())
    )
    rows = [dataset.top_rows(scope, measure, found)]
    return _export(query, f"top-{scope}-by-{measure}", body, dataset.TopRow, rows, ExitStack())


def _export(
    query: Export,
    title: str,
    body: dataset.Sizes | dataset.Top,
    kind: type[Struct],
    rows: Iterable[Sequence[Struct]],
    resources: ExitStack,
) -> Response:
    """The body with the rows, or these alone as CSV; as a file that is named after its content and time."""
    if query.format == "csv":
        lines = csv_export.csv_lines(kind, chain.from_iterable(rows))
        parts: Iterator[bytes] = (line.encode() for line in lines)
        response = whole_or_streamed(parts, "text/csv; charset=utf-8", resources)
    else:
        response = whole_or_streamed(json_listing(body, "rows", rows), JSON, resources)
    if query.download or query.format == "csv":
        name = csv_export.file_name(title, body.projection.computed_at, query.format)
        response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


@blueprint.post("/dataset/summary/reconcile")
@requires(MAINTAIN)
@operation("Run one bounded pass now", dataset.SummaryReconcile)
def reconcile_summary() -> Response:
    done = auto_reconcile().run()
    return reply(dataset.summary_reconcile(done, summaries.load(auto_reconcile())))


@blueprint.post("/dataset/size/reconcile")
@requires(MAINTAIN)
@operation("Run one bounded pass now", dataset.SizeReconcile)
def reconcile_size() -> Response:
    done = auto_reconcile().run()
    return reply(dataset.size_reconcile(done, global_row()))


# The response to a rebuild has the totals of before it, in the state `rebuilding`.


@blueprint.post("/dataset/summary/rebuild")
@requires(MAINTAIN)
@operation("Start a rebuild, or join the running one", dataset.Summary)
def rebuild_summary() -> Response:
    auto = auto_reconcile()
    summary = background_rebuild().start(lambda: summaries.load(auto), auto.aside)
    return reply(dataset.summary_body(summary))


@blueprint.post("/dataset/size/rebuild")
@requires(MAINTAIN)
@operation("Start a rebuild, or join the running one", dataset.SizeRebuild)
def rebuild_size() -> Response:
    totals = background_rebuild().start(global_row, auto_reconcile().aside)
    return reply(dataset.SizeRebuild(projection=dataset.size(totals)))
