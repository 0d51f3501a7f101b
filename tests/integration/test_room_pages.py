"""The owner makes room: preview, pruning, rules, and deleting; on pages, and rules under /_ref."""

from typing import Any

import pytest
from bs4 import BeautifulSoup
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from pdpp_ref import tokens
from pdpp_ref.blueprints import room_pages
from pdpp_ref.canonical import blobs, retention, retention_rules
from tests.support.factories import DatabaseProbe, csrf_token, delete, mark, upsert, write

BROWSER = {"Accept": "text/html"}
ROOM = "/dashboard/room"
STREAM = f"{ROOM}?connection=laptop&stream=notes"
RULES = "/_ref/retention?connector_instance_id=laptop&stream=notes"


def change(key: str, times: int, stream: str = "notes", **more: Any) -> None:
    for number in range(times):
        write(upsert(key, number, stream), **more)


def soup(client: FlaskClient, path: str) -> BeautifulSoup:
    response = client.get(path, headers=BROWSER)
    assert response.status_code == 200, response.text
    return BeautifulSoup(response.text, "html.parser")


def text(page: BeautifulSoup, selector: str) -> str:
    (found,) = page.select(selector)
    return " ".join(found.get_text(" ").split())


def submit(client: FlaskClient, page: BeautifulSoup, button: str, **changed: str) -> TestResponse:
    """Send the form that has the button."""
    (form,) = [each for each in page.select("form") if button in each.get_text()]
    fields = {str(each["name"]): str(each["value"]) for each in form.select("input[name]")}
    return client.post(str(form["action"]), data=fields | changed, headers=BROWSER)


def keep_house(app: Flask) -> None:
    """What the server does while nobody waits for it."""
    for _ in range(12):
        for task in app.extensions["housekeeping"]._tasks:
            task.job()


def left(probe: DatabaseProbe) -> int:
    ((versions,),) = probe("SELECT COUNT(*) FROM record_changes")
    return int(versions)


# ---- the preview ---------------------------------------------------------------------------------


def test_a_preview_counts_versions_and_bytes_by_stream_and_changes_nothing(
    owner: FlaskClient, probe: DatabaseProbe
) -> None:
    change("a", 4)
    change("b", 3)
    change("a", 3, "photos", connection="phone")
    page = soup(owner, f"{ROOM}?keep=2")
    rows = [[cell.text.strip() for cell in row.select("th, td")] for row in page.select("#prunable tr")[1:]]
    assert rows == [
        ["notes", "laptop", "3", "3 B"],
        ["photos", "phone", "1", "1 B"],
        ["All", "", "4", "4 B"],
    ]
    assert "all but the newest 2 versions of each record: 4 versions in 2 streams" in text(
        page, "#preview > p"
    )
    assert "≥" not in page.text
    only = soup(owner, f"{ROOM}?connection=phone&keep=1")
    assert [row.text.strip() for row in only.select("#prunable tbody th")] == ["photos"]
    assert left(probe) == 10


def test_a_preview_by_arrival(owner: FlaskClient, probe: DatabaseProbe) -> None:
    change("a", 4)
    probe("UPDATE record_changes SET ingested_at = '2026-01-05T00:00:00.000Z' WHERE version < 3")
    page = soup(owner, f"{STREAM}&before=2026-01-06")
    assert "before 6 Jan 2026 (UTC): 2 versions in 1 stream, which frees 2 B" in text(page, "#preview > p")
    assert "Nothing" in text(soup(owner, f"{STREAM}&before=2026-01-05"), "#preview > p")


