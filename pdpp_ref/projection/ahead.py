"""Counting streams before a pass locks SQLite's file, so that others can write meanwhile.

What was counted is used if nobody else has written since.  PostgreSQL locks rows, not the whole database:
there a pass counts what it has locked.
"""

import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import peewee

from ..database import db, read_snapshot
from .counting import CHUNK_VERSIONS, StreamCounts, in_groups
from .dirty_rows import small_dirty_streams

# With more groups, two threads count.  A group takes some milliseconds.
FEW_GROUPS = 4

Groups = Iterator[dict[int, int]]


class CountedAhead:
    """Counts of the streams that the next passes begin with, and how many `seconds` the last count took.

    A pass may not get as far.  Its own commit changes no count, and is not noticed: the next one continues
    with what is left.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._counts = StreamCounts()
        self._version: Any = None
        self._helper: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._helper:
            self._helper.submit(db.close)
            self._helper.shutdown()

    def count(self, rows: int, seconds: float, without: Collection[int]) -> None:
        """Count up to so many dirty streams, for so long; `without` are the ids of those not wanted."""
        if not db.is_in_process:
            return
        began = time.monotonic()
        try:
            with read_snapshot():
                streams = small_dirty_streams(rows, CHUNK_VERSIONS, without)
                self._counts = self.counts().only(streams)
                self._version = db.data_version()
                self._count(list(in_groups(self._counts.missing(streams), CHUNK_VERSIONS)), began + seconds)
        except peewee.DatabaseError:  # the pass finds out which row it is, and says so
            self._counts = StreamCounts()
        self.seconds = time.monotonic() - began

    def counts(self) -> StreamCounts:
        """Inside a transaction: what was counted, if nobody else has committed since; else nothing."""
        is_unchanged = self._version is not None and self._version == db.data_version()
        return self._counts if is_unchanged else StreamCounts()

    def _count(self, groups: list[dict[int, int]], deadline: float) -> None:
        """If there are many, a second thread takes some of them.

        Its snapshot begins after this one and ends before the pass: both are the same if nobody else has
        committed, which `counts` finds out.
        """
        left = iter(groups)
        if len(groups) <= FEW_GROUPS:
            self._counts.add(_count_groups(left, deadline))
            return
        self._helper = self._helper or ThreadPoolExecutor(1, thread_name_prefix="count")
        helped = self._helper.submit(_count_in_snapshot, left, deadline)
        try:
            self._counts.add(_count_groups(left, deadline))
        finally:
            self._counts.add(helped.result())


def _count_in_snapshot(left: Groups, deadline: float) -> StreamCounts:
    """In the second thread, with a connection of its own."""
    db.use_small_cache()
    with read_snapshot():
        return _count_groups(left, deadline)


def _count_groups(left: Groups, deadline: float) -> StreamCounts:
    """Count at least one group, and then others until the deadline."""
    counts = StreamCounts()
    for group in left:
        counts.of(group)
        if time.monotonic() > deadline:
            break
    return counts
