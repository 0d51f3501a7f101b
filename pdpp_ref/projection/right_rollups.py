"""Streams whose rollups, flags and links are right already: several small ones are checked together.

Nothing is corrected here: what is not right is derived (`record_rollups.py`), which takes many statements
for each stream.  The check reads what says that a key has a history: rollups, links, flags and files.  It
costs little where few keys have one.  A stream is right if

- each rollup has the figures of the versions that its links lead to, of its live record and of its files
- these versions, and those of the live records without a rollup, are all that there are
- no other version has a link, and no other record a flag or a file
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..database import ANY_NUMBER, fetch_column, fetch_each
from .counting import Counted, StreamCounts
from .rollup_rows import ROLLUP_COLUMNS, Rollup


class _Version(NamedTuple):
    key: str
    json_bytes: int
    ingested_at: str


class _Live(NamedTuple):
    version: int
    json_bytes: int
    has_rollup: bool


class _File(NamedTuple):
    size: int
    bound_at: str


@dataclass
class _Found:
    """What is stored about the keys of one stream that have, or seem to have, more than a live version."""

    rollups: list[Rollup] = field(default_factory=list)
    links: dict[int, int] = field(default_factory=dict)  # from a version to the one before it
    flags: int = 0
    versions: dict[int, _Version] = field(default_factory=dict)
    live: dict[str, _Live] = field(default_factory=dict)
    files: dict[str, list[_File]] = field(default_factory=dict)

    def is_empty(self) -> bool:
        return not (self.rollups or self.links or self.flags or self.files)


def right_streams(streams: Mapping[int, int], counts: StreamCounts) -> list[int]:
    """Those of the streams that are right; `streams` has the last version of each."""
    counted = counts.of(streams)
    found = _find({each for each, count in counted.items() if count.measures["blob_count"]}, list(streams))
    without = {each for each in found if found[each].is_empty()}
    right = _without_history({each: streams[each] for each in without}, counted)
    right += [
        each
        for each in found.keys() - without
        if _is_right(found[each], counted[each])
        and _are_all(each, streams[each], found[each], counted[each])
    ]
    return right


# ---- reading -----------------------------------------------------------------------------------


def _find(with_files: Collection[int], stream_ids: Sequence[int]) -> dict[int, _Found]:
    """By stream; those with an unfinished derivation are left out."""
    unfinished = _unfinished(stream_ids)
    of_streams = [each for each in stream_ids if each not in unfinished]
    found = {each: _Found() for each in of_streams}
    for row in _all_rows(_ROLLUPS, of_streams):
        found[row[0]].rollups.append(Rollup(*row))
    for stream_id, version, before in _all_rows(_LINKS, of_streams):
        found[stream_id].links[version] = before
    for stream_id, flags in fetch_each(_FLAGS, [], of_streams):
        found[stream_id].flags = flags
    for stream_id, key, *file in _all_rows(_FILES, [each for each in of_streams if each in with_files]):
        found[stream_id].files.setdefault(key, []).append(_File(*file))
    _find_versions(found)
    return found


_ROLLUPS = f"SELECT {', '.join(ROLLUP_COLUMNS)} FROM retained_size_record WHERE stream_id = :each"
_LINKS = """
    SELECT stream_id, version, previous_version
    FROM record_changes
    WHERE previous_version IS NOT NULL AND stream_id = :each
