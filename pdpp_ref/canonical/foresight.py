"""How many bytes pruning would free: counted in bounded steps, record by record, and nothing is written."""

import time
from collections.abc import Collection
from typing import NamedTuple

from ..database import read_snapshot
from .prunings import Request
from .retention import Pruned, StreamPruning, streams


class Foreseen(NamedTuple):
    """What has been counted so far.

    Streams before `stream_id` are done, and of that one the records whose newest version is
    `through_version` or older.  `sizes` are the bytes of some streams, by id.  `is_exact`: nothing had to
    be left out so far.
    """

    stream_id: int = 0
    through_version: int = 0
    freed: Pruned = Pruned()
    sizes: dict[int, int] = {}  # never changed
    is_exact: bool = True
    is_done: bool = False

    @property
    def bytes(self) -> int:
        return self.freed.json_bytes + self.freed.file_bytes


def count(request: Request, so_far: Foreseen, seconds: float, listed: Collection[int] = ()) -> Foreseen:
    """Continue to count, for so many seconds or a little longer; `listed` are the streams whose sizes are
    wanted, by id.
    """
    deadline = time.monotonic() + seconds
    with read_snapshot():
        for stream in streams(request.connection, request.stream, so_far.stream_id):
            after = so_far.through_version if stream.id == so_far.stream_id else 0
            pruning = StreamPruning(stream, request.policy, after)
            while not pruning.is_done:
                so_far = _added(so_far, pruning.preview(), pruning, listed)
                if time.monotonic() > deadline:
                    return so_far
    return so_far._replace(is_done=True)


def _added(so_far: Foreseen, more: Pruned, pruning: StreamPruning, listed: Collection[int]) -> Foreseen:
    stream_id, sizes = pruning.stream.id, so_far.sizes
    if stream_id in listed:
        sizes = {**sizes, stream_id: sizes.get(stream_id, 0) + more.json_bytes + more.file_bytes}
    return Foreseen(
        stream_id=stream_id + pruning.is_done,
        through_version=0 if pruning.is_done else pruning.after,
        freed=so_far.freed.plus(more),
        sizes=sizes,
        is_exact=so_far.is_exact and pruning.is_exact,
    )
