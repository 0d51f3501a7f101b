"""What is kept: how much of history."""

import click

from ..services import pruning
from .common import WrongCall, checked, id_of_connection, id_of_stream, opened_database, progress


@click.command("prune-history")
@click.option("--keep", required=True, type=click.IntRange(1), help="How many versions of a record stay.")
@click.option("--connection", callback=checked, help="Prune this connection alone.")
@click.option("--stream", callback=checked, help="Prune this stream of the connection alone.")
def prune_history(keep: int, connection: str | None, stream: str | None) -> None:
    """Forget all but the newest versions of each record.  What is forgotten is gone.

    A delete counts as a version.  Of a deleted record of which nothing else stays, the files go too.
    """
    if stream is not None and connection is None:
        raise WrongCall("--stream needs --connection: streams belong to connections")
    with opened_database():
        if connection is not None:
            connection_id = id_of_connection(connection)
            if stream is not None:
                id_of_stream(connection, connection_id, stream)
        with progress("versions forgotten") as show:
            gone = pruning.prune(keep, connection, stream, lambda done: show(done.versions))
    click.echo(f"Forgot {gone.versions:,} versions, {gone.json_bytes:,} bytes.")
