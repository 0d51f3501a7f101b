"""Every error that a route answers: its code, the status that goes with it, and what it means."""

from http import HTTPStatus
from typing import NamedTuple

from .. import schemas


class Meaning(NamedTuple):
    """`about` is for the description of the API, and is told where nothing more exact is known."""

    status: int
    about: str


ERRORS = {
    "invalid_request": Meaning(400, "A parameter or the body can't be taken."),
    "invalid_gzip": Meaning(400, "The body is not whole gzip data."),
    "digest_mismatch": Meaning(400, "The bytes that came do not have this digest. Send them again."),
    "unknown_host": Meaning(400, "This server does not answer to the name that was asked for."),
    "owner_session_required": Meaning(401, "Neither the owner's session nor the operator's token came."),
    "bearer_token_required": Meaning(401, "Send the operator's token as a bearer token."),
    "invalid_password": Meaning(401, "The password is wrong."),
    "cross_site_request": Meaning(403, "This request came from another site's page."),
    "csrf_token_required": Meaning(403, "The form has expired."),
    "not_found": Meaning(404, "There is nothing at this address."),
    "connection_not_found": Meaning(404, "There is no such connection."),
    "stream_not_found": Meaning(404, "There is no such stream."),
    "record_not_found": Meaning(404, "There is no such record."),
    "method_not_allowed": Meaning(405, "This address does not take this method."),
    "ambiguous_address": Meaning(
        409, "This address can be read in more than one way. Use /v1/records?stream=…&key=… instead."
    ),
    "connector_mismatch": Meaning(409, "The connection belongs to another connector."),
    "body_too_large": Meaning(413, "The body is larger than this address takes."),
    "unsupported_encoding": Meaning(415, "The body is encoded in a way that is not known here."),
    "range_not_satisfiable": Meaning(416, "The file does not have these bytes."),
    "too_many_requests": Meaning(429, "These were too many tries. Wait a while."),
    "internal_error": Meaning(500, "Something went wrong here. Try again."),
    "storage_unavailable": Meaning(
        503, "The server can't read or write its records right now. Nothing is lost; try again."
    ),
}

# What Flask and its extensions refuse by status alone.
_OF_STATUS = {
    400: "invalid_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    416: "range_not_satisfiable",
    429: "too_many_requests",
}

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
}


# What to answer about a database that can't be used; other problems have no message of their own.
_OF_PROBLEM = {
    "upgraded": "The database was upgraded by another version of this server.  Restart this one.",
    "unfinished": "A copy to this database is not finished.  Run it again until it is.",
}


class ApiError(Exception):
    """An error to answer with; the message is for the client and says what to do."""

    def __init__(self, code: str, message: str = "") -> None:
        self.status, about = ERRORS[code]
        self.code = code
        self.message = message or about
        super().__init__(self.message)


def of_status(status: int) -> tuple[str, str]:
    """The code and the message of a status that came without."""
    code = _OF_STATUS.get(status)
    if code:
        return code, ERRORS[code].about
    phrase = HTTPStatus(status).phrase
    return phrase.lower().replace(" ", "_"), f"{phrase}."


def of_problem(kind: str) -> str:
    """The message of `storage_unavailable`, if there is more to say than what it means."""
    return _OF_PROBLEM.get(kind, "")


def body(status: int, code: str, message: str, request_id: str | None) -> schemas.Error:
    """The one shape."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    detail = schemas.ErrorDetail(type=kind, code=code, message=message, request_id=request_id)
    return schemas.Error(error=detail)
