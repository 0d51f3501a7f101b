"""Health, and metrics for Prometheus.  No label has unbounded values."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import peewee
from flask import Blueprint, Flask, Response, current_app, g, request
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from ..access import BOUNDS, AccessRecord
from ..credentials import FIGURES
from ..database import Busy, db, impatient, read_snapshot
from ..models.measures import EVERY_MEASURE
from ..projection.dirty_rows import count_dirty_rows
from ..projection.rows import GlobalRow, global_row
from ..queries import rankings
from ..schemas.server import Health
from ..services.auto_reconcile import AutoReconcile
from ..services.readiness import Readiness
from ..services.summary import STATES, State, state_of
from ..timestamps import to_moment
from .auth import requires
from .errors import ApiError
from .openapi.decorator import Media, operation
from .responses import reply

blueprint = Blueprint("monitoring", __name__)
DATABASE_SECONDS = 2.0
PROMETHEUS = Media("text/plain", "Metrics in the text format of Prometheus.")


def init_app(app: Flask) -> None:
    """After the routes, which are counted by their patterns."""
    record = access_record(app)
    registry = CollectorRegistry()
    registry.register(_Projection(app.extensions["auto_reconcile"]))
    registry.register(_Requests(record))
    app.extensions["metrics"] = registry
    app.extensions["access_record"] = record
    app.before_request_funcs.setdefault(None, []).insert(0, _start)
    app.after_request_funcs.setdefault(None, []).append(_record_request)


def access_record(app: Flask) -> AccessRecord:
    rules = app.url_map.iter_rules()
    return AccessRecord((rule.rule, method) for rule in rules for method in rule.methods or ())


@blueprint.get("/healthz")
@operation("Whether the process is up", Health)
def healthz() -> Response:
    return reply(Health(status="ok"))


@blueprint.get("/readyz")
@operation("Whether the database answers", Health, errors=("storage_unavailable",))
def readyz() -> Response:
    ready: Readiness = current_app.extensions["readiness"]
    try:
        ready.check()
    except TimeoutError:
        raise ApiError("storage_unavailable") from None
    return reply(Health(status="ok"))


@blueprint.get("/_ref/metrics")
@requires(FIGURES)
@operation("Metrics", PROMETHEUS)
def metrics() -> Response:
    text = generate_latest(current_app.extensions["metrics"])
    return Response(text, content_type="text/plain; version=0.0.4; charset=utf-8")


def _start() -> None:
    g.began = time.perf_counter()


def _record_request(response: Response) -> Response:
    record: AccessRecord = current_app.extensions["access_record"]
    matched = request.url_rule
    route = matched.rule if matched else None
    began = g.get("began", time.perf_counter())  # an unknown host is refused before anything else
    record.add(g.get("request_id", ""), request.method, route, response.status_code, began)
    return response


class _Requests(Collector):
    """The requests that all processes of the server have answered."""

    def __init__(self, record: AccessRecord) -> None:
        self._record = record

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        metric = HistogramMetricFamily(
            "pdpp_request_seconds", "Requests by route.", labels=["method", "route", "status"]
        )
        for each in self._record.durations():
            bounds = [*map(str, BOUNDS), "+Inf"]
            metric.add_metric(list(each.kind), list(zip(bounds, each.up_to, strict=True)), each.seconds)
        yield metric


@dataclass(frozen=True)
class _Reading:
    """`dirty_rows` by grain, and the largest total by scope, of one snapshot."""

    totals: GlobalRow
    state: State
    dirty_rows: dict[str, int]
    largest_bytes: dict[str, int]


def _read(auto: AutoReconcile) -> _Reading:
    """A fixed number of rows, however much is stored.  Never reconciles."""
    with read_snapshot():
        totals = global_row()
        return _Reading(
            totals=totals,
            state=state_of(totals.dirty, auto.running, totals.rebuild_status),
            dirty_rows={**count_dirty_rows(), "global": int(totals.dirty)},
            largest_bytes={scope: rankings.largest_total(scope) for scope in rankings.MEASURES_OF},
        )


class _Projection(Collector):
    """The projection as it is stored: a scrape does no maintenance."""

    def __init__(self, auto: AutoReconcile) -> None:
        self._auto = auto

    def describe(self) -> list[Metric]:
        return []  # before the first scrape nothing is read from the database

    def collect(self) -> Iterator[Metric]:
        """Without the database, the figures of the server's own processes."""
        try:
            with impatient(DATABASE_SECONDS):
                db.connect(reuse_if_open=True)
                reading = _read(self._auto)
        except (Busy, peewee.DatabaseError):
            reading = None
        about = "1 if the database has answered, else 0."
        yield GaugeMetricFamily("pdpp_database_up", about, value=int(reading is not None))
        if reading is not None:
            yield from self._stored(reading)
        yield from self._attempts()

    def _stored(self, reading: _Reading) -> Iterator[Metric]:
        totals = reading.totals
        for name in (*EVERY_MEASURE, "stream_count", "connection_count"):
            value = getattr(totals, name)
            yield GaugeMetricFamily(f"pdpp_retained_{name}", "Total retained size.", value=value)
        about = "The total of the largest in each scope."
        yield _labelled("pdpp_retained_largest_bytes", about, "scope", reading.largest_bytes)
        states: dict[str, int] = {state: int(state == reading.state) for state in STATES}
        yield _labelled("pdpp_projection_state", "1 for the current state, else 0.", "state", states)
        about = "Rows to recompute."
        yield _labelled("pdpp_projection_dirty_rows", about, "grain", reading.dirty_rows)
        for name, about, since in (
            ("computed_age", "Time since the totals last changed or were recomputed.", totals.computed_at),
            ("stale", "Time since the totals may lag; absent while they are exact.", totals.stale_since),
        ):
            if since:
                age = max(0.0, (datetime.now(UTC) - to_moment(since)).total_seconds())
                yield GaugeMetricFamily(f"pdpp_projection_{name}_seconds", about, value=age)

    def _attempts(self) -> Iterator[Metric]:
        found = self._auto.of_all_processes()
        yield CounterMetricFamily("pdpp_reconcile_attempts", "Passes of reads.", value=found.attempts)
        yield CounterMetricFamily("pdpp_reconcile_failures", "Failed ones of these.", value=found.failures)
        about = "Failed passes since the last success; the most of any process."
        yield GaugeMetricFamily(
            "pdpp_reconcile_consecutive_failures", about, value=found.consecutive_failures
        )
        about = "Time until the next attempt; 0 without a cooldown.  The longest of any process."
        yield GaugeMetricFamily("pdpp_reconcile_cooldown_seconds", about, value=found.retry_after_seconds)
        about = "Rows that this process could not recompute, and tries again later."
        aside = len(self._auto.aside.problems)
        yield GaugeMetricFamily("pdpp_reconcile_set_aside_rows", about, value=aside)


def _labelled(name: str, about: str, label: str, values: Mapping[str, int]) -> Metric:
    metric = GaugeMetricFamily(name, about, labels=[label])
    for of, value in values.items():
        metric.add_metric([of], value)
    return metric
