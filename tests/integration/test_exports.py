"""The owner's lists as files: all rows, their total, one moment, and no more memory than a part takes.

12,000 connections are more than a page shows, and more than a file once had.
"""

import csv
import io
import json
import re
import socket
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import peewee
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from pdpp_ref.blueprints.owner import exports, requests
from pdpp_ref.canonical import blobs
from pdpp_ref.database import db
from pdpp_ref.database.sqlite import Sqlite
from pdpp_ref.models.measures import TOTAL
from pdpp_ref.queries import contents, list_order, listings
from tests.conftest import Backend
from tests.support import server_process
from tests.support.factories import (
    DatabaseProbe,
    delete,
    fill,
    ids,
    make_connections,
    statements,
    upsert,
    write,
)

MANY = 12_000
# Transactions that other clients have open.
OF_OTHERS = (
    "FROM pg_stat_activity WHERE xact_start IS NOT NULL AND backend_type = 'client backend' "
    "AND datname = current_database() AND pid <> pg_backend_pid()"
)


def stored(probe: DatabaseProbe) -> list[tuple[str, int]]:
    """Each connection's name and total, the largest first."""
    return probe(
        "SELECT c.connector_instance_id, current_record_json_bytes + record_history_json_bytes + blob_bytes "
        "FROM connections c JOIN retained_size_connection r ON r.connection_id = c.id ORDER BY 2 DESC, 1"
    )


def table(text: str | bytes) -> list[dict[str, str]]:
    text = text.decode() if isinstance(text, bytes) else text
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def begun(owner: FlaskClient, path: str = "/dashboard?format=csv") -> tuple[TestResponse, Iterator[bytes]]:
    """A response that is read only as far as asked for."""
    response = FlaskClient.open(owner, path)
    assert response.status_code == 200
    return response, response.iter_encoded()


def in_a_snapshot() -> bool:
    return bool(db.in_transaction())


# ---- all of it ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("query", ["", "&limit=5"])
def test_a_downloaded_list_has_every_row_that_is_stored(
    owner: FlaskClient, probe: DatabaseProbe, query: str
) -> None:
    make_connections(probe, MANY)
    expected = stored(probe)
    total = sum(size for _, size in expected)
    response = owner.get(f"/dashboard?format=csv{query}")
    *lines, last = table(response.data)
    assert response.headers["PDPP-Rows"] == "12000"
    assert [(line["connection"], int(line[TOTAL])) for line in lines] == expected
    assert (last["kept"], last["connection"], last["record_count"]) == ("total", "", "12000")
    assert int(last[TOTAL]) == total
    body = owner.get(f"/dashboard?format=json{query}").get_json()
    assert [(row["connection"], row[TOTAL]) for row in body["rows"]] == expected
    assert (body["row_count"], body["total"][TOTAL]) == (MANY, total)


def test_a_searched_list_has_what_was_found_and_its_own_total(
    owner: FlaskClient, probe: DatabaseProbe
) -> None:
    make_connections(probe, 1_500)
    response = owner.get("/dashboard?format=csv&q=C14&sort=name&order=desc")
    *lines, last = table(response.data)
    expected = sorted((name for name, _ in stored(probe) if "c14" in name), reverse=True)
    assert [line["connection"] for line in lines] == expected
    assert len(expected) == int(response.headers["PDPP-Rows"]) == 111
    assert int(last[TOTAL]) == sum(int(line[TOTAL]) for line in lines)


@pytest.mark.slow
def test_all_streams_of_a_connection_are_in_its_file(owner: FlaskClient) -> None:
    write(*(upsert("a", {"t": "x" * (number % 7)}, f"s{number}") for number in range(620)))
    *lines, last = table(owner.get("/dashboard/connections/laptop?format=csv").data)
    assert len({line["stream"] for line in lines}) == 620
    assert int(last[TOTAL]) == sum(int(line[TOTAL]) for line in lines)
    assert owner.get("/dashboard/connections/no?format=csv").status_code == 404


