"""Bodies that belong to no data: errors, health, and signing in."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from .types import Body, Connection, Key, Stream


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


class DownloadForm(Form, kw_only=True):
    """What to download: one record, a stream, a connection or, without a name, everything."""

    connection: Connection = ""
    stream: Stream = ""
    key: Key = ""
    history: Annotated[Literal["", "yes"], Meta(description="Every version, and deleted records.")] = ""
    files: Annotated[Literal["", "yes"], Meta(description="A zip with the files, too.")] = ""


class PruneForm(Form, kw_only=True):
    """What to prune: in a stream, a connection or, without a name, everywhere.  `id` makes it one request,
    however often it is sent.
    """

    id: str
    connection: Connection = ""
    stream: Stream = ""
    keep: Annotated[str, Meta(description="How many versions of each record stay.")] = ""
    before: Annotated[str, Meta(description="Versions that arrived on this day or later stay.")] = ""


class RuleForm(Form, kw_only=True):
    """A rule of a stream; without a number it is removed."""

    connection: Connection
    stream: Stream
    keep: Annotated[str, Meta(description="How many versions of each record stay.")] = ""


class DeleteForm(Form, kw_only=True):
    """What to delete: a record, a stream or a connection.  `seen` identifies what the page has shown."""

    connection: Connection
    stream: Stream = ""
    key: Key = ""
    seen: str = ""
    how: Annotated[Literal["delete", "erase"], Meta(description="A record's history is erased too.")] = (
        "delete"
    )


class TokenForm(Form, kw_only=True):
    """The name of a token to revoke."""

    name: str


class Health(Body):
    """The process is up."""

    status: Literal["ok"]


class AvailableConnection(Body):
    """A connection to choose from."""

    connection_id: Connection
    display_name: str


class ErrorDetail(Body):
    """`code` is for programs and `message` for people; `request_id` is also in the server's log.

    Under `/v1`, `param` names the parameter that is wrong, and `retry_with` one to add, with a value from
    `available_connections`.
    """

    type: str
    code: str
    message: str
    request_id: str | None
    param: str | UnsetType = UNSET
    retry_with: str | UnsetType = UNSET
    available_connections: list[AvailableConnection] | UnsetType = UNSET


class Error(Body):
    """Every error has this one shape."""

    error: ErrorDetail
