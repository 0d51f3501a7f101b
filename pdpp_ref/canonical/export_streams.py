"""The streams of an export: their declarations before their records, their last number after them."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..database import execute, insert_many, write_transaction
from ..models import KeySpelling, StoredStream, locking
from ..models.locking import LockedConnection
from ..parsing.messages import ExportSpelling, ExportStream
from .errors import StreamNotFound
from .key_schema import UNKNOWN, stored_key_schema
from .records import Target, known_stream, lock_connection, lock_streams
from .restoring import Section, is_beginning


@dataclass(frozen=True)
class Begun:
    """A stream of an export whose records follow."""

    target: Target
    declared: ExportStream
    section: Section


def begin(target: Target, declared: ExportStream) -> Begun:
    """Create the stream if it does not exist; one without versions gets what the export declares.

    Raises ConnectorMismatch, Busy or peewee.DatabaseError.
    """
    while True:
        with write_transaction():
            connection = lock_connection(target, True, 0)
            assert connection is not None
            streams = lock_streams(connection, [declared.stream], {declared.stream})
            if not streams:
                continue  # it was deleted while this waited for its lock
            (stream,) = streams
            if stream.last_version == 0:
                _declare(stream, connection, declared)
            return Begun(target, declared, _section(stream, declared))


def _section(stream: StoredStream, declared: ExportStream) -> Section:
    is_declared = stream.last_version == 0 or (
        stream.record_time_field,
        stream.record_time_field_since,
    ) == (declared.record_time_field, declared.record_time_field_since)
    return Section(stream.last_version, stream.last_version, is_declared)


def _declare(stream: StoredStream, connection: LockedConnection, declared: ExportStream) -> None:
    key_schema = UNKNOWN if declared.key_schema_unknown else stored_key_schema(declared.key_schema)
    execute(
        """
        UPDATE streams
        SET record_time_field = ?,
            record_time_field_since = ?,
            key_schema = ?,
            rejected_table_version = ?,
            rejected_unversioned = ?,
            rejections_seen = ?
        WHERE id = ?
        """,
        (
            declared.record_time_field,
            declared.record_time_field_since,
            key_schema,
            declared.rejected_table_version,
            declared.rejected_unversioned,
            connection.unattributed_rejections,
            stream.id,
        ),
    )


def add_spellings(begun: Begun, spellings: Sequence[ExportSpelling]) -> None:
    """Store the spellings of keys, if the stream had no version when its section began.

    Raises Busy or peewee.DatabaseError.
    """
    if not spellings or begun.section.begun_at:
        return
    with write_transaction():
        stream = _locked(begun)
        if stream is None:
            return
        rows = [(stream.id, each.key, each.spelling) for each in spellings]
        insert_many(KeySpelling, ("stream_id", "key", "spelling"), rows, ("stream_id", "key"))
        execute("UPDATE streams SET respelled_keys = TRUE WHERE id = ?", [stream.id])


def finish(begun: Begun) -> None:
    """Continue the numbers after the export's last one, even if nothing has that number any more.

    Raises Busy or peewee.DatabaseError.
    """
    section, last = begun.section, begun.declared.last_version
    if section.is_diverged or last <= section.through:
        return
    with write_transaction():
        stream = _locked(begun)
        if stream and (section.is_appending or is_beginning(section, stream.id)):
            execute(
                """
                UPDATE streams
                SET last_version = ?
                WHERE id = ? AND last_version = ?
                """,
                (last, stream.id, section.through),
            )


def _locked(begun: Begun) -> StoredStream | None:
    """None if somebody has deleted the stream meanwhile."""
    try:
        stream = known_stream(begun.target.connection, begun.declared.stream)
    except StreamNotFound:
        return None
    return locking.lock_stream_for_update(stream.id)
