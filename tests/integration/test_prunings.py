"""Pruning in steps of the server: what an owner has asked for, and rules of retention."""

from collections.abc import Callable
from typing import Any

import peewee
import pytest
from flask import Flask

from pdpp_ref.canonical import blobs, deletion, erasure, prunings, retention, retention_rules
from pdpp_ref.canonical.erased import Names
from pdpp_ref.canonical.errors import StreamNotFound
from pdpp_ref.canonical.prunings import Prunings, Request
from pdpp_ref.canonical.retention import Policy, Pruned, StreamPruning
from pdpp_ref.canonical.retention_rules import Rules
from pdpp_ref.operations import verify
from tests.support.factories import DatabaseProbe, delete, remove_deleted, statements, upsert, write

pytestmark = pytest.mark.usefixtures("app")

DAYS = [f"2026-01-0{day}T00:00:00.000Z" for day in range(1, 10)]


def change(key: str, times: int, stream: str = "notes", **more: Any) -> None:
    for number in range(times):
        write(upsert(key, number, stream), **more)


def arrived(probe: DatabaseProbe, *days: int) -> None:
    """The versions have arrived on these days of January, in their order."""
    for version, day in enumerate(days, 1):
        probe("UPDATE record_changes SET ingested_at = ? WHERE version = ?", DAYS[day - 1], version)


def left(probe: DatabaseProbe) -> list[tuple[str, int]]:
    return probe("SELECT key, version FROM record_changes ORDER BY stream_id, key, version")


def do_all(step: Callable[[], bool]) -> int:
    steps = 0
    while step():
        steps += 1
        assert steps < 200
    return steps


def foreseen(policy: Policy) -> Pruned:
    total = Pruned()
    for stream in retention.streams(None, None):
        pruning = StreamPruning(stream, policy)
        while not pruning.is_done:
            total = total.plus(pruning.preview())
        assert pruning.is_exact
    return total


# ---- by arrival ----------------------------------------------------------------------------------


def test_what_arrived_before_a_time_is_pruned_but_not_the_newest(probe: DatabaseProbe) -> None:
    change("a", 4)
    change("b", 2)
    write(upsert("c", 1), delete("c"))
    arrived(probe, 1, 2, 3, 4, 1, 2, 1, 2)
    assert retention.prune(Policy(before=DAYS[2])) == Pruned(4, 4)
    assert left(probe) == [("a", 3), ("a", 4), ("b", 6), ("c", 8)]
    assert probe.wrong_but_clean() == []


def test_what_was_numbered_after_a_version_that_stays_stays_too(probe: DatabaseProbe) -> None:
    """The clock was set back between the second and the third."""
    change("a", 4)
    arrived(probe, 1, 5, 2, 4)
    assert retention.prune(Policy(before=DAYS[3])).versions == 1
    assert left(probe) == [("a", 2), ("a", 3), ("a", 4)]
    assert probe.wrong_but_clean() == []


def test_long_histories_are_pruned_by_arrival_in_steps(
    probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "VERSIONS_PER_TRANSACTION", 2)
    change("a", 9)
    change("b", 9)
    arrived(probe, *range(1, 10), *range(1, 10))
    assert retention.prune(Policy(before=DAYS[4])).versions == 8
    assert left(probe) == [
        (key, number) for key, first in (("a", 5), ("b", 14)) for number in range(first, first + 5)
    ]
    assert probe.wrong_but_clean() == []


@pytest.mark.parametrize("policy", [Policy(1), Policy(2), Policy(before=DAYS[2])])
@pytest.mark.parametrize("most", [2_000, 2])
def test_what_is_foreseen_is_what_is_pruned(
    policy: Policy, most: int, probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "VERSIONS_PER_TRANSACTION", most)
    monkeypatch.setattr(retention, "KEYS_PER_TRANSACTION", 2)
    change("a", 5)
    change("b", 3)
    write(upsert("gone", 1))
    blobs.store("laptop", "notes", "gone", iter([b"a file"]))
    write(delete("gone"), upsert("once", 1))
    change("a", 3, "photos")
    arrived(probe, 1, 2, 3, 4, 5, 1, 2, 3, 1, 2)
    before = left(probe)
    expected = foreseen(policy)
    assert left(probe) == before
    assert retention.prune(policy) == expected
    assert expected.versions
    assert probe.wrong_but_clean() == []


