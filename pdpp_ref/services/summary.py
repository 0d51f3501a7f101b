"""Reading the retained-size summary, for the API, the command and the pages."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from ..database import fetch_all, is_replica, read_snapshot
from ..projection.dirty_rows import versions_left
from ..projection.rows import GlobalRow, global_row
from .auto_reconcile import AutoReconcile
from .set_aside import RowSetAside

State = Literal["fresh", "refreshing", "stale", "rebuilding", "failed"]
RebuildStatus = Literal["idle", "running", "failed"]
STATES: tuple[State, ...] = get_args(State)

TOP_CONNECTORS = 3


class TopConnector(NamedTuple):
    connector_id: str
    record_count: int


class Progress(NamedTuple):
    """How many versions a rebuild has counted, and how many there are."""

    counted: int
    total: int


@dataclass(frozen=True)
class Summary:
    """The global row, connectors and freshness, read in one snapshot.

    `progress` is None unless a rebuild is running.  `last_error` and `failures` are those of
    this process's passes since its last success.  `replica`: the totals are those of
    another database, exact as of `totals.computed_at`.  `set_aside` are rows that this process could not
    recompute; `all_but_these`: everything else is exact.
    """

    totals: GlobalRow
    top_connectors: list[TopConnector]
    state: State
    last_error: str | None
    failures: int
    progress: Progress | None
    replica: bool = False
    set_aside: Sequence[RowSetAside] = ()
    all_but_these: bool = False


@contextmanager
def reading(auto: AutoReconcile) -> Iterator[Summary]:
    """The summary, inside the snapshot that it was read in: reads in the block are of the same moment.

    If the summary is not fresh, one bounded pass is attempted first, unless it could only repeat what has
    just failed.  A fresh one costs four statements, however much is stored.
    """
    seen = auto.attempts
    with read_snapshot():
        summary = load(auto)
        is_settled = summary.state == "fresh" or summary.replica
        if is_settled or not auto.may_attempt or not auto.aside.leaves_work():
            yield summary
            return
    # A pass writes, which a snapshot can't.
    auto.attempt(lambda: global_row().dirty and auto.aside.leaves_work(), seen)
    with read_snapshot():
        yield load(auto)


def read(auto: AutoReconcile) -> Summary:
    with reading(auto) as summary:
        return summary


def load(auto: AutoReconcile) -> Summary:
    """The summary as it is stored, without an attempt to reconcile."""
    with read_snapshot():
        totals = global_row()
        state = state_of(totals.dirty, auto.running, totals.rebuild_status)
        if state == "fresh":
            auto.found_fresh()
        set_aside = auto.aside.still_dirty() if totals.dirty else []
        return Summary(
            totals=totals,
            top_connectors=_top_connectors(),
            state=state,
            last_error=auto.last_error if totals.dirty else None,
            failures=auto.consecutive_failures,
            progress=progress_of(totals) if state == "rebuilding" else None,
            replica=is_replica(),
            set_aside=set_aside,
            all_but_these=bool(set_aside) and auto.aside.are_all(),
        )


def state_of(dirty: bool, reconciling: bool, rebuild_status: str = "idle") -> State:
    """The only place where a projection's state gets its name.

    Call it in the snapshot in which the projection was found `dirty` or not.
    """
    if not dirty:
        return "stale" if is_replica() else "fresh"
    if rebuild_status != "idle":
        return "rebuilding" if rebuild_status == "running" else "failed"
    return "refreshing" if reconciling else "stale"


def _top_connectors() -> list[TopConnector]:
    rows = fetch_all(
        """
        SELECT connector_id, record_count
        FROM retained_size_connector
        ORDER BY record_count DESC, connector_id
        LIMIT ?
        """,
        [TOP_CONNECTORS],
    )
    return [TopConnector(*row) for row in rows]


def progress_of(totals: GlobalRow) -> Progress:
    """That of a running rebuild."""
    total = totals.rebuild_total or 0
    return Progress(max(0, total - versions_left()), total)
