"""Who gets in, how, and who does not."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from flask import Flask
from flask.testing import FlaskClient

from tests.support.factories import PASSWORD, TOKEN, Clock

BROWSER = {"Accept": "text/html,application/xhtml+xml"}


def form_token(client: FlaskClient, page: str = "/owner/login") -> str:
    field = BeautifulSoup(client.get(page).text, "html.parser").find("input", {"name": "csrf_token"})
    return str(field["value"])  # type: ignore[index]


def sign_in(client: FlaskClient, **fields: str) -> Any:
    return client.post("/owner/login", data={"csrf_token": form_token(client), **fields}, headers=BROWSER)


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    "path", ["/dashboard", "/dashboard/connections/a/b?x=1", "/dashboard/connections/a%3Fb%23c%20d"]
)
def test_a_browser_without_a_session_is_sent_to_sign_in_and_back(client: FlaskClient, path: str) -> None:
    response = client.get(path, headers=BROWSER)
    assert response.status_code == 302
    login = response.headers["Location"]
    assert login.startswith("/owner/login?return_to=")
    field = BeautifulSoup(client.get(login).text, "html.parser").find("input", {"name": "return_to"})
    assert field["value"] == path  # type: ignore[index]


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("path", ["/dashboard", "/dashboard/hero", "/_ref/dataset/summary"])
def test_anything_else_without_a_session_gets_401_in_json(client: FlaskClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.get_json()["error"]["code"] == "owner_session_required"


def test_an_htmx_poll_without_a_session_moves_the_whole_page(client: FlaskClient) -> None:
    response = client.get("/dashboard/hero", headers={"HX-Request": "true", **BROWSER})
    assert response.status_code == 401
    assert response.headers["HX-Redirect"] == "/owner/login?return_to=/dashboard"
    assert response.get_json()["error"]["code"] == "owner_session_required"


def test_json_sign_in_is_as_the_contract_says(client: FlaskClient) -> None:
    response = client.post("/owner/login", json={"password": PASSWORD})
    assert response.status_code == 302
    cookie = response.headers["Set-Cookie"]
    assert cookie.startswith("pdpp_owner_session=")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert client.get("/_ref/dataset/summary").status_code == 200


def test_form_sign_in_leads_back_and_out_again(client: FlaskClient) -> None:
    response = sign_in(client, password=PASSWORD, return_to="/dashboard?x=1")
    assert (response.status_code, response.headers["Location"]) == (302, "/dashboard?x=1")
    assert client.get("/owner/login").status_code == 302
    token = form_token(client, "/dashboard")
    assert client.post("/owner/logout", data={"csrf_token": token}).status_code == 302
    assert client.get("/dashboard").status_code == 401


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("password", ["", "wrong", PASSWORD + " ", "\ud800", "é" * 5000])
def test_a_wrong_password_is_401(client: FlaskClient, password: str) -> None:
    assert client.post("/owner/login", json={"password": password}).status_code == 401
    assert client.get("/dashboard").status_code == 401


def test_a_wrong_password_in_the_form_shows_the_form_again(client: FlaskClient) -> None:
    response = sign_in(client, password="wrong", return_to="/dashboard")
    assert response.status_code == 401
    assert "not the owner password" in response.text


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("{", "application/json"),
        ("[" * 200_000, "application/json"),
        ("[]", "application/json"),
        ('{"password":5}', "application/json"),
        ("", None),
    ],
)
def test_a_sign_in_that_makes_no_sense_is_400(client: FlaskClient, body: str, kind: str | None) -> None:
    response = client.post("/owner/login", data=body, content_type=kind)
    assert response.status_code == 400
    assert response.get_json()["error"]["code"] == "invalid_request"


@pytest.mark.parametrize("route", ["/owner/login", "/owner/logout"])
def test_a_form_without_its_token_is_403(client: FlaskClient, route: str) -> None:
    response = client.post(route, data={"password": PASSWORD})
    assert response.status_code == 403
    assert response.get_json()["error"]["code"] == "csrf_token_required"


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_sites_request_never_passes(owner: FlaskClient, headers: dict[str, str]) -> None:
    response = owner.post("/owner/logout", headers=headers)
    assert response.status_code == 403
    assert owner.get("/dashboard").status_code == 200


def test_a_client_that_is_no_browser_passes_without_those_headers(owner: FlaskClient) -> None:
    assert owner.post("/owner/logout").status_code == 302


def test_the_own_pages_requests_pass(owner: FlaskClient) -> None:
    headers = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    assert owner.post("/owner/logout", headers=headers).status_code == 302


def test_wrong_passwords_are_throttled_and_right_ones_are_not(client: FlaskClient) -> None:
    for _ in range(12):
        assert client.post("/owner/login", json={"password": PASSWORD}).status_code == 302
    answers = [client.post("/owner/login", json={"password": "guess"}).status_code for _ in range(12)]
    assert answers == [401] * 10 + [429] * 2
    refused = client.post("/owner/login", json={"password": PASSWORD})
    assert refused.status_code == 429, "nor is the right one tried then"
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.get_json()["error"]["type"] == "rate_limit_error"


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "\\\\evil",
        "/a\nb",
        "evil",
        "",
        "/ /evil",
    ],
)
def test_sign_in_leads_to_no_other_site(client: FlaskClient, target: str) -> None:
    response = sign_in(client, password=PASSWORD, return_to=target)
    assert response.headers["Location"] == "/dashboard"


class TestToken:
    @pytest.mark.parametrize("header", [f"Bearer {TOKEN}", f"bearer {TOKEN}"])
    def test_the_operators_token_opens_the_api(self, client: FlaskClient, header: str) -> None:
        assert client.get("/_ref/dataset/summary", headers={"Authorization": header}).status_code == 200

    @pytest.mark.one_on_postgres
    @pytest.mark.parametrize(
        "header", ["", "Bearer", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN}x", TOKEN]
    )
    def test_nothing_else_does(self, client: FlaskClient, header: str) -> None:
        assert client.get("/_ref/dataset/summary", headers={"Authorization": header}).status_code == 401

    def test_it_does_not_open_the_owners_pages(self, client: FlaskClient) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        assert client.get("/dashboard", headers=headers).status_code == 401


class TestSession:
    def test_it_ends_when_the_password_changes(self, make_app: Any) -> None:
        before = make_app().test_client()
        before.post("/owner/login", json={"password": PASSWORD})
        cookie = before.get_cookie("pdpp_owner_session")
        for password, status in ((PASSWORD, 200), ("another", 401)):
            after = make_app(OWNER_PASSWORD=password).test_client()
            after.set_cookie("pdpp_owner_session", cookie.value)
            assert after.get("/dashboard").status_code == status

    @pytest.mark.one_on_postgres
    @pytest.mark.parametrize("cookie", ["garbage", "", "eyJvd25lciI6dHJ1ZX0.x.y", "a" * 2000])
    def test_a_forged_cookie_is_nobody(self, client: FlaskClient, cookie: str) -> None:
        client.set_cookie("pdpp_owner_session", cookie)
        assert client.get("/dashboard").status_code == 401

    def test_signing_in_takes_nothing_of_the_session_before(self, client: FlaskClient) -> None:
        """Else somebody who planted that one would know the token of the owner's forms."""
        planted = form_token(client)
        sign_in(client, password=PASSWORD)
        refused = client.post("/owner/logout", data={"csrf_token": planted})
        assert refused.get_json()["error"]["code"] == "csrf_token_required"
        assert client.get("/dashboard").status_code == 200


