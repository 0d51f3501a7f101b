"""What a machine asks: is the process up, and how is it doing.  No label has unbounded values."""

import json
import logging
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from flask import Blueprint, Flask, Response, current_app, g, request
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .. import schemas
from ..models.measures import MEASURE_NAMES
from ..queries import vitals
from ..services.auto_reconcile import AutoReconcile
from ..timestamps import to_moment
from .auth import owner_or_operator
from .openapi.decorator import Media, operation, reply

blueprint = Blueprint("monitoring", __name__)
access_log = logging.getLogger("pdpp_ref.access")
PROMETHEUS = Media("text/plain", "Metrics in the text format of Prometheus.")


def init_app(app: Flask) -> None:
    registry = CollectorRegistry()
    registry.register(_Projection(app.extensions["auto_reconcile"]))
    app.extensions["metrics"] = registry
    app.extensions["request_seconds"] = Histogram(
        "pdpp_request_seconds", "Requests by route.", ["method", "route", "status"], registry=registry
    )
    app.before_request(_start)
    app.after_request(_note)


@blueprint.get("/healthz")
@operation("Whether the process is up", schemas.Health)
def healthz() -> Response:
    return reply(schemas.Health(status="ok"))


@blueprint.get("/_ref/metrics")
@owner_or_operator
@operation("How the server is doing", PROMETHEUS)
def metrics() -> Response:
    text = generate_latest(current_app.extensions["metrics"])
    return Response(text, content_type="text/plain; version=0.0.4; charset=utf-8")


def _start() -> None:
    g.began = time.perf_counter()


def _note(response: Response) -> Response:
    """Count the request, and log one line of it: the route's pattern, as names may be personal."""
    seconds = time.perf_counter() - g.get("began", time.perf_counter())
    route = request.url_rule.rule if request.url_rule else "unknown"
    method = request.method if request.method in ("GET", "HEAD", "POST", "DELETE") else "other"
    status = str(response.status_code)
    current_app.extensions["request_seconds"].labels(method, route, status).observe(seconds)
    line = {
        "request_id": g.get("request_id"),
        "method": method,
        "route": route,
        "status": response.status_code,
    }
    access_log.info(json.dumps(line | {"ms": round(seconds * 1000, 1)}))
    return response


class _Projection(Collector):
    """The figures as they are stored: a scrape does no maintenance."""

    def __init__(self, auto: AutoReconcile) -> None:
        self._auto = auto

    def describe(self) -> list[Metric]:
        return []  # nothing is read from the database before the first scrape

    def collect(self) -> Iterator[Metric]:
        found = vitals.read(self._auto)
        row = found.figures
        for name in (*MEASURE_NAMES, "total_retained_bytes", "stream_count", "connection_count"):
            yield GaugeMetricFamily(f"pdpp_retained_{name}", "Retained size, in all.", value=row[name])
        about = "The total of the largest of its kind."
        yield _labelled("pdpp_retained_largest_bytes", about, "scope", found.largest_bytes)
        states = {state: int(state == found.state) for state in schemas.STATES}
        yield _labelled("pdpp_projection_state", "1 for the state it is in.", "state", states)
        about = "Rows to recompute."
        yield _labelled("pdpp_projection_dirty_rows", about, "grain", found.dirty_rows)
        for name, about, since in (
            ("computed_age", "Since the totals last changed or were recomputed.", row["computed_at"]),
            ("stale", "Since when the totals may lag; none while they are exact.", row["stale_since"]),
        ):
            if since:
                age = (datetime.now(UTC) - to_moment(since)).total_seconds()
                yield GaugeMetricFamily(f"pdpp_projection_{name}_seconds", about, value=age)
        yield from self._attempts()

    def _attempts(self) -> Iterator[Metric]:
        auto = self._auto
        yield CounterMetricFamily("pdpp_reconcile_attempts", "Passes of this process.", value=auto.attempts)
        yield CounterMetricFamily("pdpp_reconcile_failures", "Those that failed.", value=auto.failures)
        in_a_row, remaining = auto.consecutive_failures, auto.retry_after_seconds
        about = "Failed passes since the last that did not fail."
        yield GaugeMetricFamily("pdpp_reconcile_consecutive_failures", about, value=in_a_row)
        about = "Until the next attempt; 0 where none is held back."
        yield GaugeMetricFamily("pdpp_reconcile_cooldown_seconds", about, value=remaining)


def _labelled(name: str, about: str, label: str, values: Mapping[str, int]) -> Metric:
    metric = GaugeMetricFamily(name, about, labels=[label])
    for of, value in values.items():
        metric.add_metric([of], value)
    return metric
