"""Reading the bodies of requests in blocks, so that memory use is constant however large they are."""

from collections.abc import Iterator

from flask import request

from ..parsing import unpacking
from ..parsing.lines import READ_BYTES
from . import limits
from .errors import ApiError


def blocks() -> Iterator[bytes]:
    """The body as it was sent."""
    return iter(lambda: request.stream.read(READ_BYTES), b"")


def unpacked_blocks() -> Iterator[bytes | None]:
    """The body, unpacked if it is gzip.  Raises ApiError for another encoding."""
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding == "identity":
        return blocks()
    if encoding != "gzip":
        raise ApiError("unsupported_encoding", "Content-Encoding must be gzip or left out.")
    return unpacking.unpacked(blocks(), unpacking.GZIP, limits.MAX_UNPACKED_BYTES)


def check_unencoded() -> None:
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise ApiError("unsupported_encoding", "Send the body unencoded, without Content-Encoding.")
