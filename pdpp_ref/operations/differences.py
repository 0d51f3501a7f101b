"""The result of verifying."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """A stored value that differs from the recomputed one.  `dirty`: its row is marked, so it may lag.

    `row` names the row: `("record", connection, stream, key)`, `("stream", connection, stream)`,
    `("connection", connection)`, `("connector", connector)` or `("global",)`; `("day", day, "stream",
    connection, stream)` and so on name its daily snapshots.
    `stored` is None if the row is missing, `counted` None if nothing was counted; extents are times,
    names are text, everything else is a number.
    """

    row: tuple[str, ...]
    column: str
    stored: int | str | None
    counted: int | str | None
    dirty: bool
