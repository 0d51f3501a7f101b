"""The histories of records that may be pruned: their rollups, and their versions along the links."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from ..database import fetch_all, fetch_each, fetch_version_chains, read_snapshot
from ..models.measures import MEASURE_NAMES
from ..projection import counting

ANY_VERSION = 2**62


class Rollup(NamedTuple):
    """A key's rollup: its newest version, how many there are, the live one's measures, and its files."""

    key: str
    version: int
    record_count: int
    current_json_bytes: int
    versions: int
    history_json_bytes: int
    files: int


class Version(NamedTuple):
    """A version; `at` is when it was emitted, or else arrived."""

    version: int
    key: str
    previous: int | None
    json_bytes: int
    at: str
    ingested_at: str
    pruned_at: str | None
    pruned_digest: str | None


class History(NamedTuple):
    """A record with its newest versions, newest first: those that stay, and those to remove now.

    `is_live`: it has a live version.
    """

    rollup: Rollup
    is_live: bool
    retained: list[Version]
    gone: list[Version]

    @property
    def is_complete(self) -> bool:
        """Whether no more is left to remove."""
        return not self.gone or self.gone[-1].previous is None

    @property
    def is_only_tombstone(self) -> bool:
        return not self.is_live and self.rollup.versions - len(self.gone) == 1


def rollups_add_up(stream_id: int) -> bool:
    """Whether the rollups of a stream can be right: with the other records, they add up to its measures."""
    columns = ", ".join(MEASURE_NAMES)
    sums = ", ".join(f"COALESCE(SUM({name}), 0)" for name in MEASURE_NAMES)
    with read_snapshot():
        rows = fetch_all(
            f"""
            SELECT dirty, {columns}
            FROM retained_size_stream
            WHERE stream_id = ?
            """,
            [stream_id],
        )
        if not rows:
            return False
        dirty, *whole = rows[0]
        if dirty:
            counted = counting.count_versions(stream_id, 0, ANY_VERSION)
            whole = [counted[name] for name in MEASURE_NAMES]
        (of_rollups,) = fetch_all(
            f"""
            SELECT {sums}
            FROM (
                SELECT {columns}
                FROM retained_size_record
                WHERE stream_id = ?
            ) AS rollups
            """,
            [stream_id],
        )
    records, current, versions, history, *files = (
        all_of_them - int(part) for all_of_them, part in zip(whole, of_rollups, strict=True)
    )
    # A record without a rollup is one version and no file.
    return records == versions >= 0 and current == history >= 0 and not any(files)


def load_rollups(stream_id: int, keys: Sequence[str]) -> dict[str, Rollup]:
    """The rollups of those of the records that have one."""
    rows = fetch_each(
        """
        SELECT
            key, version, record_count, current_record_json_bytes, record_history_count,
            record_history_json_bytes, blob_count
        FROM retained_size_record
        WHERE stream_id = ? AND key = :each
        """,
        [stream_id],
        keys,
    )
    return {row[0]: Rollup(*row) for row in rows}


def live_versions(stream_id: int, keys: Sequence[str]) -> dict[str, tuple[int, int]]:
    """(version, bytes) of those of the records that are live."""
    rows = fetch_each(
        """
        SELECT key, version, json_bytes
        FROM records
        WHERE stream_id = ? AND key = :each
        """,
        [stream_id],
        keys,
    )
    return {key: (version, size) for key, version, size in rows}


def load_chains(stream_id: int, newest: Sequence[int], most: int) -> dict[int, list[Version]]:
    """At most so many versions each, from the newest ones back along the links, by the newest."""
    chains: dict[int, list[Version]] = {}
    for head, *row in fetch_version_chains(_VERSION_COLUMNS, stream_id, newest, most):
        chains.setdefault(head, []).append(Version(*row))
    for chain in chains.values():
        chain.sort(key=lambda one: -one.version)
    return chains


def is_right(rollup: Rollup, live: tuple[int, int] | None, versions: Sequence[Version], most: int) -> bool:
    """Whether a rollup can be right; there are at most so many `versions`."""
    if (rollup.record_count, rollup.current_json_bytes) != ((1, live[1]) if live else (0, 0)):
        return False
    if not _is_chain(rollup.key, versions, most):
        return False
    # The newest version of a live record is the live one; that of a deleted one has no data.
    newest = versions[0]
    if (newest.version != live[0]) if live else newest.json_bytes:
        return False
    count, size = len(versions), sum(one.json_bytes for one in versions)
    if versions[-1].previous is None:
        return (rollup.versions, rollup.history_json_bytes) == (count, size)
    return rollup.versions > count and rollup.history_json_bytes >= size


def _is_chain(key: str, versions: Sequence[Version], most: int) -> bool:
    """Whether all are versions of the key, and none is missing that one of them names."""
    if not versions or any(one.key != key for one in versions):
        return False
    return len(versions) == most or versions[-1].previous is None


def latest_pruned(stream_id: int, histories: Sequence[History]) -> list[tuple[str | None, str | None]]:
    """The time of the latest version ever pruned of each record, and the digest of its data."""
    marks = [_latest_of(history) for history in histories]
    versions = [version for _, _, version in marks if version is not None]
    digests = {
        version: "" if data is None else hashlib.sha256(data.encode()).hexdigest()
        for version, data in fetch_each(
            """
            SELECT version, data
            FROM record_changes
            WHERE stream_id = ? AND version = :each
            """,
            [stream_id],
            versions,
        )
    }
    return [(at or None, digest if version is None else digests[version]) for at, digest, version in marks]


def _latest_of(history: History) -> tuple[str, str | None, int | None]:
    """The time and digest of a record's latest pruned version; or its time and number, if it goes now.

    If two have the same time, it is the later version.  The mark on a version stands for versions
    before it.
    """
    at, digest, latest = "", None, None
    for place, one in enumerate((*history.retained, *history.gone)):
        if place >= len(history.retained) and one.at > at:
            at, digest, latest = one.at, None, one.version
        if one.pruned_at is not None and one.pruned_at > at:
            at, digest, latest = one.pruned_at, one.pruned_digest, None
    return at, digest, latest


_VERSION_COLUMNS = (
    "version",
    "key",
    "previous_version",
    "json_bytes",
    "COALESCE(emitted_at, ingested_at)",
    "ingested_at",
    "pruned_at",
    "pruned_digest",
)
