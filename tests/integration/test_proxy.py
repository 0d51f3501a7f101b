"""Behind a proxy: who is believed about the other side, and which names are answered to."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from flask import Flask

from tests.support.factories import PASSWORD
from tests.support.server_process import served

Make = Callable[..., Flask]


def guess(url: str, forwarded: str, password: str = "guess") -> int:
    headers = {"X-Forwarded-For": forwarded}
    body = {"password": password}
    return httpx.post(f"{url}/owner/login", json=body, headers=headers, timeout=60).status_code


@pytest.mark.one_on_postgres
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(
    ("proxies", "addresses", "last"),
    [
        (0, [f"10.0.0.{n}" for n in range(10)], 429),  # what a visitor writes is not believed
        (1, [f"10.0.0.{n}, 9.9.9.9" for n in range(10)], 429),  # nor what stands before the proxy's own
        (1, [f"10.0.0.{n}" for n in range(10)], 302),  # visitors of a proxy are told apart
    ],
)
def test_wrong_passwords_are_counted_by_the_address_that_is_known(
    make_app: Make, proxies: int, addresses: list[str], last: int
) -> None:
    # All guesses come at once for the tests' clock, however slow the machine.
    with served(make_app(TRUSTED_PROXIES=proxies)) as port:
        url = f"http://127.0.0.1:{port}"
        assert [guess(url, address) for address in addresses] == [401] * 10
        assert guess(url, addresses[0].replace("10.0.0.0", "10.0.0.99"), PASSWORD) == last


def test_names_that_are_set_are_the_only_ones_answered_to(make_app: Make) -> None:
    client = make_app(TRUSTED_HOSTS="data.example, .home.example").test_client()
    for host, status in (("data.example", 200), ("a.home.example", 200), ("evil.example", 400)):
        response = client.get("/owner/login", headers={"Host": host})
        assert response.status_code == status
    assert response.get_json()["error"]["code"] == "unknown_host"


def test_any_name_is_answered_to_where_none_is_set(make_app: Make) -> None:
    client = make_app(TRUSTED_HOSTS="").test_client()
    assert client.get("/owner/login", headers={"Host": "anything.example"}).status_code == 200


def test_no_answer_repeats_the_name_that_was_asked_for(make_app: Make) -> None:
    client = make_app().test_client()
    for path in ("/", "/dashboard", "/owner/login", "/nothing"):
        response = client.get(path, headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"})
        assert "evil.example" not in f"{response.headers}{response.text}"


@pytest.mark.parametrize("settings", [{}, {"SESSION_COOKIE_SECURE": True}])
def test_the_session_cookie_is_hidden_from_scripts_and_other_sites(
    make_app: Make, settings: dict[str, Any]
) -> None:
    response = make_app(**settings).test_client().post("/owner/login", json={"password": PASSWORD})
    paths = ("/", "/owner/login")  # of the session, and of the browser that is known from then on
    for cookie, path in zip(response.headers.getlist("Set-Cookie"), paths, strict=True):
        attributes = {part.strip() for part in cookie.split(";")[1:]}
        assert {"HttpOnly", "SameSite=Lax", f"Path={path}"} <= attributes
        assert ("Secure" in attributes) == bool(settings)
        assert "Domain" not in cookie
