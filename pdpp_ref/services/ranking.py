"""Choosing again which records the ranking by size has entries for, in all streams.

Writers keep the choice right (`projection/ranked.py`).  This is for when another program, or a fault, has
changed it: `verify` says so.
"""

import time
from collections.abc import Callable, Iterator

from ..database import fetch_all, let_others_write, write_transaction
from ..models import locking
from ..projection import ranked

STEP_BLOCKS = 64  # in one transaction

Block = tuple[int, int]  # a stream, and the number of one of its blocks


def choose_again(progress: Callable[[int], None] = lambda _: None) -> None:
    """Choose again, in many transactions.  `progress` gets the number of blocks so far.

    Raises Busy or peewee.DatabaseError; finished transactions stay.
    """
    done = 0
    for step in _steps():
        began = time.monotonic()
        with write_transaction():
            there = set(locking.lock_streams_that_exist({stream_id for stream_id, _ in step}))
            ranked.choose_again([block for block in step if block[0] in there])
        done += len(step)
        progress(done)
        let_others_write(time.monotonic() - began)


def count_blocks() -> int:
    """How many there are now, for showing progress."""
    return sum(ranked.block_of(last) + 1 for _, last in _streams())


def _steps() -> Iterator[list[Block]]:
    """All blocks that there are now: what is written later is chosen when it is."""
    step: list[Block] = []
    for stream_id, last in _streams():
        for block in range(ranked.block_of(last) + 1):
            step.append((stream_id, block))
            if len(step) == STEP_BLOCKS:
                yield step
                step = []
    if step:
        yield step


def _streams() -> list[tuple[int, int]]:
    """The id and last version of each."""
    return fetch_all(
        """
        SELECT id, last_version
        FROM streams
        WHERE connection_id IS NOT NULL
        ORDER BY id
        """
    )
