"""From the event loop to the application and back.

A request's body is received first, without a thread.  Then a thread of its lane runs the application and is
free again when the response is made; a response that is made while it is sent keeps its thread, but leaves
the lane.
"""

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from urllib.parse import unquote_to_bytes

from flask import Flask

from ..access import AccessRecord
from ..authentication import BearerTokens
from ..database import for_request
from .hot_reads import HotReads
from .lanes import Lanes, Place
from .refusals import Refused, refusal
from .request_body import Body, receive_body
from .responses import FileBody, Head, Sender, Stalled, header_list

log = logging.getLogger(__name__)

JOINED_BYTES = 1024 * 1024  # a response of at most that is made as a whole
THREADS = 48  # more than all lanes have


class Gateway:
    """The ASGI application around a WSGI application."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._hot = HotReads(app)
        self._record: AccessRecord = app.extensions["access_record"]
        self._bearers: BearerTokens = app.extensions["bearer_tokens"]
        self._lanes = Lanes(app.extensions["lane_use"])
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="request")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        answer = await self._hot.answer(scope)
        if answer is not None:
            await send(answer.start)
            await send(answer.body)
            return
        began = time.perf_counter()
        request = Request(self._app, scope, asyncio.get_running_loop())
        sender = Sender(send, scope["state"].get("connection"))
        try:
            await self._serve(request, receive, sender)
        except Stalled:
            pass
        except Refused as raised:
            await self._refuse(raised.code, scope, began, receive, sender)
        except Exception as error:  # of this code: the application handles its own
            log.error("a request failed before or after the application: %s", type(error).__name__)
            await self._refuse("internal_error", scope, began, receive, sender)

    async def _refuse(self, code: str, scope: Any, began: float, receive: Any, sender: Sender) -> None:
        if sender.has_begun:
            sender.break_off()
            return
        refused = refusal(code, scope["path"])
        self._record.add(refused.request_id, scope["method"], None, refused.status, began)
        with suppress(Stalled):
            await sender.refuse(refused, receive)

    async def _serve(self, request: "Request", receive: Any, sender: Sender) -> None:
        """Raises Refused and Stalled."""
        request.body = await receive_body(request.scope, receive, self._bearers, self._threads)
        with request.body:
            async with self._lanes.enter(request.scope) as place:
                loop = asyncio.get_running_loop()
                made = await loop.run_in_executor(self._threads, request.respond, sender, place)
            if made is not None:
                await sender.whole(*made)


class Request:
    """One request of the application; `respond` runs in a thread."""

    body: Body

    def __init__(self, app: Flask, scope: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.scope = scope
        self._app = app
        self._loop = loop
        self._head = Head(500, [])

    def respond(self, sender: Sender, place: Place) -> tuple[Head, bytes | FileBody] | None:
        """Run the application.  Returns the response, or None if it has been sent part by part.

        Raises Refused.
        """
        with for_request(waited=place.waited):
            return self._respond(sender, place)

    def _respond(self, sender: Sender, place: Place) -> tuple[Head, bytes | FileBody] | None:
        parts: Iterable[bytes] = self._app.wsgi_app(self._environ(), self._start)
        if isinstance(parts, FileBody):
            return self._head, parts
        try:
            if self._is_made_whole():
                return self._head, b"".join(parts)
            self._wait(place.leave())
            self._send_parts(parts, sender)
            return None
        finally:
            if close := getattr(parts, "close", None):
                close()

    def _is_made_whole(self) -> bool:
        length = self._head.length
        return self.scope["method"] == "HEAD" or (length is not None and length <= JOINED_BYTES)

    def _send_parts(self, parts: Iterable[bytes], sender: Sender) -> None:
        """Waits for the client before each part but the first.  An error ends the connection early."""
        try:
            self._wait(sender.begin(self._head))
            for part in parts:
                self._wait(sender.part(part))
            self._wait(sender.end())
        except Stalled:
            pass
        except Exception as error:  # its reason was logged where it was raised
            log.error("a connection was ended by %s", type(error).__name__)
            self._loop.call_soon_threadsafe(sender.break_off)

    def _wait(self, coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _start(self, status: str, headers: list[tuple[str, str]], _: Any = None) -> Callable[[bytes], None]:
        self._head = Head(int(status[:3]), header_list(headers))
        return _no_write

    def _environ(self) -> dict[str, Any]:
        """What PEP 3333 asks for, and REQUEST_URI: the address as it was sent."""
        scope = self.scope
        path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
        client, server = scope["client"] or ("", 0), scope["server"] or ("", 0)
        environ: dict[str, Any] = {
            "REQUEST_METHOD": scope["method"],
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
            "QUERY_STRING": query,
            "REQUEST_URI": f"{path}?{query}" if query else path,
            "REMOTE_ADDR": client[0],
            "REMOTE_PORT": str(client[1]),
            "SERVER_NAME": server[0],
            "SERVER_PORT": str(server[1]),
            "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": self.body.file,
            "wsgi.input_terminated": True,
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
            "wsgi.file_wrapper": FileBody,
        }
        _add_headers(environ, scope["headers"])
        if self.body.is_there:
            environ["CONTENT_LENGTH"] = str(self.body.size)
        return environ


def _add_headers(environ: dict[str, Any], headers: list[tuple[bytes, bytes]]) -> None:
    """Leaves out a name with an underscore: it would look like the one with a dash, which a proxy sets."""
    for raw, value in headers:
        if b"_" in raw:
            continue
        name = raw.decode("latin-1").upper().replace("-", "_")
        if name == "TRANSFER_ENCODING":  # the body has been received
            continue
        if name not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            name = f"HTTP_{name}"
        text = value.decode("latin-1")
        if name in environ:
            text = environ[name] + ("; " if name == "HTTP_COOKIE" else ",") + text
        environ[name] = text


def _no_write(_: bytes) -> None:
    raise NotImplementedError("the application returns its body")
