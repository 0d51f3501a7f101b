"""The production server: waitress, with its own errors in the API's one shape, and patient with nobody."""

import copy
import logging
import time
import uuid
from functools import partial
from http import HTTPStatus
from typing import Any

import msgspec
import waitress
from flask import Flask
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import BaseWSGIServer
from waitress.task import ErrorTask
from waitress.utilities import RequestEntityTooLarge

from .authentication import BearerTokens
from .blueprints import errors
from .blueprints.limits import MAX_BLOB_BYTES, MAX_FORM_BYTES, MAX_INGEST_BYTES
from .credentials import WRITE

THREADS = 8
STALLED_SECONDS = 60.0  # for which a client takes nothing of its response
SENT_AT_ONCE = 256 * 1024
# All connections wait while one thread looks for a token in the database.
LOOK_UP_SECONDS = 0.25


class Parser(HTTPRequestParser):  # type: ignore[misc]  # waitress has no stubs
    """Checks the token before it receives a large body.

    Without a token that may write, no more than MAX_FORM_BYTES are received.  Everything else is received
    whole before the application sees it.
    """

    def __init__(self, bearers: BearerTokens, settings: Any) -> None:
        super().__init__(settings)
        self.adj: Any = settings
        self._bearers = bearers
        self._refusal: str | None = None  # the code of the error for a large body

    def parse_header(self, head: bytes) -> None:
        try:
            super().parse_header(head)
        except ValueError:  # for an address or a number that Python's own parsers refuse
            raise ParsingError("invalid") from None
        if self.chunked or self.content_length >= MAX_FORM_BYTES:  # most requests have no such body
            self._refusal = self._why_refused(self.headers.get("AUTHORIZATION", ""))
        if self._refusal:
            self.adj = copy.copy(self.adj)
            self.adj.max_request_body_size = MAX_FORM_BYTES

    def error_details(self) -> tuple[int, str, str]:
        """Status, code and message of the request's error."""
        if self._refusal and isinstance(self.error, RequestEntityTooLarge):
            raised = errors.ApiError(self._refusal)
            return raised.status, raised.code, raised.message
        return (self.error.code, *errors.of_status(self.error.code))

    def _why_refused(self, authorization: str) -> str | None:
        try:
            caller = self._bearers.caller_within(LOOK_UP_SECONDS, authorization)
        except Exception:  # of the database: without it, nothing large could be stored either
            return "storage_unavailable"
        if caller is None:
            return "bearer_token_required"
        return None if WRITE in caller.scopes else "insufficient_scope"


class Channel(HTTPChannel):  # type: ignore[misc]
    """A client's connection, in which no client can delay the others.

    One that stops reading is disconnected, and a thread that waits for it is free again.  One that reads
    fast is sent a part at a time: waitress would send it everything before it serves anybody else.
    """

    def __init__(self, *arguments: Any, **more: Any) -> None:
        self._left = 0
        self._is_closing = False
        self._took_at = time.monotonic()
        super().__init__(*arguments, **more)
        # waitress reads so much of a file at a time, and again if the client took only a part of it.
        self.sendbuf_len = min(self.sendbuf_len, SENT_AT_ONCE)  # type: ignore[has-type]

    def writable(self) -> bool:
        """Called at least once a second, also while there is nothing to take."""
        if not self.total_outbufs_len:
            self._took_at = time.monotonic()
        elif time.monotonic() - self._took_at > STALLED_SECONDS and not self._is_closing:
            self._is_closing = True
            # waitress would close it once it can be written to, which may be never.
            self.server.trigger.pull_trigger(self.handle_close)
        return bool(super().writable())

    def _flush_some(self, do_close: bool = True) -> bool:
        self._left = SENT_AT_ONCE
        return bool(super()._flush_some(do_close=do_close))

    def send(self, data: bytes, do_close: bool = True) -> int:
        """How many bytes were sent; 0 if the client takes no more for now, or has had its part."""
        if self._left <= 0:
            return 0
        sent = int(super().send(data[: self._left], do_close=do_close))
        if sent:
            self._left -= sent
            self._took_at = time.monotonic()
        return sent


class JsonErrorTask(ErrorTask):  # type: ignore[misc]
    """Error responses for requests that the HTTP parser rejects: the application never sees them."""

    def execute(self) -> None:
        (status, code, message), request_id = self.request.error_details(), uuid.uuid4().hex
        body = msgspec.json.encode(errors.body(status, code, message, request_id))
        self.status = f"{status} {HTTPStatus(status).phrase}"
        self.response_headers += [
            ("Content-Type", "application/json"),
            ("Request-Id", request_id),
            ("X-Content-Type-Options", "nosniff"),
        ]
        self.response_headers += errors.headers(status)
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


def _without_details(record: logging.LogRecord) -> bool:
    """Log no exceptions of waitress: they have paths of requests, which contain names, and of files."""
    if record.levelno >= logging.ERROR:
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else "a fault"
        record.msg, record.args, record.exc_info = "a connection was ended by %s", (kind,), None
    return True


def listen(app: Flask, host: str, port: int) -> BaseWSGIServer:
    """A server that holds the port and has yet to `run()`.  Raises OSError if the port is not available."""
    BaseWSGIServer.channel_class = Channel
    HTTPChannel.error_task_class = JsonErrorTask
    HTTPChannel.parser_class = partial(Parser, app.extensions["bearer_tokens"])
    logging.getLogger("waitress").addFilter(_without_details)
    return waitress.create_server(
        app,
        host=host,
        port=port,
        threads=THREADS,
        ident="",
        # waitress refuses a body that is as large as this.
        max_request_body_size=max(MAX_INGEST_BYTES, MAX_BLOB_BYTES) + 1,
        # The application handles X-Forwarded-* headers: see PDPP_TRUSTED_PROXIES.
        clear_untrusted_proxy_headers=False,
    )
