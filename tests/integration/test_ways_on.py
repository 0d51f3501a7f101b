"""Where the owner's forms and error pages lead, and which forms stay valid."""

from html import unescape
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from pdpp_ref.blueprints.owner.pages import connection_url, stream_url
from tests.integration.test_dashboard import soup, words
from tests.support.factories import PASSWORD, csrf_token, fill, mark, upsert, write

BROWSER = {"Accept": "text/html"}
ODD_NAMES = ["a b", "50%", "%2F", "a/b", "a//b", "..", "a?b#c&d=e", "é\n", "\\", "+", " x "]


def refresh_from(owner: FlaskClient, page: str) -> Any:
    """Press the page's own button."""
    form = soup(owner.get(page).text).select('form[action$="/dashboard/refresh"] input')
    return owner.post("/dashboard/refresh", data={str(field["name"]): field["value"] for field in form})


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_refresh_returns_to_pages_of_odd_names(app: Flask, owner: FlaskClient, name: str) -> None:
    write(upsert("k", stream=name), connection=name)
    with app.test_request_context():
        pages = [connection_url(name) + ("&" if "?" in connection_url(name) else "?") + "sort=name"]
        pages.append(stream_url(name, name, q="é k"))
    for page in pages:
        there = owner.get(refresh_from(owner, page).headers["Location"])
        assert there.status_code == 200
        assert there.request.full_path.rstrip("?") == owner.get(page).request.full_path.rstrip("?")
        assert words(soup(there.text).select_one(".outcome")).startswith("Refreshed at ")  # type: ignore[arg-type]


def test_a_refresh_returns_below_the_prefix(app: Flask) -> None:
    below = app.test_client()
    there: dict[str, Any] = {"environ_overrides": {"SCRIPT_NAME": "/mine"}}
    below.post("/owner/login", json={"password": PASSWORD}, **there)
    form = soup(below.get("/dashboard?sort=name", **there).text).select('form[action$="/refresh"] input')
    data = {str(field["name"]): field["value"] for field in form}
    sent = below.post("/dashboard/refresh", data=data, **there)
    assert sent.headers["Location"] == "/mine/dashboard?sort=name"


def test_a_refresh_says_refreshed_only_if_it_did(app: Flask, owner: FlaskClient, probe: Any) -> None:
    fill(3)

    def outcome() -> str:
        mark()
        return words(
            soup(owner.get(refresh_from(owner, "/dashboard").location).text).select_one(".outcome")
        )  # type: ignore[arg-type]

    assert outcome().startswith("Refreshed at ")
    running = app.extensions["auto_reconcile"]._one
    with running:
        text = outcome()
    assert text.startswith("Not refreshed at ")
    assert "being written or counted" in text
    probe.fail_reconcile()
    text = outcome()
    assert text.startswith("Not refreshed: ")
    assert "records are safe" in text


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    "path", ["/dashboard/connections/laptop", "/dashboard/streams?connection=laptop&stream=notes"]
)
def test_a_page_that_does_not_update_names_no_state(owner: FlaskClient, path: str) -> None:
    fill(1)
    page = soup(owner.get(path).text)
    assert str(page.title.string).endswith("laptop · Your data server")  # type: ignore[union-attr]
    assert str(page.select("#icon")[0]["href"]).endswith("/icon.svg")


def test_open_forms_stay_valid_after_another_sign_in(app: Flask, owner: FlaskClient) -> None:
    token = csrf_token(owner)
    owner.delete_cookie("pdpp_owner_session")
    owner.post("/owner/login", json={"password": PASSWORD})
    assert owner.post("/dashboard/refresh", data={"csrf_token": token}).status_code == 303
    # It is worth nothing to others, and no visitor's form has it.
    visitor = app.test_client()
    assert visitor.post("/owner/logout", data={"csrf_token": token}).status_code == 403


