"""The measures, declared once.

A measure is declared once, as a field of MeasuresOf.  Columns, sums, JSON keys, `?measure=` values and
headings are derived from it.  EXTENTS names the columns of times; the SQL for each is in
`projection/grains.py` and, counted apart, in `operations/verify.py`.
"""

from collections.abc import Mapping
from operator import attrgetter
from typing import Annotated, Generic, NamedTuple, TypeVar, get_type_hints

from msgspec import Meta, Struct
from msgspec.structs import asdict

Number = TypeVar("Number")


class Counted(NamedTuple):
    """How a measure of a `unit`, bytes or count, is counted from canonical rows; and its heading."""

    unit: str
    table: str
    expression: str
    heading: str


class MeasuresOf(Struct, Generic[Number], kw_only=True, frozen=True):
    """The additive numbers: of rows as whole numbers, in downloads as numbers that may be unknown."""

    record_count: Annotated[
        Number,
        Counted("count", "records", "COUNT(*)", "Records"),
        Meta(description="Live records."),
    ]
    current_record_json_bytes: Annotated[
        Number,
        Counted("bytes", "records", "SUM(json_bytes)", "Current records"),
        Meta(description="Bytes of the live records."),
    ]
    record_history_count: Annotated[
        Number,
        Counted("count", "record_changes", "COUNT(*)", "Versions"),
        Meta(description="Stored versions, the current ones included."),
    ]
    record_history_json_bytes: Annotated[
        Number,
        Counted("bytes", "record_changes", "SUM(json_bytes)", "Version history"),
        Meta(description="Bytes of every stored version."),
    ]
    blob_count: Annotated[
        Number,
        Counted("count", "blob_bindings", "COUNT(*)", "Files"),
        Meta(description="Files of records."),
    ]
    blob_bytes: Annotated[
        Number,
        Counted("bytes", "blob_bindings", "SUM(byte_length)", "File contents"),
        Meta(description="Bytes of the files of records."),
    ]


class Measure(NamedTuple):
    """A field of MeasuresOf, by its name."""

    name: str
    unit: str
    table: str
    expression: str
    heading: str


MEASURES = tuple(
    Measure(name, *next(each for each in hint.__metadata__ if isinstance(each, Counted)))
    for name, hint in get_type_hints(MeasuresOf, include_extras=True).items()
)
BYTE_MEASURES = tuple(measure for measure in MEASURES if measure.unit == "bytes")
COUNT_MEASURES = tuple(measure for measure in MEASURES if measure.unit == "count")
MEASURE_NAMES = tuple(measure.name for measure in MEASURES)
TOTAL = "total_retained_bytes"
EVERY_MEASURE = (*MEASURE_NAMES, TOTAL)
# SQL for a row's total, written one way so that indexes serve it.
TOTAL_SQL = "(" + " + ".join(measure.name for measure in BYTE_MEASURES) + ")"

# Faster than a getattr for each: a download has millions of these rows.
_bytes_of = attrgetter(*(measure.name for measure in BYTE_MEASURES))


class Measures(MeasuresOf[int], frozen=True):
    """The measures of something that was counted."""

    @property
    def byte_parts(self) -> dict[str, int]:
        """The measures that add up to the total, by name."""
        return dict(zip((measure.name for measure in BYTE_MEASURES), _bytes_of(self), strict=True))

    @property
    def total_retained_bytes(self) -> int:
        return sum(_bytes_of(self))

    @property
    def retains_anything(self) -> bool:
        return retains_anything(asdict(self))


NOTHING = Measures(**dict.fromkeys(MEASURE_NAMES, 0))


def retains_anything(measures: Mapping[str, int]) -> bool:
    return any(measures[measure.name] for measure in COUNT_MEASURES)


class TimeExtent(NamedTuple):
    """A column with the earliest or the latest of the times `of` a stream's live records."""

    name: str
    of: str
    latest: bool


EXTENTS = (
    TimeExtent("earliest_ingested_at", "ingested_at", latest=False),
    TimeExtent("latest_ingested_at", "ingested_at", latest=True),
    TimeExtent("earliest_record_time", "record_time", latest=False),
    TimeExtent("latest_record_time", "record_time", latest=True),
)
