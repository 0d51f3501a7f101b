"""What is measured.  A measure is declared once, in MEASURES, and a bound of times in EXTENTS; columns,
sums, JSON keys, `?measure=` values and headings all follow.
"""

from typing import Any, NamedTuple


class Measure(NamedTuple):
    """An additive number of `unit` (bytes or count), and what its column is called on a page.

    `table` and `expression` say how it is counted from canonical rows.
    """

    name: str
    unit: str
    table: str
    expression: str
    heading: str


MEASURES = (
    Measure("record_count", "count", "records", "COUNT(*)", "Records"),
    Measure("current_record_json_bytes", "bytes", "records", "SUM(json_bytes)", "Current records"),
    Measure("record_history_count", "count", "record_changes", "COUNT(*)", "Versions"),
    Measure("record_history_json_bytes", "bytes", "record_changes", "SUM(json_bytes)", "Version history"),
    Measure("blob_count", "count", "blob_bindings", "COUNT(*)", "Files"),
    Measure("blob_bytes", "bytes", "blob_bindings", "SUM(byte_length)", "File contents"),
)
BYTE_MEASURES = tuple(measure for measure in MEASURES if measure.unit == "bytes")
COUNT_MEASURES = tuple(measure for measure in MEASURES if measure.unit == "count")
MEASURE_NAMES = tuple(measure.name for measure in MEASURES)
TOTAL = "total_retained_bytes"
# SQL for a row's total, written one way so that indexes serve it.
TOTAL_SQL = "(" + " + ".join(measure.name for measure in BYTE_MEASURES) + ")"


class Bound(NamedTuple):
    """A column of the earliest or latest time of a stream's live records, and of what it is taken."""

    name: str
    of: str
    latest: bool


EXTENTS = (
    Bound("earliest_ingested_at", "ingested_at", latest=False),
    Bound("latest_ingested_at", "ingested_at", latest=True),
    Bound("earliest_record_time", "record_time", latest=False),
    Bound("latest_record_time", "record_time", latest=True),
)


def total_retained_bytes(figures: dict[str, Any]) -> int:
    return sum(figures[measure.name] for measure in BYTE_MEASURES)


def retains_anything(figures: dict[str, Any]) -> bool:
    return any(figures[measure.name] for measure in COUNT_MEASURES)
