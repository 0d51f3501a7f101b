"""The owner's page of tokens."""

import pytest
from bs4 import BeautifulSoup, Tag
from flask.testing import FlaskClient

from pdpp_ref import tokens
from tests.support.factories import DatabaseProbe

PAGE = "/dashboard/tokens"
REVOKE = "/dashboard/tokens/revoke"


def soup(client: FlaskClient, path: str = PAGE) -> BeautifulSoup:
    return BeautifulSoup(client.get(path, headers={"Accept": "text/html"}).text, "html.parser")


def listed(page: BeautifulSoup) -> list[list[str]]:
    """The text of each cell of the table."""
    table = page.select_one("#tokens tbody")
    return (
        [[cell.text.strip() for cell in row.select("th, td")] for row in table.select("tr")]
        if table
        else []
    )


def the(page: BeautifulSoup, selector: str) -> Tag:
    (found,) = page.select(selector)
    return found


def test_the_page_lists_tokens_and_no_secret(owner: FlaskClient, probe: DatabaseProbe) -> None:
    assert "There are none yet." in soup(owner).text
    secrets = [
        tokens.create("bank", ("write",), "<b>my bank</b>", None),
        tokens.create("old", ("figures", "read"), None, 30),
    ]
    tokens.revoke("old")
    probe("UPDATE tokens SET created_at = '2026-01-02T03:04:05.000Z'")
    probe("UPDATE tokens SET expires_at = '2026-02-03T03:04:05.000Z' WHERE name = 'old'")
    probe("UPDATE tokens SET revoked_at = '2026-01-09T03:04:05.000Z' WHERE name = 'old'")
    probe("UPDATE tokens SET last_used_at = '2026-01-08T03:04:05.000Z' WHERE name = 'old'")
    page = soup(owner)
    assert listed(page) == [
        ["bank", "write", "<b>my bank</b>", "2 Jan 2026", "never", "never", "Revoke"],
        [
            "old",
            "figures, read",
            "all",
            "2 Jan 2026",
            "3 Feb 2026",
            "8 January 2026, 03:04:05 UTC",
            "revoked 9 Jan 2026",
        ],
    ]
    for secret in secrets:
        assert secret.removeprefix("pdpp_") not in str(page)


def test_an_expired_token_is_shown_as_such(owner: FlaskClient, probe: DatabaseProbe) -> None:
    tokens.create("short", ("read",), None, 1)
    probe("UPDATE tokens SET expires_at = '2026-02-03T03:04:05.000Z'")
    assert listed(soup(owner))[0][-1] == "expired"


def test_every_page_leads_to_it(owner: FlaskClient) -> None:
    assert the(soup(owner, "/dashboard"), f'footer a[href="{PAGE}"]')
    assert not soup(owner.application.test_client(), "/owner/login").select(f'a[href="{PAGE}"]')


def test_revoking_asks_once_and_says_what_was_done(owner: FlaskClient) -> None:
    for name in ("bank", "other"):
        tokens.create(name, ("write",), None, None)
    link = the(soup(owner), 'a[aria-label="Revoke bank"]')
    question = soup(owner, str(link["href"]))
    assert tokens.named("bank").revoked_at is None, "it only asks"  # type: ignore[union-attr]
    form = the(question, "main form")
    fields = {str(field["name"]): str(field["value"]) for field in form.select("input")}
    assert fields.keys() == {"csrf_token", "name"}
    response = owner.post(str(form["action"]), data=fields)
    assert response.status_code == 303
    page = soup(owner, response.headers["Location"])
    assert "The token bank was revoked at" in the(page, "[role=status]").text
    assert [row[-1][:7] for row in listed(page)] == ["revoked", "Revoke"]
    assert owner.post(str(form["action"]), data=fields).status_code == 303, "again: as it is"
    assert not soup(owner, f"{PAGE}?revoke=bank").select("main form"), "there is nothing more to ask"


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("query", ["revoked=bank", "revoked=zz", "revoke=zz", "revoke="])
def test_an_address_alone_claims_nothing(owner: FlaskClient, query: str) -> None:
    tokens.create("bank", ("write",), None, None)
    page = soup(owner, f"{PAGE}?{query}")
    assert not page.select("[role=status]")
    assert not page.select("main form")


def test_an_unknown_token_is_404(owner: FlaskClient) -> None:
    token = soup(owner, "/dashboard").select('input[name="csrf_token"]')[0]["value"]
    response = owner.post(REVOKE, data={"csrf_token": token, "name": "zz"})
    assert response.status_code == 404


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "csrf_token_required"),
        ({"Origin": "https://evil.example"}, "cross_site_request"),
        ({"Sec-Fetch-Site": "same-site"}, "cross_site_request"),
    ],
)
def test_another_site_cannot_revoke(owner: FlaskClient, headers: dict[str, str], code: str) -> None:
    tokens.create("bank", ("write",), None, None)
    response = owner.post(REVOKE, data={"name": "bank"}, headers=headers)
    assert (response.status_code, response.get_json()["error"]["code"]) == (403, code)
    assert tokens.named("bank").revoked_at is None  # type: ignore[union-attr]
