"""Reads that need to know which keys were deleted: that is read from the rollups."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from ...database import read_snapshot
from ...queries.streams import ReadStream
from ...services import summary as summaries
from ..errors import ApiError
from ..extensions import auto_reconcile

T = TypeVar("T")


class DeletesUnknown(Exception):
    """The rollups of the stream have to be derived again first."""


def check_deletes_known(streams: Iterable[ReadStream]) -> None:
    """Raises DeletesUnknown."""
    if any(stream.rollups_dirty for stream in streams):
        raise DeletesUnknown


def read_with_deletes(read: Callable[[], T], *, counted: bool = False) -> T:
    """Read in a snapshot, and again after a pass if deletes were not known.  Raises ApiError.

    `counted`: numbers are read too, so a pass comes first if any is not exact.
    """
    for _ in range(2):
        try:
            with summaries.reading(auto_reconcile()) if counted else read_snapshot():
                return read()
        except DeletesUnknown:
            auto_reconcile().attempt(auto_reconcile().aside.leaves_work)
    raise ApiError("storage_unavailable", "Which records were deleted is being worked out. Try again.")
