"""Deriving the rows of RetainedSizeRecord again, for streams whose `rollups_dirty` is set.

Nothing that is there already is believed but the versions themselves: not the rows, not the records'
`has_rollup`, and not the links between a key's versions, which are put right on the way.  It goes in steps,
each bounded and whole by itself, and in two parts:

- **Counting**, from the oldest version on.  Each version that is not live is added to its key's
  RollupCount.  A version that was live when the count passed it may be replaced later; the version that
  replaces it lies ahead, names it as the one before it, and adds it then.
- **Settling**, by key, once all versions are counted.  The row of a key is what was counted, its live
  version, and its files.  A step that settles counts first what was written since the last one.

A step holds the stream as a writer does, so nobody writes at the same time.  What a writer makes of a
wrong row before it is settled does not matter: settling replaces it.  After that the row is right, and
writers change it exactly.  Pruning waits until all is settled.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from ..database import (
    Busy,
    execute,
    execute_many,
    fetch_all,
    fetch_each,
    for_no_key_update,
    insert_many,
    lock_attempt,
)
from ..models import RetainedSizeRecord, RollupCheckpoint, RollupCount
from ..models.measures import MEASURE_NAMES

# What one step looks at: versions, most of them in indexes alone; those of which it reads the row; their
# bytes, as a row is read past its text; keys that it settles.
CHUNK_VERSIONS = 10_000
CHUNK_ROWS = 1_000
CHUNK_BYTES = 64 * 1024 * 1024
CHUNK_KEYS = 500
FEW_VERSIONS = 16

Row = tuple[Any, ...]


def derive(limit: int, deadline: float, *, wait: bool) -> None:
    """Go on with up to `limit` streams that no writer holds, until the deadline; one step is always made.

    `wait` waits for a writer where all are held, but not for long.
    """
    held = _hold_streams(limit, wait)
    if not held:
        return
    done: list[int] = []
    for derivation in _derivations(held):
        if not derivation.run(deadline):
            break
        done.append(derivation.id)
        if time.monotonic() > deadline:
            break
    _finish(done)


def derive_stream(stream_id: int, last: int, deadline: float) -> None:
    """The same for one stream, which is held, and whose newest version is `last`."""
    (derivation,) = _derivations({stream_id: last})
    if derivation.run(deadline):
        _finish([stream_id])


def is_dirty(stream_id: int) -> bool:
    """Whether the rows of the stream's records are to be derived again."""
    found = fetch_all("SELECT rollups_dirty FROM retained_size_stream WHERE stream_id = ?", [stream_id])
    return bool(found and found[0][0])


def forget(stream_id: int, key: str) -> None:
    """For a key that goes with all its versions, its stream being held."""
    execute("DELETE FROM retained_size_record_counts WHERE stream_id = ? AND key = ?", (stream_id, key))


def _hold_streams(limit: int, wait: bool) -> dict[int, int]:
    """The last versions of streams to derive; they are held as writers hold them, and their rows locked."""
    wanted = (
        "SELECT s.id, s.last_version FROM retained_size_stream r JOIN streams s ON s.id = r.stream_id "
        "WHERE r.dirty AND r.rollups_dirty ORDER BY s.id LIMIT ?"
    )
    held = fetch_all(f"{wanted}{for_no_key_update('s', wait=False)}", [limit])
    if not held and wait:
        with suppress(Busy), lock_attempt():
            held = fetch_all(f"{wanted}{for_no_key_update('s')}", [1])
    if not held:
        return {}
    # Again: whoever held one of them before may have derived it.
    rows = fetch_all(
        "SELECT stream_id FROM retained_size_stream WHERE dirty AND rollups_dirty "
        f"AND stream_id IN ({_marks(held)}){for_no_key_update(wait=False)}",
        [stream_id for stream_id, _ in held],
    )
    free = {stream_id for (stream_id,) in rows}
    return {stream_id: last for stream_id, last in held if stream_id in free}


