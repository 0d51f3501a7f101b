"""The change feed: walks, tombstones, tokens, and what makes a token expire."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from pdpp_ref.canonical import deletion, records, retention
from pdpp_ref.canonical.records import Target
from pdpp_ref.database import db
from pdpp_ref.parsing.messages import Change
from pdpp_ref.queries import changes
from tests.support.factories import DatabaseProbe, delete, fill, upsert, write
from tests.support.reading import BEGINNING, RECORDS, Follower, keys, pages, read, refused, walk

LIVE_AGAIN = "2026-01-02T00:00:00.000Z"


def token_of(client: FlaskClient, since: str = BEGINNING) -> str:
    (*_, last) = pages(client, RECORDS, changes_since=since)
    return str(last["next_changes_since"])


def live(client: FlaskClient) -> dict[str, Any]:
    return {row["id"]: row["data"] for row in walk(client, RECORDS, limit=100)}


# ---- walks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_each_key_comes_once_in_the_order_of_versions(owner: FlaskClient, limit: int) -> None:
    write(upsert("a"), upsert("b"), upsert("c"), upsert("d"))
    write(upsert("a", {"n": 2}), delete("c"))
    found = walk(owner, RECORDS, changes_since=BEGINNING, limit=limit)
    assert keys(found) == ["b", "d", "a"]
    assert found[-1]["data"] == {"n": 2}


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_what_changed_since_a_token_comes_with_tombstones(owner: FlaskClient, limit: int) -> None:
    write(upsert("a"), upsert("b"), upsert("c"), upsert("d"))
    token = token_of(owner)
    write(upsert("b", {"n": 2}), delete("a"), upsert("made"), upsert("deleted"))
    write(delete("deleted"), delete("d"), upsert("d"), delete("c"))
    found = walk(owner, RECORDS, changes_since=token, limit=limit)
    assert [(row["id"], row.get("deleted", False)) for row in found] == [
        ("b", False),
        ("a", True),
        ("made", False),
        ("d", False),
        ("c", True),
    ]
    assert [key for key in found[1] if key not in found[0]] == ["deleted", "deleted_at"]
    assert "data" not in found[1]


def test_a_tombstone_has_the_time_of_its_source_or_else_of_its_arrival(
    owner: FlaskClient, calendar: Any
) -> None:
    write(upsert("a"), upsert("b"))
    token = token_of(owner)
    records.write(
        Target("laptop", "files"),
        [Change("notes", "a", None, emitted_at="2027-05-01T00:00:00.000Z"), delete("b")],
    )
    first, second = walk(owner, RECORDS, changes_since=token)
    assert first["deleted_at"] == first["emitted_at"] == "2027-05-01T00:00:00.000Z"
    assert (second["deleted_at"], second["emitted_at"]) == ("2026-03-01T12:00:00.000Z", None)


def test_a_key_that_was_deleted_before_the_token_and_again_is_left_out(owner: FlaskClient) -> None:
    write(upsert("a"), upsert("b"))
    write(delete("a"))
    token = token_of(owner)
    write(upsert("a"))
    write(delete("a"))
    assert walk(owner, RECORDS, changes_since=token) == []


def test_a_key_whose_past_was_pruned_gets_a_tombstone(owner: FlaskClient) -> None:
    """Whether it was there at the token is not known any more, and a needless tombstone harms nobody."""
    write(upsert("a"), upsert("b"))
    token = token_of(owner)
    write(upsert("a", {"n": 2}), upsert("new"))
    write(delete("a"), delete("new"))
    retention.prune(1)
    found = walk(owner, RECORDS, changes_since=token)
    assert [(row["id"], row["deleted"]) for row in found] == [("a", True), ("new", True)]


def test_the_first_page_fixes_a_horizon(owner: FlaskClient) -> None:
    fill(6)
    first = read(owner, RECORDS, changes_since=BEGINNING, limit=2)
    write(upsert("0000004", {"n": 2}), upsert("new"), delete("0000005"), upsert("0000000", {"n": 2}))
    rest = walk(owner, first["links"]["next"])
    assert keys(rest) == ["0000002", "0000003"]
    (*_, last) = pages(owner, first["links"]["next"])
    following = walk(owner, RECORDS, changes_since=last["next_changes_since"])
    assert keys(following) == ["0000004", "new", "0000005", "0000000"]
    assert following[2]["deleted"]


def test_only_the_last_page_has_a_token(owner: FlaskClient) -> None:
    fill(3)
    *first, last = pages(owner, RECORDS, changes_since=BEGINNING, limit=1)
    assert len(first) == 2
    assert not any("next_changes_since" in page for page in first)
    assert "changes_since" not in first[0]["links"]["next"]
    assert read(owner, RECORDS, changes_since=last["next_changes_since"])["data"] == []


def test_a_cursor_wins_over_the_token_that_a_client_sends_along(owner: FlaskClient) -> None:
    fill(5)
    first = read(owner, RECORDS, changes_since=BEGINNING, limit=2)
    both = read(owner, RECORDS, changes_since=BEGINNING, cursor=first["next_cursor"], limit=2)
    assert keys(both["data"]) == ["0000002", "0000003"]


def test_fields_can_be_chosen_and_counts_cannot(owner: FlaskClient) -> None:
    write(upsert("a", {"x": 1, "y": 2}))
    body = read(owner, RECORDS, changes_since=BEGINNING, fields="y", count="exact", order="asc")
    assert body["data"][0]["data"] == {"y": 2}
    assert [each["code"] for each in body["meta"]["warnings"]] == ["count_downgraded"]


def test_no_page_is_empty_before_the_end(owner: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many keys were made and deleted: after some, one is passed on rather than examined."""
    write(upsert("a"))
    token = token_of(owner)
    for number in range(12):
        write(upsert(f"t{number}"))
        write(delete(f"t{number}"))
    write(upsert("b"))
    assert [keys(page["data"]) for page in pages(owner, RECORDS, changes_since=token, limit=1)] == [["b"]]
    monkeypatch.setattr(changes, "EXAMINED_TOMBSTONES", 5)
    found = list(pages(owner, RECORDS, changes_since=token, limit=1))
    assert [keys(page["data"]) for page in found] == [["t5"], ["t11"], ["b"]]


