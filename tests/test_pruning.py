"""Forgetting old versions: exact, in small steps, and never the current one."""

from typing import Any

import peewee
import pytest

from pdpp_ref.services import deletion, pruning, verify
from pdpp_ref.services.pruning import Pruned, prune
from tests.world import Outside, delete, mark, upsert, write

pytestmark = pytest.mark.usefixtures("app")


def versions(outside: Outside) -> list[tuple[Any, ...]]:
    return outside("SELECT key, version FROM record_changes ORDER BY stream_id, key, version")


def change(key: str, times: int, stream: str = "notes", **more: Any) -> None:
    for number in range(times):
        write(upsert(key, number, stream), **more)


def test_the_newest_versions_stay(outside: Outside) -> None:
    change("a", 4)
    change("b", 2)
    assert prune(2) == Pruned(2, 2)
    assert versions(outside) == [("a", 3), ("a", 4), ("b", 5), ("b", 6)]
    assert outside("SELECT dirty, record_history_count FROM retained_size_global") == [(0, 4)]
    assert list(verify.differences()) == []


def test_pruning_again_changes_nothing(outside: Outside) -> None:
    change("a", 4)
    prune(1)
    assert prune(1) == Pruned()
    assert versions(outside) == [("a", 4)]


def test_a_tombstone_is_a_version(outside: Outside) -> None:
    write(upsert("a", 1), delete("a"), upsert("b", 1))
    assert prune(1) == Pruned(1, 1)
    assert versions(outside) == [("a", 2), ("b", 3)]
    write(upsert("a", 5))
    assert outside("SELECT record_history_count FROM retained_size_record WHERE key = 'a'") == [(2,)]
    assert list(verify.differences()) == []


def test_only_what_is_named_is_pruned(outside: Outside) -> None:
    change("a", 2)
    change("a", 2, "photos")
    change("a", 2, connection="phone")
    assert prune(1, "laptop", "notes").versions == 1
    assert prune(1, "laptop").versions == 1
    assert prune(1).versions == 1
    assert prune(1, "nobody") == Pruned()


def test_a_long_history_goes_in_several_transactions(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "VERSIONS_PER_TRANSACTION", 3)
    monkeypatch.setattr(pruning, "KEYS_PER_TRANSACTION", 2)
    for key in "abc":
        change(key, 8)
    steps: list[Pruned] = []
    assert prune(2, progress=steps.append) == Pruned(18, 18)
    assert [done.versions for done in steps] == [3, 6, 9, 12, 15, 18]
    assert list(verify.differences()) == []


def test_one_that_is_cut_short_is_run_again(outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "VERSIONS_PER_TRANSACTION", 2)
    change("a", 5)
    change("b", 5)
    outside.fail("DELETE ON record_changes", "OLD.key = 'b'")
    with pytest.raises(peewee.DatabaseError):
        prune(1)
    assert outside.wrong_but_clean() == []
    outside.mend()
    prune(1)
    assert versions(outside) == [("a", 5), ("b", 10)]
    assert list(verify.differences()) == []


def test_a_marked_stream_can_be_pruned(outside: Outside) -> None:
    change("a", 4)
    mark("laptop", "notes")
    prune(1)
    assert outside.wrong_but_clean() == []


def test_a_stream_of_a_number_that_was_used_before_is_another_one(outside: Outside) -> None:
    """SQLite gives the number of the last stream, once that is deleted, to the next one."""
    for stream in ("first", "last"):
        write(*(upsert("a", number, stream) for number in range(3)))

    def in_between(_: Pruned) -> None:
        deletion.delete_stream("laptop", "last")
        write(*(upsert("a", number, "new") for number in range(3)), connection="phone")

    assert prune(1, progress=in_between).versions == 2
    of_new = "FROM record_changes JOIN streams ON stream_id = id WHERE name = 'new'"
    assert outside(f"SELECT COUNT(*) {of_new}") == [(3,)]
    assert outside.wrong_but_clean() == []