def _derivations(held: Mapping[int, int]) -> list["_Derivation"]:
    rows = fetch_all(
        "SELECT s.id, d.through_version, d.after_key, EXISTS (SELECT 1 FROM retained_size_record_counts c "
        "WHERE c.stream_id = s.id) FROM streams s LEFT JOIN retained_size_record_recounts d "
        f"ON d.stream_id = s.id WHERE s.id IN ({_marks(held)}) ORDER BY s.id",
        list(held),
    )
    return [_Derivation(row[0], held[row[0]], *row[1:]) for row in rows]


def _finish(stream_ids: Sequence[int]) -> None:
    if stream_ids:
        these = f"WHERE stream_id IN ({_marks(stream_ids)})"
        execute(f"DELETE FROM retained_size_record_recounts {these}", stream_ids)
        execute(f"UPDATE retained_size_stream SET rollups_dirty = FALSE {these}", stream_ids)


def _marks(of: Collection[Any]) -> str:
    return ", ".join("?" * len(of))


class _Version(NamedTuple):
    version: int
    key: str
    json_bytes: int
    previous: int | None
    live: int | None = None


class _Count(NamedTuple):
    """Of a key: its newest version that was counted, how many there are, and their bytes."""

    version: int
    versions: int = 0
    json_bytes: int = 0

    def plus(self, found: _Version) -> "_Count":
        return _Count(found.version, self.versions + 1, self.json_bytes + found.json_bytes)


