"""The current state of keys, as a write needs it."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from ..database import fetch_all, fetch_column, fetch_each
from ..parsing.messages import Change

KEYS_PER_PAGE = 2_000


class KeyState(msgspec.Struct):
    """A key before the next change; once it is deleted, `data` is None and `size` 0.

    `time` is when this version was emitted, or else arrived; `versions` and `history` are the number
    of the key's versions and their bytes.
    """

    version: int
    size: int
    data: str | None
    table_version: int | None
    record_time: str | None
    has_rollup: bool
    emitted_at: str | None
    time: str
    versions: int
    history: int
    blob_count: int = 0
    blob_bytes: int = 0


def load_key_states(
    stream_id: int, events: Mapping[str, Sequence[Change]]
) -> tuple[dict[str, KeyState], set[str]]:
    """The states of those keys that the stream has or had; and keys whose rollup is lost or not expected.

    `events` are the changes that are about to be made, by key.
    """
    keys = sorted(events)
    states = _load_live(stream_id, keys)
    with_rollup: set[str] = set()
    deleted: dict[int, str] = {}
    for key, version, versions, history, blob_count, blob_bytes in _load_rollups(stream_id, keys):
        with_rollup.add(key)
        if key not in states:
            deleted[version] = key
            states[key] = KeyState(version, 0, None, None, None, True, None, "", 0, 0)
        state = states[key]
        state.versions, state.history = versions, history
        state.blob_count, state.blob_bytes = blob_count, blob_bytes
    # The time of a delete matters only for an event that has a time itself.
    timed = [version for version, key in deleted.items() if any(each.emitted_at for each in events[key])]
    for version, emitted_at, ingested_at in _load_times(stream_id, timed):
        state = states[deleted[version]]
        state.emitted_at, state.time = emitted_at, emitted_at or ingested_at
    return states, {key for key, state in states.items() if state.has_rollup != (key in with_rollup)}


def stored_keys(table: str, stream_id: int) -> Iterator[str]:
    """All keys of a stream in a table, in order, read in pages."""
    after = ""
    while page := fetch_column(
        f"""
        SELECT key
        FROM {table}
        WHERE stream_id = ? AND key > ?
        ORDER BY key
        LIMIT ?
        """,
        (stream_id, after, KEYS_PER_PAGE),
    ):
        yield from page
        after = page[-1]


def _load_live(stream_id: int, keys: Sequence[str]) -> dict[str, KeyState]:
    rows = fetch_each(
        """
        SELECT
            key, version, json_bytes, data, table_version, record_time, has_rollup, emitted_at, ingested_at
        FROM records
        WHERE stream_id = ? AND key = :each
        """,
        [stream_id],
        keys,
    )
    states = {}
    for key, version, size, data, table_version, record_time, has_rollup, emitted_at, ingested_at in rows:
        time = emitted_at or ingested_at
        states[key] = KeyState(
            version, size, data, table_version, record_time, bool(has_rollup), emitted_at, time, 1, size
        )
    return states


def _load_rollups(stream_id: int, keys: Sequence[str]) -> list[tuple[str, int, int, int, int, int]]:
    """(key, newest version, versions, their bytes, files, their bytes) of keys with a rollup."""
    if not fetch_all("SELECT 1 FROM retained_size_record WHERE stream_id = ? LIMIT 1", [stream_id]):
        return []
    rows: list[tuple[str, int, int, int, int, int]] = fetch_each(
        """
        SELECT key, version, record_history_count, record_history_json_bytes, blob_count, blob_bytes
        FROM retained_size_record
        WHERE stream_id = ? AND key = :each
        """,
        [stream_id],
        keys,
    )
    return rows


def _load_times(stream_id: int, versions: Sequence[int]) -> list[tuple[int, str | None, str]]:
    """(version, emitted_at, ingested_at) of versions."""
    rows: list[tuple[int, str | None, str]] = fetch_each(
        """
        SELECT version, emitted_at, ingested_at
        FROM record_changes
        WHERE stream_id = ? AND version = :each
        """,
        [stream_id],
        versions,
    )
    return rows
