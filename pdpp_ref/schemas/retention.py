"""JSON of rules of retention."""

from typing import Annotated

from msgspec import Meta, Struct

from .types import Body, Bytes, Connection, Count, Stream, Time


class RetentionRule(Body):
    """The server retains the newest `keep` versions of each record of the stream.

    `applied`: nothing has changed since it was last applied to all records, at `applied_at`.  `versions`,
    `json_bytes`, `files` and `file_bytes` are what it has removed so far.
    """

    connector_instance_id: Connection
    stream: Stream
    keep: Count
    set_at: Time
    applied: bool
    applied_at: Time | None
    versions: Count
    json_bytes: Bytes
    files: Count
    file_bytes: Bytes


class RetentionRules(Body):
    """All rules, by connection and stream."""

    rules: list[RetentionRule]


class NewRetentionRule(Struct, forbid_unknown_fields=True):
    """How many versions of each record to retain, from now on."""

    keep: Annotated[int, Meta(ge=1, le=1_000_000)]