def test_bytes_are_at_least_so_many_until_all_are_counted(
    owner: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room_pages, "COUNT_SECONDS", 0.0)
    monkeypatch.setattr(retention, "KEYS_PER_TRANSACTION", 2)
    for key in "abcdef":
        change(key, 3)
    change("a", 2, "photos")
    seen, path = [], f"{ROOM}?keep=1"
    while path:
        page = soup(owner, path)
        section = page.select_one("#preview")
        assert section
        least = "at least" in text(page, "#preview > p:not(.progress-line)")
        assert least == (section["data-state"] == "counting") == bool(page.select("progress"))
        seen.append(int(page.select("#preview > p data")[2]["value"]))
        assert "13 versions in 2 streams" in text(page, "#preview > p:not(.progress-line)")
        link = page.select_one("#preview .progress-line a")
        path = str(link["href"]) if link else ""
        if link:  # the fragment continues in the same way
            assert 'id="preview"' in owner.get(str(section["hx-get"])).text
    assert seen == sorted(seen)
    assert len(seen) > 3
    assert seen[-1] == 13


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    "counted", ["x", "1.2", "9" * 30, "1.2.3.4.5.6.7.8", "1.1.1.1.1.1.1~1", "-1.0.0.0.0.0.1"]
)
def test_a_place_that_is_none_counts_from_the_beginning(owner: FlaskClient, counted: str) -> None:
    change("a", 3)
    assert "frees 2 B" in text(soup(owner, f"{ROOM}?keep=1&counted={counted}"), "#preview > p")


def test_wrong_rollups_are_not_called_exact(owner: FlaskClient, probe: DatabaseProbe) -> None:
    change("a", 4)
    probe("UPDATE retained_size_stream SET rollups_dirty = TRUE, dirty = TRUE")
    assert "at least 3 versions" in text(soup(owner, f"{ROOM}?keep=1"), "#preview > p")


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("keep=0", 400),
        ("keep=x", 400),
        ("keep=1000001", 400),
        ("before=yesterday", 400),
        ("before=2026-02-31", 400),
        ("connection=nobody", 404),
        ("connection=laptop&stream=nothing", 404),
        ("stream=notes", 400),
        ("connection=%00", 400),
    ],
)
def test_a_preview_of_what_is_not_there_is_refused(owner: FlaskClient, query: str, status: int) -> None:
    change("a", 1)
    assert owner.get(f"{ROOM}?{query}", headers=BROWSER).status_code == status


# ---- doing it ------------------------------------------------------------------------------------


def test_pruning_is_asked_for_once_done_in_steps_and_reported(
    app: Flask, owner: FlaskClient, probe: DatabaseProbe
) -> None:
    change("a", 5)
    change("b", 2, "photos")
    page = soup(owner, f"{STREAM}&keep=2")
    assert [page.select_one(name) is not None for name in ("form[action$=downloads]", "progress")] == [
        True,
        False,
    ]
    answers = [submit(owner, page, "Remove 3 versions") for _ in range(2)]  # two clicks
    assert [answer.status_code for answer in answers] == [303, 303]
    place = answers[0].headers["Location"]
    assert answers[1].headers["Location"] == place
    running = soup(owner, place)
    assert "0 of 3 versions removed" in text(running, "#pruning")
    assert running.select_one("#pruning")["hx-get"]  # type: ignore[index]
    assert left(probe) == 7
    keep_house(app)
    done = soup(owner, place)
    assert "Removed 3 versions , which freed 3 B . Begun" in text(done, "#pruning")
    assert len(done.select("#pruning time")) == 2
    assert "hx-get" not in done.select_one("#pruning").attrs  # type: ignore[union-attr]
    assert left(probe) == 4
    assert len(soup(owner, STREAM).select("li")) == 1
    assert probe.wrong_but_clean() == []
    assert probe("SELECT COUNT(*) FROM prunings") == [(1,)]


def test_the_polled_part_announces_the_end_once(app: Flask, owner: FlaskClient) -> None:
    change("a", 3)
    place = submit(owner, soup(owner, f"{STREAM}&keep=1"), "Remove 2").headers["Location"]
    assert "announcement" not in owner.get(f"{place}/state?seen=running").text
    keep_house(app)
    fragment = owner.get(f"{place}/state?seen=running").text
    assert "announcement" in fragment
    assert "<title>Old versions are removed" in fragment
    assert "hx-get" not in fragment


