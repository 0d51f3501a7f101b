"""Connectors' writes over HTTP: records as JSON lines, and deletes.  Bearer token only."""

import zlib
from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Response, jsonify, request

from ..services import deletion, ingest
from ..services.importer import READ_BYTES, Importer, NotStored, split_lines
from ..services.messages import Rejected, check_name
from .auth import operator_only
from .http import ApiError, error

blueprint = Blueprint("ingest", __name__, url_prefix="/v1")

MAX_BODY_BYTES = 1024**3
MAX_UNPACKED_BYTES = 8 * 1024**3
MAX_ERRORS = 1_000  # told one by one; all are counted


@blueprint.post("/ingest/<anything:stream>")
@operator_only
def ingest_lines(stream: str) -> Response:
    request.max_content_length = MAX_BODY_BYTES
    connector = _name("connector_id", request.args.get("connector_id"))
    connection = _name("connector_instance_id", request.args.get("connector_instance_id", connector))
    errors: list[dict[str, Any]] = []

    def reject(line: int, reason: str) -> None:
        if len(errors) < MAX_ERRORS:
            errors.append({"line": line, "message": reason})

    target = ingest.Target(connection, connector)
    work = Importer(target, lambda _: None, reject, stream=_name("stream", stream))
    try:
        report = work.run(split_lines(_body()))
    except NotStored as reason:
        raise ApiError(503, "storage_unavailable", f"{_capital(reason)}. Send it again.") from None
    return jsonify(
        stream=stream,
        records_accepted=report.counts.accepted,
        records_rejected=report.rejected,
        errors=errors,
    )


@blueprint.delete("/streams/<anything:stream>/records")
@operator_only
def delete_stream(stream: str) -> Response:
    deletion.delete_stream(_connection(), stream)
    return jsonify(object="stream_deleted", stream=stream)


@blueprint.delete("/streams/<anything:stream>/records/<anything:key>")
@operator_only
def delete_record(stream: str, key: str) -> Response:
    deletion.delete_record(_connection(), stream, key)
    return jsonify(object="record_deleted", stream=stream, key=key)


@blueprint.delete("/connections/<anything:connection>")
@operator_only
def delete_connection(connection: str) -> Response:
    deletion.delete_connection(connection)
    return jsonify(object="connection_deleted", connector_instance_id=connection)


@blueprint.errorhandler(ingest.Unknown)
def _unknown(raised: ingest.Unknown) -> Response:
    return error(404, f"{raised}_not_found", f"There is no such {raised}.")


@blueprint.errorhandler(ingest.WrongConnector)
def _wrong_connector(_: ingest.WrongConnector) -> Response:
    return error(409, "connector_mismatch", "The connection belongs to another connector.")


def _connection() -> str:
    return _name("connector_instance_id", request.args.get("connector_instance_id"))


def _name(what: str, name: str | None) -> str:
    try:
        return check_name(what, name or "")
    except Rejected as reason:
        raise ApiError(400, "invalid_request", f"{_capital(reason)}.") from None


def _capital(reason: Exception) -> str:
    text = str(reason)
    return text[:1].upper() + text[1:]


def _body() -> Iterator[bytes]:
    """The body in blocks, unpacked.  Memory stays flat, however much a small body unpacks to."""
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    blocks = iter(lambda: request.stream.read(READ_BYTES), b"")
    if encoding == "identity":
        return blocks
    if encoding != "gzip":
        raise ApiError(415, "unsupported_encoding", "Content-Encoding must be gzip or left out.")
    return _unpacked(blocks)


def _unpacked(blocks: Iterator[bytes]) -> Iterator[bytes]:
    unpack = zlib.decompressobj(wbits=31)
    total = 0
    try:
        for block in blocks:
            while block and not unpack.eof:
                part = unpack.decompress(block, READ_BYTES)
                block = unpack.unconsumed_tail
                total += len(part)
                if total > MAX_UNPACKED_BYTES:
                    raise ApiError(413, "body_too_large", "The body unpacks to too much. Send it in parts.")
                yield part
    except zlib.error:
        raise ApiError(400, "invalid_gzip", "The body is not gzip. Send all of it again.") from None
    if not unpack.eof:
        raise ApiError(400, "invalid_gzip", "The gzip data is cut off. Send all of it again.")
