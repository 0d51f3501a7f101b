"""Ways to do it that look right and are not.  A trial that does not find them proves nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pdpp_ref.canonical import records
from pdpp_ref.database import fetch_all, write_transaction
from pdpp_ref.models import locking
from pdpp_ref.projection import counting, deltas, dirty_rows, marks, sums
from pdpp_ref.projection.grains import (
    CONNECTION,
    GLOBAL,
    STREAM,
    Grain,
    replace_rows,
    stored_rows,
)
from pdpp_ref.services import reconcile
from pdpp_ref.services.reconcile import Limits, Pass


def no_row_lock(patched: pytest.MonkeyPatch) -> None:
    """The projection's rows are read, and changed by a later statement, without a lock in between."""
    lock = locking.lock_grain_rows

    def only_read(*arguments: Any) -> dict[int, locking.LockedGrainRow]:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(locking, "for_no_key_update", lambda *_, **__: "")
            return lock(*arguments)

    patched.setattr(locking, "lock_grain_rows", only_read)
    for module in (dirty_rows, reconcile):
        patched.setattr(module, "for_no_key_update", lambda *_, **__: "")


def clear_without_compare(patched: pytest.MonkeyPatch) -> None:
    """A pass counts, and then clears what it has counted, in another transaction."""

    def count(grain: Grain, key: int) -> dict[str, int]:
        if grain is STREAM:
            return counting.count_versions(key, 0, 2**60)
        if grain is CONNECTION:
            return sums.sum_of_streams([key])[key]
        return sums.sum_of_connections()

    def run_pass(_: Limits, *, wait: bool = True, aside: object = None) -> Pass:
        for grain in (STREAM, CONNECTION, GLOBAL):
            for (key,) in fetch_all(f"SELECT {grain.key} FROM {grain.table} WHERE dirty"):
                figures = count(grain, key)
                values = {key: [figures[name] for name in grain.columns]}
                replace_rows(grain, stored_rows(grain, [key]), values)
        return Pass(fresh=True)

    patched.setattr(reconcile, "run_pass", run_pass)


def mark_after_the_commit(patched: pytest.MonkeyPatch) -> None:
    """A write commits, and what must be recomputed is marked then."""
    changed: list[tuple[int, list[int]]] = []
    write = records.write

    def write_and_mark(*arguments: Any) -> records.Written:
        changed.clear()
        written = write(*arguments)
        with write_transaction():
            for connection_id, streams in changed:
                marks.mark_streams(streams, connection_id)
        return written

    patched.setattr(deltas, "record", lambda connection, deltas: changed.append((connection, list(deltas))))
    patched.setattr(records, "write", write_and_mark)


VARIANTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    each.__name__: each for each in (no_row_lock, clear_without_compare, mark_after_the_commit)
}


@contextmanager
def applied(name: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        if name:
            VARIANTS[name](patched)
        yield