def test_what_is_asked_for_by_arrival_is_done(app: Flask, owner: FlaskClient, probe: DatabaseProbe) -> None:
    change("a", 4)
    probe("UPDATE record_changes SET ingested_at = '2026-01-05T00:00:00.000Z' WHERE version < 3")
    submit(owner, soup(owner, f"{ROOM}?before=2026-01-06"), "Remove 2 versions")
    keep_house(app)
    assert left(probe) == 2


PRUNE = {"id": "a" * 32, "keep": "1"}


@pytest.mark.parametrize(
    ("path", "form"),
    [
        (ROOM, PRUNE),
        (f"{ROOM}/rule", {"connection": "laptop", "stream": "notes", "keep": "1"}),
        ("/dashboard/delete", {"connection": "laptop"}),
    ],
)
def test_a_form_without_its_token_or_with_another_changes_nothing(
    app: Flask, owner: FlaskClient, probe: DatabaseProbe, path: str, form: dict[str, str]
) -> None:
    change("a", 3)
    for token in ("", csrf_token(app.test_client(), "/owner/login")):
        answer = owner.post(path, data={**form, "csrf_token": token}, headers=BROWSER)
        assert answer.status_code == 403
    keep_house(app)
    assert left(probe) == 3
    assert retention_rules.rules() == []


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    "form",
    [
        {},
        {"id": "x", "keep": "1"},
        {"id": "a" * 32},
        PRUNE | {"keep": "0"},
        PRUNE | {"keep": "-1"},
        PRUNE | {"keep": "9999999"},
        {"id": "a" * 32, "before": "soon"},
        PRUNE | {"stream": "notes"},
        PRUNE | {"connection": "a\0b"},
    ],
)
def test_a_form_that_is_not_complete_is_refused(owner: FlaskClient, form: dict[str, str]) -> None:
    change("a", 2)
    answer = owner.post(ROOM, data={**form, "csrf_token": csrf_token(owner)}, headers=BROWSER)
    assert answer.status_code == 400


# ---- rules ---------------------------------------------------------------------------------------


def test_a_rule_is_set_shown_changed_and_removed(
    app: Flask, owner: FlaskClient, probe: DatabaseProbe
) -> None:
    change("a", 5)
    answer = submit(owner, soup(owner, f"{STREAM}&keep=3"), "Always retain")
    page = soup(owner, answer.headers["Location"])
    assert "The rule is set" in text(page, "#rules")
    assert "Being applied" in text(page, "#rules")
    keep_house(app)
    assert left(probe) == 3
    assert "2 versions removed so far, 2 B" in text(soup(owner, STREAM), "#rules")
    shown = soup(owner, "/dashboard/streams?connection=laptop&stream=notes")
    assert "the newest 3 versions of each record stay" in text(shown, "#rule")
    assert "notes of laptop" in text(soup(owner, ROOM), "#rules")
    submit(owner, soup(owner, f"{STREAM}&keep=1"), "Always retain")
    keep_house(app)
    assert left(probe) == 1
    answer = submit(owner, soup(owner, STREAM), "Remove the rule")
    assert "The rule is removed" in text(soup(owner, answer.headers["Location"]), "#rules")
    change("a", 3)
    keep_house(app)
    assert left(probe) == 4
    assert probe.wrong_but_clean() == []


