"""Any history at all: after every step, a row that is not dirty is what a recount gives.

Hypothesis makes up histories of writes, marks, losses, failures, repairs, reads and restarts on a
real file, and follows them in plain dictionaries.  PDPP_TEST_LONG=1 tries ten thousand of them on each
database, in parts, so that several processes share them.
"""

import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import peewee
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from pdpp_ref import database, migrations, timestamps
from pdpp_ref.canonical import (
    activation,
    blobs,
    deletion,
    records,
    removal,
    retention,
)
from pdpp_ref.canonical.errors import NotFound
from pdpp_ref.models import locking
from pdpp_ref.operations import verify
from pdpp_ref.parsing.messages import Change
from pdpp_ref.projection import deltas, dirty_rows, marks, ranked, record_rollups
from pdpp_ref.projection.grains import STREAM, Grain
from pdpp_ref.services import reconcile, summary
from pdpp_ref.services.auto_reconcile import AutoReconcile
from pdpp_ref.services.cooldown import Cooldown
from pdpp_ref.services.reconcile import Limits
from pdpp_ref.timestamps import utc_now
from tests.support.factories import (
    Clock,
    DatabaseProbe,
    assert_ranked,
    assert_sized_and_ranked,
    mark,
    remove_deleted,
    stored,
    write,
)
from tests.support.postgres import Reused

LONG = os.environ.get("PDPP_TEST_LONG") == "1"
# On SQLite and on PostgreSQL; each in so many parts.
EXAMPLES, MORE_EXAMPLES, STEPS, PARTS = (10_000, 10_000, 50, 20) if LONG else (30, 8, 30, 1)

Place = tuple[str, ...]  # (): the totals; (connection,); (connection, stream)
NAMED = "streams s JOIN connections c ON c.id = connection_id"
OF_STREAM = f"WHERE stream_id = (SELECT s.id FROM {NAMED} WHERE connector_instance_id = ? AND name = ?)"
ROW_OF_PLACE = (
    "global",
    "connection WHERE connection_id = (SELECT id FROM connections WHERE connector_instance_id = ?)",
    f"stream {OF_STREAM}",
)

connections = st.sampled_from(["laptop", "phone"])
streams = st.sampled_from(["notes", "photos"])
keys = st.sampled_from("abcd")
grains = st.sampled_from(["global", "connection", "stream"])
stream_places = st.tuples(connections, streams)
contents = st.sampled_from([b"", b"a file", b"a larger file"])
places = st.just(()) | st.tuples(connections) | stream_places
changes = st.builds(
    Change,
    stream=streams,
    key=keys,
    data=st.sampled_from([None, "{}", '{"t":"é"}', '{"t":"a longer text"}']),
    table_version=st.sampled_from([None, 1, 2, 3]),
)
failing_deltas = grains | st.just("recounts")
batches = st.lists(changes, min_size=1, max_size=10)
limits = st.builds(Limits, rows=st.integers(1, 3), seconds=st.sampled_from([-1, 60]))


# What can be wrong with what is stored of single records; `{0}` is of one key.
DAMAGES = (
    "DELETE FROM retained_size_record WHERE {0}",
    "DELETE FROM retained_size_record WHERE stream_id = {stream}",
    "UPDATE retained_size_record SET record_history_count = 99 WHERE {0}",
    "UPDATE retained_size_record SET record_history_json_bytes = 0, blob_bytes = 7 WHERE {0}",
    "UPDATE retained_size_record SET record_count = 0, changed_at = 'x' WHERE {0}",
    "UPDATE retained_size_record SET version = 1 WHERE stream_id = {stream}",
    "INSERT INTO retained_size_record (stream_id, key, version, changed_at, record_history_count) "
    "VALUES ({stream}, '{key}', 1, 'x', 3) ON CONFLICT DO NOTHING",
    "INSERT INTO retained_size_record (stream_id, key, version, changed_at) "
    "VALUES ({stream}, 'never there', 1, 'x') ON CONFLICT DO NOTHING",
    "UPDATE records SET has_rollup = NOT has_rollup WHERE {0}",
    "UPDATE records SET has_rollup = NOT has_rollup WHERE stream_id = {stream}",
    "UPDATE record_changes SET previous_version = NULL WHERE {0}",
    "UPDATE record_changes SET previous_version = NULL WHERE stream_id = {stream}",
    "UPDATE record_changes SET previous_version = 1 WHERE stream_id = {stream}",
    "UPDATE record_changes SET previous_version = version - 1 WHERE {0}",
    "UPDATE record_changes SET previous_version = version + 1 WHERE {0}",
)

