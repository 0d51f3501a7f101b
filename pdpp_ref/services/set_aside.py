"""Rows that a pass of this process could not recompute: set aside, each with a cooldown of its own.

They stay dirty, and so do the rows above them.  Meanwhile passes recompute the others.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ..database import PROBLEM_TEXT, among, fetch_all, id_list
from ..projection.apart import Row
from ..projection.dirty_rows import has_dirty_row
from .cooldown import Cooldown

log = logging.getLogger(__name__)


class RowSetAside(NamedTuple):
    """One row, for the operator.  `stream` is None for a connection; `why` is a fixed text."""

    connector_instance_id: str
    stream: str | None
    why: str
    failures: int
    retry_after_seconds: float


@dataclass
class SetAside:
    """`waits`: whether rows in a cooldown are left out.  `counts`: whether a failure makes it longer."""

    cooldown: Cooldown
    waits: bool = True
    counts: bool = True
    problems: dict[Row, str] = field(default_factory=dict)

    def waiting(self, grain: str) -> list[int]:
        """The keys of rows that must not be tried yet."""
        if not self.waits:
            return []
        rows = [Row(grain, key) for key in self._keys(grain)]
        return [row.key for row in rows if self.cooldown.remaining(row)]

    def failed(self, failures: Mapping[Row, str]) -> None:
        for row, why in failures.items():
            if self.counts or row not in self.problems:
                self.cooldown.failed(row)
            self.problems[row] = why
            log.warning("reconcile: %s %d is set aside: %s", *row, PROBLEM_TEXT[why])

    def succeeded(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self.problems.pop(row, None)
            self.cooldown.succeeded(row)

    def forget(self) -> None:
        """Try all of them again, as if they had never failed."""
        self.succeeded(list(self.problems))

    def why(self) -> str | None:
        """A fixed text for the newest failure; None if no row is set aside."""
        problems = list(self.problems.values())
        if not problems:
            return None
        rows = "one row" if len(problems) == 1 else f"{len(problems):,} rows"
        return f"reconcile failed for {rows}: {PROBLEM_TEXT[problems[-1]]}"

    def leaves_work(self) -> bool:
        """Whether a pass has something to do, in a snapshot in which the global row is dirty."""
        waiting = self.waiting("stream"), self.waiting("connection")
        return not any(waiting) or has_dirty_row(*waiting)

    def are_all(self) -> bool:
        """Whether nothing else is dirty, in a snapshot in which the global row is."""
        streams, connections = self._keys("stream"), self._keys("connection")
        return bool(streams or connections) and not has_dirty_row(streams, connections)

    def still_dirty(self) -> list[RowSetAside]:
        """By name.  Those that somebody else has recomputed meanwhile are forgotten."""
        if not self.problems:
            return []
        names = _names(self._keys("stream"), self._keys("connection"))
        self.succeeded(self.problems.keys() - names)
        return [
            RowSetAside(
                *name,
                PROBLEM_TEXT[self.problems.get(row, "other")],
                self.cooldown.failures(row),
                self.cooldown.remaining(row),
            )
            for row, name in names.items()
        ]

    def _keys(self, grain: str) -> list[int]:
        return [row.key for row in list(self.problems) if row.grain == grain]


def _names(streams: list[int], connections: list[int]) -> dict[Row, tuple[str, str | None]]:
    """Connection and stream of those of the rows that are dirty, sorted."""
    rows = fetch_all(
        f"""
        SELECT 'stream', s.id, c.connector_instance_id, s.name
        FROM retained_size_stream r
        JOIN streams s ON s.id = r.stream_id
        JOIN connections c ON c.id = s.connection_id
        WHERE r.dirty AND {among("r.stream_id")}
        UNION ALL
        SELECT 'connection', c.id, c.connector_instance_id, NULL
        FROM retained_size_connection r
        JOIN connections c ON c.id = r.connection_id
        WHERE r.dirty AND {among("r.connection_id")}
        ORDER BY 3, 4
        """,
        [id_list(streams), id_list(connections)],
    )
    return {Row(grain, key): (connection, stream) for grain, key, connection, stream in rows}