def test_rules_under_ref(owner: FlaskClient, app: Flask, probe: DatabaseProbe) -> None:
    change("a", 4)
    assert owner.put(RULES, json={"keep": 2}).json == {
        "connector_instance_id": "laptop",
        "stream": "notes",
        "keep": 2,
        "set_at": probe("SELECT set_at FROM retention_rules")[0][0],
        "applied": False,
        "applied_at": None,
        "versions": 0,
        "json_bytes": 0,
        "files": 0,
        "file_bytes": 0,
    }
    keep_house(app)
    (rule,) = owner.get("/_ref/retention").json["rules"]
    assert (rule["applied"], rule["versions"], rule["json_bytes"]) == (True, 2, 2)
    assert owner.get("/_ref/retention?stream=photos").json == {"rules": []}
    assert owner.delete(RULES).status_code == 204
    assert owner.delete(RULES).status_code == 204
    assert owner.get("/_ref/retention").json == {"rules": []}


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    "body", ["", "{}", "[]", '{"keep":0}', '{"keep":"5"}', '{"keep":5,"before":1}', "\xff"]
)
def test_a_rule_that_is_none_is_refused(owner: FlaskClient, body: str) -> None:
    change("a", 1)
    answer = owner.put(RULES, data=body.encode("latin-1"), content_type="application/json")
    assert answer.status_code == 400
    assert retention_rules.rules() == []


def test_a_rule_needs_its_stream_and_the_scope(app: Flask, owner: FlaskClient) -> None:
    change("a", 1)
    assert owner.put(RULES.replace("notes", "others"), json={"keep": 1}).status_code == 404
    assert owner.delete(RULES.replace("notes", "others")).status_code == 404
    client = app.test_client()
    for scopes, only, status in (
        (("write",), None, 403),
        (("erase",), "phone", 403),
        (("erase",), "laptop", 200),
    ):
        bearer = tokens.create(f"{scopes[0]}-{only}", scopes, only, None)
        headers = {"Authorization": f"Bearer {bearer}"}
        assert client.put(RULES, json={"keep": 1}, headers=headers).status_code == status


# ---- deleting ------------------------------------------------------------------------------------


def delete_url(connection: str, stream: str = "", key: str = "") -> str:
    return f"/dashboard/delete?connection={connection}&stream={stream}&key={key}"


def test_a_connection_is_deleted_after_its_page_has_said_what_goes(
    app: Flask, owner: FlaskClient, probe: DatabaseProbe
) -> None:
    change("a", 3)
    write(upsert("b", "x" * 98, "photos"))
    blobs.store("laptop", "photos", "b", iter([b"a file"]))
    change("a", 2, connection="phone")
    page = soup(owner, delete_url("laptop"))
    assert "It holds 2 records, 4 versions and 1 file: 210 B , as of" in text(page, "#extent")
    assert page.select("form[action$=downloads]")
    answer = submit(owner, page, "Delete this connection")
    assert answer.status_code == 303
    done = soup(owner, answer.headers["Location"])
    shown = text(done, "#done")
    assert shown.startswith("Connection laptop was deleted")
    assert "with 2 records, 4 versions and 1 file: 210 B" in shown
    assert done.select("#done time")
    keep_house(app)
    assert probe("SELECT COUNT(*) FROM streams") == [(1,)]
    assert probe("SELECT record_history_count, blob_count FROM retained_size_global") == [(2, 0)]
    assert probe.wrong_but_clean() == []
    assert owner.get("/dashboard/connections/laptop", headers=BROWSER).status_code == 404


def test_a_second_click_says_what_was_done_and_deletes_nothing_new(
    app: Flask, owner: FlaskClient, probe: DatabaseProbe
) -> None:
    change("a", 3)
    for path, button in ((delete_url("laptop", "notes"), "stream"), (delete_url("laptop"), "connection")):
        page = soup(owner, path)
        submit(owner, page, f"Delete this {button}")
        change("a", 1)  # its source is still sending
        answer = submit(owner, page, f"Delete this {button}")
        assert answer.status_code == 303
        assert button in text(soup(owner, answer.headers["Location"]), "#done").lower()
        assert probe("SELECT record_count FROM retained_size_global") == [(1,)]
    keep_house(app)
    assert probe.wrong_but_clean() == []


