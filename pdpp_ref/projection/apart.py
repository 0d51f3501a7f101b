"""Recomputing rows so that one that can't be recomputed undoes only itself.

A damaged page or another program's trigger may make one row fail whenever it is tried.  Each group of rows
has a savepoint; a group that fails is halved, until each row that fails is alone.  A failure that is not
about rows, such as a full disk or a lost connection, ends the whole pass.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..database import Busy, db, problem, transaction_lost

# The problems, of those in `database.errors`, that one row can have while others are well.
OF_ROWS = frozenset({"corrupt", "constraint", "input_output", "slow", "other"})


class Row(NamedTuple):
    """A row of the projection: the name of its grain, and its key."""

    grain: str
    key: int


class Apart:
    """The rows of one pass that were finished or failed, these with their problem.

    After `deadline`, on the monotonic clock, no new work is begun.
    """

    def __init__(self, deadline: float) -> None:
        self.finished: set[Row] = set()
        self.failed: dict[Row, str] = {}
        self.deadline = deadline

    @property
    def is_late(self) -> bool:
        return time.monotonic() > self.deadline

    def tried(self, grain: str) -> set[int]:
        return {row.key for row in (*self.finished, *self.failed) if row.grain == grain}

    def each(
        self, grain: str, keys: Sequence[int], work: Callable[[Sequence[int]], Sequence[int]]
    ) -> list[int]:
        """Do the work for rows.  It returns the keys of those that it has finished; so does this."""
        try:
            with db.savepoint():
                return list(work(keys))
        except Busy:
            raise
        except Exception as error:
            if transaction_lost() or problem(error) not in OF_ROWS:
                raise
            if len(keys) == 1:
                self.failed[Row(grain, keys[0])] = problem(error)
                return []
        middle = len(keys) // 2
        finished = self.each(grain, keys[:middle], work)
        if self.is_late:
            return finished
        return finished + self.each(grain, keys[middle:], work)