# ---- asked for by an owner -----------------------------------------------------------------------


def request(keep: int = 1, connection: str | None = None, stream: str | None = None) -> Request:
    return Request(Policy(keep), connection, stream)


def test_what_is_asked_for_is_done_and_reported(probe: DatabaseProbe) -> None:
    change("a", 4)
    change("a", 3, "photos", connection="phone")
    prunings.ask("1", request(2), 3)
    do_all(Prunings().step)
    report = prunings.find("1")
    assert report
    assert (report.versions, report.json_bytes, report.expected) == (3, 3, 3)
    assert report.finished_at
    assert left(probe) == [("a", 3), ("a", 4), ("a", 2), ("a", 3)]
    assert probe.wrong_but_clean() == []


def test_only_what_is_named_is_pruned_in_steps(probe: DatabaseProbe) -> None:
    for stream in ("notes", "photos"):
        change("a", 2, stream)
        change("a", 2, stream, connection="phone")
    prunings.ask("1", request(1, "phone", "photos"), 1)
    do_all(Prunings().step)
    assert len(left(probe)) == 7
    prunings.ask("2", request(1, "phone"), 1)
    do_all(Prunings().step)
    assert len(left(probe)) == 6


def test_asking_twice_is_one_request() -> None:
    change("a", 2)
    prunings.ask("1", request(), 1)
    prunings.ask("1", request(), 1)
    do_all(Prunings().step)
    prunings.ask("1", request(), 1)
    assert [(report.id, report.versions) for report in prunings.reports()] == [("1", 1)]
    assert not Prunings().step()


def test_old_reports_are_removed_and_what_is_unfinished_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prunings, "RETAINED_REPORTS", 2)
    prunings.ask("unfinished", request(), 0)
    for number in range(4):
        prunings.ask(str(number), request(), 0)
    do_all(Prunings().step)
    assert prunings.find("unfinished")
    prunings.ask("last", request(), 0)
    assert len(prunings.reports()) == 2
    assert prunings.find("last")


def test_another_process_continues_where_one_was_killed(
    probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "VERSIONS_PER_TRANSACTION", 2)
    monkeypatch.setattr(retention, "KEYS_PER_TRANSACTION", 2)
    for key in "abc":
        change(key, 4)
    change("a", 3, "photos")
    prunings.ask("1", request(), 11)
    steps = 0
    while Prunings().step():  # each has no memory of the one before
        assert probe.wrong_but_clean() == []
        steps += 1
    report = prunings.find("1")
    assert report
    assert (report.versions, report.json_bytes) == (11, 11)
    assert steps > 5
    assert list(verify.differences()) == []


def test_a_step_that_fails_is_done_again_and_counted_once(probe: DatabaseProbe) -> None:
    change("a", 4)
    prunings.ask("1", request(), 3)
    process = Prunings()
    probe.fail("UPDATE ON prunings", "NEW.versions > 0")
    with pytest.raises(peewee.DatabaseError):
        do_all(process.step)
    assert len(left(probe)) == 4
    probe.restore()
    do_all(process.step)
    report = prunings.find("1")
    assert report
    assert report.versions == 3
    assert list(verify.differences()) == []


