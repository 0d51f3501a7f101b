"""Deleting a connection, a stream or a record."""

import click

from ..canonical import deletion, removal
from ..canonical.errors import NotFound
from .common import (
    answer,
    checked,
    id_of_connection,
    id_of_stream,
    opened_database,
    plural,
    shown_name,
)
from .errors import UsageError
from .progress import progress
from .settings_help import Command


@click.command("delete", cls=Command)
@click.option("--connection", required=True, callback=checked, help="Delete this connection.")
@click.option("--stream", callback=checked, help="Delete only this stream of the connection.")
@click.option("--key", callback=checked, help="Delete only this record of the stream.")
def delete(connection: str, stream: str | None, key: str | None) -> None:
    """Delete a connection or a stream with its history, or a record, whose history stays.

    It is gone at once.  Its rows are removed in steps; if that is interrupted, the server does the rest,
    or the next delete.
    """
    if key is not None and stream is None:
        raise UsageError("--key needs --stream: records belong to streams")
    with opened_database():
        try:
            deleted = _delete(connection, stream, key)
        except NotFound:
            raise UsageError("it does not exist any more") from None
        answer(f"Deleted {deleted}.")
        if key is None:
            with progress("rows removed") as show:
                rows = removal.remove_all(show)
            answer(f"Removed {plural(rows, 'row')}.")


def _delete(connection: str, stream: str | None, key: str | None) -> str:
    """Returns what was deleted.  Raises UsageError for an unknown name."""
    connection_id, whole = id_of_connection(connection), f"connection {shown_name(connection)}"
    if stream is None:
        deletion.delete_connection(connection)
        return whole
    id_of_stream(connection, connection_id, stream)
    part = f"stream {shown_name(stream)} of {whole}"
    if key is None:
        deletion.delete_stream(connection, stream)
        return part
    try:
        deletion.delete_record(connection, stream, key)
    except NotFound:
        raise UsageError(f"{part} has no record {shown_name(key)}") from None
    return f"record {shown_name(key)} of {part}"