Fresh = Callable[[], AbstractContextManager[str]]


@contextmanager
def fresh_file() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite:///{folder}/test.sqlite3"


class WallClock(datetime):
    """The time of day, as set by somebody who is not sure of it."""

    ahead = timedelta()

    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        return super().now(tz) + cls.ahead


class Histories(RuleBasedStateMachine):
    """`live`, `history` and `files` are what must be stored of each (connection, stream), kept apart.

    `last` is how many versions a stream ever had.
    """

    def __init__(self, fresh: Fresh) -> None:
        super().__init__()
        self.live: dict[Place, dict[str, tuple[str, int | None]]] = {}
        self.history: dict[Place, dict[str, list[str | None]]] = {}
        self.files: dict[Place, dict[str, set[bytes]]] = {}
        self.last: Counter[Place] = Counter()
        self.damaged: set[Place] = set()  # streams whose rollups are wrong until they are derived
        self.clock, self.place = Clock(), fresh()
        WallClock.ahead = timedelta()
        self.url = self.place.__enter__()
        self.open()

    def open(self) -> None:
        database.connect(self.url, Path())
        migrations.prepare()
        self.probe = DatabaseProbe(self.url)
        self.auto = AutoReconcile(Limits(rows=2, seconds=-1), Cooldown(30, self.clock))

    def close(self) -> None:
        self.probe.close()
        database.db.close()

    @contextmanager
    def broken(self, event: str, when: str = "TRUE") -> Iterator[None]:
        self.probe.fail(event, when)
        try:
            yield
        finally:
            self.probe.restore()

    @rule(connection=connections, batch=batches)
    def write(self, connection: str, batch: Sequence[Change]) -> None:
        counts = write(*batch, connection=connection)
        replayed = {
            place
            for place in {(change.stream, change.key) for change in batch}
            if self.is_replay(
                connection, *place, [change for change in batch if (change.stream, change.key) == place]
            )
        }
        replayed -= self.not_recognized(connection, replayed)
        new_versions = sum(
            self.follow((connection, change.stream), change, replay=(change.stream, change.key) in replayed)
            for change in batch
        )
        assert counts.accepted - counts.unchanged == new_versions

    def is_replay(self, connection: str, stream: str, key: str, batch: Sequence[Change]) -> bool:
        """Whether a key's changes, but for equal ones in a row, are its newest versions."""
        history = self.history.get((connection, stream), {}).get(key, [])
        sent = [data for data, _ in groupby(change.data for change in batch)]
        if len(batch) < 2 or not history:
            return False
        return history[-len(sent) :] == sent

    def not_recognized(self, connection: str, replayed: Iterable[Place]) -> set[Place]:
        """Of a deleted record, only the rollup tells a writer that it had versions.  If that was lost or damaged,
        and is not derived yet, a replay may add them once more; also if the record is live again, as its new
        version has no link to the older ones until then.
        """
        return {
            (stream, key)
            for stream, key in replayed
            if (connection, stream) in self.damaged
            and self.versions_of(connection, stream, key) > len(self.history[connection, stream][key])
        }

    def versions_of(self, connection: str, stream: str, key: str) -> int:
        """How many of a key are stored."""
        count = f"SELECT COUNT(*) FROM record_changes {OF_STREAM} AND key = ?"
        ((number,),) = self.probe(count, connection, stream, key)
        return int(number)

    def follow(self, place: Place, change: Change, *, replay: bool = False) -> bool:
        """What a change does to the dictionaries.  True where it is a new version."""
        if change.data is None and place not in self.live:
            return False  # a delete creates nothing
        live = self.live.setdefault(place, {})
        history = self.history.setdefault(place, {})
        held = live.get(change.key)
        if replay:
            if held and change.data is not None:
                seen = [each for each in (held[1], change.table_version) if each is not None]
                live[change.key] = (held[0], max(seen, default=None))
            return False
        is_new = change.data != (held and held[0])
        if not is_new and held and change.table_version is not None:
            live[change.key] = (held[0], max(change.table_version, held[1] or 0))
            return False
        if is_new:
            history.setdefault(change.key, []).append(change.data)
            self.last[place] += 1
        if change.data is None:
            live.pop(change.key, None)
        elif is_new or change.table_version is not None:
            live[change.key] = (change.data, change.table_version)
        return is_new

    @rule(place=stream_places, version=st.integers(1, 4))
    def activate_version(self, place: Place, version: int) -> None:
        live = self.live.get(place, {}).items()
        older = [key for key, (_, source) in live if source is not None and source < version]
        done = activation.activate_version(records.Target(place[0], "files"), place[1], version)
        assert done == activation.Activated(len(older))
        for key in older:
            self.follow(place, Change(place[1], key, None))

    @rule(connection=connections, batch=batches, delta=failing_deltas)
    def write_whose_delta_fails(self, connection: str, batch: Sequence[Change], delta: str) -> None:
        with self.broken(f"UPDATE OF record_count ON retained_size_{delta}"):
            self.write(connection, batch)

    @rule(connection=connections, batch=batches, grain=grains)
    def write_without_even_a_mark(self, connection: str, batch: Sequence[Change], grain: str) -> None:
        before = stored()
        with self.broken(f"UPDATE ON retained_size_{grain}"):
            try:
                self.write(connection, batch)
            except peewee.DatabaseError:
                assert stored() == before

    @rule(place=stream_places, key=keys, content=contents)
    def bind_a_file(self, place: Place, key: str, content: bytes) -> None:
        if key not in self.live.get(place, {}):
            with pytest.raises(NotFound):
                blobs.store(*place, key, iter([content]))
            return
        held = self.files.setdefault(place, {}).setdefault(key, set())
        assert blobs.store(*place, key, iter([content])).created == (content not in held)
        held.add(content)

    @rule(keep=st.integers(1, 3), place=stream_places | st.just(()), most=st.integers(1, 9))
    def prune(self, keep: int, place: Place, most: int) -> None:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(retention, "VERSIONS_PER_TRANSACTION", most)
            gone = retention.prune(keep, *place)
        before = self.history_bytes()
        for pruned in [place] if place else self.history:
            for key, versions in self.history.get(pruned, {}).items():
                del versions[:-keep]
                if versions == [None]:
                    self.files.get(pruned, {}).pop(key, None)
        assert gone.json_bytes == before - self.history_bytes()

    def history_bytes(self) -> int:
        every = (data for keys in self.history.values() for versions in keys.values() for data in versions)
        return sum(len((data or "").encode()) for data in every)

    @rule(place=stream_places, whole=st.booleans())
    def delete_a_stream_or_connection(self, place: Place, whole: bool) -> None:
        if place not in self.live:
            return
        if whole:
            deletion.delete_connection(place[0])
        else:
            deletion.delete_stream(*place)
        for known in list(self.live):
            if known == place or (whole and known[0] == place[0]):
                for counted in (self.live, self.history, self.files, self.last):
                    counted.pop(known, None)
                self.damaged.discard(known)

    @rule(rows=st.integers(1, 5), wait=st.booleans())
    def remove_a_part(self, rows: int, wait: bool) -> None:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(removal, "ROWS_PER_STEP", rows)
            patched.setattr(removal, "FILES_PER_STEP", 1)
            removal.Removal().step(wait=wait)

    @rule(place=places)
    def mark(self, place: Place) -> None:
        if self.holds_a_stream(place):
            mark(*place)
            assert self.probe(f"SELECT dirty FROM retained_size_{ROW_OF_PLACE[len(place)]}", *place) == [
                (1,)
            ]

    @rule(place=places, above=st.integers(0, 2))
    def lose_a_row(self, place: Place, above: int) -> None:
        """A lost row that nothing tells of can't be noticed: it, or one above it, is marked."""
        self.probe(f"DELETE FROM retained_size_{ROW_OF_PLACE[len(place)]}", *place)
        marked = place[: max(0, len(place) - above)]
        self.mark(marked if self.holds_a_stream(marked) else ())

    def holds_a_stream(self, place: Place) -> bool:
        return not place or any(known[: len(place)] == place for known in self.live)

    @rule(place=stream_places, damage=st.sampled_from(DAMAGES), key=keys, everything=st.booleans())
    def damage_rows_of_records(self, place: Place, damage: str, key: str, everything: bool) -> None:
        """By another program; then somebody rebuilds, or a writer has noticed it."""
        if place not in self.live:
            return
        of = "(SELECT s.id, s.connection_id FROM streams s JOIN connections c ON c.id = s.connection_id "
        of += "WHERE connector_instance_id = ? AND name = ?)"
        ((stream, connection),) = self.probe(f"SELECT * FROM {of} AS of_stream", *place)
        if "previous_version" in damage and not everything:
            reconcile.run_until_fresh()  # only pruning notices a wrong link, and it waits for the rollups
        self.damaged.add(place)
        self.probe(damage.format(f"stream_id = {stream} AND key = '{key}'", stream=stream, key=key))
        with database.write_transaction():
            if everything:
                marks.mark_all()
            else:
                locking.lock_stream_for_update(stream)
                noticed = key if "{0}" in damage or "{key}" in damage else ""  # the first of all keys
                marks.mark_rollups(stream, connection, noticed)
        if "previous_version" in damage:
            reconcile.run_until_fresh()  # whether a write is a replay is seen by following the links

    @rule(limits=limits)
    def run_pass(self, limits: Limits) -> None:
        assert reconcile.run_pass(limits).fresh == self.is_fresh()

    @rule(place=stream_places, passes=st.integers(1, 5), change=batches | keys | st.integers(1, 2))
    def change_during_a_reconcile(
        self, place: Place, passes: int, change: Sequence[Change] | str | int
    ) -> None:
        self.mark(place)
        for _ in range(passes):
            self.run_pass(Limits(seconds=-1))
        if isinstance(change, str):
            self.bind_a_file(place, change, b"a file that comes late")
        elif isinstance(change, int):
            self.prune(change, place, 2)
        else:
            self.write(place[0], change)

    @rule(limits=limits, grain=grains)
    def run_pass_that_fails(self, limits: Limits, grain: str) -> None:
        reconciles = "SELECT * FROM retained_size_recounts ORDER BY stream_id"
        before = stored(), self.probe(reconciles)
        with self.broken(f"UPDATE OF computed_at ON retained_size_{grain}"):
            try:
                reconcile.run_pass(limits)
            except peewee.DatabaseError:
                assert (stored(), self.probe(reconciles)) == before

    @rule()
    def begin_rebuild(self) -> None:
        reconcile.begin_rebuild()
        assert not self.is_fresh()

    @rule(seconds=st.sampled_from([1, 40, 1000]))
    def read(self, seconds: float) -> None:
        self.clock.advance(seconds)
        found = summary.read(self.auto)
        assert found.state != "fresh" or found.totals.record_count == sum(map(len, self.live.values()))

    @rule()
    def read_while_reconcile_fails(self) -> None:
        failures = self.auto.failures
        with self.broken("UPDATE ON retained_size_global", "OLD.dirty AND NOT NEW.dirty"):
            for _ in range(3):
                summary.read(self.auto)
        assert self.auto.failures <= failures + 1, "a failure was tried again at once"

    @rule(since_boot=st.sampled_from([0.0, 1000.0, 1e9]))
    def restart(self, since_boot: float) -> None:
        self.close()
        self.clock.now = since_boot
        self.open()

    @rule(days=st.sampled_from([-500, -1, -0.001, 0.001, 1, 500]))
    def step_the_wall_clock(self, days: float) -> None:
        """It is not the one that the cooldown goes by, and what it says may be anything."""
        WallClock.ahead += timedelta(days=days)

    def is_fresh(self) -> bool:
        return self.probe("SELECT dirty FROM retained_size_global") == [(0,)]

    @invariant()
    def what_is_clean_is_reconciled(self) -> None:
        """Notes it; that it is right is checked below."""
        self.damaged -= {
            tuple(place)
            for place in self.probe(
                f"SELECT connector_instance_id, name FROM {NAMED} "
                "WHERE s.id IN (SELECT stream_id FROM retained_size_stream WHERE NOT dirty)"
            )
        }

    @invariant()
    def clean_rows_equal_a_plain_count(self) -> None:
        assert self.probe.wrong_but_clean() == []
        assert [found for found in verify.differences() if not found.dirty] == []

    @invariant()
    def fresh_means_that_nothing_is_dirty_or_missing(self) -> None:
        for grain in ("stream", "connection") if self.is_fresh() else ():
            clean = self.probe(f"SELECT COUNT(*) FROM retained_size_{grain} WHERE NOT dirty")
            exist = "" if grain == "connection" else " WHERE connection_id IS NOT NULL"
            assert clean == self.probe(f"SELECT COUNT(*) FROM {grain}s{exist}")

    @invariant()
    def what_was_written_is_stored(self) -> None:
        places = {
            stream: ((connection, name), last)
            for stream, connection, name, last in self.probe(
                f"SELECT s.id, connector_instance_id, name, last_version FROM {NAMED}"
            )
        }
        assert dict(places.values()) == {place: self.last[place] for place in self.live}
        live: dict[Place, dict[str, Any]] = {place: {} for place in self.live}
        of_streams = f"WHERE stream_id IN (SELECT s.id FROM {NAMED})"
        every = f"SELECT stream_id, key, data, table_version FROM records {of_streams}"
        for stream, key, *values in self.probe(every):
            live[places[stream][0]][key] = tuple(values)
        assert live == self.live
        history: dict[Place, dict[str, list[str | None]]] = {place: {} for place in self.history}
        every = f"SELECT stream_id, version, key, data FROM record_changes {of_streams} ORDER BY 1, 2"
        for stream, version, key, data in self.probe(every):
            place, last = places[stream]
            assert version <= last
            history[place].setdefault(key, []).append(data)
        assert history == self.history

    @invariant()
    def each_file_is_stored_once_and_whole(self) -> None:
        bound = {content for keys in self.files.values() for held in keys.values() for content in held}
        parts = "SELECT sha256, data FROM blob_chunks ORDER BY sha256, number"
        stored: dict[str, bytes] = {}
        for sha256, data in self.probe(parts):
            stored[sha256] = stored.get(sha256, b"") + data
        named = {hashlib.sha256(content).hexdigest(): content for content in bound}
        of_deleted = (
            "SELECT sha256 FROM blob_bindings JOIN streams ON id = stream_id AND connection_id IS NULL"
        )
        deleted = {sha256 for (sha256,) in self.probe(of_deleted)} - named.keys()
        assert {sha256: data for sha256, data in stored.items() if sha256 not in deleted} == {
            sha256: content for sha256, content in named.items() if content
        }
        assert self.probe("SELECT COUNT(*) FROM blobs") == [(len(named) + len(deleted),)]

    def teardown(self) -> None:
        try:
            reconcile.run_until_fresh()
            remove_deleted()
            assert not self.probe("SELECT 1 FROM streams WHERE connection_id IS NULL")
            assert not (found := list(verify.differences())), found
            assert summary.read(self.auto).state == "fresh"
            assert_sized_and_ranked(self.probe)
            assert_ranked(self.probe)
        finally:
            self.close()
            self.place.__exit__(None, None, None)


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recounts and discoveries span passes."""
    monkeypatch.setattr(reconcile, "CHUNK_VERSIONS", 1)
    monkeypatch.setattr(dirty_rows, "DISCOVER_ROWS", 2)
    for name, number in {"CHUNK_VERSIONS": 3, "CHUNK_ROWS": 2, "CHUNK_KEYS": 2, "FEW_VERSIONS": 1}.items():
        monkeypatch.setattr(record_rollups, name, number)
    monkeypatch.setattr(ranked, "RANKED", 2)
    monkeypatch.setattr(ranked, "BLOCK", 4)
    monkeypatch.setattr(timestamps, "datetime", WallClock)


def try_histories(fresh: Fresh = fresh_file, **options: Any) -> None:
    options |= {"stateful_step_count": STEPS, "deadline": None, "report_multiple_bugs": False}
    options["suppress_health_check"] = [HealthCheck.too_slow]
    run_state_machine_as_test(lambda: Histories(fresh), settings=settings(**options))


@pytest.mark.parametrize("part", range(PARTS))
def test_no_history_leaves_a_wrong_figure_clean(part: int) -> None:
    try_histories(max_examples=EXAMPLES // PARTS, print_blob=True)


@pytest.mark.parametrize("part", range(PARTS))
def test_no_history_leaves_a_wrong_figure_clean_on_postgresql(part: int, reused: Reused) -> None:
    @contextmanager
    def fresh() -> Iterator[str]:
        yield reused.url
        reused.reset()

    try_histories(fresh, max_examples=MORE_EXAMPLES // PARTS, print_blob=True)


# ---- the test is tested ------------------------------------------------------------------------


def mark_and_keep_the_checkpoint(stream_ids: Iterable[int], connection_id: int) -> None:
    for stream_id in stream_ids:
        marks._mark(STREAM, stream_id, {"connection_id": connection_id})
    marks.mark_connection(connection_id)


def mark_what_exists(grain: Grain, key: int, _: Any) -> None:
    mark = f"UPDATE {grain.table} SET dirty = TRUE, stale_since = COALESCE(stale_since, ?) WHERE {grain.key} = ?"
    database.execute(mark, (utc_now(), key))


def clear_without_reconcile(grain: Grain, rows: Any, *_: Any) -> None:
    for key in rows:
        database.execute(f"UPDATE {grain.table} SET dirty = FALSE WHERE {grain.key} = ?", [key])


def forget_a_failed_delta(*arguments: Any) -> None:
    with suppress(peewee.DatabaseError), database.db.savepoint():
        deltas._apply(*arguments)


@contextmanager
def commit_half_a_write() -> Iterator[None]:
    with database.write_transaction(), suppress(peewee.DatabaseError):
        yield


def count_nothing_new(derivation: record_rollups._Derivation, through: int) -> None:
    """What was written since the last step is left out once settling has begun."""
    count(derivation, through) if not derivation.after else None
    derivation.through = max(through, derivation.through or 0) if derivation.after else derivation.through
    if derivation.after:
        derivation.last = derivation.through or 0


count = record_rollups._Derivation._count

MUTATIONS = {
    "recount_not_corrected": (deltas, "_adjust_checkpoints", lambda *_: None),
    "recount_kept_by_a_mark": (marks, "mark_streams", mark_and_keep_the_checkpoint),
    "mark_not_passed_up": (marks, "mark_connection", lambda *_: None),
    "mark_without_a_row_lost": (marks, "_mark", mark_what_exists),
    "failed_delta_forgotten": (deltas, "record", forget_a_failed_delta),
    "cleared_without_repair": (reconcile, "_replace", clear_without_reconcile),
    "totals_cleared_too_early": (reconcile, "_dirty_below", lambda: 0),
    "half_a_write_kept": (records, "write_transaction", commit_half_a_write),
    "rows_of_records_not_settled": (record_rollups._Derivation, "_settle", lambda _: True),
    "replaced_versions_not_counted": (record_rollups._Derivation, "_was_live", lambda *_: None),
    "settled_before_all_is_counted": (record_rollups._Derivation, "_count", count_nothing_new),
    "no_cooldown": (Cooldown, "failed", lambda *_: None),
}


# These take hundreds of histories, so the ordinary run leaves them out.
HARD_TO_FIND = {
    "recount_kept_by_a_mark",
    "recount_not_corrected",
    "replaced_versions_not_counted",
    "rows_of_records_not_settled",
    "settled_before_all_is_counted",
}


@pytest.mark.parametrize("mutation", [name for name in MUTATIONS if LONG or name not in HARD_TO_FIND])
def test_the_histories_find_a_fault(mutation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*MUTATIONS[mutation])
    with pytest.raises((AssertionError, peewee.DatabaseError)):
        try_histories(max_examples=2_000, derandomize=True, phases=[Phase.generate])
