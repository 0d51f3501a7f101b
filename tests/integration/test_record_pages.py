"""A stream's records by key, and a record's page: content as text, versions, files."""

import hashlib
import re
from html import unescape
from typing import Any
from urllib.parse import quote

import pytest
from bs4 import BeautifulSoup
from flask.testing import FlaskClient

from pdpp_ref.blueprints import dashboard, record_pages
from pdpp_ref.canonical import blobs, retention
from pdpp_ref.parsing.messages import Change
from tests.support.factories import delete, fill, upsert, write
from tests.support.probe import DatabaseProbe

STREAM = "/dashboard/streams?connection=laptop&stream=notes"
BROWSER = {"Accept": "text/html"}
HOSTILE = [
    "..",
    "a/b",
    "a?b#c&d=e",
    '<script>alert("1")</script>',
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}",
    "%2e%2e",
    "a b\nc",
    "\u202egnp.exe",
    "😀",
    '["1","2"]',
    "x" * 1_000,
]


def soup(owner: FlaskClient, path: str) -> BeautifulSoup:
    response = owner.get(path, headers=BROWSER)
    assert response.status_code == 200, response.text
    return BeautifulSoup(response.text, "html.parser")


def keys(page: BeautifulSoup) -> list[str]:
    return [cell.get_text() for cell in page.select("#browsed tbody code")]


def link(page: BeautifulSoup, rel: str) -> str | None:
    found = page.select_one(f"#list .steps [rel={rel}]")
    return str(found["href"]) if found else None


def record(owner: FlaskClient, key: str, **more: Any) -> BeautifulSoup:
    extra = "".join(f"&{name}={value}" for name, value in more.items())
    return soup(
        owner, f"/dashboard/records?connection=laptop&stream=notes&key={quote(key, safe='')}{extra}"
    )


def content(page: BeautifulSoup) -> str | None:
    found = page.select_one("#content")
    return found.get_text() if found else None


# ---- the list ------------------------------------------------------------------------------------


def test_records_are_listed_by_key_forward_and_back(
    owner: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard, "LISTED_RECORDS", 3)
    fill(8)
    every = [f"{number:07}" for number in range(8)]
    seen, path, back = [], STREAM, None
    while path:
        page = soup(owner, path)
        seen.append(keys(page))
        assert (link(page, "prev") is None) == (len(seen) == 1)
        back, path = link(page, "prev"), link(page, "next") or ""
    assert seen == [every[:3], every[3:6], every[6:]]
    page = soup(owner, str(back))
    assert keys(page) == every[3:6]
    page = soup(owner, str(link(page, "prev")))
    assert (keys(page), link(page, "prev")) == (every[:3], None)
    assert link(page, "next")


def test_a_search_finds_the_key_itself_first_and_those_that_begin_with_it(
    owner: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard, "LISTED_RECORDS", 2)
    write(*(upsert(key) for key in ("a", "ab", "abc", "abd", "ac", "B", "b", "ä")))
    page = soup(owner, f"{STREAM}&q=ab")
    assert keys(page) == ["ab", "abc"]
    page = soup(owner, str(link(page, "next")))
    assert (keys(page), link(page, "next")) == (["abd"], None)
    assert keys(soup(owner, str(link(page, "prev")))) == ["ab", "abc"]
    assert keys(soup(owner, f"{STREAM}&q=%C3%A4")) == ["ä"]
    assert "No record has a key that begins with" in soup(owner, f"{STREAM}&q=none").get_text()
    assert keys(soup(owner, f"{STREAM}&q=%25")) == []


def test_a_page_of_the_list_has_sizes_and_times_and_reads_no_content(
    owner: FlaskClient, probe: DatabaseProbe
) -> None:
    write(upsert("a", {"secret": "canary"}))
    page = soup(owner, STREAM)
    row = page.select_one("#browsed tbody tr")
    assert row
    assert row.select_one("data")["value"] == str(len('{"secret":"canary"}'))  # type: ignore[index]
    assert row.select_one("time")
    assert "canary" not in str(page)


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("key", HOSTILE)
def test_any_record_is_listed_escaped_and_its_link_leads_to_it(owner: FlaskClient, key: str) -> None:
    write(upsert(key, {"of": key}))
    page = soup(owner, STREAM)
    assert keys(page) == [key]
    place = str(page.select_one("#browsed tbody a")["href"])  # type: ignore[index]
    shown = soup(owner, place)
    assert shown.select_one("h1").get_text() == key  # type: ignore[union-attr]
    assert not shown.select("main script, main img")
    assert "49" not in shown.select_one("h1").get_text()  # type: ignore[union-attr]
    later = soup(owner, f"{STREAM}&q={quote(key, safe='')}")
    assert keys(later) == [key]
    assert later.select_one("#q")["value"] == key  # type: ignore[index]


# ---- one record ----------------------------------------------------------------------------------


