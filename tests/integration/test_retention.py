"""Forgetting old versions: exact, in small steps, and never the current one."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import peewee
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pdpp_ref.canonical import blobs, deletion, retention
from pdpp_ref.canonical.errors import NotFound
from pdpp_ref.canonical.retention import Pruned, prune
from pdpp_ref.operations import verify
from pdpp_ref.parsing.messages import Change
from pdpp_ref.services import reconcile
from tests.support.factories import (
    DatabaseProbe,
    delete,
    mark,
    remove_deleted,
    statements,
    upsert,
    whole,
    write,
)

pytestmark = pytest.mark.usefixtures("app")


def versions(probe: DatabaseProbe) -> list[tuple[Any, ...]]:
    return probe("SELECT key, version FROM record_changes ORDER BY stream_id, key, version")


def change(key: str, times: int, stream: str = "notes", **more: Any) -> None:
    for number in range(times):
        write(upsert(key, number, stream), **more)


def test_the_newest_versions_stay(probe: DatabaseProbe) -> None:
    change("a", 4)
    change("b", 2)
    assert prune(2) == Pruned(2, 2)
    assert versions(probe) == [("a", 3), ("a", 4), ("b", 5), ("b", 6)]
    assert probe("SELECT dirty, record_history_count FROM retained_size_global") == [(0, 4)]
    assert list(verify.differences()) == []


def test_pruning_again_changes_nothing(probe: DatabaseProbe) -> None:
    change("a", 4)
    prune(1)
    assert prune(1) == Pruned()
    assert versions(probe) == [("a", 4)]


def test_a_tombstone_is_a_version(probe: DatabaseProbe) -> None:
    write(upsert("a", 1), delete("a"), upsert("b", 1))
    assert prune(1) == Pruned(1, 1)
    assert versions(probe) == [("a", 2), ("b", 3)]
    write(upsert("a", 5))
    assert probe("SELECT record_history_count FROM retained_size_record WHERE key = 'a'") == [(2,)]
    assert list(verify.differences()) == []


def test_only_what_is_named_is_pruned(probe: DatabaseProbe) -> None:
    change("a", 2)
    change("a", 2, "photos")
    change("a", 2, connection="phone")
    assert prune(1, "laptop", "notes").versions == 1
    assert prune(1, "laptop").versions == 1
    assert prune(1).versions == 1
    assert prune(1, "nobody") == Pruned()


def test_a_long_history_goes_in_several_transactions(
    probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "VERSIONS_PER_TRANSACTION", 3)
    monkeypatch.setattr(retention, "KEYS_PER_TRANSACTION", 2)
    for key in "abc":
        change(key, 8)
    steps: list[Pruned] = []
    assert prune(2, progress=steps.append) == Pruned(18, 18)
    assert [done.versions for done in steps] == [3, 6, 9, 12, 15, 18]
    assert list(verify.differences()) == []


def test_pruning_costs_the_same_statements_for_any_number_of_records() -> None:
    costs = []
    for stream, keys in (("few", 2), ("many", 40)):
        for number in range(3):
            write(*(upsert(str(key), number, stream) for key in range(keys)))
        with statements() as seen:
            assert prune(1, stream=stream).versions == 2 * keys
        costs.append(whole(seen))
    assert costs[0] == costs[1]


def test_a_transaction_ends_after_so_many_bytes(
    probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BYTES_PER_TRANSACTION", 5)
    for key in "abc":
        change(key, 2)
    steps: list[Pruned] = []
    prune(1, progress=steps.append)
    assert [done.versions for done in steps] == [2, 3]
    assert probe.wrong_but_clean() == []


def test_a_transaction_ends_after_so_many_files(
    probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "FILES_PER_TRANSACTION", 2)
    for number, key in enumerate("abcd"):
        change(key, 1)
        for file in range(number):
            blobs.store("laptop", "notes", key, iter([f"{key} {file}".encode()]))
        write(delete(key))
    steps: list[Pruned] = []
    prune(1, progress=steps.append)
    # So far: "a" and "b"; "c" with its two files; "d", whose three alone are more.
    assert [done.files for done in steps] == [1, 3, 6]
    assert probe("SELECT * FROM blobs") == []
    assert probe.wrong_but_clean() == []


def test_the_files_of_many_records_are_read_by_one_statement() -> None:
    costs = []
    for keys in ("ab", "abcdefgh"):
        for key in keys:
            change(key, 2, "".join(keys))
            blobs.store("laptop", "".join(keys), key, iter([b"a file"]))
        with statements() as seen:
            assert prune(1, stream="".join(keys)).versions == len(keys)
        costs.append(sum("FROM blob_bindings" in sql for sql in seen))
    assert costs[0] == costs[1]


def test_streams_without_history_are_left_out() -> None:
    change("a", 2)
    with statements() as seen:
        assert prune(1, stream="notes").versions == 1
    change("a", 2)
    for number in range(20):
        write(upsert("a", stream=f"stream {number}"))
    with statements() as more:
        assert prune(1).versions == 2  # the other is of the first pruning's record
    assert whole(more) == whole(seen)


@pytest.mark.parametrize(
    "damage", ["UPDATE retained_size_stream SET dirty = TRUE", "DELETE FROM retained_size_stream"]
)
def test_a_stream_whose_figures_may_be_wrong_is_pruned(damage: str, probe: DatabaseProbe) -> None:
    change("a", 3)
    probe("UPDATE retained_size_stream SET record_history_count = record_count")
    probe(damage)
    assert prune(1).versions == 2


def test_small_streams_share_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(retention, "let_others_write", pauses.append)
    monkeypatch.setattr(retention, "SECONDS_BETWEEN_PAUSES", 60)
    for stream in "abc":
        change("a", 2, stream)
    assert prune(1).versions == 3
    assert pauses == []
    monkeypatch.setattr(retention, "SECONDS_BETWEEN_PAUSES", 0)
    for stream in "abc":
        change("a", 2, stream)
    prune(1)
    assert len(pauses) == 3


def test_one_that_is_interrupted_is_run_again(
    probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "VERSIONS_PER_TRANSACTION", 2)
    change("a", 5)
    change("b", 5)
    probe.fail("DELETE ON record_changes", "OLD.key = 'b'")
    with pytest.raises(peewee.DatabaseError):
        prune(1)
    assert probe.wrong_but_clean() == []
    probe.restore()
    prune(1)
    assert versions(probe) == [("a", 5), ("b", 10)]
    assert list(verify.differences()) == []


def test_a_marked_stream_can_be_pruned(probe: DatabaseProbe) -> None:
    change("a", 4)
    mark("laptop", "notes")
    prune(1)
    assert probe.wrong_but_clean() == []


def test_a_stream_of_a_number_that_was_used_before_is_another_one(probe: DatabaseProbe) -> None:
    """SQLite gives the number of the last stream, once that is deleted, to the next one."""
    for stream in ("first", "last"):
        write(*(upsert("a", number, stream) for number in range(3)))

    def in_between(_: Pruned) -> None:
        deletion.delete_stream("laptop", "last")
        write(*(upsert("a", number, "new") for number in range(3)), connection="phone")

    assert prune(1, progress=in_between).versions == 2
    of_new = "FROM record_changes JOIN streams ON stream_id = id WHERE name = 'new'"
    assert probe(f"SELECT COUNT(*) {of_new}") == [(3,)]
    assert probe.wrong_but_clean() == []


# ---- rows of records that are lost or wrong ----------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM retained_size_record WHERE key = 'a'",
        "DELETE FROM retained_size_record",
        "DELETE FROM retained_size_stream",
        "UPDATE retained_size_record SET record_history_count = 1 WHERE key = 'a'",
        "UPDATE retained_size_record SET record_history_count = 9 WHERE key = 'a'",
        "UPDATE retained_size_record SET record_history_json_bytes = 0 WHERE key = 'b'",
        "UPDATE retained_size_record SET version = 1 WHERE key = 'b'",
        "UPDATE retained_size_record SET version = 999 WHERE key = 'b'",
        "UPDATE retained_size_record SET record_count = 0",
        "UPDATE record_changes SET previous_version = NULL",
        "UPDATE record_changes SET previous_version = version + 1",
        "UPDATE record_changes SET previous_version = 2 WHERE version > 2",
        # What adds up, and is wrong all the same.
        "UPDATE retained_size_record SET record_history_count = CASE key WHEN 'a' THEN 2 ELSE 5 END "
        "WHERE key <> 'gone'",
        "UPDATE retained_size_record SET record_count = CASE key WHEN 'a' THEN 2 ELSE 0 END "
        "WHERE key IN ('a', 'file')",
    ],
)
@pytest.mark.parametrize("most", [2_000, 2])
def test_rows_that_are_lost_or_wrong_are_derived_and_all_is_pruned(
    damage: str, most: int, probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    change("a", 4)
    change("b", 3)
    write(upsert("gone", 1), delete("gone"), upsert("file", 1), upsert("file", 2))
    blobs.store("laptop", "notes", "file", iter([b"a file"]))
    monkeypatch.setattr(retention, "VERSIONS_PER_TRANSACTION", most)
    probe(damage)
    assert prune(1) == Pruned(7, 7)
    assert versions(probe) == [("a", 4), ("b", 7), ("file", 11), ("gone", 9)]
    assert probe("SELECT key FROM blob_bindings") == [("file",)]
    reconcile.run_until_fresh()
    assert list(verify.differences()) == []


def test_a_row_that_stays_wrong_is_passed_over(probe: DatabaseProbe) -> None:
    change("a", 3)
    change("b", 3)
    probe("UPDATE retained_size_record SET version = 1 WHERE key = 'a'")
    probe.ignore("UPDATE OF changed_at ON retained_size_record")
    assert prune(1) == Pruned(2, 2)
    assert versions(probe) == [("a", 1), ("a", 2), ("a", 3), ("b", 6)]
    probe.restore()
    assert prune(1) == Pruned(2, 2)
    reconcile.run_until_fresh()
    assert list(verify.differences()) == []


# ---- what pruning leaves a mark of -------------------------------------------------------------


def sha256(data: str | None) -> str:
    return "" if data is None else hashlib.sha256(data.encode()).hexdigest()


def at(day: int) -> str:
    return f"2026-01-{day:02}T00:00:00.000Z"


def dated(key: str, day: int | None, data: str | None) -> Change:
    return Change("notes", key, data, day and at(day))


def marks(probe: DatabaseProbe) -> list[tuple[Any, ...]]:
    return probe(
        "SELECT key, version, pruned_at, pruned_digest FROM record_changes "
        "WHERE pruned_at IS NOT NULL OR pruned_digest IS NOT NULL ORDER BY key, version"
    )


def test_the_oldest_version_left_has_the_latest_that_was_pruned(probe: DatabaseProbe) -> None:
    write(dated("a", 1, '"one"'), dated("a", 5, '"five"'), dated("a", 3, '"three"'), dated("a", 9, "{}"))
    write(dated("b", 1, "{}"))
    prune(1)
    assert marks(probe) == [("a", 4, at(5), sha256('"five"'))]


def test_a_mark_moves_on_with_what_is_pruned_and_only_rises(probe: DatabaseProbe) -> None:
    write(dated("a", 5, '"five"'), dated("a", 1, '"one"'), dated("a", 3, '"three"'), dated("a", 9, "{}"))
    prune(3)
    assert marks(probe) == [("a", 2, at(5), sha256('"five"'))]
    prune(2)
    assert marks(probe) == [("a", 3, at(5), sha256('"five"'))]
    write(dated("a", 10, '"ten"'))
    prune(1)
    assert marks(probe) == [("a", 5, at(9), sha256("{}"))]


def test_the_mark_of_a_tombstone_has_an_empty_digest(probe: DatabaseProbe) -> None:
    write(dated("a", 1, "{}"), dated("a", 2, None), dated("a", 3, "{}"))
    prune(1)
    assert marks(probe) == [("a", 3, at(2), "")]


def test_of_two_versions_of_one_time_the_later_is_marked(probe: DatabaseProbe) -> None:
    write(dated("a", 2, '"first"'), dated("a", 2, '"second"'), dated("a", 2, '"third"'), dated("a", 3, "1"))
    prune(3)
    assert marks(probe) == [("a", 2, at(2), sha256('"first"'))]
    prune(2)
    assert marks(probe) == [("a", 3, at(2), sha256('"second"'))]
    prune(1)
    assert marks(probe) == [("a", 4, at(2), sha256('"third"'))]


def test_of_one_time_the_later_is_marked_in_many_transactions_too(
    probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "VERSIONS_PER_TRANSACTION", 1)
    write(dated("a", 2, '"first"'), dated("a", 2, '"second"'), dated("a", 2, '"third"'), dated("a", 3, "1"))
    prune(1)
    assert marks(probe) == [("a", 4, at(2), sha256('"third"'))]


def test_a_version_without_a_time_counts_from_its_arrival(probe: DatabaseProbe) -> None:
    write(dated("a", 1, '"dated"'), dated("a", None, '"undated"'), dated("a", None, "{}"))
    ((arrived,),) = probe("SELECT ingested_at FROM record_changes WHERE version = 2")
    prune(1)
    assert marks(probe) == [("a", 3, arrived, sha256('"undated"'))]


def test_pruning_reads_the_data_of_the_latest_alone(probe: DatabaseProbe) -> None:
    write(*(dated("a", day, f'"{day}"') for day in range(1, 20)))
    with statements() as seen:
        prune(1)
    assert len([sql for sql in seen if " data " in sql]) == 1


steps = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from([None, 1, 2, 3]), st.booleans())
    | st.tuples(st.integers(1, 4), st.integers(1, 5), st.booleans()),
    max_size=14,
)


@pytest.mark.slow
@given(steps=steps)
@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_history_has_the_mark_of_all_that_was_ever_pruned(
    probe: DatabaseProbe, steps: Sequence[tuple[Any, Any, bool]]
) -> None:
    """Against a model that remembers every version that was there before a prune, and not after it.

    Once something was pruned of a key, what comes later is newer than all there is.
    """
    with suppress(NotFound):
        deletion.delete_stream("laptop", "notes")
    remove_deleted()
    pruned: dict[str, list[tuple[str, int, str | None]]] = {}
    every = "SELECT key, version, COALESCE(emitted_at, ingested_at), data FROM record_changes"
    for number, (what, how, flag) in enumerate(steps):
        if isinstance(what, str):
            day = 10 + number if what in pruned else how
            write(dated(what, day, None if flag and number else f'"{number}"'))
            continue
        before = probe(every)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(retention, "VERSIONS_PER_TRANSACTION", how)
            if flag:  # it ends after its first transaction
                with suppress(InterruptedError):
                    prune(what, progress=interrupt)
            prune(what)
        for key, version, time, data in set(before) - set(probe(every)):
            pruned.setdefault(key, []).append((time, version, data))
        expected = []
        for key in sorted(pruned):
            time, _, data = max(pruned[key], key=lambda one: one[:2])
            ((oldest,),) = probe("SELECT MIN(version) FROM record_changes WHERE key = ?", key)
            expected.append((key, oldest, time, sha256(data)))
        assert marks(probe) == expected


def interrupt(_: Pruned) -> None:
    raise InterruptedError