def test_an_empty_stream_can_be_followed(owner: FlaskClient) -> None:
    write(upsert("a"))
    write(delete("a"))
    token = token_of(owner)
    write(upsert("a"))
    assert keys(walk(owner, RECORDS, changes_since=token)) == ["a"]
    assert refused(owner, "/v1/streams/none/records", changes_since=BEGINNING) == (404, "not_found")


def test_a_long_history_is_not_followed_to_its_end(
    owner: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(upsert("a"))
    token = token_of(owner)
    for number in range(9):
        write(upsert("new", {"n": number}))
    write(delete("new"))
    assert walk(owner, RECORDS, changes_since=token) == []
    monkeypatch.setattr(changes, "LINKS_FOLLOWED", 5)
    assert keys(walk(owner, RECORDS, changes_since=token)) == ["new"]


# ---- tokens that have expired --------------------------------------------------------------------


def test_pruning_expires_no_token(owner: FlaskClient) -> None:
    follower = Follower(owner)
    fill(5)
    write(upsert("0000001", {"n": 2}))
    follower.follow()
    first = read(owner, RECORDS, changes_since=BEGINNING, limit=2)
    write(upsert("0000001", {"n": 3}), delete("0000002"))
    retention.prune(1)
    follower.follow()
    assert follower.copy == live(owner)
    assert len(walk(owner, first["links"]["next"])) == 2


def expired(client: FlaskClient, token: str) -> None:
    response = client.get(RECORDS, query_string={"changes_since": token})
    error = response.get_json()["error"]
    assert (response.status_code, error["type"], error["code"]) == (410, "gone_error", "cursor_expired")


def test_a_deleted_stream_expires_its_tokens(owner: FlaskClient) -> None:
    fill(3)
    token = token_of(owner)
    cursor = read(owner, RECORDS, changes_since=BEGINNING, limit=1)["next_cursor"]
    deletion.delete_stream("laptop", "notes")
    for _ in range(2):
        expired(owner, token)
        assert refused(owner, RECORDS, cursor=cursor) == (410, "cursor_expired")
        fill(3)  # the same names, and on SQLite the same id


def test_a_removal_expires_older_tokens_alone(owner: FlaskClient, probe: DatabaseProbe) -> None:
    fill(3)
    old = token_of(owner)
    walking = read(owner, RECORDS, changes_since=BEGINNING, limit=1)["next_cursor"]
    write(upsert("b"))
    within = read(owner, RECORDS, changes_since=old, limit=1)
    new = token_of(owner)
    other = read(owner, RECORDS, changes_since=BEGINNING, limit=1)["next_cursor"]
    probe("UPDATE streams SET removed_through = 4")  # as a removal of version 4 does
    expired(owner, old)
    assert within["data"]
    assert read(owner, RECORDS, changes_since=new)["data"] == []
    # A walk from the beginning is compared by its horizon.
    assert refused(owner, RECORDS, cursor=walking) == (410, "cursor_expired")
    assert len(walk(owner, RECORDS, cursor=other)) == 3
    # Any other by its start: here one that began before the removal.
    write(upsert("c"), upsert("d"))
    started = read(owner, RECORDS, changes_since=new, limit=1)["next_cursor"]
    assert keys(walk(owner, RECORDS, cursor=started)) == ["d"]
    probe("UPDATE streams SET removed_through = 5")
    assert refused(owner, RECORDS, cursor=started) == (410, "cursor_expired")
    assert len(walk(owner, RECORDS, changes_since=BEGINNING)) == 6


def test_a_copied_or_restored_history_expires_tokens(owner: FlaskClient, probe: DatabaseProbe) -> None:
    fill(3)
    token = token_of(owner)
    cursor = read(owner, RECORDS, changes_since=BEGINNING, limit=1)["next_cursor"]
    probe("UPDATE pdpp_ref_schema SET history_id = 'another'")  # as `backup` and `copy` do
    expired(owner, token)
    assert refused(owner, RECORDS, cursor=cursor) == (410, "cursor_expired")


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("written", [0, 1, 2, 3])
def test_a_file_that_was_put_back_expires_tokens(owner: FlaskClient, tmp_path: Path, written: int) -> None:
    """By a copy of the file, so it has the same history id; then others were written, or none."""
    fill(3)
    file, saved = tmp_path / "test.sqlite3", tmp_path / "saved"
    old = token_of(owner)
    db.close()
    shutil.copy(file, saved)
    write(upsert("a"), upsert("b"))
    token = token_of(owner)
    walking = read(owner, RECORDS, changes_since=BEGINNING, limit=1)["next_cursor"]
    db.close()
    for rest in ("-wal", "-shm"):
        Path(f"{file}{rest}").unlink(missing_ok=True)
    file.write_bytes(saved.read_bytes())
    write(*(upsert(f"other{n}") for n in range(written)))
    expired(owner, token)
    assert refused(owner, RECORDS, cursor=walking) == (410, "cursor_expired")
    assert len(walk(owner, RECORDS, changes_since=old)) == written


def test_other_versions_of_the_same_numbers_expire_tokens(owner: FlaskClient, probe: DatabaseProbe) -> None:
    """As after a restored `pg_dump`, also if the newest of them has been pruned since."""
    fill(3)
    write(upsert("a", {"n": 1}))
    token = token_of(owner)
    probe("UPDATE record_changes SET ingested_at = '2020-01-01T00:00:00.000Z' WHERE version = 4")
    expired(owner, token)
    probe("UPDATE record_changes SET ingested_at = '2020-01-01T00:00:00.000Z' WHERE version = 3")
    write(upsert("a", {"n": 2}))
    retention.prune(1)
    expired(owner, token)


def test_deletes_that_are_not_known_are_worked_out_first(owner: FlaskClient, probe: DatabaseProbe) -> None:
    write(upsert("a"), upsert("b"))
    token = token_of(owner)
    write(delete("a"))
    probe("DELETE FROM retained_size_record")
    probe("UPDATE retained_size_stream SET dirty = TRUE, rollups_dirty = TRUE")
    probe("UPDATE retained_size_connection SET dirty = TRUE")
    probe("UPDATE retained_size_global SET dirty = TRUE")
    assert keys(walk(owner, RECORDS, changes_since=BEGINNING)) == ["b"]
    assert keys(walk(owner, RECORDS, changes_since=token)) == ["a"]


def test_while_they_cannot_be_worked_out_the_feed_waits(owner: FlaskClient, probe: DatabaseProbe) -> None:
    write(upsert("a"), upsert("b"))
    token = token_of(owner)
    write(delete("a"))
    probe("DELETE FROM retained_size_record")
    probe("UPDATE retained_size_stream SET dirty = TRUE, rollups_dirty = TRUE")
    probe("UPDATE retained_size_global SET dirty = TRUE")
    probe.fail_reconcile()
    assert refused(owner, RECORDS, changes_since=token) == (503, "storage_unavailable")
