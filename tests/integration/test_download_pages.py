"""Downloads from the owner's page: who may, what is in them, and how they are sent."""

import hashlib
import io
import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from pdpp_ref.canonical import blobs
from pdpp_ref.database import fetch_all
from pdpp_ref.operations import export
from pdpp_ref.operations.export import Selection
from pdpp_ref.services import prepared_files
from pdpp_ref.services.prepared_files import PreparedFiles
from tests.conftest import Backend
from tests.support import exports
from tests.support.factories import PASSWORD, Clock, csrf_token, delete, upsert, write
from tests.support.probe import DatabaseProbe

BROWSER = {"Accept": "text/html"}
FILES = [b"a file", b"another file" * 100_000]


@pytest.fixture
def files(app: Flask) -> PreparedFiles:
    found: PreparedFiles = app.extensions["prepared_files"]
    return found


@pytest.fixture(autouse=True)
def _records(app: Flask) -> None:
    write(upsert("a", {"n": 1}), upsert("b", {"n": 2.50}), upsert("c", {"n": 3}))
    write(upsert("a", {"n": "new"}), delete("c"))
    write(upsert("a"), connection="phone")
    for key, data in zip("ab", FILES, strict=True):
        blobs.store("laptop", "notes", key, iter((data,)))


def post(owner: FlaskClient, **form: str) -> Any:
    return owner.post(
        "/dashboard/downloads", data={"csrf_token": csrf_token(owner), **form}, headers=BROWSER
    )


def download(owner: FlaskClient, files: PreparedFiles, /, **form: str) -> str:
    """The address of a download that is ready."""
    response = post(owner, **form)
    assert response.status_code == 303, response.text
    files.wait()
    page = owner.get(response.headers["Location"]).text
    found = re.search(r'href="(/dashboard/downloads/[^/"]+)" download', page)
    assert found, page
    return found[1]


def written(selection: Selection) -> bytes:
    out: list[bytes] = []
    export.write(selection, out.append)
    return b"".join(out)


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"connection": "laptop"},
        {"connection": "laptop", "stream": "notes"},
        {"connection": "laptop", "history": "yes"},
    ],
    ids=str,
)
def test_lines_are_those_of_an_export(
    owner: FlaskClient, files: PreparedFiles, form: dict[str, str]
) -> None:
    response = owner.get(download(owner, files, **form))
    selection = Selection(form.get("connection"), form.get("stream"), history="history" in form)
    assert response.data == written(selection)
    assert response.headers["Content-Length"] == str(len(response.data))
    assert response.headers["Content-Type"] == "application/x-ndjson"
    assert response.headers["Cache-Control"] == "no-store"


def records(lines: bytes) -> list[tuple[str, Any]]:
    found = [json.loads(line) for line in lines.splitlines()]
    return [(line["key"], line.get("data")) for line in found if line["type"] == "RECORD"]


def test_one_record_is_downloaded_with_its_versions_or_without(
    owner: FlaskClient, files: PreparedFiles
) -> None:
    place = {"connection": "laptop", "stream": "notes"}
    of = {
        (key, history): records(owner.get(download(owner, files, **place, key=key, history=history)).data)
        for key in "ac"
        for history in ("", "yes")
    }
    assert of == {
        ("a", ""): [("a", {"n": "new"})],
        ("a", "yes"): [("a", {"n": 1}), ("a", {"n": "new"})],
        ("c", ""): [],
        ("c", "yes"): [("c", {"n": 3}), ("c", None)],
    }


@pytest.mark.parametrize("key", ["", "a"])
def test_a_zip_has_the_lines_and_the_files_by_digest(
    owner: FlaskClient, files: PreparedFiles, key: str
) -> None:
    place = {"connection": "laptop", "stream": "notes", "key": key}
    response = owner.get(download(owner, files, **place, files="yes"))
    assert response.headers["Content-Type"] == "application/zip"
    held = FILES[:1] if key else FILES
    with zipfile.ZipFile(io.BytesIO(response.data)) as found:
        for data in held:
            assert found.read(f"files/{hashlib.sha256(data).hexdigest()}") == data
        assert len(found.namelist()) == 1 + len(held)
        lines = found.read("records.jsonl")
    digests = {hashlib.sha256(data).hexdigest().encode() for data in held}
    assert {digest for digest in digests if digest in lines} == digests


