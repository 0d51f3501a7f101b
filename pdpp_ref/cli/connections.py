"""Listing the connections."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import click
import msgspec

from ..operations.export_table import csv_cell
from ..queries import connections
from ..queries.connections import ConnectionRow
from . import output
from .common import answer, opened_database, shown_name
from .settings_help import Command

HEADINGS = ("connection", "connector", "streams", "bytes", "last arrival")
FIELDS = (
    "connection",
    "connector",
    "streams",
    "total_retained_bytes",
    "fresh",
    "last_arrival",
    "number",
)


@click.command("connections", cls=Command)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["table", "jsonl", "csv"]),
    help="By default a table on a terminal, and one JSON object per line elsewhere.",
)
def list_connections(kind: Literal["table", "jsonl", "csv"] | None) -> None:
    """List the connections with connector, number of streams, size and last arrival.

    The bytes are everything that is retained; they are exact if `fresh`, and marked with ~ in the table
    otherwise.
    """
    with opened_database():
        rows = connections.rows()
    for line in _LINES[kind or ("table" if output.stdout_is_terminal() else "jsonl")](rows):
        answer(line)


def _jsonl(rows: Sequence[ConnectionRow]) -> Iterator[str]:
    return (msgspec.json.encode(_fields(row)).decode() for row in rows)


def _csv(rows: Sequence[ConnectionRow]) -> Iterator[str]:
    for cells in [FIELDS, *(_fields(row).values() for row in rows)]:
        yield ",".join(map(csv_cell, cells)) + "\r"


def _fields(row: ConnectionRow) -> dict[str, str | int | bool | None]:
    values = (
        row.connection,
        row.connector,
        row.streams,
        row.total_retained_bytes,
        bool(row.is_exact),
        row.last_arrival,
        row.number,
    )
    return dict(zip(FIELDS, values, strict=True))


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


_LINES: dict[str, Callable[[Sequence[ConnectionRow]], Iterable[str]]] = {
    "table": _table,
    "jsonl": _jsonl,
    "csv": _csv,
}
