"""The current state of keys, as a write needs it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from ..database import fetch_column, fetch_each
from ..parsing.messages import Change

KEYS_PER_PAGE = 2_000

Place = tuple[int, str]  # a stream and a key
Events = Mapping[int, Mapping[str, Sequence[Change]]]


class KeyState(msgspec.Struct, gc=False):
    """A key before the next change; once it is deleted, `data` is None and `size` 0.

    `time` is when this version was emitted, or else arrived; `versions` and `history` are the number
    of the key's versions and their bytes.  `ranked` is the record's, as it is stored.
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
    ranked: bool = False


class StoredKeys(NamedTuple):
    """The states of those keys that a stream has or had; and keys whose rollup is lost or not expected."""

    states: dict[str, KeyState]
    wrong_rollups: set[str]


def load_key_states(events: Events) -> dict[int, StoredKeys]:
    """What is stored of keys, by stream.

    `events` are the changes that are about to be made, by stream and key, in the order of the keys.  The
    number of statements does not depend on the number of streams.
    """
    places = [(stream_id, key) for stream_id, of_stream in events.items() for key in of_stream]
    states = _load_live(places)
    with_rollup = _add_rollups(states, places, events)
    found = {stream_id: StoredKeys({}, set()) for stream_id in events}
    for place, state in states.items():
        stream_id, key = place
        found[stream_id].states[key] = state
        if state.has_rollup != (place in with_rollup):
            found[stream_id].wrong_rollups.add(key)
    return found


def _add_rollups(states: dict[Place, KeyState], places: Sequence[Place], events: Events) -> set[Place]:
    """Add to the states what rollups say, deleted keys included.  Returns the keys that have one."""
    with_rollup: set[Place] = set()
    deleted: dict[tuple[int, int], Place] = {}
    for stream_id, key, version, versions, history, blob_count, blob_bytes in _load_rollups(places):
        place = stream_id, key
        with_rollup.add(place)
        if place not in states:
            deleted[stream_id, version] = place
            states[place] = KeyState(version, 0, None, None, None, True, None, "", 0, 0)
        state = states[place]
        state.versions, state.history = versions, history
        state.blob_count, state.blob_bytes = blob_count, blob_bytes
    # The time of a delete matters only for an event that has a time itself.
    timed = [
        version
        for version, (stream_id, key) in deleted.items()
        if any(each.emitted_at for each in events[stream_id][key])
    ]
    for stream_id, version, emitted_at, ingested_at in _load_times(timed):
        state = states[deleted[stream_id, version]]
        state.emitted_at, state.time = emitted_at, emitted_at or ingested_at
    return with_rollup


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


def _load_live(places: Sequence[Place]) -> dict[Place, KeyState]:
    rows = fetch_each(
        """
        SELECT
            stream_id, key, version, json_bytes, data, table_version, record_time, has_rollup, emitted_at,
            ingested_at, ranked
        FROM records
        WHERE (stream_id, key) = :each
        """,
        [],
        places,
    )
    states = {}
    for (
        stream_id,
        key,
        version,
        size,
        data,
        table_version,
        record_time,
        has_rollup,
        emitted_at,
        ingested_at,
        ranked,
    ) in rows:
        time = emitted_at or ingested_at
        states[stream_id, key] = KeyState(
            version,
            size,
            data,
            table_version,
            record_time,
            bool(has_rollup),
            emitted_at,
            time,
            1,
            size,
            ranked=bool(ranked),
        )
    return states


def _load_rollups(places: Sequence[Place]) -> list[tuple[int, str, int, int, int, int, int]]:
    """(stream, key, newest version, versions, their bytes, files, their bytes) of keys with a rollup."""
    streams = fetch_each(
        """
        SELECT id
        FROM streams
        WHERE EXISTS (SELECT 1 FROM retained_size_record WHERE stream_id = streams.id) AND id = :each
        """,
        [],
        list({stream_id for stream_id, _ in places}),
    )
    with_some = {stream_id for (stream_id,) in streams}
    rows: list[tuple[int, str, int, int, int, int, int]] = fetch_each(
        """
        SELECT
            stream_id, key, version, record_history_count, record_history_json_bytes, blob_count, blob_bytes
        FROM retained_size_record
        WHERE (stream_id, key) = :each
        """,
        [],
        [place for place in places if place[0] in with_some],
    )
    return rows


def _load_times(versions: Sequence[tuple[int, int]]) -> list[tuple[int, int, str | None, str]]:
    """(stream, version, emitted_at, ingested_at) of versions."""
    rows: list[tuple[int, int, str | None, str]] = fetch_each(
        """
        SELECT stream_id, version, emitted_at, ingested_at
        FROM record_changes
        WHERE (stream_id, version) = :each
        """,
        [],
        versions,
    )
    return rows
