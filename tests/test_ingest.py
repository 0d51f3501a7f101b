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
from tests.world import Calendar, Outside, delete, stored, upsert, write

pytestmark = pytest.mark.usefixtures("app")


def history(outside: Outside) -> list[tuple[Any, ...]]:
    return outside("SELECT version, key, data, json_bytes FROM record_changes ORDER BY stream_id, version")


def test_a_record_is_kept_with_its_first_version(outside: Outside) -> None:
    assert write(upsert("a", {"n": "é"})) == records.Counts(created=1)
    assert outside("SELECT key, version, data, json_bytes FROM records") == [("a", 1, '{"n":"é"}', 10)]
    assert history(outside) == [(1, "a", '{"n":"é"}', 10)]


def test_the_same_data_again_is_a_no_op(outside: Outside) -> None:
    write(upsert("a"), upsert("b"))
    before = stored()
    assert write(upsert("b"), upsert("a"), upsert("a")) == records.Counts(unchanged=3)
    assert stored() == before


def test_nothing_to_write_is_a_no_op(outside: Outside) -> None:
    assert write() == records.Counts()
    assert outside("SELECT COUNT(*) FROM connections") == [(0,)]


def test_other_data_is_a_new_version(outside: Outside) -> None:
    write(upsert("a", {"n": 1}))
    assert write(upsert("a", {"n": 22})) == records.Counts(updated=1)
    assert [row[:2] for row in history(outside)] == [(1, "a"), (2, "a")]
    assert outside("SELECT version, json_bytes FROM records") == [(2, 8)]


def test_a_delete_is_a_tombstone_of_no_bytes(outside: Outside) -> None:
    write(upsert("a"))
    assert write(delete("a")) == records.Counts(deleted=1)
    assert history(outside)[-1] == (2, "a", None, 0)
    assert outside("SELECT COUNT(*) FROM records") == [(0,)]


def test_deleting_what_is_not_there_changes_nothing(outside: Outside) -> None:
    write(upsert("a"), delete("a"))
    assert write(delete("a"), delete("never")) == records.Counts(unchanged=2)
    assert len(history(outside)) == 2


def test_a_key_may_change_many_times_in_one_write(outside: Outside) -> None:
    counts = write(upsert("a", 1), upsert("a", 2), delete("a"), upsert("a", 2), upsert("a", 2), upsert("b"))
    assert counts == records.Counts(created=3, updated=1, deleted=1, unchanged=1)
    assert outside("SELECT key, version FROM records ORDER BY key") == [("a", 4), ("b", 5)]
    assert outside.wrong_but_clean() == []


def test_versions_are_dense_per_stream(outside: Outside) -> None:
    for number in range(5):
        write(upsert("a", number), upsert("a", number, "other"), upsert(f"k{number}"))
    for stream, count in ((1, 10), (2, 5)):
        versions = outside(
            "SELECT version FROM record_changes WHERE stream_id = ? ORDER BY version", stream
        )
        assert versions == [(version,) for version in range(1, count + 1)]


def test_a_write_that_fails_stores_nothing(outside: Outside) -> None:
    write(upsert("a"))
    outside.fail("INSERT ON record_changes", "NEW.key = 'z'")
    before = stored()
    with pytest.raises(peewee.IntegrityError):
        write(upsert("b"), upsert("c", stream="new"), upsert("z"))
    assert outside("SELECT key FROM records") == [("a",)]
    assert outside("SELECT COUNT(*) FROM streams") == [(1,)]
    assert stored() == before
    outside.mend()
    assert write(upsert("b"), upsert("c", stream="new"), upsert("z")).created == 3
    assert outside.wrong_but_clean() == []


def test_a_connection_belongs_to_one_connector() -> None:
    write(upsert("a"), connector="files")
    with pytest.raises(ConnectorMismatch):
        write(upsert("b"), connector="mail")


def test_stored_lengths_are_checked_by_the_database(outside: Outside) -> None:
    write(upsert("a"))
    for table in ("records", "record_changes"):
        with pytest.raises(Exception, match=r"(?i)check constraint"):
            outside(f"UPDATE {table} SET json_bytes = json_bytes + 1")


def test_names_of_any_characters_are_kept_apart(outside: Outside) -> None:
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
    assert {row[0] for row in outside("SELECT name FROM streams")} == set(names)
    assert outside.wrong_but_clean() == []


def test_what_arrives_has_the_time_that_the_clock_says(calendar: type[Calendar], outside: Outside) -> None:
    """A clock that was ahead once must not date all that comes after it."""
    right = calendar.moment
    calendar.moment = right + timedelta(days=365)
    write(upsert("a"))
    calendar.moment = right
    write(upsert("b"))
    arrived = [time for (time,) in outside("SELECT ingested_at FROM records ORDER BY version")]
    assert arrived == ["2027-03-01T12:00:00.000Z", "2026-03-01T12:00:00.000Z"]
    bounds = outside("SELECT earliest_ingested_at, latest_ingested_at FROM retained_size_stream")
    assert bounds == [(arrived[0], arrived[1])], "of the oldest and of the newest version"
    assert list(verify.differences()) == []


def activate(stream: str, version: int) -> Activated:
    return activation.activate_version(records.Target("laptop", "files"), stream, version)


class TestActivateVersion:
    @staticmethod
    def versioned(key: str, version: int | None) -> Change:
        return Change("notes", key, '{"a":1}', table_version=version)

    def test_older_records_become_tombstones_and_others_stay(self, outside: Outside) -> None:
        write(*(self.versioned(key, version) for key, version in (("old", 1), ("new", 2), ("none", None))))
        assert activate("notes", 2) == Activated(removed=1)
        assert outside("SELECT key FROM records ORDER BY key") == [("new",), ("none",)]
        assert outside.wrong_but_clean() == []

    def test_an_unchanged_record_moves_on_with_its_version(self, outside: Outside) -> None:
        write(self.versioned("kept", 1), self.versioned("gone", 1))
        assert write(self.versioned("kept", 2)) == records.Counts(unchanged=1)
        activate("notes", 2)
        assert outside("SELECT key FROM records") == [("kept",)]

    def test_of_several_versions_in_one_write_the_last_counts(self, outside: Outside) -> None:
        write(*(self.versioned("kept", version) for version in (1, 2)))
        changed = Change("notes", "changed", '{"a":2}', table_version=3)
        write(self.versioned("changed", 1), self.versioned("changed", 2), changed)
        rows = outside("SELECT key, table_version FROM records ORDER BY key")
        assert rows == [("changed", 3), ("kept", 2)]

    def test_more_than_one_batch_is_deleted(self, outside: Outside) -> None:
        write(*(self.versioned(str(number), 1) for number in range(1200)))
        assert activate("notes", 2) == Activated(removed=1200)
        assert activate("notes", 2) == Activated()

    def test_a_record_that_another_import_sends_meanwhile_stays(
        self, outside: Outside, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(self.versioned("sent again", 1), self.versioned("gone", 1))
        pages = activation._older_keys

        def then_another(*arguments: Any) -> Any:
            for page in pages(*arguments):
                write(self.versioned("sent again", 2))
                yield page

        monkeypatch.setattr(activation, "_older_keys", then_another)
        assert activate("notes", 2) == Activated(removed=1)
        assert outside("SELECT key, table_version FROM records") == [("sent again", 2)]
        assert outside.wrong_but_clean() == []