@pytest.mark.parametrize("key", ["", "a"])
def test_a_download_is_imported_as_it_was(
    owner: FlaskClient,
    files: PreparedFiles,
    backend: Backend,
    prepared_file: Path,
    request: pytest.FixtureRequest,
    key: str,
) -> None:
    place = {"connection": "laptop", "stream": "notes", "key": key}
    path = download(owner, files, **place, history="yes", files="yes")
    with zipfile.ZipFile(io.BytesIO(owner.get(path).data)) as found:
        lines = found.read("records.jsonl")
        held = {name.removeprefix("files/"): found.read(name) for name in found.namelist()}
    before = [version for version in versions() if version[1] == key or not key]
    reset = request.getfixturevalue("reused").reset if backend.kind == "postgres" else lambda: None
    exports.emptied(backend, prepared_file, reset)
    assert exports.read(lines, held).rejected == []
    assert versions() == before
    assert bound() == [(hashlib.sha256(data).hexdigest(),) for data in (FILES[:1] if key else FILES)]


def versions() -> list[tuple[Any, ...]]:
    return fetch_all(
        """
        SELECT c.version, c.key, c.data
        FROM record_changes c
        JOIN streams s ON s.id = c.stream_id
        JOIN connections o ON o.id = s.connection_id
        WHERE o.connector_instance_id = 'laptop'
        ORDER BY c.version
        """
    )


def bound() -> list[tuple[Any, ...]]:
    return fetch_all("SELECT sha256 FROM blob_bindings ORDER BY key")


def test_a_damaged_file_is_named_and_the_rest_is_there(
    owner: FlaskClient, files: PreparedFiles, probe: DatabaseProbe
) -> None:
    digest = hashlib.sha256(FILES[0]).hexdigest()
    probe("UPDATE blob_chunks SET data = ? WHERE sha256 = ?", b"other", digest)
    page = post(owner, files="yes").headers["Location"]
    files.wait()
    text = owner.get(page).text
    assert "everything but this" in text
    assert digest in text


# ---- who may -------------------------------------------------------------------------------------


def test_a_download_needs_its_form_this_site_and_a_session(owner: FlaskClient, client: FlaskClient) -> None:
    token = csrf_token(owner)
    assert owner.post("/dashboard/downloads", data={"connection": "laptop"}).status_code == 403
    evil = {"Origin": "https://evil.example"}
    sent = {"csrf_token": token}
    assert owner.post("/dashboard/downloads", data=sent, headers=evil).status_code == 403
    away = client.post("/dashboard/downloads", data=sent, headers=BROWSER)
    assert (away.status_code, away.headers["Location"][:12]) == (302, "/owner/login")


def test_no_other_session_gets_a_download(app: Flask, owner: FlaskClient, files: PreparedFiles) -> None:
    path = download(owner, files)
    other, nobody = app.test_client(), app.test_client()
    other.post("/owner/login", json={"password": PASSWORD})
    for end in ("", "/page"):
        assert owner.get(path + end).status_code == 200
        assert other.get(path + end).status_code == 404
        assert nobody.get(path + end).status_code == 401
    assert 'data-state="gone"' in other.get(f"{path}/state").text
    owner.post("/owner/logout", data={"csrf_token": csrf_token(owner)})
    owner.post("/owner/login", json={"password": PASSWORD})
    assert owner.get(path).status_code == 404


def test_a_download_ends_with_its_time(owner: FlaskClient, files: PreparedFiles, clock: Clock) -> None:
    path = download(owner, files)
    clock.advance(prepared_files.LIFETIME_SECONDS)
    assert owner.get(path).status_code == 404
    assert "no longer there" in owner.get(f"{path}/page", headers=BROWSER).text
    fragment = owner.get(f"{path}/state?seen=ready").text
    assert 'data-state="gone"' in fragment
    assert "hx-trigger" not in fragment


# ---- what is asked for ---------------------------------------------------------------------------


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"connection": "unknown"}, 404),
        ({"connection": "laptop", "stream": "unknown"}, 404),
        ({"connection": "laptop", "stream": "notes", "key": "unknown"}, 404),
        ({"stream": "notes"}, 400),
        ({"connection": "laptop", "key": "a"}, 400),
        ({"connection": "a\0b"}, 400),
    ],
)
def test_what_is_not_there_is_an_error_page(owner: FlaskClient, form: dict[str, str], status: int) -> None:
    response = post(owner, **form)
    assert response.status_code == status
    assert "can’t be shown" in response.text


def test_a_full_disk_is_an_error_page_before_anything_is_prepared(
    owner: FlaskClient, files: PreparedFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = prepared_files.RESERVED_BYTES + 1_000
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(room, 0, room))
    response = post(owner, files="yes")
    assert response.status_code == 507
    assert "does not have the room" in response.text
    assert not files._files.read()


def test_what_fails_while_it_is_prepared_is_said_on_its_page(
    owner: FlaskClient, files: PreparedFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "no space left on /a/path")

    monkeypatch.setattr(export, "write", full)
    page = post(owner).headers["Location"]
    files.wait()
    text = owner.get(page).text
    assert "does not have the room" in text
    assert "/a/path" not in text
    assert owner.get(page.removesuffix("/page")).headers["Location"] == page


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("name", ["..", "a\nb", 'a"b', "😀", "Notes", "x" * 900])
def test_a_hostile_name_makes_a_plain_file_name(
    owner: FlaskClient, files: PreparedFiles, name: str
) -> None:
    write(upsert("k", {}, stream=name), connection=name)
    response = owner.get(download(owner, files, connection=name, stream=name))
    disposition = response.headers["Content-Disposition"]
    assert re.fullmatch(r'attachment; filename="pdpp-[a-z0-9_-]+T[0-9-]+Z\.jsonl"', disposition)
    assert records(response.data) == [("k", {})]