"""
_FLAGS = "SELECT stream_id, COUNT(*) FROM records WHERE has_rollup AND stream_id = :each GROUP BY stream_id"
_FILES = "SELECT stream_id, key, byte_length, bound_at FROM blob_bindings WHERE stream_id = :each"


def _all_rows(sql: str, stream_ids: Sequence[int]) -> list[tuple[Any, ...]]:
    return fetch_each(sql, [], stream_ids, ANY_NUMBER)


def _find_versions(found: Mapping[int, _Found]) -> None:
    """The versions and live records that rollups and links name."""
    versions, keys = [], []
    for stream_id, stream in found.items():
        named = {rollup.version for rollup in stream.rollups}.union(stream.links, stream.links.values())
        versions += [(stream_id, version) for version in sorted(named)]
        keys += [(stream_id, rollup.key) for rollup in stream.rollups]
    for stream_id, version, *row in fetch_each(
        """
        SELECT stream_id, version, key, json_bytes, ingested_at
        FROM record_changes
        WHERE (stream_id, version) = :each
        """,
        [],
        versions,
    ):
        found[stream_id].versions[version] = _Version(*row)
    for stream_id, key, *row in fetch_each(
        """
        SELECT stream_id, key, version, json_bytes, has_rollup
        FROM records
        WHERE (stream_id, key) = :each
        """,
        [],
        keys,
    ):
        found[stream_id].live[key] = _Live(*row)


def _unfinished(stream_ids: Sequence[int]) -> set[int]:
    """Those of the streams with rows of a derivation that has begun."""
    rows = fetch_each(
        """
        SELECT s.id
        FROM streams s
        WHERE (
                EXISTS (SELECT 1 FROM retained_size_record_counts t WHERE t.stream_id = s.id)
                OR EXISTS (SELECT 1 FROM retained_size_record_recounts t WHERE t.stream_id = s.id)
            )
            AND s.id = :each
        """,
        [],
        stream_ids,
    )
    return {stream_id for (stream_id,) in rows}


# ---- comparing ---------------------------------------------------------------------------------


def _is_right(found: _Found, counted: Counted) -> bool:
    """Whether the figures of each rollup are right, and no link, flag or file belongs to none."""
    chains = [_chain(found, rollup) for rollup in found.rollups]
    files = sum(rollup.blob_count for rollup in found.rollups)
    return (
        all(_has_right_figures(found, *each) for each in zip(found.rollups, chains, strict=True))
        and len(found.links) == sum(map(len, chains)) - len(chains)
        and found.flags == len(found.live)
        and files == counted.measures["blob_count"]
    )


def _chain(found: _Found, rollup: Rollup) -> list[int]:
    """The rollup's version, and those that the links lead to from there."""
    chain = [rollup.version]
    while (before := found.links.get(chain[-1], chain[-1])) < chain[-1]:
        chain.append(before)
    return chain


def _has_right_figures(found: _Found, rollup: Rollup, chain: Sequence[int]) -> bool:
    versions = [found.versions[version] for version in chain if version in found.versions]
    if len(versions) < len(chain) or any(version.key != rollup.key for version in versions):
        return False
    live, files = found.live.get(rollup.key), found.files.get(rollup.key, [])
    times = {versions[0].ingested_at, *(file.bound_at for file in files)}
    right = rollup._replace(
        record_count=int(live is not None),
        current_record_json_bytes=live.json_bytes if live else 0,
        record_history_count=len(versions),
        record_history_json_bytes=sum(version.json_bytes for version in versions),
        blob_count=len(files),
        blob_bytes=sum(file.size for file in files),
    )
    return (
        rollup == right
        and rollup.changed_at in times
        and (live is None or (bool(live.has_rollup) and live.version == rollup.version))
    )


def _are_all(stream_id: int, last: int, found: _Found, counted: Counted) -> bool:
    """Whether a stream has no other versions than those of its rollups and of other live records."""
    live = sum(record.version for record in found.live.values())
    others = counted.measures["record_count"] - len(found.live)
    number = counted.measures["record_history_count"]
    if len(found.versions) + others != number:
        return False
    if number == last:  # from the first to the last one, all are there
        return sum(found.versions) + counted.live_versions - live == last * (last + 1) // 2
    not_live = found.versions.keys() - {record.version for record in found.live.values()}
    return sorted(not_live) == _not_live(stream_id)


def _not_live(stream_id: int) -> list[int]:
    """Both sides of the EXCEPT are in the order of an index, so they are merged."""
    return fetch_column(
        """
        SELECT version
        FROM record_changes
        WHERE stream_id = ?
        EXCEPT
        SELECT version
        FROM records
        WHERE stream_id = ?
        ORDER BY 1
        """,
        (stream_id, stream_id),
    )


def _without_history(streams: Mapping[int, int], counted: Mapping[int, Counted]) -> list[int]:
    """Those of the streams in which each version is the live one of a key."""
    same = {each for each in streams if not counted[each].has_history}
    known = {each for each in same if counted[each].are_all_live(streams[each])}
    return [*known, *_of_live_versions(same - known)]


def _of_live_versions(stream_ids: Collection[int]) -> list[int]:
    """The same for streams with gaps, such as pruned ones, whose versions are compared."""
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
