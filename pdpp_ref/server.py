"""The production server: waitress, with its own errors in the API's one shape."""

import json
import uuid

import waitress
from flask import Flask
from waitress.channel import HTTPChannel
from waitress.task import ErrorTask

THREADS = 8
LARGEST_REQUEST = 2**40  # the application has limits of its own, and errors that explain them


class JsonErrorTask(ErrorTask):  # type: ignore[misc]  # waitress has no stubs
    """What answers a request that is no HTTP, or too much of it: the application never sees it."""

    def execute(self) -> None:
        error, request_id = self.request.error, uuid.uuid4().hex
        told = {
            "type": "invalid_request_error" if error.code < 500 else "api_error",
            "code": error.reason.lower().replace(" ", "_"),
            "message": f"{error.reason}.",
            "request_id": request_id,
        }
        body = json.dumps({"error": told}).encode()
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
