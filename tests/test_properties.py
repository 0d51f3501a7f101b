"""Any history at all: after every step, a row that is not dirty is what a recount gives.

Hypothesis makes up histories of writes, marks, losses, failures, repairs, reads and restarts on a
real file, and follows them in plain dictionaries.  PDPP_TEST_LONG=1 tries ten thousand of them.
"""

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import peewee
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from pdpp_ref import database, schema
from pdpp_ref.models import GrainRow, Record, RetainedSizeStream
from pdpp_ref.services import ingest, reconcile, retained_size, verify
from pdpp_ref.services import summary as reading
from pdpp_ref.services.auto_reconcile import AutoReconcile
from pdpp_ref.services.cooldown import Cooldown
from pdpp_ref.services.messages import Change
from pdpp_ref.services.reconcile import Limits
from tests.world import Clock, Outside, ids, mark, stored, write

EXAMPLES, STEPS = (10_000, 50) if os.environ.get("PDPP_TEST_LONG") == "1" else (60, 30)

Place = tuple[str, ...]  # (): the totals; (connection,); (connection, stream)

CONNECTIONS = ("laptop", "phone")
STREAMS = ("notes", "photos")
GRAINS = ("global", "connection", "stream")
ROW_OF_PLACE = (
    "retained_size_global WHERE id = 1",
    "retained_size_connection WHERE connection_id = "
    "(SELECT id FROM connections WHERE connector_instance_id = ?)",
    "retained_size_stream WHERE stream_id = (SELECT streams.id FROM streams "
    "JOIN connections ON connections.id = connection_id WHERE connector_instance_id = ? AND name = ?)",
)
DELTAS = (
    *(f"UPDATE OF computed_at ON retained_size_{grain}" for grain in GRAINS),
    "UPDATE OF record_count ON retained_size_recounts",
)

connections = st.sampled_from(CONNECTIONS)
streams = st.sampled_from(STREAMS)
keys = st.sampled_from("abcd")
grains = st.sampled_from(GRAINS)
places = st.lists(st.nothing()).map(tuple) | st.tuples(connections) | st.tuples(connections, streams)
batches = st.lists(
    st.builds(
        Change,
        stream=streams,
        key=keys,
        data=st.sampled_from([None, "{}", '{"t":"é"}', '{"t":"a longer text"}']),
        source_version=st.sampled_from([None, 1, 2, 3]),
    ),
    min_size=1,
    max_size=10,
)
limits = st.builds(Limits, rows=st.integers(1, 3), seconds=st.sampled_from([-1, 60]))