@pytest.mark.parametrize(
    ("has_cookie", "sentence"), [(True, "too old"), (False, "did not send this form’s cookie")]
)
def test_a_sign_in_form_that_is_too_old_comes_again(
    client: FlaskClient, has_cookie: bool, sentence: str
) -> None:
    if has_cookie:
        client.get("/owner/login")
    sent = {"csrf_token": "of another time", "password": PASSWORD, "return_to": "/dashboard/tokens"}
    refused = client.post("/owner/login", data=sent, headers=BROWSER)
    assert refused.status_code == 403
    form = soup(refused.text)
    assert sentence in words(form.select_one("[role=alert]"))  # type: ignore[arg-type]
    again = {str(field["name"]): str(field["value"]) for field in form.select("input[type=hidden]")}
    signed_in = client.post("/owner/login", data={**again, "password": PASSWORD}, headers=BROWSER)
    assert (signed_in.status_code, signed_in.location) == (302, "/dashboard/tokens")


def test_a_sign_in_form_of_somebody_who_is_signed_in_leads_on(owner: FlaskClient) -> None:
    sent = {"csrf_token": "of before", "password": "", "return_to": "/dashboard/tokens"}
    done = owner.post("/owner/login", data=sent, headers=BROWSER)
    assert (done.status_code, done.location) == (302, "/dashboard/tokens")


def test_signing_out_twice_is_no_error(client: FlaskClient) -> None:
    again = client.post("/owner/logout", data={"csrf_token": "of before"}, headers=BROWSER)
    assert (again.status_code, again.location) == (302, "/owner/login")


def test_a_refused_form_leads_back_to_its_page(owner: FlaskClient) -> None:
    here = {"Referer": "http://localhost/dashboard/connections/a%20b?sort=name"}
    refused = owner.post("/dashboard/refresh", data={"a": "form"}, headers={**BROWSER, **here})
    assert refused.status_code == 403
    (back,) = [link["href"] for link in soup(refused.text).select("main a") if "form" in link.get_text()]
    assert back == "/dashboard/connections/a%20b?sort=name"


@pytest.mark.parametrize(
    ("sent_from", "back"),
    [
        ("http://localhost/dashboard?sort=name", "/dashboard%3Fsort%3Dname"),
        ("http://evil.example/x", "/dashboard"),
        ("http://localhost//evil.example", "/dashboard"),
        ("http://[", "/dashboard"),
    ],
)
def test_an_ended_session_leads_back_to_the_page_that_polled(
    client: FlaskClient, sent_from: str, back: str
) -> None:
    headers = {"HX-Request": "true", "HX-Current-URL": sent_from}
    response = client.get("/dashboard/hero", headers=headers)
    assert response.headers["HX-Redirect"] == f"/owner/login?return_to={back}"


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("query", ["sort=x", "days=1", "format=x", "limit=x", "order=x"])
def test_a_page_of_an_error_names_no_parameter(owner: FlaskClient, query: str) -> None:
    response = owner.get(f"/dashboard?{query}", headers=BROWSER)
    assert response.status_code == 400
    shown = words(soup(response.text).main)  # type: ignore[arg-type]
    assert "The address of this page is not valid" in shown
    assert query.partition("=")[0] not in shown
    assert "must be" in owner.get(f"/dashboard?{query}").get_json()["error"]["message"]


def test_a_page_that_may_work_later_can_be_tried_again(owner: FlaskClient, app: Flask) -> None:
    def fail() -> None:
        raise RuntimeError

    app.view_functions["dashboard.dashboard"] = fail
    response = owner.get("/dashboard?q=a%20b", headers=BROWSER)
    assert response.status_code == 500
    links = {link.get_text(): unescape(str(link["href"])) for link in soup(response.text).select("main a")}
    assert links == {"Try again": "/dashboard?q=a%20b", "Back to the dashboard": "/dashboard"}


def test_the_lists_and_the_totals_of_a_page_are_of_one_moment(owner: FlaskClient) -> None:
    fill(1)
    page = soup(owner.get("/dashboard").text)
    figures = page.select("#hero")[0]["data-figures"]
    assert page.select("#lists")[0]["data-figures"] == figures
    assert soup(owner.get("/dashboard/hero").text).section["data-figures"] == figures  # type: ignore[index]
    write(upsert("more"))
    assert soup(owner.get("/dashboard/hero").text).section["data-figures"] != figures  # type: ignore[index]
