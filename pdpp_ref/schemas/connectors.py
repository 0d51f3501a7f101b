"""The responses to connectors."""

from typing import Annotated

from msgspec import Meta

from .types import Body, Bytes, Connection, Count, Key, Sha256, Stream


class LineError(Body):
    """A line that was rejected, and why."""

    line: Annotated[int, Meta(ge=1)]
    message: str


class Ingested(Body, omit_defaults=True):
    """How many lines were accepted.  At most 1,000 errors are listed; all are counted.

    `records_removed` is how many records ACTIVATE_VERSION lines deleted; it and `activations_skipped` are
    left out if there are none.
    """

    stream: Stream
    records_accepted: Count
    records_rejected: Count
    errors: list[LineError]
    records_removed: Count = 0
    activations_skipped: Annotated[
        list[LineError], Meta(description="ACTIVATE_VERSION lines that were not carried out, and why.")
    ] = []


class BlobStored(Body, tag_field="object", tag="blob"):
    """The file is stored and bound to the record.  `created`: it was not before."""

    blob_id: Sha256
    byte_length: Bytes
    created: bool


class StreamDeleted(Body, tag_field="object", tag="stream_deleted"):
    """The stream is gone, with its history."""

    stream: Stream


class RecordDeleted(Body, tag_field="object", tag="record_deleted"):
    """The record is no longer current; its history keeps it."""

    stream: Stream
    key: Key


class ConnectionDeleted(Body, tag_field="object", tag="connection_deleted"):
    """The connection is gone, with everything in it."""

    connector_instance_id: Connection
