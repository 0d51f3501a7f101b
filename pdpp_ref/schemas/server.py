"""Bodies that belong to no data: errors, health, and signing in."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from .types import Body, Connection


class Login(Struct):
    """The owner's password."""

    password: str


class Form(Struct):
    """The fields of every form of a page."""

    csrf_token: Annotated[str, Meta(description="From the form.")]
    return_to: Annotated[str, Meta(description="A path of this server to redirect to.")] = ""


class LoginForm(Form, kw_only=True):
    """The password as the form sends it."""

    password: str


class Health(Body):
    """The process is up."""

    status: Literal["ok"]


class AvailableConnection(Body):
    """One of the connections that a request can name."""

    connection_id: Connection
    display_name: str


class ErrorDetail(Body, omit_defaults=True):
    """`code` is for programs and `message` for people; `request_id` is also in the server's log.

    `param` is the parameter that was refused; `retry_with` the one to add, with one of
    `available_connections`.
    """

    type: str
    code: str
    message: str
    request_id: str | None
    param: str = ""
    retry_with: str = ""
    available_connections: list[AvailableConnection] = []


class Error(Body):
    """Every error has this one shape."""

    error: ErrorDetail