# ---- how it is sent ------------------------------------------------------------------------------


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=10-19", slice(10, 20)),
        ("bytes=100-", slice(100, None)),
        ("bytes=-7", slice(-7, None)),
        ("bytes=5-999999999", slice(5, None)),
    ],
)
def test_a_range_is_sent_alone(owner: FlaskClient, files: PreparedFiles, header: str, part: slice) -> None:
    path = download(owner, files)
    whole = owner.get(path)
    response = owner.get(path, headers={"Range": header, "If-Range": whole.headers["ETag"]})
    assert (response.status_code, response.data) == (206, whole.data[part])
    start, _, size = range(len(whole.data))[part].start, None, len(whole.data)
    assert response.headers["Content-Range"] == f"bytes {start}-{start + len(response.data) - 1}/{size}"
    assert response.headers["Content-Length"] == str(len(response.data))


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    "headers",
    [
        {"Range": "bytes=0-0,2-3"},
        {"Range": "lines=1-2"},
        {"Range": "bytes=1-2", "If-Range": '"another"'},
        {"Range": "bytes=" + ",".join(["0-0"] * 3_000)},
    ],
    ids=range(4),
)
def test_whatever_is_not_one_range_of_this_file_gets_all_of_it(
    owner: FlaskClient, files: PreparedFiles, headers: dict[str, str]
) -> None:
    path = download(owner, files)
    response = owner.get(path, headers=headers)
    assert (response.status_code, response.data) == (200, written(Selection()))
    assert response.headers["Accept-Ranges"] == "bytes"


def test_a_range_after_the_end_is_refused(owner: FlaskClient, files: PreparedFiles) -> None:
    response = owner.get(download(owner, files), headers={"Range": "bytes=999999-"})
    assert response.status_code == 416
    assert response.headers["Content-Range"] == f"bytes */{len(written(Selection()))}"


def test_a_head_request_has_the_length_and_leaves_nothing_open(
    owner: FlaskClient, files: PreparedFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = download(owner, files)
    opened = []
    monkeypatch.setattr(
        prepared_files,
        "Reader",
        lambda *given, real=prepared_files.Reader: opened.append(real(*given)) or opened[-1],
    )
    response = owner.head(path)
    assert (response.status_code, response.data) == (200, b"")
    assert response.headers["Content-Length"] == str(len(written(Selection())))
    response.close()
    with owner.get(path) as response:
        assert response.data
    assert [reader.closed for reader in opened] == [True, True]


# ---- its page ------------------------------------------------------------------------------------


def test_the_page_polls_while_it_is_prepared_and_no_longer(
    owner: FlaskClient, files: PreparedFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared_files, "WORKERS", 0)
    page = post(owner).headers["Location"]
    text = owner.get(page).text
    assert 'data-state="waiting"' in text
    state = f"{page.removesuffix('/page')}/state"
    assert f'hx-get="{state}?seen=waiting"' in text
    assert "announcement" not in owner.get(f"{state}?seen=waiting").text
    assert f'<a href="{page}">Reload</a>' in text
    assert owner.get(page.removesuffix("/page")).headers["Location"] == page
    monkeypatch.setattr(prepared_files, "WORKERS", 2)
    post(owner, connection="phone")  # its worker takes the other one first
    files.wait()
    fragment = owner.get(f"{state}?seen=waiting").text
    assert 'data-state="ready"' in fragment
    assert "hx-get" not in fragment
    assert 'id="announcement" hx-swap-oob="innerHTML">Your download is ready.<' in fragment


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    "path",
    [
        "/dashboard",
        "/dashboard/connections/laptop",
        "/dashboard/streams?connection=laptop&stream=notes",
        "/dashboard/records?connection=laptop&stream=notes&key=a",
    ],
)
def test_every_page_of_data_has_a_download_of_it(owner: FlaskClient, path: str) -> None:
    form = re.search(
        r'<form method="post" action="/dashboard/downloads">(.*?)</form>', owner.get(path).text, re.S
    )
    assert form
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form[1]))
    fields.pop("csrf_token")
    wanted = {"connection": "laptop", "stream": "notes", "key": "a"}
    depth = ["/dashboard", "connections", "streams", "records"]
    place = next(number for number, word in reversed(list(enumerate(depth))) if word in path)
    assert fields == dict(list(wanted.items())[:place])