def test_a_stream_that_cannot_be_pruned_delays_no_other_for_long(probe: DatabaseProbe) -> None:
    change("a", 4)
    change("b", 3, "photos")
    change("c", 2, "photos")
    prunings.ask("1", request(), 6)
    prunings.ask("2", request(1, "laptop", "photos"), 0)
    process = Prunings()
    probe.fail("DELETE ON record_changes", "OLD.key = 'a'")
    for _ in range(prunings.TRIES - 1):
        with pytest.raises(peewee.DatabaseError):
            do_all(process.step)
    do_all(process.step)
    reports = [prunings.find(number) for number in "12"]
    assert [report and (report.versions, report.skipped) for report in reports] == [(3, 1), (0, 0)]
    assert all(report and report.finished_at for report in reports)
    assert left(probe) == [("a", 1), ("a", 2), ("a", 3), ("a", 4), ("b", 3), ("c", 5)]
    probe.restore()
    assert list(verify.differences()) == []


def test_two_processes_prune_together(probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "VERSIONS_PER_TRANSACTION", 1)
    change("a", 6)
    change("b", 3, "photos")
    prunings.ask("1", request(), 7)
    processes = [Prunings(), Prunings()]
    while sum(process.step() for process in processes):
        pass
    report = prunings.find("1")
    assert report
    assert report.versions == 7
    assert left(probe) == [("a", 6), ("b", 3)]


def test_a_stream_that_is_deleted_meanwhile_is_left_out(
    probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "VERSIONS_PER_TRANSACTION", 1)
    change("a", 4)
    change("a", 3, "photos")
    prunings.ask("1", request(), 5)
    process = Prunings()
    process.step()
    deletion.delete_stream("laptop", "notes")
    do_all(process.step)
    remove_deleted()
    assert left(probe) == [("a", 3)]
    assert probe.wrong_but_clean() == []


def test_looking_for_work_costs_no_write(probe: DatabaseProbe) -> None:
    change("a", 3)
    for step in (Prunings().step, Rules().step):
        with statements() as seen:
            assert not step()
        assert not any(sql.startswith(("BEGIN IMMEDIATE", "UPDATE", "INSERT")) for sql in seen)


# ---- rules ---------------------------------------------------------------------------------------


def rule() -> retention_rules.Rule:
    (found,) = retention_rules.rules()
    return found


def test_a_rule_is_applied_to_what_is_there_and_to_what_comes(probe: DatabaseProbe) -> None:
    change("a", 4)
    change("a", 4, "photos")
    retention_rules.set_rule("laptop", "notes", 2)
    assert (rule().is_applied, rule().applied_at) == (False, None)
    process = Rules()
    do_all(process.step)
    assert len(left(probe)) == 6
    assert (rule().is_applied, rule().versions, rule().json_bytes) == (True, 2, 2)
    assert rule().applied_at
    change("a", 1)
    assert not rule().is_applied
    do_all(process.step)
    assert left(probe)[:2] == [("a", 4), ("a", 5)]
    assert rule().versions == 3
    assert list(verify.differences()) == []


def test_a_rule_reads_only_the_records_that_have_changed(probe: DatabaseProbe) -> None:
    for key in range(50):
        change(str(key), 2)
    retention_rules.set_rule("laptop", "notes", 2)
    do_all(Rules().step)
    change("7", 1)
    with statements() as seen:
        do_all(Rules().step)
    ((through,),) = probe("SELECT through_version FROM retention_rules")
    assert through == 101
    assert len(left(probe)) == 100
    assert not any("SUM(record_history_count)" in sql for sql in seen)


def test_deleted_records_are_pruned_by_a_rule(probe: DatabaseProbe) -> None:
    retention_rules_for("notes", 1)
    write(upsert("a", 1))
    blobs.store("laptop", "notes", "a", iter([b"a file"]))
    write(delete("a"))
    do_all(Rules().step)
    assert left(probe) == [("a", 3), ("first", 1)]
    assert (rule().files, rule().file_bytes) == (1, 6)
    assert list(verify.differences()) == []


def retention_rules_for(stream: str, keep: int) -> None:
    write(upsert("first", 1, stream))
    retention_rules.set_rule("laptop", stream, keep)
    do_all(Rules().step)


