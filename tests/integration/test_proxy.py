"""Behind a proxy: who is believed about the other side, and which names are answered to."""

import html
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from flask import Flask
from werkzeug.test import Client

from tests.support.factories import PASSWORD, TOKEN, upsert, write
from tests.support.server_process import served

Make = Callable[..., Flask]


def guess(url: str, forwarded: str, password: str = "guess") -> int:
    headers = {"X-Forwarded-For": forwarded}
    body = {"password": password}
    return httpx.post(f"{url}/owner/login", json=body, headers=headers, timeout=60).status_code


@pytest.mark.slow
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


# ---- a path prefix -----------------------------------------------------------------------------

PREFIX = "/data"
LINK = re.compile(r'(href|src|action|hx-get|data-icon)="(/[^"]*)"')


def behind(app: Flask, **headers: str) -> Client:
    """A browser that knows the server by an address with the prefix, which the proxy removes."""

    def proxy(environ: Any, start: Any) -> Any:
        for name in ("PATH_INFO", "REQUEST_URI", "RAW_URI"):
            if name in environ:
                assert environ[name].startswith(f"{PREFIX}/")
                environ[name] = environ[name].removeprefix(PREFIX)
        return app(environ | {"HTTP_X_FORWARDED_PREFIX": PREFIX} | headers, start)

    return Client(proxy)


@pytest.fixture
def prefixed(make_app: Make) -> Client:
    browser = behind(make_app(TRUSTED_PROXIES=1))
    response = browser.post(
        f"{PREFIX}/owner/login", json={"password": PASSWORD}, headers={"Accept": "text/html"}
    )
    assert (response.status_code, response.headers["Location"]) == (302, f"{PREFIX}/dashboard")
    paths = [re.search("Path=([^;]*)", each) for each in response.headers.getlist("Set-Cookie")]
    assert [found and found[1] for found in paths] == [PREFIX, f"{PREFIX}/owner/login"]
    return browser


def test_every_link_of_every_page_has_the_prefix(prefixed: Client) -> None:
    write(upsert("k", stream="a/b"))
    seen, kinds, left = set[str](), set[object](), {f"{PREFIX}/dashboard"}
    while left:
        seen.add(page := left.pop())
        kind_of_page = page.partition("?")[0], frozenset(parse_qs(urlsplit(page).query))
        if kind_of_page in kinds:  # the same page with other values
            continue
        kinds.add(kind_of_page)
        response = prefixed.get(page, headers={"Accept": "text/html"}, buffered=True)
        assert response.status_code in (200, 204), page
        if response.mimetype == "text/html":
            links = LINK.findall(response.text)
            assert not [link for _, link in links if not link.startswith(f"{PREFIX}/")], page
            to_follow = {html.unescape(link).partition("#")[0] for kind, link in links if kind != "action"}
            left |= to_follow - seen
    assert any("/dashboard/records?" in page for page in seen)
    assert any("/static/" in page for page in seen)


def test_a_visitor_is_sent_back_to_a_page_under_the_prefix(make_app: Make) -> None:
    app = make_app(TRUSTED_PROXIES=1)
    browser = behind(app)
    response = browser.get(f"{PREFIX}/dashboard/tokens", headers={"Accept": "text/html"})
    assert response.headers["Location"] == f"{PREFIX}/owner/login?return_to=/dashboard/tokens"
    form = browser.get(response.headers["Location"], headers={"Accept": "text/html"}).text
    sent = dict(re.findall(r'name="(csrf_token|return_to)" value="([^"]*)"', form))
    signed_in = browser.post(f"{PREFIX}/owner/login", data=sent | {"password": PASSWORD})
    assert signed_in.headers["Location"] == f"{PREFIX}/dashboard/tokens"
    poll = behind(app, HTTP_HX_REQUEST="true").get(f"{PREFIX}/dashboard/hero")
    assert poll.headers["HX-Redirect"].startswith(f"{PREFIX}/owner/login?")


def test_names_with_slashes_are_found_under_the_prefix(prefixed: Client) -> None:
    write(upsert("k", stream="a/b"))
    path = f"{PREFIX}/v1/streams/a%2Fb/records/k"
    response = prefixed.get(path, headers={"Authorization": f"Bearer {TOKEN}"})
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    ("proxies", "sent"), [(0, "/data"), (1, "//evil.example"), (1, "https://evil.example"), (1, '/"><b>')]
)
def test_no_other_prefix_is_believed(make_app: Make, proxies: int, sent: str) -> None:
    client = make_app(TRUSTED_PROXIES=proxies).test_client()
    response = client.get("/", headers={"X-Forwarded-Prefix": sent})
    assert response.headers["Location"] == "/dashboard"


# ---- where a form comes from -------------------------------------------------------------------


def sign_in(app: Flask, site: str, **headers: str) -> Any:
    """The response to the form of the page at `site`, and not to its password sent as JSON."""
    client = app.test_client()
    form = client.get("/owner/login", base_url=site, headers={"Accept": "text/html", **headers}).text
    (token,) = re.findall(r'name="csrf_token" value="([^"]*)"', form)
    sent = {"csrf_token": token, "password": PASSWORD}
    return client.post("/owner/login", base_url=site, data=sent, headers=headers)


@pytest.mark.parametrize(
    ("site", "headers"),
    [
        ("https://data.example", {}),  # without Referer or Origin
        ("https://data.example", {"Origin": "null", "Sec-Fetch-Site": "same-origin"}),
        ("http://localhost:8443", {"Origin": "http://localhost:8443"}),
        (
            "http://127.0.0.1",
            {
                "X-Forwarded-Host": "data.example",
                "X-Forwarded-Port": "8443",
                "X-Forwarded-Proto": "https",
                "Origin": "https://data.example:8443",
            },
        ),
        (
            "http://data.example",
            {"X-Forwarded-Port": "443", "X-Forwarded-Proto": "https", "Origin": "https://data.example"},
        ),
    ],
)
def test_forms_work_without_a_referer_and_at_any_port(
    make_app: Make, site: str, headers: dict[str, str]
) -> None:
    assert sign_in(make_app(TRUSTED_PROXIES=1), site, **headers).status_code == 302


@pytest.mark.parametrize(
    ("headers", "advice"),
    [
        ({"Origin": "null"}, "Use https"),
        ({"Origin": "https://data.example:8443"}, "PDPP_TRUSTED_PROXIES"),
        ({"Origin": "https://data.example:8443", "Sec-Fetch-Site": "same-origin"}, "PDPP_TRUSTED_PROXIES"),
    ],
)
def test_a_form_that_is_refused_says_what_to_set(
    make_app: Make, headers: dict[str, str], advice: str
) -> None:
    response = sign_in(make_app(), "http://data.example", **headers)
    assert response.status_code == 403
    assert advice in response.get_json()["error"]["message"]


def test_a_cookie_that_is_lost_on_http_is_named(make_app: Make) -> None:
    client = make_app(SESSION_COOKIE_SECURE=True).test_client(use_cookies=False)
    response = client.post("/owner/login", data={"csrf_token": "of the form", "password": PASSWORD})
    assert response.status_code == 403
    assert "PDPP_SESSION_COOKIE_SECURE" in response.get_json()["error"]["message"]
