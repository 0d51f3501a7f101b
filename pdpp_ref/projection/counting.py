"""Counting a stream's measures from its canonical rows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..database import fetch_all, fetch_each
from ..models.measures import MEASURE_NAMES, MEASURES, Measure
from .grains import STREAM, with_right_extents

CHUNK_VERSIONS = 20_000  # about 5 ms of counting


def count_versions(stream_id: int, after: int, through: int) -> dict[str, int]:
    """The measures of a stream's versions in (after, through], from covering indexes alone."""
    counted: dict[str, int] = {}
    for table in dict.fromkeys(measure.table for measure in MEASURES):
        measures = [measure for measure in MEASURES if measure.table == table]
        (row,) = fetch_all(count_query(table, measures), (stream_id, after, through))
        for measure, value in zip(measures, row, strict=True):
            counted[measure.name] = int(value or 0)
    return counted


@dataclass
class Counted:
    """The measures of a stream, the sum of the numbers of its live versions, and whether the extents that
    its row has are right.
    """

    measures: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MEASURE_NAMES, 0))
    live_versions: int = 0
    has_right_extents: bool = False

    @property
    def old_versions(self) -> int:
        """How many versions there are more than live records."""
        return self.measures["record_history_count"] - self.measures["record_count"]

    @property
    def has_history(self) -> bool:
        return self.old_versions != 0

    def are_all_live(self, last: int) -> bool:
        """Whether each version from the first to the last one is stored, and live."""
        dense = self.measures["record_history_count"] == last
        return dense and not self.has_history and self.live_versions == last * (last + 1) // 2


class StreamCounts:
    """Streams that a pass has counted.  Nobody else writes to them until it ends."""

    def __init__(self) -> None:
        self._counted: dict[int, Counted] = {}

    def of(self, streams: Iterable[int]) -> dict[int, Counted]:
        """Count those that are not counted yet."""
        left = [stream_id for stream_id in streams if stream_id not in self._counted]
        if left:
            self._counted |= _count_streams(left)
        return {stream_id: self._counted[stream_id] for stream_id in streams}

    def only(self, stream_ids: Iterable[int]) -> "StreamCounts":
        """Those of these streams."""
        found = StreamCounts()
        found._counted = {each: self._counted[each] for each in stream_ids if each in self._counted}
        return found

    def missing(self, streams: Mapping[int, int]) -> dict[int, int]:
        """The streams that are not counted yet."""
        return {each: last for each, last in streams.items() if each not in self._counted}

    def add(self, others: "StreamCounts") -> None:
        self._counted |= others._counted

    def include(self, stream_ids: Iterable[int]) -> bool:
        return all(stream_id in self._counted for stream_id in stream_ids)


def _count_streams(stream_ids: Sequence[int]) -> dict[int, Counted]:
    counted = {stream_id: Counted() for stream_id in stream_ids}
    for table in dict.fromkeys(measure.table for measure in MEASURES):
        measures = [measure for measure in MEASURES if measure.table == table]
        live_versions = "SUM(version)" if table == "records" else "0"
        rows = fetch_each(
            f"""
            SELECT stream_id, {live_versions}, {", ".join(measure.expression for measure in measures)}
            FROM {table}
            WHERE stream_id = :each
            GROUP BY stream_id
            """,
            [],
            stream_ids,
        )
        for stream_id, versions, *values in rows:
            counted[stream_id].measures.update(
                {measure.name: int(value) for measure, value in zip(measures, values, strict=True)}
            )
            counted[stream_id].live_versions += int(versions)
    for stream_id in with_right_extents(STREAM, stream_ids):
        counted[stream_id].has_right_extents = True
    return counted


def in_groups(versions: Mapping[int, int], most: int) -> Iterator[dict[int, int]]:
    """Streams, each with its number of versions, in groups with at most so many; a larger one is alone."""
    group: dict[int, int] = {}
    size = 0
    for stream_id, number in versions.items():
        if group and size + number > most:
            yield group
            group, size = {}, 0
        group[stream_id] = number
        size += number
    if group:
        yield group


def count_query(table: str, measures: Iterable[Measure]) -> str:
    """Counts measures of one canonical table.  Values: the stream, after and through which version."""
    return f"""
        SELECT {", ".join(measure.expression for measure in measures)}
        FROM {table}
        WHERE stream_id = ? AND version > ? AND version <= ?
        """
