"""From the projection's state to what the owner is told."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import structs

from pdpp_ref.projection.rows import NEVER_COUNTED
from pdpp_ref.services.freshness import hero
from pdpp_ref.services.summary import Progress, State, Summary
from pdpp_ref.timestamps import to_text

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def summary(state: State, *, failures: int = 0, minutes: float | None = 1, **row: Any) -> Summary:
    changes = {
        "record_count": 5,
        "record_history_count": 6,
        "computed_at": to_text(NOW - timedelta(minutes=20)),
        "stale_since": None if minutes is None else to_text(NOW - timedelta(minutes=minutes)),
        **row,
    }
    progress = Progress(3, 10) if state == "rebuilding" else None
    totals = structs.replace(NEVER_COUNTED, **changes)
    return Summary(totals, [], state, None, failures, progress)


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (summary("fresh", minutes=None), "fresh"),
        (summary("fresh", minutes=None, record_count=0), "fresh"),
        (summary("fresh", minutes=None, record_count=0, record_history_count=0), "empty"),
        (summary("stale"), "updating"),
        (summary("refreshing"), "updating"),
        (summary("stale", failures=1), "updating"),
        (summary("stale", failures=2), "delayed"),
        (summary("stale", minutes=10.1), "delayed"),
        (summary("refreshing", minutes=10.1), "delayed"),
        (summary("stale", minutes=-600), "updating"),
        (summary("failed"), "delayed"),
        (summary("rebuilding"), "recounting"),
        (summary("rebuilding", computed_at=None), "first_count"),
        (summary("stale", computed_at=None), "first_count"),
        (summary("failed", computed_at=None), "delayed"),
        (summary("stale", computed_at=None, failures=2), "delayed"),
    ],
)
def test_the_kind_follows_state_and_age(found: Summary, kind: str) -> None:
    assert hero(found, NOW).kind == kind


def test_progress_is_reported_during_a_reconcile_alone() -> None:
    recounting = hero(summary("rebuilding"), NOW)
    assert (recounting.counted, recounting.to_count) == (3, 10)
    assert hero(summary("stale"), NOW).counted is None


def test_the_revision_changes_with_what_is_shown_and_with_nothing_else() -> None:
    shown = hero(summary("stale"), NOW)
    assert shown.revision == hero(summary("stale"), NOW + timedelta(minutes=2)).revision
    assert shown.revision != hero(summary("stale", record_count=6), NOW).revision
    assert shown.revision != replace(shown, kind="delayed").revision
    assert shown.revision.startswith("updating-")


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (summary("stale"), True),
        (summary("fresh", latest_ingested_at=to_text(NOW)), True),
        (summary("fresh", record_count=6), False),
        (summary("fresh", computed_at=to_text(NOW)), False),
    ],
)
def test_figures_are_the_totals_and_their_time_whatever_the_state(other: Summary, same: bool) -> None:
    assert (hero(other, NOW).figures == hero(summary("fresh"), NOW).figures) is same
