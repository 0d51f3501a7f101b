"""Errors that come before the application: the API's one shape, without Flask."""

from typing import NamedTuple

import msgspec

from ..blueprints import errors
from ..blueprints.middleware import final_headers, new_request_id


class Refused(Exception):
    """The request is not passed on, for the reason with this code."""

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(code)


class Refusal(NamedTuple):
    """A response."""

    request_id: str
    status: int
    headers: dict[str, str]
    body: bytes


def refusal(code: str, path: str) -> Refusal:
    """The response to a request for the path; its connection is closed then."""
    error = errors.ApiError(code)
    request_id = new_request_id()
    body = msgspec.json.encode(errors.body(error.status, error.code, error.message, request_id)) + b"\n"
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        **final_headers(path, request_id),
        **dict(errors.headers(error.status)),
    }
    return Refusal(request_id, error.status, headers, body)
