"""A client's connection: no client can take more than its part, and every error has the API's one shape."""

import asyncio
import logging
from typing import Any

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from ..blueprints import errors
from ..blueprints.middleware import HEADERS, new_request_id
from .accepting import Shares

# For a request's line and headers, from its first byte; and for the first byte of the first request.
HEAD_SECONDS = 20.0
MAX_HEAD_BYTES = 64 * 1024
KEEP_ALIVE_SECONDS = 75

log = logging.getLogger(__name__)


class Limits:
    """How many connections a process holds.  Beyond that, those that wait for a request make room."""

    connections = 10_000


class Connection(HttpToolsProtocol):
    """HTTP/1.1 as uvicorn speaks it, with limits for the time and the size of a request's head.

    `shares` gets the number of connections of this process.
    """

    _in_head = False
    _head_bytes = 0
    _is_skipped = False  # the message that is being read
    _deadline: asyncio.TimerHandle | None = None

    def __init__(self, *arguments: Any, shares: Shares, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._shares = shares

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._shares.hold(len(self.connections))
        self._start_timer()
        if len(self.connections) > Limits.connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)
        self._shares.hold(len(self.connections))

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends nothing more.  It may still wait for a response, if its request is complete."""
        if self.cycle is None or self.cycle.response_complete or self.cycle.more_body:
            return False
        self.cycle.keep_alive = False
        return True

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as stopped:
            self._read_without_upgrade(data[stopped.args[0] :])
        except httptools.HttpParserError:
            self.refuse(400)
        if not self._in_head:
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self.refuse(431)
        elif self._deadline is None:
            self._start_timer()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes, self._is_skipped = True, 0, False
        self.scope["state"]["connection"] = self

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_timer()
        status = self._why_refused()
        self._is_skipped = bool(status) or self.parser.should_upgrade()
        if status:
            self.refuse(status)
        elif not self._is_skipped:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._is_skipped:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._is_skipped:
            super().on_message_complete()

    def _why_refused(self) -> int | None:
        """The status of the error; None for a head that is in order."""
        if self.parser.get_method() == b"CONNECT":
            return 405
        size = len(self.url)
        for name, value in self.headers:
            size += len(name) + len(value)
            if name == b"transfer-encoding" and value.lower() != b"chunked":
                return 501
        return 431 if size > MAX_HEAD_BYTES else None

    def _read_without_upgrade(self, rest: bytes) -> None:
        """Read a request again that asks for another protocol, as some clients' do, HTTP/2 for example.

        The parser stops after the head of such a request, and its body would be lost.
        """
        if self.transport.is_closing():
            return
        head = [self.parser.get_method(), b" ", self.url, b" HTTP/1.1\r\n"]
        for name, value in self.headers:
            if name not in (b"upgrade", b"connection", b"http2-settings"):
                head += [name, b": ", value, b"\r\n"]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"".join(head) + b"\r\n" + rest)

    def send_400_response(self, msg: str) -> None:
        self.refuse(400)

    def refuse(self, status: int) -> None:
        """Respond with an error to what reaches no route, and close the connection."""
        if self.transport.is_closing():
            return
        if self.cycle and not self.cycle.response_complete:
            self.abort()  # a response to an earlier request is under way
            return
        code, message = errors.of_status(status)
        request_id = new_request_id()
        body = msgspec.json.encode(errors.body(status, code, message, request_id)) + b"\n"
        head = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            "connection": "close",
            "request-id": request_id,
            "cache-control": "no-store",
            **HEADERS,
        }
        lines = b"".join(f"{name}: {value}\r\n".encode() for name, value in head.items())
        self.transport.write(STATUS_LINE[status] + lines + b"\r\n" + body)
        self.transport.close()

    def break_off(self) -> None:
        """Close after what has been sent, which the client sees is not all."""
        self.cycle.disconnected = True
        self.transport.close()

    def abort(self) -> None:
        """Disconnect, without what was still to be sent."""
        if self.cycle is not None:
            self.cycle.disconnected = True
        self.transport.abort()

    @property
    def is_gone(self) -> bool:
        """Whether the client has disconnected."""
        return self.transport.is_closing()

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a request to arrive."""
        return self.cycle is None or (self.cycle.response_complete and not self.pipeline)

    # ---- limits ------------------------------------------------------------------------------------

    def _start_timer(self) -> None:
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._is_late)

    def _stop_timer(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _is_late(self) -> None:
        self._deadline = None
        if self._in_head:
            self.refuse(408)
        else:
            self.transport.close()

    def _make_room(self) -> None:
        """Close some connections that are idle: a tenth of all, so that this is rarely needed."""
        held: list[Any] = list(self.connections)
        idle = [each for each in held if each.is_idle and each is not self]
        for each in idle[: max(1, Limits.connections // 10)]:
            each.transport.close()
