"""What a write does to the canonical rows and, in the same transaction, to the figures."""

from datetime import timedelta
from typing import Any

import peewee
import pytest

from pdpp_ref.canonical import activation, records
from pdpp_ref.canonical.activation import Activated
from pdpp_ref.canonical.errors import ConnectorMismatch
from pdpp_ref.operations import verify
from pdpp_ref.parsing.messages import Change
from tests.support.factories import (
    Calendar,
    DatabaseProbe,
    delete,
    mark,
    statements,
    stored,
    upsert,
    whole,
    write,
)

pytestmark = pytest.mark.usefixtures("app")


def history(probe: DatabaseProbe) -> list[tuple[Any, ...]]:
    return probe("SELECT version, key, data, json_bytes FROM record_changes ORDER BY stream_id, version")


def test_a_record_is_stored_with_its_first_version(probe: DatabaseProbe) -> None:
    assert write(upsert("a", {"n": "é"})) == records.Counts(created=1)
    assert probe("SELECT key, version, data, json_bytes FROM records") == [("a", 1, '{"n":"é"}', 10)]
    assert history(probe) == [(1, "a", '{"n":"é"}', 10)]


def test_the_same_data_again_is_a_no_op(probe: DatabaseProbe) -> None:
    write(upsert("a"), upsert("b"))
    before = stored()
    assert write(upsert("b"), upsert("a"), upsert("a")) == records.Counts(unchanged=3)
    assert stored() == before


def test_nothing_to_write_is_a_no_op(probe: DatabaseProbe) -> None:
    assert write() == records.Counts()
    assert probe("SELECT COUNT(*) FROM connections") == [(0,)]


def test_other_data_is_a_new_version(probe: DatabaseProbe) -> None:
    write(upsert("a", {"n": 1}))
    assert write(upsert("a", {"n": 22})) == records.Counts(updated=1)
    assert [row[:2] for row in history(probe)] == [(1, "a"), (2, "a")]
    assert probe("SELECT version, json_bytes FROM records") == [(2, 8)]


def test_a_delete_is_a_tombstone_of_no_bytes(probe: DatabaseProbe) -> None:
    write(upsert("a"))
    assert write(delete("a")) == records.Counts(deleted=1)
    assert history(probe)[-1] == (2, "a", None, 0)
    assert probe("SELECT COUNT(*) FROM records") == [(0,)]


def test_deleting_what_is_not_there_changes_nothing(probe: DatabaseProbe) -> None:
    write(upsert("a"), delete("a"))
    assert write(delete("a"), delete("never")) == records.Counts(unchanged=2)
    assert len(history(probe)) == 2


def test_a_key_may_change_many_times_in_one_write(probe: DatabaseProbe) -> None:
    counts = write(upsert("a", 1), upsert("a", 2), delete("a"), upsert("a", 2), upsert("a", 2), upsert("b"))
    assert counts == records.Counts(created=3, updated=1, deleted=1, unchanged=1)
    assert probe("SELECT key, version FROM records ORDER BY key") == [("a", 4), ("b", 5)]
    assert probe.wrong_but_clean() == []


def test_versions_are_dense_per_stream(probe: DatabaseProbe) -> None:
    for number in range(5):
        write(upsert("a", number), upsert("a", number, "other"), upsert(f"k{number}"))
    for stream, count in ((1, 10), (2, 5)):
        versions = probe("SELECT version FROM record_changes WHERE stream_id = ? ORDER BY version", stream)
        assert versions == [(version,) for version in range(1, count + 1)]


@pytest.mark.parametrize("are_dirty", [False, True])
def test_a_write_costs_the_same_statements_for_any_number_of_streams(are_dirty: bool) -> None:
    costs = []
    for streams in (2, 40):
        names = [f"{streams}-{number}" for number in range(streams)]
        write(*(upsert("old", 1, name) for name in names), *(delete("gone", name) for name in names))
        if are_dirty:
            for name in names:
                mark("laptop", name)
        with statements() as seen:
            write(
                *(upsert("old", 2, name) for name in names),
                *(upsert("new", 1, name) for name in names),
                *(delete("new", name) for name in names),
            )
        costs.append(whole(seen))
    assert costs[0] == costs[1]


