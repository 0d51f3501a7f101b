"""The types of fields, with their descriptions for the OpenAPI document."""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

TIME_PATTERN = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"

Time = Annotated[
    str,
    Meta(
        description="UTC, with milliseconds.",
        pattern=TIME_PATTERN,
        extra_json_schema={"format": "date-time", "examples": ["2026-01-31T08:00:00.000Z"]},
    ),
]
LastContact = Annotated[
    Time | None, Meta(description="When its source last sent anything, also if nothing had changed.")
]
LastArrival = Annotated[Time | None, Meta(description="When the newest of its live records arrived.")]
UsualInterval = Annotated[
    Annotated[int, Meta(ge=0)] | None,
    Meta(
        description="The median time between the latest visits of its source; null if there were too few.",
    ),
]
Silent = Annotated[
    bool, Meta(description="Whether its source has stayed away for longer than usual, and a grace.")
]
Count = Annotated[int, Meta(ge=0, description="A number of things.")]
Bytes = Annotated[int, Meta(ge=0, description="A number of bytes.")]
Connector = Annotated[str, Meta(description="What kind of source a connection is of.")]
Connection = Annotated[str, Meta(description="The name of a connection: its `connector_instance_id`.")]
Stream = Annotated[str, Meta(description="The name of a stream, within its connection.")]
Key = Annotated[str, Meta(description="The key of a record, within its stream.")]
Sha256 = Annotated[str, Meta(description="A SHA-256 digest, in lower-case hex.", pattern="^[0-9a-f]{64}$")]
BlobId = Annotated[str, Meta(description="The name of a file.", pattern="^blob_sha256_[0-9a-f]{64}$")]
BlobName = Annotated[
    str,
    Meta(
        description="The name of a file, or its SHA-256 digest in hex.",
        pattern="^(blob_sha256_)?[0-9a-fA-F]{64}$",
        extra={"wanted": "the name of a file"},
    ),
]


def blob_id(sha256: str) -> str:
    """The name of the file with this digest."""
    return f"blob_sha256_{sha256}"


def one_of(values: Sequence[str]) -> Meta:
    """An enumeration of texts, for a derived list, which can't be a Literal."""
    return Meta(
        pattern=rf"^({'|'.join(values)})$(?!\n)",
        extra_json_schema={"enum": list(values)},
        extra={"wanted": f"one of {', '.join(values)}"},
    )


class Body(Struct, kw_only=True, forbid_unknown_fields=True):
    """A response: all of its fields and no other."""
