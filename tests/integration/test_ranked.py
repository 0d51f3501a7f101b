"""Which records the ranking by size has: few of them, and always those that it shows."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pdpp_ref.canonical import blobs, deletion, erasure, retention
from pdpp_ref.canonical.activation import activate_version
from pdpp_ref.canonical.erased import Names
from pdpp_ref.canonical.records import Target
from pdpp_ref.database import execute, write_transaction
from pdpp_ref.operations import verify
from pdpp_ref.parsing.messages import Change
from pdpp_ref.projection import ranked
from pdpp_ref.queries import rankings
from pdpp_ref.services import ranking, reconcile
from tests.support.factories import (
    DatabaseProbe,
    assert_ranked,
    assert_sized_and_ranked,
    delete,
    mark,
    top_rows,
    upsert,
    write,
)

pytestmark = pytest.mark.usefixtures("app")

RANKED, BLOCK = 3, 8
KEYS = [f"{number:02}" for number in range(30)]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranked, "RANKED", RANKED)
    monkeypatch.setattr(ranked, "BLOCK", BLOCK)


def of_size(key: str, size: int, stream: str = "notes") -> Change:
    return upsert(key, "x" * size, stream)


def ranked_keys(probe: DatabaseProbe) -> list[str]:
    return [key for (key,) in probe("SELECT key FROM records WHERE ranked AND NOT has_rollup ORDER BY key")]


def largest() -> list[str]:
    return [row.grain_key for row in top_rows("record", "current_record_json_bytes", ranked.RANKED)]


def names(*keys: str) -> list[str]:
    return [f'["laptop","notes","{key}"]' for key in keys]


def wrong() -> list[tuple[str, str]]:
    """What verifying says of the ranking: the key or stream, and the column."""
    columns = ("ranked", "largest_sizes")
    return [(each.row[-1], each.column) for each in verify.differences() if each.column in columns]


changes = st.tuples(st.sampled_from(KEYS), st.integers(0, 9), st.sampled_from(["notes", "mail"]))
operations = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.lists(changes, min_size=1, max_size=20)),
        st.tuples(
            st.sampled_from(["delete", "file", "erase", "prune", "activate", "wrong", "delete stream"]),
            st.lists(changes, min_size=1, max_size=3),
        ),
    ),
    min_size=1,
    max_size=12,
)


@pytest.mark.usefixtures("small")
@given(operations)
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_whatever_is_written_the_largest_are_ranked(
    probe: DatabaseProbe, operations: list[tuple[str, list[tuple[str, int, str]]]]
) -> None:
    for (name,) in probe("SELECT connector_instance_id FROM connections"):
        deletion.delete_connection(name)
    probe("DELETE FROM erasures")
    write(of_size("00", 1), of_size("00", 1, "mail"))
    for what, changed in operations:
        _carry_out(probe, what, changed)
        assert_ranked(probe)
        assert wrong() == []
    reconcile.run_until_fresh()
    assert_sized_and_ranked(probe)


def _carry_out(probe: DatabaseProbe, what: str, changed: list[tuple[str, int, str]]) -> None:
    key, number, stream = changed[0]
    streams = {name for (name,) in probe("SELECT name FROM streams WHERE connection_id IS NOT NULL")}
    if what == "write":
        write(*(of_size(key, size, stream) for key, size, stream in changed))
    elif what == "delete":
        write(*(delete(key, stream) for key, _, stream in changed))
    elif what == "file":
        blobs.store_early(Target("laptop", "files"), stream, key, iter([b"y" * number]))
    elif what == "prune":
        retention.prune(1 + number % 2)
    elif what == "wrong":
        probe(f"UPDATE records SET has_rollup = NOT has_rollup WHERE key <= '{key}'")
        for name in streams:
            mark("laptop", name)
        probe("UPDATE retained_size_stream SET rollups_dirty = TRUE")
        reconcile.run_until_fresh()
    elif stream in streams:
        if what == "erase":
            erasure.erase(Names("laptop", stream, key))
        elif what == "activate":
            write(Change(stream, key, '{"n":1}', table_version=number))
            activate_version(Target("laptop", "files"), stream, number)
        else:
            deletion.delete_stream("laptop", stream)


@pytest.mark.usefixtures("small")
def test_of_many_records_few_are_ranked(probe: DatabaseProbe) -> None:
    write(*(of_size(f"{number}", number % 7 * 10) for number in range(8, 72)))
    first = len(ranked_keys(probe))
    assert first == 64 // BLOCK * RANKED + 1  # the first version is 1, so there are nine blocks
    for number in range(72, 80):
        write(of_size(f"{number}", 80 - number))
    assert len(ranked_keys(probe)) - first == RANKED
    assert_sized_and_ranked(probe)


@pytest.mark.usefixtures("small")
def test_records_that_come_one_by_one_are_compared_with_those_before(probe: DatabaseProbe) -> None:
    for key, size in zip("abcdefg", (5, 9, 7, 4, 8, 5, 6), strict=True):
        write(of_size(key, size))
    # "d" is smaller than three, "f" and "g" than the three that are the largest by then.
    assert ranked_keys(probe) == ["a", "b", "c", "e"]
    assert largest() == names("b", "e", "c")


@pytest.mark.usefixtures("small")
def test_of_equal_records_the_first_by_key_are_ranked(probe: DatabaseProbe) -> None:
    write(*(of_size(key, 5) for key in "gfedcba"))
    assert ranked_keys(probe) == ["a", "b", "c"]
    assert largest() == names("a", "b", "c")


@pytest.mark.parametrize("leave", ["delete", "replace", "file", "erase", "activate"])
@pytest.mark.usefixtures("small")
def test_the_next_largest_take_the_place_of_those_that_leave(leave: str, probe: DatabaseProbe) -> None:
    sizes = dict(zip("abcdefg", range(20, 90, 10), strict=True))
    write(*(Change("notes", key, '"' + "x" * size + '"', table_version=1) for key, size in sizes.items()))
    assert ranked_keys(probe) == ["e", "f", "g"]
    if leave == "delete":
        write(delete("f"), delete("g"))
    elif leave == "replace":
        write(of_size("f", 1), of_size("g", 1))
    elif leave == "file":
        blobs.store("laptop", "notes", "f", iter([b"1"]))
        blobs.store("laptop", "notes", "g", iter([b"1"]))
    elif leave == "erase":
        erasure.erase(Names("laptop", "notes", "f"))
        erasure.erase(Names("laptop", "notes", "g"))
    else:
        write(*(Change("notes", key, f'"{"x" * sizes[key]}"', table_version=2) for key in "abcde"))
        activate_version(Target("laptop", "files"), "notes", 2)
    assert ranked_keys(probe) == ["c", "d", "e"]
    # Those that arrive next are not compared with those that have left.
    write(of_size("h", 25))
    assert "h" in ranked_keys(probe)
    assert_ranked(probe)
    assert_sized_and_ranked(probe)


@pytest.mark.usefixtures("small")
def test_sizes_of_records_that_have_left_are_forgotten(probe: DatabaseProbe) -> None:
    write(*(of_size(key, size) for key, size in zip("abcd", (10, 20, 30, 40), strict=True)))
    write(delete("d"))
    write(of_size("e", 15))  # in the same block, and now one of the largest three
    assert largest() == names("c", "b", "e")
    assert_ranked(probe)


@pytest.mark.usefixtures("small")
def test_a_record_whose_rollup_is_removed_is_ranked(probe: DatabaseProbe) -> None:
    write(*(of_size(key, size) for key, size in zip("abcdefg", range(10, 80, 10), strict=True)))
    probe("UPDATE records SET has_rollup = TRUE WHERE key = 'd'")
    write(delete("e"), delete("f"), delete("g"))
    derive()
    assert largest() == names("d", "c", "b")
    assert_ranked(probe)


@pytest.mark.usefixtures("small")
def test_a_record_that_gets_its_rollup_back_leaves_the_ranking(probe: DatabaseProbe) -> None:
    write(*(of_size(key, size) for key, size in zip("abcde", range(10, 60, 10), strict=True)))
    write(of_size("e", 60))
    probe("UPDATE records SET has_rollup = FALSE WHERE key = 'e'")
    write(delete("d"))
    derive()
    assert_ranked(probe)
    assert_sized_and_ranked(probe)


@pytest.mark.usefixtures("small")
def test_a_record_that_lost_its_flag_and_needs_no_rollup_is_ranked(probe: DatabaseProbe) -> None:
    write(*(of_size(key, size) for key, size in zip("abcd", range(10, 50, 10), strict=True)))
    write(of_size("a", 60))
    retention.prune(1)
    probe("UPDATE records SET has_rollup = FALSE WHERE key = 'a'")
    derive()
    assert largest() == names("a", "d", "c")
    assert_ranked(probe)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("other_streams", [0, 2])
def test_a_record_that_lost_its_flag_and_its_rollup_is_ranked(
    probe: DatabaseProbe, other_streams: int
) -> None:
    """Nothing says that its key had a history."""
    write(*(of_size(key, size) for key, size in zip("abcd", range(10, 50, 10), strict=True)))
    for number in range(other_streams):
        write(of_size("z", 1, f"stream {number}"))
    write(of_size("a", 60))
    retention.prune(1)
    probe("UPDATE records SET has_rollup = FALSE WHERE key = 'a'")
    probe("DELETE FROM retained_size_record")
    derive()
    assert largest() == names("a", "d", "c")
    assert_ranked(probe)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("leave", ["delete", "replace", "erase", "file", "file in a batch"])
def test_a_record_with_a_wrong_flag_leaves_the_ranking(leave: str, probe: DatabaseProbe) -> None:
    write(*(of_size(key, size) for key, size in zip("abcd", range(10, 50, 10), strict=True)))
    assert ranked_keys(probe) == ["b", "c", "d"]
    probe("UPDATE records SET has_rollup = TRUE WHERE key = 'd'")
    if leave == "delete":
        write(delete("d"))
    elif leave == "replace":
        write(of_size("d", 1))
    elif leave == "erase":
        erasure.erase(Names("laptop", "notes", "d"))
    elif leave == "file":
        blobs.store("laptop", "notes", "d", iter([b"1"]))
    else:
        probe("UPDATE records SET has_rollup = FALSE WHERE key = 'd'")
        blobs.store_early(Target("laptop", "files"), "late", "x", iter([b"1"]))
        probe("UPDATE unclaimed_files SET stream_name = 'notes', key = 'd'")
        probe("UPDATE records SET has_rollup = TRUE WHERE key = 'd'")
        write(of_size("d", 40))
    derive()
    assert ranked_keys(probe) == ["a", "b", "c"]
    assert wrong() == []
    write(of_size("e", 5))
    assert_ranked(probe)


def derive() -> None:
    mark("laptop", "notes")
    with write_transaction():
        execute("UPDATE retained_size_stream SET rollups_dirty = TRUE")
    reconcile.run_until_fresh()


@pytest.mark.usefixtures("small")
def test_a_block_that_an_erasure_begins_knows_no_sizes_of_the_one_before(probe: DatabaseProbe) -> None:
    write(*(of_size(key, size) for key, size in zip("abcdefg", range(70, 0, -10), strict=True)))
    erasure.erase(Names("laptop", "notes", "g"))  # the erasure takes the first version of the next block
    write(of_size("h", 1))
    assert ranked_keys(probe) == ["a", "b", "c", "h"]


def test_few_are_ranked_in_place_of_many_that_leave(probe: DatabaseProbe) -> None:
    write(*(of_size(f"{number:04}", number % 200) for number in range(2 * ranked.BLOCK)))
    before = set(ranked_keys(probe))
    assert len(before) == 2 * ranked.RANKED + 1  # two blocks, and the first of a third
    write(*(delete(key) for key in sorted(before)[:40]))
    assert_ranked(probe)
    assert len(ranked_keys(probe)) <= len(before) + ranked.RANKED


def test_what_the_ranking_shows_is_what_is_ranked() -> None:
    assert rankings.MAX_ROWS == ranked.RANKED


# ---- verifying, and choosing again -----------------------------------------------------------------


@pytest.mark.usefixtures("small")
def test_records_that_should_be_ranked_are_reported_and_ranked_again(probe: DatabaseProbe) -> None:
    write(*(of_size(key, size) for key, size in zip("abcdefg", range(10, 80, 10), strict=True)))
    assert wrong() == []
    probe("UPDATE records SET ranked = FALSE WHERE key IN ('c', 'e', 'g')")
    assert ranked_keys(probe) == ["f"]
    # "a" and "b" have none of the three before them that must be ranked, apart from "f".
    assert wrong() == [(key, "ranked") for key in "gedcba"]
    (difference, *_) = verify.differences()
    assert difference == verify.Difference(("record", "laptop", "notes", "g"), "ranked", 0, 1, False)
    ranking.choose_again()
    assert wrong() == []
    assert ranked_keys(probe) == ["e", "f", "g"]
    assert largest() == names("g", "f", "e")


@pytest.mark.usefixtures("small")
def test_a_record_with_a_rollup_that_is_not_ranked_is_reported(probe: DatabaseProbe) -> None:
    write(of_size("a", 10), of_size("a", 20), of_size("b", 30))
    probe("UPDATE records SET ranked = FALSE WHERE has_rollup")
    assert wrong() == [("a", "ranked")]
    ranking.choose_again()
    assert wrong() == []


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("sizes", ["0 31", "0 30 21", "0 30 20 10 10", "0 x", "1 5", "x"])
def test_largest_sizes_that_no_records_have_are_reported_and_forgotten(
    sizes: str, probe: DatabaseProbe
) -> None:
    write(of_size("a", 8), of_size("b", 28), of_size("c", 18))  # with their quotes 10, 30 and 20
    assert probe("SELECT largest_sizes FROM streams") == [("0 30 20 10",)]
    probe(f"UPDATE streams SET largest_sizes = '{sizes}'")
    assert wrong() == [("notes", "largest_sizes")]
    ranking.choose_again()
    assert wrong() == []
    assert probe("SELECT largest_sizes FROM streams") == [("",)]
    write(of_size("d", 1))
    assert_ranked(probe)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("sizes", ["", "0 30", "0 30 20 10", "0 9 8 7", "-1 99"])
def test_largest_sizes_that_leave_no_record_out_are_right(sizes: str, probe: DatabaseProbe) -> None:
    write(of_size("a", 8), of_size("b", 28), of_size("c", 18))
    probe(f"UPDATE streams SET largest_sizes = '{sizes}'")
    assert wrong() == []
    write(*(of_size(key, 12) for key in "def"))
    assert_ranked(probe)


@pytest.mark.usefixtures("small")
@given(
    st.lists(st.tuples(st.sampled_from(KEYS), st.integers(0, 9)), min_size=1, max_size=20),
    st.lists(st.booleans(), min_size=20, max_size=20),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_ranks_are_right_after_they_were_chosen_again(
    probe: DatabaseProbe, written: list[tuple[str, int]], flags: list[bool]
) -> None:
    for (name,) in probe("SELECT connector_instance_id FROM connections"):
        deletion.delete_connection(name)
    of_streams = "stream_id IN (SELECT id FROM streams WHERE connection_id IS NOT NULL)"
    write(*(of_size(key, size) for key, size in written))
    for version, flag in enumerate(flags, 1):
        probe(f"UPDATE records SET ranked = {flag} WHERE version = {version} AND {of_streams}")
    is_right = not probe(f"SELECT 1 FROM records WHERE has_rollup AND NOT ranked AND {of_streams}")
    try:
        assert_ranked(probe)
    except AssertionError:
        is_right = False
    assert ("ranked" not in {column for _, column in wrong()}) == is_right
    ranking.choose_again()
    assert wrong() == []
    assert_ranked(probe)
    write(of_size("new", 5))
    assert_ranked(probe)
    assert_sized_and_ranked(probe)


@pytest.mark.usefixtures("small")
def test_ranks_are_chosen_again_in_steps_between_which_others_write(
    probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stream in ("mail", "notes", "photos"):
        write(*(of_size(f"{number:02}", number, stream) for number in range(2 * BLOCK)))
    probe("UPDATE records SET ranked = FALSE")
    pauses: list[int] = []

    def others(*_: float) -> None:
        pauses.append(len(pauses))
        if len(pauses) == 3:
            deletion.delete_stream("laptop", "photos")
        elif not probe("SELECT 1 FROM streams WHERE name = 'late'"):
            write(of_size("late", 1, "late"))
        write(of_size("99", len(pauses), "notes"), delete("15", "mail"))

    monkeypatch.setattr(ranking, "STEP_BLOCKS", 1)
    monkeypatch.setattr(ranking, "let_others_write", others)
    done: list[int] = []
    ranking.choose_again(done.append)
    assert len(pauses) == len(done) == done[-1] == 3 * 3  # each stream has begun its third block
    assert wrong() == []
    assert_ranked(probe)
