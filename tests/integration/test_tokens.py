"""Named tokens: what they open, how they end, and what the database and other processes have to do with it."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from pdpp_ref import credentials, tokens
from pdpp_ref.authentication import CACHE_SECONDS, BearerTokens
from pdpp_ref.database import db, write_transaction
from tests.conftest import Backend
from tests.support.factories import PASSWORD, TOKEN, Calendar, Clock, DatabaseProbe, fill

LIMIT_SECONDS = 5  # after which an ended token must be refused
SUMMARY = "/_ref/dataset/summary"


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def new(
    name: str = "prometheus", *scopes: str, connection: str | None = None, days: int | None = None
) -> str:
    return tokens.create(name, scopes or ("figures",), connection, days)


class TestStored:
    def test_a_token_is_stored_as_its_digest_alone(self, probe: DatabaseProbe) -> None:
        secret = new("reader", "read", "write", connection="laptop")
        (row,) = probe("SELECT * FROM tokens")
        assert row[:4] == ("reader", credentials.digest(secret), "read write", "laptop")
        assert secret.startswith("pdpp_")
        assert not [value for value in row if secret.removeprefix("pdpp_") in str(value)]

    @pytest.mark.usefixtures("app")
    def test_no_two_are_alike_and_none_is_replaced(self) -> None:
        first = new()
        with pytest.raises(tokens.NameTaken):
            new()
        assert new("other") != first
        assert [token.name for token in tokens.listed()] == ["other", "prometheus"]
        assert tokens.find(credentials.digest(first)) == tokens.named("prometheus")

    def test_no_log_page_or_metric_has_a_token(
        self, owner: FlaskClient, app: Flask, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        secret = new("prometheus", "figures")
        caller = app.test_client()
        shown = [
            caller.get(path, headers=bearer(secret) | {"Accept": accept}).text
            for path in (SUMMARY, "/_ref/metrics", "/v1/records?x=1", "/dashboard", f"/{secret[:3]}")
            for accept in ("application/json", "text/html")
        ]
        shown += [owner.get("/dashboard/tokens").text, repr(app.extensions["credentials"]), caplog.text]
        for text in shown:
            assert secret not in text
            assert secret.removeprefix("pdpp_") not in text
            assert credentials.digest(secret) not in text


class TestEnd:
    def test_a_new_token_works_at_once(self, client: FlaskClient) -> None:
        assert client.get(SUMMARY, headers=bearer("pdpp_" + "0" * 40)).status_code == 401
        assert client.get(SUMMARY, headers=bearer(new())).status_code == 200

    def test_a_revoked_token_ends_within_5_s_in_every_process(self, app: Flask, clock: Clock) -> None:
        header = f"Bearer {new()}"
        processes = [BearerTokens(app.extensions["credentials"], clock) for _ in range(2)]
        assert all(process.caller(header) for process in processes)
        assert tokens.revoke("prometheus")
        clock.advance(LIMIT_SECONDS)
        assert [process.caller(header) for process in processes] == [None, None]
        assert not tokens.revoke("prometheus"), "it is revoked already"

    def test_an_expired_token_ends_at_once(self, client: FlaskClient, calendar: type[Calendar]) -> None:
        headers = bearer(new(days=2))
        calendar.moment += timedelta(days=2, milliseconds=-1)
        assert client.get(SUMMARY, headers=headers).status_code == 200
        calendar.moment += timedelta(milliseconds=1)
        assert client.get(SUMMARY, headers=headers).status_code == 401

    def test_what_was_found_is_not_read_again_for_a_while(
        self, client: FlaskClient, probe: DatabaseProbe
    ) -> None:
        headers = bearer(new())
        assert client.get(SUMMARY, headers=headers).status_code == 200
        probe("DELETE FROM tokens")
        assert client.get(SUMMARY, headers=headers).status_code == 200

    @pytest.mark.one_on_postgres
    @pytest.mark.parametrize("change", [str.upper, lambda text: text + "0", lambda text: text[5:]])
    def test_no_other_spelling_is_the_token(
        self, client: FlaskClient, change: Callable[[str], str]
    ) -> None:
        assert client.get(SUMMARY, headers=bearer(change(new()))).status_code == 401


class TestWithoutTheDatabase:
    def test_without_the_database_a_named_token_is_unknown_for_now(
        self, app: Flask, client: FlaskClient, probe: DatabaseProbe
    ) -> None:
        headers = bearer(new())
        probe("ALTER TABLE tokens RENAME TO away")
        response = client.get(SUMMARY, headers=headers)
        assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
        assert response.get_json()["error"]["code"] == "storage_unavailable"
        assert client.get(SUMMARY, headers=bearer(TOKEN)).status_code == 200
        assert client.get(SUMMARY, headers=bearer("wrong")).status_code == 401
        probe("ALTER TABLE away RENAME TO tokens")
        assert client.get(SUMMARY, headers=headers).status_code == 200

    def test_who_was_just_looked_up_is_known_without_it(
        self, app: Flask, monkeypatch: pytest.MonkeyPatch, clock: Clock
    ) -> None:
        header = f"Bearer {new()}"
        bearers = BearerTokens(app.extensions["credentials"], clock)
        assert bearers.known_caller(header) is None
        assert bearers.caller(header)
        assert bearers.known_caller(header) is None, "its use is to be stored"
        assert bearers.use_is_due("prometheus")
        monkeypatch.setattr(tokens, "find", None)
        known = bearers.known_caller(header)
        assert known
        assert known.token == "prometheus"
        assert bearers.known_caller(f"Bearer {TOKEN}")
        assert bearers.known_caller("Bearer wrong") is None
        clock.advance(CACHE_SECONDS)
        assert bearers.known_caller(header) is None, "it may have been revoked"


class TestLastUse:
    def test_the_last_use_is_stored_once_a_minute(
        self, client: FlaskClient, clock: Clock, calendar: type[Calendar], probe: DatabaseProbe
    ) -> None:
        headers = bearer(new())
        stored = []
        for seconds in (0, 59, 1, 30):
            clock.advance(seconds)
            calendar.moment += timedelta(seconds=seconds)
            client.get(SUMMARY, headers=headers).close()
            stored += [probe("SELECT last_used_at FROM tokens")[0][0][11:19]]
        assert stored == ["12:00:00", "12:00:00", "12:01:00", "12:01:00"]

    @pytest.mark.usefixtures("app")
    def test_of_several_processes_one_stores_it(
        self, calendar: type[Calendar], probe: DatabaseProbe
    ) -> None:
        new()
        for seconds in (0, 30, 29):
            calendar.moment += timedelta(seconds=seconds)
            tokens.record_use("prometheus")
        assert probe("SELECT last_used_at FROM tokens") == [("2026-03-01T12:00:00.000Z",)]

    def test_a_refused_use_is_a_use(self, client: FlaskClient, probe: DatabaseProbe) -> None:
        client.delete("/v1/connections/laptop", headers=bearer(new())).close()
        assert probe("SELECT last_used_at IS NOT NULL FROM tokens") in ([(1,)], [(True,)])

    @pytest.mark.parametrize("what", ["fails", "locked"])
    def test_a_use_that_cannot_be_stored_changes_no_answer(
        self, client: FlaskClient, probe: DatabaseProbe, backend: Backend, what: str
    ) -> None:
        headers = bearer(new())
        with ExitStack() as stack:
            if what == "fails":
                probe.fail("UPDATE ON tokens")
            else:
                other = stack.enter_context(backend.probe())
                other("BEGIN")
                stack.callback(other, "ROLLBACK")
                other("UPDATE tokens SET name = name")
            began = time.monotonic()
            response = client.get(SUMMARY, headers=headers)
            response.close()
        assert response.status_code == 200
        assert time.monotonic() - began < 2, "without the 5 s that a writer waits"
        assert not db.in_transaction()
        assert probe("SELECT last_used_at FROM tokens") == [(None,)]
        with write_transaction():
            pass  # the connection is as before


class TestConnection:
    @pytest.fixture
    def restricted(self, app: Flask) -> FlaskClient:
        fill(2, connection="laptop")
        fill(2, connection="phone")
        found = app.test_client()
        secret = new("connector", "write", "erase", connection="laptop")
        found.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {secret}"
        return found

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/v1/ingest/notes?connector_id=files&connector_instance_id={}"),
            ("POST", "/v1/ingest/notes?connector_id={}"),
            ("POST", "/v1/blobs?connector_instance_id={}&stream=notes&key=0000000"),
            ("DELETE", "/v1/streams/notes/records/0000000?connector_instance_id={}"),
            ("DELETE", "/v1/records?stream=notes&key=0000001&connector_instance_id={}"),
            ("DELETE", "/v1/records?stream=notes&connector_instance_id={}"),
            ("DELETE", "/v1/streams/notes/records?connector_instance_id={}"),
            ("DELETE", "/v1/connections/{}"),
        ],
    )
    def test_a_token_of_one_connection_touches_no_other(
        self, restricted: FlaskClient, probe: DatabaseProbe, method: str, path: str
    ) -> None:
        body = b'{"key":"a","data":{}}'
        before = [
            probe(f"SELECT COUNT(*) FROM {table}") for table in ("record_changes", "blobs", "streams")
        ]
        refused = restricted.open(path.format("phone"), method=method, data=body)
        assert (refused.status_code, refused.get_json()["error"]["code"]) == (403, "insufficient_scope")
        after = [probe(f"SELECT COUNT(*) FROM {table}") for table in ("record_changes", "blobs", "streams")]
        assert before == after
        allowed = restricted.open(path.format("laptop"), method=method, data=body)
        assert allowed.status_code in (200, 201, 204, 409), "409: another connector's"

    def test_it_can_create_its_connection(self, app: Flask, probe: DatabaseProbe) -> None:
        headers = bearer(new("connector", "write", connection="new one"))
        path = "/v1/ingest/notes?connector_id=files&connector_instance_id=new%20one"
        assert (
            app.test_client().post(path, data=b'{"key":"a","data":{}}', headers=headers).status_code == 200
        )
        assert probe("SELECT connector_instance_id FROM connections") == [("new one",)]


class TestRestored:
    def notices(self, caplog: pytest.LogCaptureFixture) -> list[str]:
        return [message for message in caplog.messages if "pdpp-ref token list" in message]

    @pytest.mark.parametrize("has_tokens", [True, False])
    def test_a_restored_backup_is_noticed_if_it_has_tokens(
        self,
        make_app: Callable[..., Flask],
        probe: DatabaseProbe,
        caplog: pytest.LogCaptureFixture,
        has_tokens: bool,
    ) -> None:
        if has_tokens:
            new()
        for _ in range(2):
            make_app()
        assert self.notices(caplog) == [], "it is the same database"
        probe("UPDATE pdpp_ref_schema SET history_id = 'restored'")  # as `backup` does in its file
        for _ in range(2):
            make_app()
        assert len(self.notices(caplog)) == has_tokens, "once"

    def test_a_folder_that_cannot_be_written_to_changes_nothing(
        self, make_app: Callable[..., Flask], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        make_app()
        new()
        (tmp_path / "instance" / "database_id").mkdir()
        make_app()
        assert self.notices(caplog) == []


@pytest.mark.usefixtures("app")
def test_no_form_and_no_other_site_writes_in_the_owners_session(
    owner: FlaskClient, probe: DatabaseProbe
) -> None:
    body, path = b'{"key":"a","data":{}}', "/v1/ingest/notes?connector_id=files"
    kinds = ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"]
    sites = [
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:8000"},  # of the same site, so its cookies come along
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ]
    refused = [owner.post(path, data=body, content_type=kind) for kind in kinds]
    refused += [
        owner.post(path, data=body, headers=site, content_type="application/json") for site in sites
    ]
    refused += [owner.delete("/v1/connections/laptop", headers=site) for site in sites]
    assert {(each.status_code, each.get_json()["error"]["code"]) for each in refused} == {
        (403, "cross_site_request")
    }
    assert "Access-Control-Allow-Origin" not in owner.options(path).headers
    assert probe("SELECT COUNT(*) FROM connections") == [(0,)]
    allowed = owner.post(path, data=body, content_type="application/x-ndjson")
    assert allowed.status_code == 200
    with owner.application.test_client() as stranger:
        signed_in = stranger.post("/owner/login", json={"password": PASSWORD})
        assert "SameSite=Lax" in signed_in.headers["Set-Cookie"]