def test_what_is_gone_is_not_called_deleted(owner: FlaskClient) -> None:
    answer = owner.post(
        "/dashboard/delete", data={"csrf_token": csrf_token(owner), "connection": "nobody"}, headers=BROWSER
    )
    assert "It is gone" in owner.get(answer.headers["Location"], headers=BROWSER).text


def test_a_stream_is_deleted_with_its_rule(app: Flask, owner: FlaskClient, probe: DatabaseProbe) -> None:
    change("a", 3)
    change("a", 1, "photos")
    retention_rules.set_rule("laptop", "notes", 1)
    answer = submit(owner, soup(owner, delete_url("laptop", "notes")), "Delete this stream")
    done = text(soup(owner, answer.headers["Location"]), "#done")
    assert done.startswith("Stream notes of connection laptop was deleted")
    keep_house(app)
    assert probe("SELECT name FROM streams") == [("photos",)]
    assert retention_rules.rules() == []
    assert probe.wrong_but_clean() == []


def test_a_record_is_deleted_and_its_history_stays(owner: FlaskClient, probe: DatabaseProbe) -> None:
    change("a", 3)
    submit(owner, soup(owner, delete_url("laptop", "notes", "a")), "Delete this record")
    assert probe("SELECT COUNT(*) FROM records") == [(0,)]
    assert left(probe) == 4
    page = soup(owner, delete_url("laptop", "notes", "a"))
    assert "Delete this record" not in [button.text for button in page.select("button")]
    assert probe.wrong_but_clean() == []


def test_a_record_is_erased_for_good_and_named_nowhere(owner: FlaskClient, probe: DatabaseProbe) -> None:
    change("a secret key", 3)
    change("b", 1)
    page = soup(owner, delete_url("laptop", "notes", "a secret key"))
    assert "1 record, 3 versions and 0 file" in text(page, "#extent")
    answer = submit(owner, page, "Erase this record for good")
    done = soup(owner, answer.headers["Location"])
    assert "was erased" in text(done, "#done")
    assert "secret" not in done.text
    assert left(probe) == 1
    change("a secret key", 1)
    assert left(probe) == 1
    assert probe.wrong_but_clean() == []


def test_totals_that_are_behind_say_so(owner: FlaskClient) -> None:
    change("a", 1)
    mark("laptop", "notes")
    assert "newer changes are not counted yet" in text(soup(owner, delete_url("laptop")), "#extent")


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("name", ['<script>alert("1")</script>', "..", "{{ 7 * 7 }}", "x" * 1_000])
def test_hostile_names_are_text(app: Flask, owner: FlaskClient, probe: DatabaseProbe, name: str) -> None:
    for number in range(3):
        write(upsert(name, number, name), connection=name)
    page = soup(owner, str(soup(owner, f"{ROOM}?keep=1").select_one("#prunable a")["href"]))  # type: ignore[index]
    links = [str(link["href"]) for link in page.select("section:last-of-type a")]
    room = soup(owner, f"{links[0]}&keep=1")
    assert not room.select("main script")
    submit(owner, room, "Remove 2 versions")
    asked = soup(owner, links[1])
    assert name in asked.text
    assert not asked.select("main script")
    assert owner.get(submit(owner, asked, "Delete this stream").headers["Location"]).status_code == 200
    keep_house(app)
    assert left(probe) == 0


def test_pages_lead_to_it(owner: FlaskClient) -> None:
    change("a", 1)
    write(upsert("b", 1), delete("b"))
    for path in (
        "/dashboard",
        "/dashboard/connections/laptop",
        "/dashboard/streams?connection=laptop&stream=notes",
        "/dashboard/records?connection=laptop&stream=notes&key=a",
        "/dashboard/records?connection=laptop&stream=notes&key=b",
    ):
        page = soup(owner, path)
        links = [str(link["href"]) for link in page.select("section[aria-labelledby=make-room-title] a")]
        assert links
        for link in links:
            soup(owner, link)
