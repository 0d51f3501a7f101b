"""Connectors' writes over HTTP: records as JSON lines, and state."""

from typing import Annotated

import msgspec
from flask import Blueprint, Response, g, request
from msgspec import Meta, Struct

from ..canonical import state as states
from ..canonical.importer import Importer, RejectedLine, Report, StorageUnavailable
from ..canonical.records import Target
from ..canonical.state import StreamState
from ..credentials import WRITE
from ..parsing.lines import split_lines
from ..schemas.connectors import Ingested, LineError, Rejection, SentState, StoredState
from . import limits
from .auth import requires
from .bodies import check_unencoded, unpacked_blocks
from .connections import Alias, ConnectionQuery, Instance, RunId, capital, checked_name, target_of
from .errors import ApiError
from .openapi.decorator import operation
from .responses import JSON, reply

blueprint = Blueprint("ingest", __name__, url_prefix="/v1")

MAX_ERRORS = 1_000  # listed; all are counted


class IngestQuery(ConnectionQuery, kw_only=True):
    consent_time_field: Annotated[
        str | None,
        Meta(description="The field with a record's time; it is stored."),
    ] = None
    run_id: RunId = None


class _Outcome:
    """The lines that were not stored, for the response; at most MAX_ERRORS of each kind."""

    def __init__(self) -> None:
        self.errors: list[LineError] = []
        self.rejections: list[Rejection] = []
        self.skipped: list[LineError] = []

    def reject(self, line: RejectedLine) -> None:
        if len(self.errors) < MAX_ERRORS:
            index = line.number - 1
            receipt = f"{g.request_id}-{index}"
            self.errors.append(LineError(line=line.number, message=line.reason))
            self.rejections.append(Rejection(code=line.code, input_index=index, receipt_id=receipt))

    def skip(self, line: int, reason: str) -> None:
        if len(self.skipped) < MAX_ERRORS:
            self.skipped.append(LineError(line=line, message=reason))

    def body(self, stream: str, report: Report) -> Ingested:
        return Ingested(
            stream=stream,
            records_attempted=report.counts.accepted + report.rejected,
            records_accepted=report.counts.accepted,
            records_rejected=report.rejected,
            rejections=self.rejections,
            records_removed=report.counts.removed,
            errors=self.errors,
            activations_skipped=self.skipped,
        )


@blueprint.post("/ingest/<anything:stream>")
@requires(WRITE)
@operation(
    "Send records to a stream",
    Ingested,
    query=IngestQuery,
    errors=(
        "invalid_request",
        "invalid_gzip",
        "connector_mismatch",
        "body_too_large",
        "unsupported_encoding",
    ),
    body={"application/x-ndjson": "RECORD messages, one JSON object per line."},
    headers={"Content-Encoding": ("identity", "gzip")},
)
def ingest_lines(stream: str, query: IngestQuery) -> Response:
    request.max_content_length = limits.MAX_INGEST_BYTES
    field, outcome = query.consent_time_field, _Outcome()
    work = Importer(
        target_of(query),
        lambda _: None,
        outcome.reject,
        stream=checked_name("stream", stream),
        on_skipped=outcome.skip,
        time_fields={} if field is None else {None: checked_name("consent_time_field", field)},
    )
    try:
        report = work.run(split_lines(unpacked_blocks()))
    except StorageUnavailable as reason:
        raise ApiError("storage_unavailable", f"{capital(reason)}. Send it again.") from None
    if report.broken:
        raise _broken(report, report.broken.code, report.broken.reason)
    return reply(outcome.body(stream, report))


def _broken(report: Report, code: str, reason: str) -> ApiError:
    """The response to a body that can't be unpacked to its end: the counts of the lines before."""
    stored = (
        f"of the {report.lines - 1:,} lines before that, {report.counts.accepted:,} were accepted "
        f"and {report.rejected - 1:,} rejected"
    )
    if code == "too_large":
        return ApiError("body_too_large", f"{capital(reason)}; {stored}. Send the rest in parts.")
    return ApiError("invalid_gzip", f"{capital(reason)}; {stored}. Send all of it again.")


# ---- state -------------------------------------------------------------------------------------


class StateQuery(Struct, kw_only=True):
    connector_instance_id: Instance = None
    connection_id: Alias = None
    run_id: RunId = None


@blueprint.get("/state/<anything:connector>")
@requires(WRITE)
@operation("The state of a connection", StoredState, query=StateQuery, errors=("connector_mismatch",))
def read_state(connector: str, query: StateQuery) -> Response:
    target = _target_of_state(connector, query)
    return _state(target, states.load(target))


@blueprint.put("/state/<anything:connector>")
@requires(WRITE)
@operation(
    "Replace the state of some streams of a connection",
    StoredState,
    query=StateQuery,
    errors=("connector_mismatch", "body_too_large", "unsupported_encoding"),
    body={JSON: SentState},
)
def write_state(connector: str, query: StateQuery) -> Response:
    target = _target_of_state(connector, query)
    return _state(target, states.merge(target, _sent_values()))


def _target_of_state(connector: str, query: StateQuery) -> Target:
    return target_of(
        ConnectionQuery(
            connector_id=connector,
            connector_instance_id=query.connector_instance_id,
            connection_id=query.connection_id,
        )
    )


def _sent_values() -> dict[str, str]:
    """Each stream's value as it was sent.  Raises ApiError."""
    check_unencoded()
    try:
        sent = msgspec.json.decode(request.get_data(), type=SentState).state
        return {checked_name("stream", stream): bytes(value).decode() for stream, value in sent.items()}
    except (ValueError, RecursionError):
        message = 'The body must be JSON: {"state": {"<stream>": ...}}.'
        raise ApiError("invalid_request", message) from None


def _state(target: Target, values: list[StreamState]) -> Response:
    return reply(
        StoredState(
            connector_id=target.connector,
            grant_id=None,
            state={each.stream: msgspec.Raw(each.value) for each in values},
            updated_at=max((each.updated_at for each in values), default=None),
        )
    )
