"""The responses to connectors."""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Raw, Struct

from ..services.cleaning import PLACES
from .types import BlobId, Body, Bytes, Connection, Connector, Count, Key, Sha256, Stream, Time, one_of


class LineError(Body):
    """A line that was rejected, and why."""

    line: Annotated[int, Meta(ge=1)]
    message: str


class Rejection(Body):
    """A rejected line for a program: `input_index` is its place in the body, from 0."""

    code: Annotated[
        str,
        Meta(
            description="`malformed_ndjson`, `invalid_utf8`, `invalid_record_identity`, "
            "`record_too_large` or `invalid_record`."
        ),
    ]
    input_index: Annotated[int, Meta(ge=0)]
    receipt_id: Annotated[str, Meta(description="Begins with the Request-Id, which the log has.")]


class Ingested(Body, omit_defaults=True):
    """How many lines were accepted.  At most 1,000 of the rejected are listed; all are counted.

    `records_removed` is how many records ACTIVATE_VERSION lines deleted; it and `activations_skipped` are
    left out if there are none.
    """

    stream: Stream
    records_attempted: Count
    records_accepted: Count
    records_rejected: Count
    rejections: list[Rejection]
    errors: list[LineError]
    records_removed: Count = 0
    activations_skipped: Annotated[
        list[LineError], Meta(description="ACTIVATE_VERSION lines that were not carried out, and why.")
    ] = []


class BlobStored(Body, tag_field="object", tag="blob", omit_defaults=True):
    """The file is stored, and bound to its record as soon as that is.

    `byte_length` and `created`, in the response to `key`: whether the record did not have it before.
    """

    blob_id: BlobId
    sha256: Sha256
    size_bytes: Bytes
    mime_type: str
    byte_length: Bytes | None = None
    created: bool | None = None


class SentState(Struct):
    """The values to replace, by stream; others stay."""

    state: dict[str, Raw]


class StoredState(Body, tag_field="object", tag="stream_state"):
    """All values, by stream, as they were sent.  `updated_at`: when one was last replaced."""

    connector_id: Connector
    grant_id: None
    state: dict[str, Raw]
    updated_at: Time | None


class ConnectionDeleted(Body, tag_field="object", tag="connection_deleted"):
    """The connection is gone, with everything in it."""

    connector_instance_id: Connection


class Remains(Body):
    """Where bytes of it may still be, and until when."""

    place: Annotated[str, one_of([*PLACES])]
    until: str


class Erased(Body, tag_field="object", tag="erased"):
    """Nothing of it is stored any more, and it is not stored if it arrives again.

    `versions_removed` and `files_removed` are 0 if nothing was stored.
    """

    stream: Stream
    key: Key
    versions_removed: Count
    files_removed: Count
    remains_in: list[Remains]


def erased(stream: str, key: str, versions: int, files: int, places: Sequence[str]) -> Erased:
    """`places` are keys of PLACES."""
    return Erased(
        stream=stream,
        key=key,
        versions_removed=versions,
        files_removed=files,
        remains_in=[Remains(place=place, until=PLACES[place]) for place in places],
    )
