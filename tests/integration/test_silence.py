"""Which sources have stopped: contacts of connections, in the database, in lists and over HTTP."""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient

from pdpp_ref.canonical import contacts, state
from pdpp_ref.canonical.importer import Importer
from pdpp_ref.canonical.records import Target
from pdpp_ref.database import execute, write_transaction
from pdpp_ref.queries import silence
from pdpp_ref.timestamps import to_text
from tests.integration.test_dashboard import soup, words
from tests.integration.test_owner_lists import listed
from tests.support.factories import TOKEN, DatabaseProbe, ids, statements, upsert, write

pytestmark = pytest.mark.usefixtures("app")

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
BEARER = {"Authorization": f"Bearer {TOKEN}"}
Visits = Callable[..., silence.Contact]


@pytest.fixture
def visits() -> Visits:
    """Notes contacts so many hours after BEGIN, and returns what is known then."""

    def note(*hours: float, connection: str = "laptop") -> silence.Contact:
        if not silence.contacts(connection):
            write(upsert("a"), connection=connection)
            with write_transaction():
                execute(
                    "DELETE FROM connection_contacts WHERE connection_id = ?",
                    [ids(connection)["connection"]],
                )
        for each in hours:
            with write_transaction():
                contacts.note(ids(connection)["connection"], to_text(BEGIN + timedelta(hours=each)))
        (found,) = silence.contacts(connection)
        return found

    return note


def after(hours: float) -> str:
    return to_text(BEGIN + timedelta(hours=hours))


def test_every_write_is_contact_and_changes_no_total(probe: DatabaseProbe) -> None:
    write(upsert("a"))
    before = probe("SELECT * FROM retained_size_global")
    for contact in (
        lambda: write(upsert("a")),
        lambda: state.merge(Target("laptop", "files"), {"notes": "1"}),
        lambda: Importer(Target("laptop", "files"), lambda _: None, lambda _: None).run(
            [json.dumps({"type": "STATE", "stream": "notes", "value": {}}).encode()]
        ),
    ):
        probe("UPDATE connection_contacts SET last_contact_at = '2001'")
        contact()
        assert probe("SELECT last_contact_at > '2002' FROM connection_contacts") in ([(1,)], [(True,)])
    assert probe("SELECT * FROM retained_size_global") == before


def test_while_a_visit_lasts_a_contact_is_one_statement(visits: Visits) -> None:
    visits(0)
    with statements() as seen:
        visits(0.4)
    assert [
        sql for sql in seen if "connection_contacts" in sql and sql.startswith(("UPDATE", "INSERT"))
    ] == [sql for sql in seen if sql.startswith("UPDATE connection_contacts")]
    assert sum(sql.startswith("UPDATE connection_contacts") for sql in seen) == 1


def test_an_interval_is_from_the_begin_of_one_visit_to_the_next(visits: Visits) -> None:
    found = visits(0, 0.3, 0.6, 24, 24.4, 48)
    assert found.usual_seconds is None, "two intervals are too few"
    assert visits(72, 72.2) == silence.Contact(
        "files", "laptop", after(72.2), 86_400, after(72 + 48), found.last_arrival_at
    )


def test_a_source_that_never_pauses_comes_every_day(visits: Visits) -> None:
    found = visits(*(hour / 4 for hour in range(4 * 24 * 5)))
    assert found.usual_seconds == 86_400
    assert found.last_contact_at == after(24 * 5 - 0.25)
    assert found.silent_from is not None
    assert found.silent_from > found.last_contact_at


def test_only_the_latest_intervals_count(visits: Visits) -> None:
    days = [24.0 * day for day in range(10)]
    weeks = [days[-1] + 24 * 7 * week for week in range(1, contacts.REMEMBERED + 1)]
    assert visits(*days, *weeks).usual_seconds == 7 * 86_400


