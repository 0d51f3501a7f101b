"""Listing the connections."""

import sys
from collections.abc import Sequence

import click
import msgspec

from ..queries import connections
from ..queries.connections import ConnectionRow
from .common import answer, opened_database, shown_name
from .settings_help import Command

HEADINGS = ("connection", "connector", "streams", "bytes", "last arrival")


@click.command("connections", cls=Command)
def list_connections() -> None:
    """List the connections with connector, number of streams, size and last arrival.

    On a terminal it is a table, otherwise one JSON object per line.  The bytes are everything that is
    retained; they are exact if `fresh`, and marked with ~ in the table otherwise.
    """
    with opened_database():
        rows = connections.rows()
    for line in _table(rows) if sys.stdout is not None and sys.stdout.isatty() else map(_json, rows):
        answer(line)


def _json(row: ConnectionRow) -> str:
    fields = {
        "connection": row.connection,
        "connector": row.connector,
        "streams": row.streams,
        "total_retained_bytes": row.total_retained_bytes,
        "fresh": bool(row.is_exact),
        "last_arrival": row.last_arrival,
        "number": row.number,
    }
    return msgspec.json.encode(fields).decode()


def _table(rows: Sequence[ConnectionRow]) -> list[str]:
    cells = [HEADINGS, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(_padded(row, widths)).rstrip() for row in cells]


def _padded(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Numbers are on the right."""
    return [
        cell.rjust(width) if place in (2, 3) else cell.ljust(width)
        for place, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]


def _cells(row: ConnectionRow) -> tuple[str, ...]:
    size = "?" if row.total_retained_bytes is None else f"{row.total_retained_bytes:,}"
    return (
        shown_name(row.connection),
        shown_name(row.connector),
        f"{row.streams:,}",
        size if row.is_exact else f"~{size}",
        row.last_arrival or "never",
    )