def test_a_write_that_fails_stores_nothing(probe: DatabaseProbe) -> None:
    write(upsert("a"))
    probe.fail("INSERT ON record_changes", "NEW.key = 'z'")
    before = stored()
    with pytest.raises(peewee.IntegrityError):
        write(upsert("b"), upsert("c", stream="new"), upsert("z"))
    assert probe("SELECT key FROM records") == [("a",)]
    assert probe("SELECT COUNT(*) FROM streams") == [(1,)]
    assert stored() == before
    probe.restore()
    assert write(upsert("b"), upsert("c", stream="new"), upsert("z")).created == 3
    assert probe.wrong_but_clean() == []


def test_a_connection_belongs_to_one_connector() -> None:
    write(upsert("a"), connector="files")
    with pytest.raises(ConnectorMismatch):
        write(upsert("b"), connector="mail")


def test_stored_lengths_are_checked_by_the_database(probe: DatabaseProbe) -> None:
    write(upsert("a"))
    for table in ("records", "record_changes"):
        with pytest.raises(Exception, match=r"(?i)check constraint"):
            probe(f"UPDATE {table} SET json_bytes = json_bytes + 1")


def test_names_of_any_characters_are_distinguished(probe: DatabaseProbe) -> None:
    names = [
        "a/b",
        "a\nb",
        "a'b",
        'a"b',
        "<script>",
        "😀",
        "x" * 1000,
        "\x01",
        " ",
        "é",
        "e\u0301",
        "A",
        "a",
    ]
    write(*(upsert(name, stream=name) for name in names))
    assert {row[0] for row in probe("SELECT name FROM streams")} == set(names)
    assert probe.wrong_but_clean() == []


def test_what_arrives_has_the_time_that_the_clock_says(
    calendar: type[Calendar], probe: DatabaseProbe
) -> None:
    """A clock that was ahead once must not date all that comes after it."""
    right = calendar.moment
    calendar.moment = right + timedelta(days=365)
    write(upsert("a"))
    calendar.moment = right
    write(upsert("b"))
    arrived = [time for (time,) in probe("SELECT ingested_at FROM records ORDER BY version")]
    assert arrived == ["2027-03-01T12:00:00.000Z", "2026-03-01T12:00:00.000Z"]
    bounds = probe("SELECT earliest_ingested_at, latest_ingested_at FROM retained_size_stream")
    assert bounds == [(arrived[0], arrived[1])], "of the oldest and of the newest version"
    assert list(verify.differences()) == []


def activate(stream: str, version: int) -> Activated:
    return activation.activate_version(records.Target("laptop", "files"), stream, version)


class TestActivateVersion:
    @staticmethod
    def versioned(key: str, version: int | None) -> Change:
        return Change("notes", key, '{"a":1}', table_version=version)

    def test_older_records_become_tombstones_and_others_stay(self, probe: DatabaseProbe) -> None:
        write(*(self.versioned(key, version) for key, version in (("old", 1), ("new", 2), ("none", None))))
        assert activate("notes", 2) == Activated(removed=1)
        assert probe("SELECT key FROM records ORDER BY key") == [("new",), ("none",)]
        assert probe.wrong_but_clean() == []

    def test_an_unchanged_record_moves_on_with_its_version(self, probe: DatabaseProbe) -> None:
        write(self.versioned("kept", 1), self.versioned("gone", 1))
        assert write(self.versioned("kept", 2)) == records.Counts(unchanged=1)
        activate("notes", 2)
        assert probe("SELECT key FROM records") == [("kept",)]

    def test_of_several_versions_in_one_write_the_last_counts(self, probe: DatabaseProbe) -> None:
        write(*(self.versioned("kept", version) for version in (1, 2)))
        changed = Change("notes", "changed", '{"a":2}', table_version=3)
        write(self.versioned("changed", 1), self.versioned("changed", 2), changed)
        rows = probe("SELECT key, table_version FROM records ORDER BY key")
        assert rows == [("changed", 3), ("kept", 2)]

    def test_more_than_one_batch_is_deleted(self, probe: DatabaseProbe) -> None:
        write(*(self.versioned(str(number), 1) for number in range(1200)))
        assert activate("notes", 2) == Activated(removed=1200)
        assert activate("notes", 2) == Activated()

    def test_a_record_that_another_import_sends_meanwhile_stays(
        self, probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(self.versioned("sent again", 1), self.versioned("gone", 1))
        pages = activation._older_keys

        def then_another(*arguments: Any) -> Any:
            for page in pages(*arguments):
                write(self.versioned("sent again", 2))
                yield page

        monkeypatch.setattr(activation, "_older_keys", then_another)
        assert activate("notes", 2) == Activated(removed=1)
        assert probe("SELECT key, table_version FROM records") == [("sent again", 2)]
        assert probe.wrong_but_clean() == []
