"""What monitoring reads: one row and some look-ups, whatever is stored; and nothing is repaired."""

from dataclasses import dataclass
from typing import Any

from .. import schemas
from ..database import read_snapshot
from ..models.measures import TOTAL
from ..projection.dirty_rows import count_dirty_rows
from ..projection.rows import global_row
from ..services.auto_reconcile import AutoReconcile
from ..services.summary import state_of
from . import rankings


@dataclass(frozen=True)
class Vitals:
    """`figures`: the global row.  `dirty_rows` and `largest_bytes`: by grain, and by scope."""

    figures: dict[str, Any]
    state: schemas.State
    dirty_rows: dict[str, int]
    largest_bytes: dict[str, int]


def read(auto: AutoReconcile) -> Vitals:
    with read_snapshot():
        row = global_row()
        return Vitals(
            figures=row,
            state=state_of(row, auto.running),
            dirty_rows={**count_dirty_rows(), "global": int(row["dirty"])},
            largest_bytes={scope: _largest(scope) for scope in rankings.MEASURES_OF},
        )


def _largest(scope: str) -> int:
    """Of the scope's rows the most bytes, or 0 where there are none."""
    return next((int(row[TOTAL]) for row in rankings.rows(scope, TOTAL, 1)), 0)