def test_a_changed_rule_is_applied_again_and_the_same_one_is_not(probe: DatabaseProbe) -> None:
    change("a", 4)
    retention_rules.set_rule("laptop", "notes", 3)
    do_all(Rules().step)
    before = rule()
    retention_rules.set_rule("laptop", "notes", 3)
    assert rule() == before
    retention_rules.set_rule("laptop", "notes", 1)
    assert not rule().is_applied
    do_all(Rules().step)
    assert left(probe) == [("a", 4)]
    assert rule().versions == 3


def test_a_rule_can_be_removed_and_then_nothing_is_pruned(probe: DatabaseProbe) -> None:
    retention_rules_for("notes", 1)
    assert retention_rules.remove_rule("laptop", "notes")
    assert not retention_rules.remove_rule("laptop", "notes")
    change("a", 3)
    do_all(Rules().step)
    assert len(left(probe)) == 4
    assert retention_rules.rules() == []


def test_a_rule_is_for_one_stream_and_ends_with_it(probe: DatabaseProbe) -> None:
    retention_rules_for("notes", 1)
    with pytest.raises(StreamNotFound):
        retention_rules.set_rule("laptop", "others", 1)
    deletion.delete_stream("laptop", "notes")
    assert retention_rules.rules() == []
    change("a", 3)
    do_all(Rules().step)
    remove_deleted()
    assert retention_rules.rules() == []
    assert probe("SELECT COUNT(*) FROM retention_rules") == [(0,)]
    assert left(probe) == [("a", 1), ("a", 2), ("a", 3)]


def test_a_rule_changes_while_it_is_applied(probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "VERSIONS_PER_TRANSACTION", 1)
    for key in "abc":
        change(key, 5)
    retention_rules.set_rule("laptop", "notes", 1)
    process = Rules()
    process.step()
    retention_rules.set_rule("laptop", "notes", 3)
    do_all(process.step)
    versions = [key for key, _ in left(probe)]
    assert (versions.count("b"), versions.count("c")) == (3, 3)
    assert list(verify.differences()) == []


def test_a_rule_goes_in_steps_that_any_process_continues(
    probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "VERSIONS_PER_TRANSACTION", 2)
    monkeypatch.setattr(retention, "KEYS_PER_TRANSACTION", 2)
    for key in "abcde":
        change(key, 5)
    retention_rules.set_rule("laptop", "notes", 2)
    steps = 0
    while Rules().step():
        assert probe.wrong_but_clean() == []
        steps += 1
    assert steps > 5
    assert rule().versions == 15
    assert list(verify.differences()) == []


def test_rules_take_turns(probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "VERSIONS_PER_TRANSACTION", 1)
    for stream in ("notes", "photos"):
        change("a", 9, stream)
        retention_rules.set_rule("laptop", stream, 1)
    process = Rules()
    for _ in range(4):
        process.step()
    assert all(each.versions for each in retention_rules.rules())


def test_an_erased_record_leaves_no_name_in_what_pruning_stores(probe: DatabaseProbe) -> None:
    change("a secret key", 4)
    retention_rules.set_rule("laptop", "notes", 2)
    prunings.ask("1", request(3), 1)
    do_all(Prunings().step)
    do_all(Rules().step)
    erasure.erase(Names("laptop", "notes", "a secret key"))
    for table in ("prunings", "retention_rules"):
        assert "secret" not in str(probe(f"SELECT * FROM {table}"))


def test_the_server_does_it_while_it_keeps_house(app: Flask, probe: DatabaseProbe) -> None:
    change("a", 4)
    change("b", 4, "photos")
    prunings.ask("1", request(2, "laptop", "notes"), 2)
    retention_rules.set_rule("laptop", "photos", 1)
    house = app.extensions["housekeeping"]
    for task in house._tasks * 6:
        task.job()
    assert left(probe) == [("a", 3), ("a", 4), ("b", 4)]
