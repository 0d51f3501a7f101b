"""Counting streams before a pass locks SQLite's file, so that others can write meanwhile.

What was counted is used if nobody else has written since.  PostgreSQL locks rows, not the whole database:
there a pass counts what it has locked.
"""

import time
from collections.abc import Collection
from typing import Any

import peewee

from ..database import db, read_snapshot
from .counting import CHUNK_VERSIONS, StreamCounts, in_groups
from .dirty_rows import small_dirty_streams


class CountedAhead:
    """Counts of the streams that the next passes begin with, and how many `seconds` the last count took.

    A pass may not get as far.  Its own commit changes no count, and is not noticed: the next one continues
    with what is left.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._counts = StreamCounts()
        self._version: Any = None

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
                for group in in_groups(streams, CHUNK_VERSIONS):
                    self._counts.of(group)
                    if time.monotonic() - began > seconds:
                        break
        except peewee.DatabaseError:  # the pass finds out which row it is, and says so
            self._counts = StreamCounts()
        self.seconds = time.monotonic() - began

    def counts(self) -> StreamCounts:
        """Inside a transaction: what was counted, if nobody else has committed since; else nothing."""
        is_unchanged = self._version is not None and self._version == db.data_version()
        return self._counts if is_unchanged else StreamCounts()
