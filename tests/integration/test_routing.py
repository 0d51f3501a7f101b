"""Addresses of streams and records, through the server with raw requests and through the test client."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient

from pdpp_ref import tokens
from tests.support.factories import TOKEN, DatabaseProbe, upsert, write
from tests.support.server_process import served

pytestmark = pytest.mark.slow  # each starts a server
Answer = tuple[int, dict[str, object] | None]
Ask = Callable[[str], Answer]

NAMES = (
    "https://example.org/records/42",
    "a/records",
    "records/",
    "records",
    "/records/",
    "/",
    ".",
    "..",
    "a/../b",
    "%2F",
    "%252F",
    "a%2Frecords%2Fb",
    "?",
    "#",
    ";",
    "a;b=c",
    "+",
    "a b",
    "&key=b",
    "é😀",
    "\n",
    "[",
    '"',
)


@pytest.fixture
def real_server(app: Flask) -> Iterator[Ask]:
    """Sends the target of a DELETE as it is."""
    secret = tokens.create("deleter", ("write", "erase"), None, None)
    with served(app) as port:

        def ask(target: str) -> Answer:
            head = f"DELETE {target} HTTP/1.0\r\nHost: x\r\nAuthorization: Bearer {secret}\r\n\r\n"
            with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
                client.sendall(head.encode())
                answer = b"".join(iter(lambda: client.recv(65536), b""))
            status, _, body = answer.partition(b"\r\n\r\n")
            return int(status.split()[1]), json.loads(body or b"null")

        yield ask


@pytest.fixture
def connector(app: Flask) -> FlaskClient:
    found = app.test_client()
    found.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKEN}"
    return found


@pytest.fixture
def ask(request: pytest.FixtureRequest) -> Ask:
    """By either way."""
    if request.param == "real_server":
        found: Ask = request.getfixturevalue("real_server")
        return found
    client: FlaskClient = request.getfixturevalue("connector")

    def by_client(target: str) -> Answer:
        response = client.delete(target)
        return response.status_code, response.get_json(silent=True)

    return by_client


both = pytest.mark.parametrize("ask", ["real_server", "client"], indirect=True)
OF = "connector_instance_id=laptop"


def encoded(name: str) -> str:
    return quote(name, safe="")


def code(answer: Answer) -> tuple[int, object]:
    """The code of an error; of a success what its body says, if it has one."""
    status, body = answer
    if body is None:
        return status, "gone"
    error = body.get("error")
    return status, error["code"] if isinstance(error, dict) else body["object"]


def left(probe: DatabaseProbe) -> list[tuple[str, str]]:
    live = "streams s ON s.id = r.stream_id AND s.connection_id IS NOT NULL"
    return sorted(probe(f"SELECT s.name, r.key FROM records r JOIN {live}"))  # type: ignore[arg-type]


@both
def test_every_name_can_be_deleted_by_path_and_by_query_and_no_other_goes(
    ask: Ask, probe: DatabaseProbe
) -> None:
    """Item 9: `https://example.org/records/42` could not be deleted, or another record was."""
    write(*(upsert(name, stream="s") for name in NAMES), *(upsert("k", stream=name) for name in NAMES))
    expected = {("s", name) for name in NAMES} | {(name, "k") for name in NAMES}
    for number, name in enumerate(NAMES):
        if number % 2:
            key = f"/v1/streams/s/records/{encoded(name)}?{OF}"
            stream = f"/v1/streams/{encoded(name)}/records?{OF}"
        else:
            key = f"/v1/records?stream=s&key={encoded(name)}&{OF}"
            stream = f"/v1/records?stream={encoded(name)}&{OF}"
        for target, gone in ((key, ("s", name)), (stream, (name, "k"))):
            answer = ask(target)
            assert answer == (204, None), (target, answer)
            expected.remove(gone)
            assert set(left(probe)) == expected, target


@pytest.mark.one_on_postgres
@both
@pytest.mark.parametrize("name", NAMES)
def test_every_name_can_be_in_both_places(ask: Ask, probe: DatabaseProbe, name: str) -> None:
    write(upsert(name, stream=name), upsert("other", stream=name))
    target = f"/v1/streams/{encoded(name)}/records/{encoded(name)}?{OF}"
    assert ask(target) == (204, None)
    assert left(probe) == [(name, "other")]


@both
@pytest.mark.only("sqlite")
@pytest.mark.parametrize(
    ("target", "expected", "gone"),
    [
        # A slash that is not encoded belongs to the key if nothing else can be meant.
        ("/v1/streams/s/records/a/b", (204, "gone"), [("s", "a/b")]),
        ("/v1/streams/s/t/records/a", (204, "gone"), [("s/t", "a")]),
        ("/v1/streams/s/records/a/records/b", (409, "ambiguous_address"), []),
        ("/v1/streams/s%2Frecords%2Fa/records/b", (204, "gone"), []),
        ("/v1/streams/s%2Frecords%2Fa", (404, "not_found"), []),
        ("/v1/streams/s/records%2Fa", (404, "not_found"), []),
        ("/v1/streams/s/records/", (400, "invalid_request"), []),
        ("/v1/streams//records/a", (400, "invalid_request"), []),
        ("/v1/streams//records", (400, "invalid_request"), []),
        ("/v1/streams/s/records/a/", (204, "gone"), []),
        ("/v1/streams/s/records//", (204, "gone"), []),
        ("/v1/streams/" + "x/" * 5000 + "records", (400, "invalid_request"), []),
        ("/v1/streams/s/records/a%FF", (400, "invalid_request"), []),
        ("/v1/streams/s/records/%ED%A0%80", (400, "invalid_request"), []),
        ("/v1/records?stream=s&key=", (400, "invalid_request"), []),
        ("/v1/records?stream=&key=a", (400, "invalid_request"), []),
        ("/v1/records?key=a", (400, "invalid_request"), []),
        ("/v1/records?stream=s&key=a&key=b", (400, "invalid_request"), []),
        ("/v1/records?stream=s&stream=t&key=a", (400, "invalid_request"), []),
        ("/v1/records?stream=s&key=%FF", (400, "invalid_request"), []),
        ("/v1/records?stream=s&key=none", (204, "gone"), []),
    ],
)
def test_what_is_not_clear_deletes_nothing(
    ask: Ask, probe: DatabaseProbe, target: str, expected: tuple[int, str], gone: list[tuple[str, str]]
) -> None:
    rows = [("s", "a"), ("s", "b"), ("s", "a/b"), ("s/t", "a"), ("s/records/a", "c"), ("s", "a\ufffd")]
    write(*(upsert(key, stream=stream) for stream, key in rows))
    assert code(ask(f"{target}{'&' if '?' in target else '?'}{OF}")) == expected
    assert left(probe) == sorted(set(rows) - set(gone))


@pytest.mark.only("sqlite")
def test_a_fragment_is_no_part_of_an_address(real_server: Ask, probe: DatabaseProbe) -> None:
    """`DELETE …/a#b` would be read as `…/a`."""
    write(upsert("a"), upsert("a#b"))
    assert code(real_server(f"/v1/streams/notes/records/a#b?{OF}")) == (400, "invalid_request")
    assert left(probe) == [("notes", "a"), ("notes", "a#b")]


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("prefix", ["http://host:80", "//", "HTTP://[::1]"])
def test_a_target_with_scheme_and_host_is_split_too(
    real_server: Ask, probe: DatabaseProbe, prefix: str
) -> None:
    write(upsert("a/records/b"), upsert("b", stream="notes/records/a"))
    target = f"{prefix.removesuffix('/')}/v1/streams/notes/records/a%2Frecords%2Fb?{OF}"
    assert code(real_server(target)) == (204, "gone")
    assert left(probe) == [("notes/records/a", "b")]


@pytest.mark.only("sqlite")
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/streams/notes/records/a", (204, "gone")),
        ("/v1/streams/notes/records/a/b", (204, "gone")),
        ("/v1/streams/notes/records/a/records/b", (409, "ambiguous_address")),
        ("/v1/streams/notes/records/records", (409, "ambiguous_address")),
        ("/v1/streams/notes/records/", (400, "invalid_request")),
    ],
)
@pytest.mark.parametrize("other", [None, "/elsewhere", "/v1/streams/notes/records/x"])
def test_a_decoded_path_alone_must_have_one_meaning(
    app: Flask, probe: DatabaseProbe, path: str, expected: tuple[int, str], other: str | None
) -> None:
    """As of a server that passes no raw path, or that of before it was rewritten."""
    write(*(upsert(key) for key in ("a", "a/b", "x", "records", "a/records/b")))

    def without(environ: dict[str, object], start: object) -> object:
        for name in ("REQUEST_URI", "RAW_URI"):
            environ.pop(name, None)
            if other:
                environ[name] = other
        return wrapped(environ, start)  # type: ignore[arg-type]

    wrapped, app.wsgi_app = app.wsgi_app, without  # type: ignore[method-assign,assignment]
    headers = {"Authorization": f"Bearer {TOKEN}"}
    response = app.test_client().delete(f"{path}?{OF}", headers=headers)
    assert code((response.status_code, response.get_json(silent=True))) == expected
    gone = [path.partition("/records/")[2]] if expected[0] == 204 else []
    assert [key for _, key in left(probe)] == sorted(
        {"a", "a/b", "x", "records", "a/records/b"} - set(gone)
    )


@pytest.mark.only("sqlite")
@pytest.mark.parametrize(
    "place", ["/{}", "/v1/connections/{}", "/dashboard/connections/{}", "/healthz?x={}"]
)
@pytest.mark.parametrize("bytes_", ["%FF", "%ED%A0%80", "a%C3", "%C0%AF"])
def test_what_is_not_utf_8_is_400_on_any_route(owner: FlaskClient, place: str, bytes_: str) -> None:
    response = owner.get(place.format(bytes_), headers={"Accept": "application/json"})
    assert (response.status_code, response.get_json()["error"]["code"]) == (400, "invalid_request")


@pytest.mark.only("sqlite")
def test_a_long_address_takes_no_longer_to_read_for_each_of_its_characters(owner: FlaskClient) -> None:
    """A search for a scheme at every place took seconds for 60,000 characters."""
    started = time.perf_counter()
    assert owner.get(f"/v1/streams/notes?{'x' * 200_000}").status_code == 400
    assert time.perf_counter() - started < 2


@pytest.mark.only("sqlite")
def test_a_repeated_parameter_of_a_write_is_refused(connector: FlaskClient, probe: DatabaseProbe) -> None:
    write(upsert("a"), connection="laptop")
    write(upsert("a"), connection="phone")
    response = connector.delete(f"/v1/streams/notes/records/a?{OF}&connector_instance_id=phone")
    assert response.status_code == 400
    assert len(left(probe)) == 2


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("name", NAMES)
def test_a_connection_of_any_name_can_be_written_and_deleted(
    real_server: Ask, probe: DatabaseProbe, name: str
) -> None:
    write(upsert("a"), connection=name)
    write(upsert("a"))
    assert code(real_server(f"/v1/connections/{encoded(name)}")) == (200, "connection_deleted")
    assert probe("SELECT connector_instance_id FROM connections") == [("laptop",)]
