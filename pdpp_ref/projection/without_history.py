"""Streams in which no key has a history: their records need no rollups."""

from collections.abc import Collection, Mapping

from ..database import fetch_each
from .counting import StreamCounts


def streams_without_history(streams: Mapping[int, int], counts: StreamCounts) -> list[int]:
    """Those of the streams in which no key has, or seems to have, a file or more than its live version.

    `streams` has the last version of each.  Most are known by their counts, which a pass needs anyway; of
    pruned ones, versions are compared.
    """
    counted = {each: count for each, count in counts.of(streams).items() if not count.has_history}
    known = {each for each, count in counted.items() if count.are_all_live(streams[each])}
    compared = _of_live_versions(counted.keys() - known)
    return _without_rollups([*known, *compared])


def _without_rollups(stream_ids: Collection[int]) -> list[int]:
    """Those of the streams in which no key has, or seems to have, a file or an older version.

    Not `NOT EXISTS ... AND NOT EXISTS ...`: PostgreSQL would make joins of these (docs/decisions.md).
    """
    rows = fetch_each(
        """
        SELECT s.id
        FROM streams s
        WHERE NOT (
                EXISTS (SELECT 1 FROM retained_size_record t WHERE t.stream_id = s.id)
                OR EXISTS (SELECT 1 FROM retained_size_record_counts t WHERE t.stream_id = s.id)
                OR EXISTS (SELECT 1 FROM retained_size_record_recounts t WHERE t.stream_id = s.id)
                OR EXISTS (SELECT 1 FROM blob_bindings b WHERE b.stream_id = s.id)
                OR EXISTS (SELECT 1 FROM records r WHERE r.stream_id = s.id AND r.has_rollup)
                OR EXISTS (
                    SELECT 1
                    FROM record_changes c
                    WHERE c.stream_id = s.id AND c.previous_version IS NOT NULL
                )
            )
            AND s.id = :each
        """,
        [],
        list(stream_ids),
    )
    return [stream_id for (stream_id,) in rows]


def _of_live_versions(stream_ids: Collection[int]) -> list[int]:
    """Those of the streams in which each version is the live one of a key.

    Both sides of the EXCEPT are in the order of an index, so they are merged.
    """
    rows = fetch_each(
        """
        SELECT s.id
        FROM streams s
        WHERE NOT EXISTS (
                SELECT c.version
                FROM record_changes c
                WHERE c.stream_id = s.id AND c.version > 0 AND c.version <= s.last_version
                EXCEPT
                SELECT r.version
                FROM records r
                WHERE r.stream_id = s.id AND r.version > 0 AND r.version <= s.last_version
                ORDER BY 1
            )
            AND s.id = :each
        """,
        [],
        list(stream_ids),
    )
    return [stream_id for (stream_id,) in rows]