@pytest.mark.parametrize("batch", [1, 3, 500])
def test_all_records_and_files_of_a_stream_are_in_its_file(
    owner: FlaskClient, probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(listings, "BATCH_ROWS", batch)
    write(*(upsert(f"{number:02}", {"t": "x" * number}) for number in range(20)))
    write(upsert("03", "again"), delete("05"), delete("19"), upsert("other", stream="other"))
    for key in ("03", "07"):
        for content in (b"1", b"22"):
            blobs.store("laptop", "notes", key, iter([key.encode() + content]))
    stream_id = ids("laptop", "notes")["id"]
    held = {f"{number:02}": 0 for number in range(20)}
    for source in ("records", "record_changes"):
        for key, data in probe(f"SELECT key, data FROM {source} WHERE stream_id = ?", stream_id):
            held[key] += len((data or "").encode())
    files = probe("SELECT key, sha256, byte_length FROM blob_bindings WHERE stream_id = ?", stream_id)
    for key, _, size in files:
        held[key] += size
    path = "/dashboard/streams?connection=laptop&stream=notes&format="
    response = owner.get(f"{path}csv")
    *lines, last = table(response.data)
    assert [(line["record_key"], int(line[TOTAL])) for line in lines] == sorted(held.items())
    assert [line["record_count"] for line in lines].count("0") == 2, "deleted ones are in it"
    assert (int(last[TOTAL]), response.headers["PDPP-Rows"]) == (sum(held.values()), "20")
    body = owner.get(f"{path}json&of=file").get_json()
    assert [(row["record_key"], row["sha256"], row["blob_bytes"]) for row in body["rows"]] == sorted(files)
    assert (body["row_count"], body["total"]["blob_count"]) == (4, 4)


@pytest.mark.parametrize("order", [1, -1])
def test_a_batch_of_records_reads_a_bounded_number(
    app: Any, monkeypatch: pytest.MonkeyPatch, order: int
) -> None:
    """However many were changed or deleted, before or behind the others."""
    keys = [f"{number:03}" for number in range(200)][::order]
    write(*(upsert(key) for key in keys))
    write(*(upsert(key, "again") for key in keys[:60]), *(delete(key) for key in keys[100:160]))
    read = []
    real = contents.fetch_all

    def fetch(*arguments: Any) -> list[dict[str, Any]]:
        found = real(*arguments)
        read.append(len(found))
        return found

    monkeypatch.setattr(contents, "fetch_all", fetch)
    batches = list(contents.record_batches(ids("laptop", "notes")["id"], 10))
    assert [row.key for batch in batches for row in batch] == sorted(keys)
    assert max(map(len, batches)) <= 20
    assert max(read) <= 10
    assert len(read) < 1 + 2 * 40


def test_a_record_whose_figures_are_lost_is_not_called_known(
    owner: FlaskClient, probe: DatabaseProbe
) -> None:
    write(upsert("a"), upsert("b"))
    write(upsert("a", "again"))
    probe("DELETE FROM retained_size_record")
    a, b, total = table(owner.get("/dashboard/streams?connection=laptop&stream=notes&format=csv").data)
    assert (a["record_count"], a["may_lag"], a["as_of"]) == ("", "true", "")
    assert (b["record_count"], b["may_lag"]) == ("1", "false")
    assert (total[TOTAL], total["may_lag"]) == ("", "true")


def test_nothing_has_a_total_too(owner: FlaskClient) -> None:
    (total,) = table(owner.get("/dashboard?format=csv").data)
    assert (total["kept"], total[TOTAL], total["as_of"]) == ("total", "0", "")
    body = owner.get("/dashboard?format=json").get_json()
    assert (body["rows"], body["row_count"], body["total"][TOTAL]) == ([], 0, 0)


# ---- one moment, and no more memory than a part ------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_download_is_of_one_moment(owner: FlaskClient, probe: DatabaseProbe, kind: str) -> None:
    make_connections(probe, 1_200)
    expected = stored(probe)
    _, parts = begun(owner, f"/dashboard?format={kind}")
    text = next(parts)
    probe("UPDATE retained_size_connection SET blob_bytes = 5000")
    probe("DELETE FROM connections WHERE id % 2 = 0")
    text += b"".join(parts)
    rows = json.loads(text)["rows"] if kind == "json" else table(text)[:-1]
    assert [(row["connection"], int(row[TOTAL])) for row in rows] == expected
    assert not in_a_snapshot()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_download_takes_no_more_memory_for_more_rows(
    owner: FlaskClient, probe: DatabaseProbe, kind: str
) -> None:
    make_connections(probe, 6_000, name="'c' || i || '-' || substr('%s', 1, 400)" % ("x" * 400))
    peaks, sizes = [], []
    for search in ("c1", ""):
        _, parts = begun(owner, f"/dashboard?format={kind}&q={search}")
        sent = len(next(parts))
        tracemalloc.start()
        for part in parts:
            sent += len(part)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        sizes.append(sent)
    assert sizes[1] > 5 * sizes[0] > 2_000_000
    assert peaks[1] < 2.5 * peaks[0]


# ---- cut short ---------------------------------------------------------------------------------


@pytest.mark.parametrize("read", [0, 1, 2])
def test_a_client_that_goes_away_ends_the_snapshot(
    owner: FlaskClient, probe: DatabaseProbe, read: int
) -> None:
    make_connections(probe, 1_200)
    response, parts = begun(owner, "/dashboard?format=json")
    for _ in range(read):
        next(parts)
    assert in_a_snapshot()
    response.close()
    assert not in_a_snapshot()
    assert owner.get("/dashboard").status_code == 200


def test_a_head_request_leaves_no_snapshot(owner: FlaskClient) -> None:
    fill(1)
    response = owner.head("/dashboard?format=csv")
    assert (response.headers["PDPP-Rows"], response.data) == ("1", b"")
    assert not in_a_snapshot()


def fail_now(probe: DatabaseProbe) -> None:
    """From here on this thread's connection can't answer."""
    if isinstance(db.obj, Sqlite):
        db.connection().set_progress_handler(lambda: True, 1)
    else:
        (pid,) = db.execute_sql("SELECT pg_backend_pid()").fetchone()
        probe("SELECT pg_terminate_backend(?)", pid)


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_an_error_in_the_middle_breaks_the_body_off(
    owner: FlaskClient, probe: DatabaseProbe, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    make_connections(probe, 5_000)
    response, parts = begun(owner, f"/dashboard?format={kind}")
    next(parts)
    fail_now(probe)
    try:
        with pytest.raises(peewee.DatabaseError):
            list(parts)
    finally:
        if isinstance(db.obj, Sqlite):
            db.connection().set_progress_handler(None)
    response.close()
    assert not in_a_snapshot()
    assert re.search("request [0-9a-f]{32} broke off: ", caplog.text)
    assert owner.get("/dashboard?format=csv").status_code == 200, "the next request is served"


def test_a_list_of_other_rows_than_were_counted_breaks_off(
    owner: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(700)
    real = contents.record_count
    monkeypatch.setattr(contents, "record_count", lambda stream_id: real(stream_id) + 1)
    _, parts = begun(owner, "/dashboard/streams?connection=laptop&stream=notes&format=json")
    with pytest.raises(exports.Incomplete):
        list(parts)
    assert not in_a_snapshot()


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_an_error_before_the_first_part_is_answered(
    owner: FlaskClient, probe: DatabaseProbe, kind: str
) -> None:
    fill(1)
    probe("ALTER TABLE retained_size_connection_days RENAME TO away")
    try:
        response = owner.get(f"/dashboard?format={kind}")
        assert (response.status_code, response.get_json()["error"]["code"]) == (503, "storage_unavailable")
        assert not in_a_snapshot()
    finally:
        probe("ALTER TABLE away RENAME TO retained_size_connection_days")
    assert owner.get("/dashboard?format=csv").status_code == 200


class TestServed:
    """By the real server, of more than it takes in advance of a client that does not read."""

    @pytest.fixture
    def server(
        self, backend: Backend, probe: DatabaseProbe, tmp_path: Path
    ) -> Iterator[server_process.Server]:
        make_connections(probe, MANY, name=f"'c' || i || '-{'x' * 1900}'")
        with server_process.Server(tmp_path / "served", DATABASE_URL=backend.url) as found:
            yield found

    @pytest.fixture
    def stalled(self, server: server_process.Server) -> Iterator[socket.socket]:
        """A client that has asked for the list, and read its first byte."""
        cookie = httpx.post(
            f"{server.url}/owner/login", json={"password": server_process.PASSWORD}
        ).headers["Set-Cookie"]
        with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))) as client:
            request = (
                f"GET /dashboard?format=json HTTP/1.1\r\nHost: x\r\nCookie: {cookie.split(';')[0]}\r\n\r\n"
            )
            client.sendall(request.encode())
            assert client.recv(1) == b"H"
            yield client

    def held(self, probe: DatabaseProbe) -> int:
        """How many snapshots other connections hold."""
        if isinstance(db.obj, Sqlite):
            probe.db.set_busy_timeout(0)  # type: ignore[attr-defined]
            probe("CREATE TABLE IF NOT EXISTS written (x)")
            return int(probe("PRAGMA wal_checkpoint(RESTART)")[0][0])
        return int(probe(f"SELECT COUNT(*) {OF_OTHERS}")[0][0])

    def test_a_client_that_hangs_up_half_way_holds_nothing(
        self, stalled: socket.socket, probe: DatabaseProbe
    ) -> None:
        await_true(lambda: self.held(probe) == 1)
        time.sleep(0.2)
        assert self.held(probe) == 1, "it waits for the client"
        stalled.close()
        await_true(lambda: self.held(probe) == 0)

    @pytest.mark.only("postgres")
    def test_a_database_that_goes_half_way_is_no_complete_answer(
        self, stalled: socket.socket, probe: DatabaseProbe
    ) -> None:
        await_true(lambda: self.held(probe) == 1)
        probe(f"SELECT pg_terminate_backend(pid) {OF_OTHERS}")
        text = b""
        while part := stalled.recv(1 << 20):
            text += part
        assert not text.endswith(b"\r\n0\r\n\r\n"), "the last chunk did not come"
        assert b'"total":{' not in text


def await_true(what: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)


# ---- pages -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_page_reads_and_shows_a_bounded_number_of_many_connections(
    owner: FlaskClient, probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = {"rows": 0}

    def counted(real: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
        def fetch(*arguments: Any) -> list[Any]:
            found = real(*arguments)
            read["rows"] += len(found)
            return found

        return fetch

    for name in ("fetch_all", "fetch_rows"):
        monkeypatch.setattr(listings, name, counted(getattr(listings, name)))
    monkeypatch.setattr(listings.growth, "fetch_all", counted(listings.growth.fetch_all))
    for name in ("fetch_all", "fetch_column"):
        monkeypatch.setattr(list_order, name, counted(getattr(list_order, name)))
    make_connections(probe, MANY)
    with statements() as seen:
        page = owner.get("/dashboard").text
    assert len(seen) < 30
    assert read["rows"] < 350
    assert page.count('role="rowheader"') == 100 + 2
    assert len(page) < 200_000
    assert "And <data" in page
    assert "11,900" in page
    longer = owner.get("/dashboard?limit=12000").text
    assert longer.count('role="rowheader"') == requests.MAX_ROWS + 2
    assert len(longer) < 1_000_000
    assert "11,500" in longer