def test_content_is_shown_exactly_with_space_alone_added(owner: FlaskClient) -> None:
    text = '{"n":1.0,"big":12345678901234567890.10,"e":1E400,"s":"<b>&amp;</b> \\ud800","list":[1,[]]}'
    write(Change("notes", "a", text))
    shown = content(record(owner, "a"))
    assert shown
    assert re.sub(r"\n *|(?<=:) ", "", shown) == text
    assert shown.splitlines()[1] == '  "n": 1.0,'


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("data", HOSTILE)
def test_content_is_text_and_nothing_else(owner: FlaskClient, data: str) -> None:
    write(upsert("a", {data: data}))
    response = owner.get("/dashboard/records?connection=laptop&stream=notes&key=a")
    inside = response.text.split('<pre id="content"')[1].split("</pre>")[0]
    assert re.findall(r"<[^>]*>", inside) == ["<code>", "</code>"]
    assert "{{ 7 * 7 }}" in unescape(inside) if "{{" in data else True


def test_long_content_is_cut_and_says_so(owner: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_pages, "SHOWN_CHARACTERS", 10)
    write(upsert("a", {"text": "äöü" * 100}), upsert("b", {"t": "12"}))
    page = record(owner, "a")
    assert content(page) == '{\n  "text": "ä'
    assert "the beginning of" in page.get_text()
    assert "the beginning of" not in record(owner, "b").get_text()


def test_versions_are_listed_newest_first_page_by_page_and_each_can_be_shown(
    owner: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_pages, "MAX_VERSIONS", 2)
    for number in range(5):
        write(upsert("a", {"n": number}), upsert("other", {"n": number}))
    page = record(owner, "a")
    assert content(page) == '{\n  "n": 4\n}'
    shown: list[str | None] = []
    while True:
        links = [str(found["href"]) for found in page.select("#versions li a")]
        assert len(links) <= 2
        shown += [content(soup(owner, each)) for each in links]
        older = page.select_one("#versions .steps a")
        if not older:
            break
        page = soup(owner, str(older["href"]))
    assert shown == [f'{{\n  "n": {number}\n}}' for number in (4, 3, 2, 1, 0)]


def test_an_earlier_version_leads_back_to_the_newest(owner: FlaskClient) -> None:
    write(upsert("a", {"n": 1}))
    write(upsert("a", {"n": 2}))
    page = record(owner, "a", version=1)
    assert "Earlier version" in page.get_text()
    newest = next(link for link in page.select("a") if link.get_text() == "Show the newest version")
    assert content(soup(owner, str(newest["href"]))) == '{\n  "n": 2\n}'


def test_a_deleted_record_shows_that_and_its_versions(owner: FlaskClient) -> None:
    write(upsert("a", {"n": 1}))
    write(delete("a"))
    page = record(owner, "a")
    assert content(page) is None
    assert "This record was deleted." in page.get_text()
    assert content(record(owner, "a", version=1)) == '{\n  "n": 1\n}'
    assert keys(soup(owner, STREAM)) == []
    assert page.select_one("#versions .tag").get_text() == "deleted"  # type: ignore[union-attr]


def test_pruned_versions_are_named(owner: FlaskClient) -> None:
    for number in range(3):
        write(upsert("a", {"n": number}))
    retention.prune(1)
    page = record(owner, "a")
    assert len(page.select("#versions li")) == 1
    assert "Older versions were pruned." in page.get_text()


def test_files_are_listed_and_their_links_lead_to_them(owner: FlaskClient) -> None:
    write(upsert("a"), upsert("b"))
    blobs.store("laptop", "notes", "a", iter((b"the file",)))
    page = record(owner, "a")
    place = str(page.select_one("#files li a")["href"])  # type: ignore[index]
    assert hashlib.sha256(b"the file").hexdigest() in place
    assert owner.get(place).data == b"the file"
    assert page.select_one("#files data")["value"] == "8"  # type: ignore[index]
    write(delete("a"))
    page = record(owner, "a")
    assert page.select("#files li")
    assert not page.select("#files li a")  # its route serves files of live records


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    "query",
    [
        "connection=laptop&stream=notes&key=unknown",
        "connection=laptop&stream=unknown&key=a",
        "connection=unknown&stream=notes&key=a",
        "connection=laptop&stream=notes&key=a&version=2",
        "connection=laptop&stream=notes&key=a&older=99",
        "connection=laptop&stream=notes&key=a&version=4611686018427387904",
        "",
    ],
)
def test_what_is_not_there_is_not_found(owner: FlaskClient, query: str) -> None:
    write(upsert("a"), upsert("another"))
    response = owner.get(f"/dashboard/records?{query}", headers=BROWSER)
    assert response.status_code == 404
    assert "can’t be shown" in response.text


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("query", ["version=x", "version=-1", "older=0", "version=99999999999999999999"])
def test_a_version_that_is_no_number_is_refused(owner: FlaskClient, query: str) -> None:
    write(upsert("a"))
    place = "/dashboard/records?connection=laptop&stream=notes&key=a"
    assert owner.get(f"{place}&{query}").status_code == 400


def test_records_are_for_the_owner_alone(client: FlaskClient) -> None:
    write(upsert("a", {"secret": "canary"}))
    response = client.get("/dashboard/records?connection=laptop&stream=notes&key=a", headers=BROWSER)
    assert response.status_code == 302
    assert "canary" not in response.text