def test_secrets_that_are_not_set_are_generated_stored_and_shown_once(
    make_app: Any, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    nothing = {"OWNER_PASSWORD": "", "OPERATOR_TOKEN": "", "SECRET_KEY": ""}
    first: Flask = make_app(**nothing)
    shown = dict(re.findall(r"New (owner password|operator token), shown only once: (\S+)", caplog.text))
    client = first.test_client()
    assert client.post("/owner/login", json={"password": shown["owner password"]}).status_code == 302
    bearer = {"Authorization": f"Bearer {shown['operator token']}"}
    assert first.test_client().get("/_ref/dataset/summary", headers=bearer).status_code == 200

    stored = list((tmp_path / "instance").iterdir())
    assert len(stored) == 3
    for file in stored:
        assert file.stat().st_mode & 0o777 == 0o600
        assert not set(shown.values()) & {file.read_text()}

    caplog.clear()
    again: Flask = make_app(**nothing)
    assert caplog.messages == []
    returning = again.test_client()
    returning.set_cookie("pdpp_owner_session", client.get_cookie("pdpp_owner_session").value)  # type: ignore[union-attr]
    assert returning.get("/dashboard").status_code == 200


def test_a_known_browser_is_not_locked_out_by_others(app: Flask, client: FlaskClient, clock: Clock) -> None:
    """Both come from the same network."""
    assert client.post("/owner/login", json={"password": PASSWORD}).status_code == 302
    client.post("/owner/logout")
    others = app.test_client()
    guesses = [others.post("/owner/login", json={"password": "guess"}).status_code for _ in range(12)]
    assert guesses == [401] * 10 + [429] * 2
    assert others.post("/owner/login", json={"password": PASSWORD}).status_code == 429
    assert client.post("/owner/login", json={"password": PASSWORD}).status_code == 302
    others.set_cookie("pdpp_known_browser", "forged.cookie", path="/owner/login")
    assert others.post("/owner/login", json={"password": PASSWORD}).status_code == 429
    clock.advance(60)
    assert others.post("/owner/login", json={"password": PASSWORD}).status_code == 302


def test_the_time_to_wait_is_exact(client: FlaskClient, clock: Clock) -> None:
    for _ in range(10):
        client.post("/owner/login", json={"password": "guess"})
    clock.advance(20.5)
    refused = client.post("/owner/login", json={"password": "guess"})
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "40")


@pytest.mark.one_on_postgres
def test_servers_that_share_a_key_and_a_password_share_sessions(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    """Each has an instance folder of its own."""

    def server(name: str, **settings: str) -> FlaskClient:
        (tmp_path / name).mkdir(mode=0o700)
        return make_app(INSTANCE_PATH=str(tmp_path / name), **settings).test_client()

    one = server("one", SECRET_KEY="shared")
    one.post("/owner/login", json={"password": PASSWORD})
    cookie = one.get_cookie("pdpp_owner_session")
    assert cookie
    for name, settings, status in (
        ("two", {"SECRET_KEY": "shared"}, 200),
        ("three", {}, 401),
        ("four", {"SECRET_KEY": "shared", "OWNER_PASSWORD": "another one"}, 401),
    ):
        other = server(name, **settings)
        other.set_cookie("pdpp_owner_session", cookie.value)
        assert other.get("/_ref/dataset/summary").status_code == status
