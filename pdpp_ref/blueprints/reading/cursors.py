"""Cursors and tokens: where a client is in a list, as text that only this server reads.

Each kind says what it belongs to, so that one of another kind, order, stream or filter is refused.  None
is a secret or a permission: a forged one leads to another place in what its sender may read.
"""

import hashlib
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, Literal, TypeVar, cast

import msgspec
from msgspec import Meta, Struct

from ...queries.changes import PROVEN_DISTANCES
from ...queries.streams import ReadStream
from ..errors import ApiError

LONGEST = 20_000  # characters; a key of 1,000 control characters takes 8,000
_BASE64 = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)

Version = Annotated[int, Meta(ge=0, le=2**62)]
Order = Literal["asc", "desc"]


class Place(Struct, kw_only=True, forbid_unknown_fields=True):
    """`of` is a digest of the connection and the stream; `stream` distinguishes it from an earlier one of
    the same name.
    """

    of: str
    stream: str


class RecordsCursor(Place, tag_field="kind", tag="page", kw_only=True):
    session: Literal["records"] = "records"
    order: Order
    filter: str
    key: str


class VersionsCursor(Place, tag_field="kind", tag="page", kw_only=True):
    """`record` is a digest of the key, `version` that of the next version."""

    session: Literal["versions"] = "versions"
    record: str
    version: Version


class FeedPlace(Place, kw_only=True):
    """`history` is that of the database, `proof` digests of versions that were in it."""

    history: str
    proof: Annotated[dict[Version, str], Meta(max_length=len(PROVEN_DISTANCES))]


class ChangesToken(FeedPlace, tag_field="kind", tag="changes_since", kw_only=True):
    """Everything up to `version` is known."""

    version: Version


class ChangesCursor(FeedPlace, tag_field="kind", tag="page", kw_only=True):
    """In a walk from `start` to `horizon`, everything up to `after` has been passed on."""

    session: Literal["changes"] = "changes"
    start: Version
    after: Version
    horizon: Version


P = TypeVar("P", bound=Place)
_decoders: dict[type[Place], msgspec.json.Decoder[Place]] = {
    kind: msgspec.json.Decoder(kind)
    for kind in (RecordsCursor, VersionsCursor, ChangesToken, ChangesCursor)
}


def encode(place: Place) -> str:
    return urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def decode(text: str, kind: type[P], param: str) -> P:
    """Raises ApiError `invalid_cursor` for anything but a text that `encode` made of this kind."""
    try:
        if len(text) > LONGEST or not _BASE64.fullmatch(text):
            raise ValueError
        place = cast(P, _decoders[kind].decode(urlsafe_b64decode(text + "=" * (-len(text) % 4))))
        # No stored text contains NUL, and PostgreSQL refuses it.
        if "\0" in getattr(place, "key", ""):
            raise ValueError
    except (ValueError, RecursionError):  # msgspec.ValidationError is a ValueError
        raise invalid(param) from None
    return place


def is_of_changes(text: str | None) -> bool:
    """Whether a text is a cursor of the change feed, as far as it says so itself."""
    try:
        decode(text or "", ChangesCursor, "cursor")
    except ApiError:
        return False
    return True


def invalid(param: str) -> ApiError:
    return ApiError("invalid_cursor", f"{param} is none that this server gave for this list.", param=param)


def names_digest(stream: ReadStream) -> str:
    """For `of`."""
    return digest(stream.connection, stream.name)


def digest(*names: str) -> str:
    return hashlib.sha256(msgspec.json.encode(names)).hexdigest()[:16]