def test_a_clock_that_steps_back_ends_a_visit_and_adds_no_interval(
    visits: Visits, probe: DatabaseProbe
) -> None:
    visits(0, 24, 48, 24 * 400)
    assert visits(72).last_contact_at == after(72)
    assert probe("SELECT intervals, visit_began_at FROM connection_contacts") == [
        (f"86400 86400 {86400 * 398}", after(72))
    ]


@pytest.mark.only("postgres")
def test_a_contact_waits_for_nobody(visits: Visits) -> None:
    """Another transaction that notes one has not ended yet."""
    visits(0)
    key, done = ids("laptop")["connection"], threading.Event()

    def other() -> None:
        with write_transaction():
            contacts.note(key, after(0.2))
        done.set()

    with write_transaction():
        contacts.note(key, after(0.1))
        thread = threading.Thread(target=other)
        thread.start()
        assert done.wait(timeout=4)
    thread.join()


def test_silence_is_listed_sorted_and_exported(visits: Visits, owner: FlaskClient) -> None:
    visits(0, 24, 48, 72, connection="stopped")
    write(upsert("a"), connection="at work")
    page = soup(owner.get("/dashboard?sort=silent_from").text)
    rows = page.select("#connections tbody tr")
    assert [words(row.select_one("bdi")) for row in rows] == ["stopped", "at work"]  # type: ignore[arg-type]
    assert [words(tag) for tag in page.select("#connections tbody .tag")] == ["silent"]
    assert "usually every day" in words(rows[0])
    assert words(page.select_one(".silence")) == (  # type: ignore[arg-type]
        "1 source has been silent for longer than usual. Show it first"
    )
    exported = {row["connection"]: row for row in listed(owner.get("/dashboard?format=csv").data)}
    assert exported["stopped"]["silent"] == "true"
    assert exported["stopped"]["last_contact_at"] == after(72)
    assert exported["stopped"]["usual_interval_seconds"] == "86400"
    assert exported["at work"]["silent"] == "false"
    assert exported["at work"]["usual_interval_seconds"] == ""
    detail = soup(owner.get("/dashboard/connections/stopped").text)
    assert "Its source has stayed away for longer than usual." in words(detail)


@pytest.mark.parametrize("sort", ["last_contact_at", "latest_ingested_at", "silent_from"])
def test_lists_are_sorted_by_times_and_unknown_ones_are_last(
    visits: Visits, owner: FlaskClient, probe: DatabaseProbe, sort: str
) -> None:
    for number, name in enumerate(("b", "a", "c")):
        visits(*(24 * (day + number) for day in range(4)), connection=name)
    for number, name in enumerate(("b", "a")):
        probe(
            "UPDATE retained_size_connection SET latest_ingested_at = ? WHERE connection_id = ?",
            after(number),
            ids(name)["connection"],
        )
        probe(
            "UPDATE connection_contacts SET last_contact_at = ?, silent_from = ? WHERE connection_id = ?",
            after(number),
            after(number),
            ids(name)["connection"],
        )
    key = ids("c")["connection"]
    probe("UPDATE retained_size_connection SET latest_ingested_at = NULL WHERE connection_id = ?", key)
    probe("DELETE FROM connection_contacts WHERE connection_id = ?", key)
    for order, expected in (("asc", ["b", "a", "c"]), ("desc", ["a", "b", "c"])):
        page = soup(owner.get(f"/dashboard?sort={sort}&order={order}").text)
        assert [words(each) for each in page.select("#connections tbody bdi")] == expected


def test_operators_see_contacts_and_count_silent_sources(visits: Visits, client: FlaskClient) -> None:
    visits(0, 24, 48, 72, connection="stopped")
    write(upsert("a"))
    body = client.get("/_ref/dataset/contacts", headers=BEARER).get_json()
    assert [(row["connector_instance_id"], row["silent"]) for row in body["contacts"]] == [
        ("laptop", False),
        ("stopped", True),
    ]
    one = client.get("/_ref/dataset/contacts?connector_instance_id=stopped&format=csv", headers=BEARER)
    assert len(one.text.splitlines()) == 2
    assert "pdpp_silent_connections 1.0" in client.get("/_ref/metrics", headers=BEARER).text
