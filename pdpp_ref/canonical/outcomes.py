"""What became of the lines of a write."""

from dataclasses import dataclass
from typing import NamedTuple


@dataclass
class Counts:
    """How many changes of a write had each outcome; each change is counted once.

    `erased` ones are accepted and not stored; `removed` ones, which an activation deleted, had no line.
    """

    created: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    erased: int = 0
    removed: int = 0

    def add(self, other: "Counts") -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    @property
    def accepted(self) -> int:
        return self.created + self.updated + self.deleted + self.unchanged + self.erased


class Rejection(NamedTuple):
    """A line that was not stored.  Its stream and its Singer table version are None if not known."""

    stream: str | None = None
    table_version: int | None = None