class _Derivation:
    """The steps for one stream.  `through` is None while counts of an earlier one are to be removed."""

    def __init__(
        self, stream_id: int, last: int, through: int | None, after: str | None, has_counts: bool
    ) -> None:
        self.id, self.last = stream_id, last
        self.through = 0 if through is None and not has_counts else through
        self.after = after or ""
        self.span = CHUNK_ROWS

    def run(self, deadline: float) -> bool:
        """False where time ran out first; the next one goes on from there."""
        while not self._step():
            if time.monotonic() > deadline:
                self._save()
                return False
        return True

    def _step(self) -> bool:
        """True where this was the last one."""
        if self.through is None:
            if self._remove_counts():
                return False
            self.through = 0
        if self.through < self.last:
            self._count(self.through)
        return self.through >= self.last and self._settle()

    def _save(self) -> None:
        if self.through is not None:
            columns = ("stream_id", "through_version", "after_key")
            insert_many(RollupCheckpoint, columns, [(self.id, self.through, self.after)], columns[:1])

    def _remove_counts(self) -> bool:
        """True where there may be more."""
        some = "SELECT key FROM retained_size_record_counts WHERE stream_id = ? ORDER BY key LIMIT ?"
        removed = execute(
            f"DELETE FROM retained_size_record_counts WHERE stream_id = ? AND key IN ({some})",
            (self.id, self.id, CHUNK_ROWS),
        )
        return removed == CHUNK_ROWS

    # ---- counting

    def _count(self, through: int) -> None:
        upto = self._upto(through)
        reach = (self.id, through, upto)
        found = [_Version(*row) for row in fetch_all(_TO_COUNT, (*reach[1:], *reach * 4, CHUNK_ROWS))]
        if len(found) == CHUNK_ROWS:
            upto, self.span = found[-1].version, CHUNK_ROWS
        elif len(found) < CHUNK_ROWS // 2:
            self.span = min(2 * self.span, CHUNK_VERSIONS)
        self._add([one for one in found if one.key > self.after])
        execute(_CLEAR_HAS_ROLLUP, (self.id, through, upto))
        self.through = upto

    def _upto(self, through: int) -> int:
        """The last version of the next step; the fewer rows there are to read, the more versions."""
        upto = min(through + self.span, self.last)
        if upto - through <= FEW_VERSIONS:
            return upto
        ((full,),) = fetch_all(_FULL, (self.id, through, upto, CHUNK_BYTES))
        return upto if full is None else int(full)

    def _add(self, found: Sequence[_Version]) -> None:
        counts = self._counts(sorted({one.key for one in found}))
        changed: dict[str, _Count] = {}
        links: list[Row] = []
        for one in found:
            count = counts.get(one.key)
            before = self._was_live(one, count) if one.previous != (count and count.version) else None
            if before is not None:
                links += self._link(before, count)
                count = (count or _Count(0)).plus(before)
            links += self._link(one, count)
            if one.live is None:
                count = (count or _Count(0)).plus(one)
            if count is not None and count != counts.get(one.key):
                counts[one.key] = changed[one.key] = count
        execute_many(_LINK, links)
        rows = [(self.id, key, *count) for key, count in changed.items()]
        insert_many(RollupCount, ("stream_id", "key", *_Count._fields), rows, ("stream_id", "key"))

    def _was_live(self, one: _Version, count: _Count | None) -> _Version | None:
        """The version before this one, where it was live as the count passed it."""
        if one.previous is None or not (count.version if count else 0) < one.previous < one.version:
            return None
        found = fetch_all(_ONE, (self.id, one.previous, one.key))
        return _Version(*found[0]) if found else None

    def _link(self, one: _Version, count: _Count | None) -> list[Row]:
        """What is to be changed for a version to name the one before it."""
        expected = count.version if count else None
        return [(expected, self.id, one.version)] if one.previous != expected else []

    def _counts(self, keys: Sequence[str]) -> dict[str, _Count]:
        found = fetch_each(_COUNTED, [self.id], keys)
        return {key: _Count(*count) for key, *count in found}

    # ---- settling

    def _settle(self) -> bool:
        """Settle the next keys.  True where there are no more."""
        keys = [key for (key,) in fetch_all(_NEXT, (*(self.id, self.after, CHUNK_KEYS) * 3, CHUNK_KEYS))]
        if not keys:
            return True
        reach = (self.id, self.after, keys[-1])
        counts = self._counts(keys)
        files = {key: row for key, *row in fetch_all(_FILES, reach)}
        stored = {row[1]: row for row in fetch_all(_STORED, reach)}
        live = {key: row for key, *row in fetch_each(_LIVE, [self.id], keys)}
        rows: list[Row] = []
        links: list[Row] = []
        flags: list[Row] = []
        for key in keys:
            count, head = counts.get(key), live.get(key)
            row = self._row(key, count, head, files.get(key), stored.get(key))
            rows += [row] if row else []
            if head and bool(head[2]) != bool(row):
                flags.append((row is not None, self.id, key))
            if head and count and head[4] is not None and count.version < head[0]:
                links += self._link(_Version(head[0], key, 0, head[5]), count)
        without = stored.keys() - {row[1] for row in rows}
        insert_many(RetainedSizeRecord, _COLUMNS, [r for r in rows if r != stored.get(r[1])], _COLUMNS[:2])
        execute_many(_REMOVE, [(self.id, key) for key in without])
        execute_many(_SET_HAS_ROLLUP, flags)
        execute_many(_LINK, links)
        execute(_REMOVE_COUNTS, reach)
        self.after = keys[-1]
        return len(keys) < CHUNK_KEYS

    def _row(
        self,
        key: str,
        count: _Count | None,
        head: Sequence[Any] | None,
        files: Sequence[Any] | None,
        stored: Row | None,
    ) -> Row | None:
        """The row of a key; None where it needs none.  `files`: number, bytes, times."""
        if not (count or (head and files)):
            return None
        version, size, _, ingested_at, counted, _ = head or (0, 0, False, "", None, None)
        kept = count or _Count(0)
        if kept.version > version:
            ((ingested_at,),) = fetch_all(_TIME, (self.id, kept.version))
        number, file_bytes, bound_at, is_of_file = files or (0, 0, "", 0)
        changed_at = max(ingested_at, bound_at)
        if stored and (is_of_file or stored[3] == ingested_at):
            changed_at = stored[3]
        history = (kept.versions + (counted is not None), kept.json_bytes + (counted or 0))
        figures = (int(head is not None), size, *history, int(number), int(file_bytes))
        return (self.id, key, max(version, kept.version), changed_at, *figures)