class Histories(RuleBasedStateMachine):
    """`live` and `versions` are what must be stored of each (connection, stream), kept apart."""

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[Place, dict[str, tuple[str, int | None]]] = {}
        self.versions: dict[Place, Counter[tuple[str, str | None]]] = {}
        self.clock = Clock()
        self.folder = tempfile.TemporaryDirectory()
        self.open()

    def open(self) -> None:
        path = Path(self.folder.name, "test.sqlite3")
        database.connect(f"sqlite:///{path}", path.parent)
        schema.prepare()
        self.outside = Outside(path)
        self.auto = AutoReconcile(Limits(rows=2, seconds=-1), Cooldown(30, self.clock))

    def close(self) -> None:
        self.outside.db.close()
        database.db.close()

    @contextmanager
    def broken(self, event: str, when: str = "TRUE") -> Iterator[None]:
        self.outside.fail(event, when)
        try:
            yield
        finally:
            self.outside.mend()

    # ---- writing ---------------------------------------------------------------------------------

    @rule(connection=connections, batch=batches)
    def write(self, connection: str, batch: Sequence[Change]) -> None:
        self.store(connection, batch)

    def store(self, connection: str, batch: Sequence[Change]) -> bool:
        """True where it changed anything."""
        counts = write(*batch, connection=connection)
        new_versions = sum(self.follow((connection, change.stream), change) for change in batch)
        assert counts.accepted - counts.unchanged == new_versions
        return new_versions > 0

    def follow(self, place: Place, change: Change) -> bool:
        """What a change does to the dictionaries.  True where it is a new version."""
        live = self.live.setdefault(place, {})
        versions = self.versions.setdefault(place, Counter())
        held = live.get(change.key)
        if change.data == (held and held[0]):
            if held and change.source_version is not None:
                live[change.key] = (held[0], change.source_version)
            return False
        versions[change.key, change.data] += 1
        if change.data is None:
            del live[change.key]
        else:
            live[change.key] = (change.data, change.source_version)
        return True

    @rule(connection=connections, stream=streams, version=st.integers(1, 4))
    def activate_version(self, connection: str, stream: str, version: int) -> None:
        place = (connection, stream)
        live = self.live.get(place, {})
        older = [key for key, (_, source) in live.items() if source is not None and source < version]
        counts = ingest.activate_version(ingest.Target(connection, "files"), stream, version)
        assert counts == ingest.Counts(deleted=len(older))
        for key in older:
            self.follow(place, Change(stream, key, None))

    @rule(connection=connections, batch=batches, delta=st.sampled_from(DELTAS))
    def write_whose_delta_fails(self, connection: str, batch: Sequence[Change], delta: str) -> None:
        with self.broken(delta):
            self.store(connection, batch)

    @rule(connection=connections, batch=batches, grain=grains)
    def write_that_cannot_even_be_marked(
        self, connection: str, batch: Sequence[Change], grain: str
    ) -> None:
        before, fresh = stored(), self.is_fresh()
        with self.broken(f"UPDATE ON retained_size_{grain}"):
            try:
                changed = self.store(connection, batch)
            except peewee.DatabaseError:
                assert stored() == before
            else:
                assert not (changed and fresh), "acknowledged, with a figure that it could not change"

    # ---- marks and losses ------------------------------------------------------------------------

    def exists(self, place: Place) -> bool:
        return not place or any(known[: len(place)] == place for known in self.live)

    @rule(place=places)
    def mark(self, place: Place) -> None:
        if self.exists(place):
            mark(*place)
            assert self.outside(f"SELECT dirty FROM {ROW_OF_PLACE[len(place)]}", *place) == [(1,)]

    @rule(place=places, marked_by_itself=st.booleans())
    def lose_a_row(self, place: Place, marked_by_itself: bool) -> None:
        """A lost row that nothing tells of can't be noticed, so a mark always follows."""
        if self.exists(place):
            self.outside(f"DELETE FROM {ROW_OF_PLACE[len(place)]}", *place)
            self.mark(place if marked_by_itself else ())

    @rule(place=st.tuples(connections, streams), key=keys)
    def delete_without_a_delta(self, place: Place, key: str) -> None:
        """What a write can't tell cheaply it marks, in the same transaction."""
        if key in self.live.get(place, {}):
            row = ids(*place)
            with database.write_transaction():
                Record.delete().where(Record.stream == row["id"], Record.key == key).execute()
                retained_size.mark_stream(row["id"], row["connection"])
            del self.live[place][key]

    # ---- repairing -------------------------------------------------------------------------------

    @rule(limits=limits)
    def run_pass(self, limits: Limits) -> None:
        assert reconcile.run_pass(limits).fresh == self.is_fresh()

    @rule(place=st.tuples(connections, streams), batch=batches)
    def write_during_a_recount(self, place: Place, batch: Sequence[Change]) -> None:
        self.mark(place)
        self.run_pass(Limits(seconds=-1))
        self.store(place[0], batch)

    @rule(limits=limits, grain=grains)
    def run_pass_that_fails(self, limits: Limits, grain: str) -> None:
        recounts = "SELECT * FROM retained_size_recounts ORDER BY stream_id"
        before = stored(), self.outside(recounts)
        with self.broken(f"UPDATE OF computed_at ON retained_size_{grain}"):
            try:
                reconcile.run_pass(limits)
            except peewee.DatabaseError:
                assert (stored(), self.outside(recounts)) == before

    @rule()
    def begin_rebuild(self) -> None:
        reconcile.begin_rebuild()
        assert not self.is_fresh()

    @rule()
    def read(self) -> None:
        found = reading.read(self.auto)
        if found.state == "fresh":
            assert found.figures["record_count"] == sum(map(len, self.live.values()))

    @rule()
    def read_while_repair_fails(self) -> None:
        failures = self.auto.failures
        with self.broken("UPDATE ON retained_size_global", "OLD.dirty AND NOT NEW.dirty"):
            for _ in range(3):
                reading.read(self.auto)
        assert self.auto.failures <= failures + 1, "a failure was tried again at once"

    @rule(seconds=st.sampled_from([1, 40, 1000]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def restart(self) -> None:
        self.close()
        self.open()

    # ---- what must hold --------------------------------------------------------------------------

    def is_fresh(self) -> bool:
        return self.outside("SELECT dirty FROM retained_size_global") == [(0,)]

    @invariant()
    def clean_rows_equal_a_recount(self) -> None:
        assert self.outside.wrong_but_clean() == []
        assert [found for found in verify.differences() if not found.dirty] == []

    @invariant()
    def fresh_means_that_nothing_is_dirty_or_missing(self) -> None:
        if self.is_fresh():
            for table, grain in (("streams", "stream"), ("connections", "connection")):
                rows = self.outside(f"SELECT COUNT(*), TOTAL(dirty) FROM retained_size_{grain}")
                assert rows == self.outside(f"SELECT COUNT(*), 0 FROM {table}")

    @invariant()
    def what_was_written_is_stored(self) -> None:
        found = self.outside(
            "SELECT connector_instance_id, name, streams.id, last_version FROM streams "
            "JOIN connections ON connections.id = connection_id"
        )
        assert {row[:2] for row in found} == set(self.live)
        for connection, name, stream, last in found:
            place = (connection, name)
            query = "SELECT key, data, source_version, version FROM records WHERE stream_id = ?"
            records = {key: values for key, *values in self.outside(query, stream)}
            assert {key: tuple(row[:2]) for key, row in records.items()} == self.live[place]
            query = "SELECT version, key, data FROM record_changes WHERE stream_id = ? ORDER BY version"
            history = self.outside(query, stream)
            assert [version for version, _, _ in history] == list(range(1, last + 1))
            assert Counter((key, data) for _, key, data in history) == self.versions[place]
            newest = {key: version for version, key, _ in history}
            assert all(row[2] == newest[key] for key, row in records.items())

    def teardown(self) -> None:
        try:
            reconcile.run_until_fresh()
            assert list(verify.differences()) == []
            assert reading.read(self.auto).state == "fresh"
        finally:
            self.close()
            self.folder.cleanup()


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recounts and discoveries span passes; and no power is cut here, so none waits for the disk."""
    monkeypatch.setattr(reconcile, "CHUNK_VERSIONS", 2)
    monkeypatch.setattr(reconcile, "DISCOVER_ROWS", 2)
    monkeypatch.setitem(database.PRAGMAS, "synchronous", "off")


def try_histories(examples: int, **options: Any) -> None:
    limits = settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        **options,
    )
    run_state_machine_as_test(Histories, settings=limits)


def test_no_history_leaves_a_wrong_figure_clean() -> None:
    try_histories(EXAMPLES, print_blob=True)


# ---- the test is tested ------------------------------------------------------------------------


def a_mark_not_passed_up(stream_id: int, connection_id: int) -> None:
    retained_size._mark(RetainedSizeStream, stream_id, connection=connection_id)


def a_mark_that_leaves_a_recount(stream_id: int, connection_id: int) -> None:
    a_mark_not_passed_up(stream_id, connection_id)
    retained_size.mark_connection(connection_id)


def a_mark_that_only_updates(grain: type[GrainRow], key: int, **_: Any) -> None:
    grain.update(retained_size._marked(grain)).where(grain._meta.primary_key == key).execute()


def a_mark_cleared_over_old_figures(grain: retained_size.Grain, key: int, _: Any) -> None:
    database.execute(f"UPDATE {grain.table} SET dirty = FALSE WHERE {grain.key} = ?", [key])


def a_failed_delta_forgotten(*write: Any) -> None:
    with suppress(peewee.DatabaseError), database.db.savepoint():
        retained_size._apply(*write)


@contextmanager
def a_transaction_kept_although_it_failed() -> Iterator[None]:
    failure = None
    with database.write_transaction():
        try:
            yield
        except peewee.DatabaseError as error:
            failure = error
    if failure:
        raise failure


@pytest.mark.parametrize(
    ("module", "name", "mutation"),
    [
        pytest.param(retained_size, "_correct_recount", lambda *_: None, id="recount_not_corrected"),
        pytest.param(retained_size, "mark_stream", a_mark_not_passed_up, id="mark_not_passed_up"),
        pytest.param(retained_size, "mark_stream", a_mark_that_leaves_a_recount, id="recount_kept"),
        pytest.param(retained_size, "_mark", a_mark_that_only_updates, id="mark_only_updates"),
        pytest.param(retained_size, "record", a_failed_delta_forgotten, id="failed_delta_forgotten"),
        pytest.param(reconcile, "_publish", a_mark_cleared_over_old_figures, id="cleared_unrepaired"),
        pytest.param(reconcile, "_dirty_below", lambda: 0, id="totals_cleared_too_early"),
        pytest.param(ingest, "write_transaction", a_transaction_kept_although_it_failed, id="half_a_write"),
        pytest.param(Cooldown, "failed", lambda *_: None, id="no_cooldown"),
    ],
)
def test_histories_find_what_is_broken(
    module: Any, name: str, mutation: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, mutation)
    with pytest.raises(AssertionError):
        try_histories(2_000, derandomize=True, phases=[Phase.generate], report_multiple_bugs=False)
