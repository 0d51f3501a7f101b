"""The production server: waitress, with its own errors in the API's one shape."""

import uuid

import msgspec
import waitress
from flask import Flask
from waitress.channel import HTTPChannel
from waitress.task import ErrorTask

from .blueprints import errors, ingest

THREADS = 8
# What the largest body of any route may be.  A larger one is refused before it is received; all else is
# received whole before the application sees it, whoever sends it.
LARGEST_REQUEST = ingest.MAX_BODY_BYTES


class JsonErrorTask(ErrorTask):  # type: ignore[misc]  # waitress has no stubs
    """What answers a request that is no HTTP, or too much of it: the application never sees it."""

    def execute(self) -> None:
        error, request_id = self.request.error, uuid.uuid4().hex
        body = msgspec.json.encode(errors.body(error.code, *errors.of_status(error.code), request_id))
        self.status = f"{error.code} {error.reason}"
        self.response_headers += [
            ("Content-Type", "application/json"),
            ("Request-Id", request_id),
            ("X-Content-Type-Options", "nosniff"),
        ]
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


def listen(app: Flask, host: str, port: int) -> "waitress.server.BaseWSGIServer":
    """A server that holds the port and has yet to `run()`.  Raises OSError where it can't have it."""
    HTTPChannel.error_task_class = JsonErrorTask
    return waitress.create_server(
        app,
        host=host,
        port=port,
        threads=THREADS,
        ident="",
        max_request_body_size=LARGEST_REQUEST,
        # Whom to believe about the other side is the application's setting, PDPP_TRUSTED_PROXIES.
        clear_untrusted_proxy_headers=False,
    )