_RANGE = "{0}.stream_id = ? AND {0}.version > ? AND {0}.version <= ?"
_FULL = (
    "SELECT MIN(version) FROM (SELECT version, SUM(json_bytes) OVER (ORDER BY version) AS bytes "
    f"FROM record_changes c WHERE {_RANGE.format('c')}) AS summed WHERE bytes >= ?"
)
# Every part has the range, so that a planner that knows nothing of the stream reads no more than that.
_TO_COUNT = (
    "SELECT c.version, c.key, c.json_bytes, c.previous_version, h.version FROM record_changes c "
    "LEFT JOIN records h ON h.stream_id = c.stream_id AND h.version = c.version "
    f"AND h.version > ? AND h.version <= ? WHERE {_RANGE.format('c')} AND c.version IN ("
    f"SELECT n.version FROM record_changes n WHERE {_RANGE.format('n')} AND NOT EXISTS "
    f"(SELECT 1 FROM records r WHERE {_RANGE.format('r')} AND r.version = n.version) "
    f"UNION SELECT l.version FROM record_changes l WHERE {_RANGE.format('l')} "
    "AND l.previous_version IS NOT NULL ORDER BY 1 LIMIT ?) ORDER BY c.version"
)
_ONE = (
    "SELECT version, key, json_bytes, previous_version FROM record_changes "
    "WHERE stream_id = ? AND version = ? AND key = ?"
)
_TIME = "SELECT ingested_at FROM record_changes WHERE stream_id = ? AND version = ?"
_LINK = "UPDATE record_changes SET previous_version = ? WHERE stream_id = ? AND version = ?"
_CLEAR_HAS_ROLLUP = (
    f"UPDATE records SET has_rollup = FALSE WHERE {_RANGE.format('records')} AND has_rollup AND NOT EXISTS "
    "(SELECT 1 FROM retained_size_record t WHERE t.stream_id = records.stream_id AND t.key = records.key)"
)
_SET_HAS_ROLLUP = "UPDATE records SET has_rollup = ? WHERE stream_id = ? AND key = ?"
_COUNTED = (
    "SELECT key, version, versions, json_bytes FROM retained_size_record_counts WHERE stream_id = ? AND key"
)
_OF_KEYS = "WHERE {0}.stream_id = ? AND {0}.key > ? AND {0}.key <= ?"
_NEXT = (
    "SELECT key FROM ("
    + " UNION ".join(
        f"SELECT key FROM (SELECT DISTINCT key FROM {table} WHERE stream_id = ? AND key > ? "
        f"ORDER BY key LIMIT ?) AS of_{table}"
        for table in ("retained_size_record_counts", "retained_size_record", "blob_bindings")
    )
    + ") AS following ORDER BY key LIMIT ?"
)
_FILES = (
    "SELECT b.key, COUNT(*), SUM(b.byte_length), MAX(b.bound_at), "
    "MAX(CASE WHEN b.bound_at = t.changed_at THEN 1 ELSE 0 END) FROM blob_bindings b "
    "LEFT JOIN retained_size_record t ON t.stream_id = b.stream_id AND t.key = b.key "
    f"{_OF_KEYS.format('b')} GROUP BY b.key"
)
_COLUMNS = ("stream_id", "key", "version", "changed_at", *MEASURE_NAMES)
_STORED = f"SELECT {', '.join(_COLUMNS)} FROM retained_size_record t {_OF_KEYS.format('t')}"
_LIVE = (
    "SELECT r.key, r.version, r.json_bytes, r.has_rollup, r.ingested_at, c.json_bytes, c.previous_version "
    "FROM records r LEFT JOIN record_changes c ON c.stream_id = r.stream_id AND c.version = r.version "
    "AND c.key = r.key WHERE r.stream_id = ? AND r.key"
)
_REMOVE = "DELETE FROM retained_size_record WHERE stream_id = ? AND key = ?"
_REMOVE_COUNTS = f"DELETE FROM retained_size_record_counts {_OF_KEYS.format('retained_size_record_counts')}"
