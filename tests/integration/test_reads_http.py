"""Reading records and versions over HTTP, as data clients do."""

import json
from itertools import cycle, product
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from pdpp_ref.blueprints import auth
from pdpp_ref.canonical import deletion, records, retention
from pdpp_ref.canonical.records import Target
from pdpp_ref.credentials import READ, Caller
from pdpp_ref.parsing.messages import Change
from pdpp_ref.queries import records as record_pages
from tests.support.contract import TIME
from tests.support.factories import TOKEN, DatabaseProbe, delete, fill, mark, upsert, write
from tests.support.reading import RECORDS, encoded, keys, pages, read, refused, walk

NAMES = (
    "https://example.org/records/42",
    "a/records",
    "records",
    "..",
    "%2F",
    "?",
    "é😀",
    "\n",
    '"',
    "a b",
)


def store(*changes: Change, connection: str = "laptop") -> None:
    records.write(Target(connection, "files"), changes)


def data(key: str, text: str, **more: Any) -> Change:
    return Change("notes", key, text, **more)


# ---- shapes --------------------------------------------------------------------------------------


def test_streams_are_listed(owner: FlaskClient) -> None:
    assert read(owner, "/v1/streams") == {"object": "list", "data": []}
    write(upsert("a"), upsert("b", stream="mails"))
    write(upsert("a"), connection="phone")
    found = read(owner, "/v1/streams")["data"]
    assert [(each["connection_id"], each["name"]) for each in found] == [
        ("laptop", "mails"),
        ("laptop", "notes"),
        ("phone", "notes"),
    ]
    first = found[0]
    assert list(first) == [
        "object",
        "name",
        "record_count",
        "last_updated",
        "connection_id",
        "connector_instance_id",
        "connector_id",
        "source",
        "freshness",
    ]
    assert (first["object"], first["record_count"], first["connector_id"]) == ("stream", 1, "files")
    assert first["source"] == {"id": "files", "kind": "connector"}
    assert first["connector_instance_id"] == first["connection_id"]
    assert TIME.fullmatch(first["last_updated"])
    assert first["freshness"]["status"] == "current"
    assert keys_of(read(owner, "/v1/streams", connection_id="phone")) == ["notes"]
    assert len(keys_of(read(owner, "/v1/streams", connector_id="files"))) == 3
    assert keys_of(read(owner, "/v1/streams", connector_id="other")) == []


def keys_of(body: dict[str, Any]) -> list[str]:
    return [each["name"] for each in body["data"]]


def test_a_stream_is_described(owner: FlaskClient, app: Flask) -> None:
    write(upsert("a"))
    found = read(owner, "/v1/streams/notes")
    assert (found["object"], found["name"], found["record_count"]) == ("stream_metadata", "notes", 1)
    undeclared = ("schema", "primary_key", "cursor_field", "consent_time_field")
    assert [found[name] for name in undeclared] == [None] * 4
    assert (found["views"], found["relationships"]) == ([], [])
    lines = [
        {"type": "SCHEMA", "stream": "keyed", "schema": {}, "key_properties": ["id", "part"]},
        {"type": "RECORD", "stream": "keyed", "record": {"id": 1, "part": "x"}},
    ]
    body = "\n".join(map(json.dumps, lines))
    sent = app.test_client().post(
        "/v1/ingest/keyed?connector_id=taps&consent_time_field=at",
        data=body,
        headers={"Authorization": f"Bearer {TOKEN}"},
    )
    assert sent.get_json()["records_accepted"] == 1
    keyed = read(owner, "/v1/streams/keyed")
    assert (keyed["primary_key"], keyed["consent_time_field"]) == (["id", "part"], "at")


def test_a_dirty_stream_is_stale(owner: FlaskClient, probe: DatabaseProbe) -> None:
    write(upsert("a"), upsert("b"))
    mark("laptop", "notes")
    assert read(owner, "/v1/streams/notes")["freshness"]["status"] == "current"
    mark("laptop", "notes")
    assert read(owner, RECORDS, count="exact", limit=1)["meta"]["count"] == {"kind": "exact", "value": 2}
    mark("laptop", "notes")
    probe.fail_reconcile()
    assert read(owner, "/v1/streams/notes")["freshness"]["status"] == "stale"
    body = read(owner, RECORDS, count="exact", limit=1)
    assert body["meta"]["count"] == {"kind": "estimated", "value": 2}
    assert [each["code"] for each in body["meta"]["warnings"]] == ["count_downgraded"]
    probe("DELETE FROM retained_size_stream")
    unknown = read(owner, "/v1/streams/notes")
    assert (unknown["freshness"]["status"], unknown["record_count"]) == ("unknown", 0)


def test_a_page_has_the_shape_of_the_protocol(owner: FlaskClient) -> None:
    store(data("a", '{"n":1}', emitted_at="2026-01-01T00:00:00.000Z"), data("b", '{"n":2}'))
    body = read(owner, f"{RECORDS}?limit=1")
    assert list(body) == ["object", "url", "data", "has_more", "next_cursor", "links", "meta"]
    assert (body["object"], body["url"], body["has_more"]) == ("list", RECORDS, True)
    assert body["meta"] == {"count": {"kind": "none"}, "warnings": []}
    assert body["data"] == [
        {
            "object": "record",
            "id": "b",
            "stream": "notes",
            "data": {"n": 2},
            "emitted_at": None,
            "connection_id": "laptop",
            "connector_instance_id": "laptop",
        }
    ]
    last = read(owner, body["links"]["next"])
    assert list(last) == ["object", "url", "data", "has_more", "links", "meta"]
    assert last["data"][0]["emitted_at"] == "2026-01-01T00:00:00.000Z"
    assert last["links"]["next"] is None


def test_a_record_has_its_own_shape(owner: FlaskClient) -> None:
    store(data("a", '{"n":1.50}'))
    response = owner.get(f"{RECORDS}/a")
    assert '"data":{"n":1.50}' in response.text
    body = response.get_json()
    assert list(body)[-4:] == ["connector_key", "record_json_bytes", "links", "meta"]
    assert (body["connector_key"], body["record_json_bytes"]) == ("files", 10)
    assert (body["links"], body["meta"]) == ({"self": f"{RECORDS}/a"}, {"warnings": []})


def test_responses_name_the_version_of_the_protocol(owner: FlaskClient) -> None:
    assert owner.get("/v1/streams").headers["PDPP-Version"] == "2026-04-06"
    same = owner.get("/v1/streams", headers={"PDPP-Version": "2026-04-06"})
    assert (same.status_code, same.headers["PDPP-Version"]) == (200, "2026-04-06")
    other = owner.get("/v1/streams", headers={"PDPP-Version": "2020-01-01"})
    assert (other.status_code, other.get_json()["error"]["code"]) == (400, "unsupported_version")
    assert "PDPP-Version" not in owner.get("/_ref/dataset/size").headers


# ---- texts ---------------------------------------------------------------------------------------


def test_texts_come_back_as_they_are_stored(owner: FlaskClient) -> None:
    text = '{"z":1.50,"a":1E400,"n":-0,"é":"é\\u0000\\ud800","big":123456789012345678901234567890}'
    store(data("a", text))
    for path in (RECORDS, f"{RECORDS}/a", f"{RECORDS}/a/versions", f"{RECORDS}?changes_since=beginning"):
        assert f'"data":{text}' in owner.get(path).text
    assert '"data":{"z":1.50,"é":"é\\u0000\\ud800"}' in owner.get(f"{RECORDS}?fields=é,z,no").text


def test_references_to_files_get_an_address(owner: FlaskClient) -> None:
    blob_id = "blob_sha256_" + "0" * 64
    store(data("a", f'{{"blob_ref":{{"blob_id":"{blob_id}"}}}}'))
    for path in (RECORDS, f"{RECORDS}?fields=blob_ref", f"{RECORDS}?changes_since=beginning"):
        (row,) = read(owner, path)["data"]
        assert row["data"]["blob_ref"] == {"blob_id": blob_id, "fetch_url": f"/v1/blobs/{blob_id}"}


def test_a_page_of_large_records_ends_early(owner: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records of 16 MiB each would not fit in memory by the hundred."""
    sizes = [10, 70_000, 70_000, 10, 200_000, 10]
    store(*(data(str(n), f'{{"t":"{"x" * size}"}}') for n, size in enumerate(sizes)))
    monkeypatch.setattr(record_pages, "PAGE_BYTES", 100_000)
    for query in ({"order": "asc"}, {"order": "asc", "filter[u]": "x"}):
        found = list(pages(owner, RECORDS, **query))
        assert len(found) == 4
    found = list(pages(owner, RECORDS, order="asc"))
    assert [keys(page["data"]) for page in found] == [["0", "1"], ["2", "3"], ["4"], ["5"]]
    assert [len(row["data"]["t"]) for page in found for row in page["data"]] == sizes


# ---- pages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_a_walk_sees_every_record_once_in_either_order(owner: FlaskClient, limit: int) -> None:
    names = sorted(["", "~", "a", "A", "é", "😀", "\uffff", "a/b", "10", "9"])[1:]
    store(*(data(name, '{"f":1}') for name in names))
    assert keys(walk(owner, RECORDS, limit=limit, order="asc")) == names
    assert keys(walk(owner, RECORDS, limit=limit)) == names[::-1]
    assert [len(page["data"]) for page in pages(owner, RECORDS, limit=limit)] == [
        min(limit, len(names) - start) for start in range(0, len(names), limit)
    ]


def test_a_limit_that_is_no_number_is_the_default(owner: FlaskClient) -> None:
    fill(30)
    for limit in ("0", "-1", "x", "", "1e3", "2.5", "٣", "0000"):
        assert len(read(owner, RECORDS, limit=limit)["data"]) == 25


def test_a_limit_over_the_most_is_clamped_and_said(owner: FlaskClient) -> None:
    fill(120)
    for limit, shown in (("101", 101), ("9" * 5_000, 10**15)):
        body = read(owner, RECORDS, limit=limit)
        assert len(body["data"]) == 100
        (warning,) = body["meta"]["warnings"]
        assert (warning["code"], warning["param"]) == ("limit_clamped", "limit")
        assert warning["detail"] == {"requested_limit": shown, "max_limit": 100}


def test_a_walk_during_writes_sees_all_that_stays(owner: FlaskClient) -> None:
    fill(30)
    found = []
    for number, page in enumerate(pages(owner, RECORDS, limit=3, order="asc")):
        found += keys(page["data"])
        last = page["data"][-1]["id"]
        write(delete(last), upsert(f"{last}a"), upsert("0000000a"), upsert("0000029", {"n": number}))
    assert set(found) >= {f"{n:07}" for n in range(30)}
    assert len(found) == len(set(found))


def test_a_cursor_belongs_to_its_list(owner: FlaskClient) -> None:
    fill(5)
    fill(5, "mails")
    cursor = read(owner, RECORDS, limit=2, order="asc")["next_cursor"]
    filtered = read(owner, RECORDS, **{"limit": 1, "filter[t]": "x" * 40})["next_cursor"]
    write(upsert("0000000", {"n": 1}))
    version = read(owner, f"{RECORDS}/0000000/versions", limit=1)["next_cursor"]
    token = read(owner, RECORDS, changes_since="beginning")["next_changes_since"]
    change = read(owner, RECORDS, changes_since="beginning", limit=1)["next_cursor"]
    assert keys(read(owner, RECORDS, cursor=cursor, order="asc", fields="t")["data"])[0] == "0000002"
    wrong = [
        (RECORDS, {"cursor": cursor}),
        (RECORDS, {"cursor": cursor, "order": "desc"}),
        (RECORDS, {"cursor": cursor, "order": "asc", "filter[t]": "x"}),
        (RECORDS, {"cursor": filtered}),
        (RECORDS, {"cursor": filtered, "filter[t]": "x"}),
        (RECORDS, {"cursor": version}),
        (RECORDS, {"cursor": token}),
        (RECORDS, {"changes_since": cursor}),
        (RECORDS, {"changes_since": change}),
        (RECORDS, {"changes_since": "start"}),
        (RECORDS, {"changes_since": ""}),
        (RECORDS, {"changes_since": "beginning", "cursor": cursor}),
        (RECORDS, {"changes_since": token, "cursor": token}),
        ("/v1/streams/mails/records", {"cursor": cursor, "order": "asc"}),
        ("/v1/streams/mails/records", {"cursor": change}),
        ("/v1/streams/mails/records", {"changes_since": token}),
        (f"{RECORDS}/0000000/versions", {"cursor": cursor}),
        (f"{RECORDS}/0000001/versions", {"cursor": version}),
    ]
    for path, query in wrong:
        assert refused(owner, path, **query) == (400, "invalid_cursor"), query


def test_a_cursor_of_a_deleted_stream_does_not_fit_its_successor(owner: FlaskClient) -> None:
    fill(5)
    cursor = read(owner, RECORDS, limit=2)["next_cursor"]
    deletion.delete_stream("laptop", "notes")
    assert refused(owner, RECORDS, cursor=cursor) == (404, "not_found")
    fill(5)
    assert refused(owner, RECORDS, cursor=cursor) == (400, "invalid_cursor")


# ---- filters and counts --------------------------------------------------------------------------

TYPED = ["5", '"5"', "5.0", "true", "null", "[]", None, "1e400", '"null"', '{"a":5}']


def test_a_filter_finds_the_same_rows_on_both_databases(owner: FlaskClient) -> None:
    store(*(data(f"{n}", "{}" if text is None else f'{{"f":{text}}}') for n, text in enumerate(TYPED)))
    for wanted, expected in {
        "5": ["0", "1", "2"],
        '"5"': ["1"],
        "5.00": ["0", "2"],
        "true": ["3"],
        "null": ["4", "8"],
        "[]": [],
        "": [],
        "10e399": ["7"],
        "x" * 5_000: [],
    }.items():
        assert keys(walk(owner, RECORDS, **{"filter[f]": wanted, "order": "asc", "limit": 1})) == expected
    assert walk(owner, RECORDS, **{"filter[missing]": "1"}) == []


def test_a_filtered_page_examines_a_bounded_number_of_records(
    owner: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(50)
    write(upsert("0000049", {"t": "y"}))
    monkeypatch.setattr(record_pages, "EXAMINED_RECORDS", 10)
    monkeypatch.setattr(record_pages, "BATCH_RECORDS", 4)
    found = list(pages(owner, RECORDS, **{"filter[t]": "y", "order": "asc"}))
    assert [len(page["data"]) for page in found] == [0, 0, 0, 0, 1]


def test_counts_are_exact_where_they_can_be(owner: FlaskClient) -> None:
    fill(30)
    assert read(owner, RECORDS, count="none")["meta"]["count"] == {"kind": "none"}
    for asked in ("exact", "estimated"):
        assert read(owner, RECORDS, count=asked)["meta"] == {
            "count": {"kind": "exact", "value": 30},
            "warnings": [],
        }
    filtered = read(owner, RECORDS, **{"count": "exact", "filter[t]": "x" * 40})
    assert filtered["meta"]["count"] == {"kind": "estimated", "value": 30}
    assert filtered["meta"]["warnings"][0]["code"] == "count_downgraded"
    none = read(owner, RECORDS, **{"count": "exact", "filter[t]": "y"})
    assert none["meta"] == {"count": {"kind": "exact", "value": 0}, "warnings": []}


# ---- versions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_versions_come_newest_first_with_tombstones(owner: FlaskClient, limit: int) -> None:
    for number in range(3):
        write(upsert("a", {"n": number}), upsert("b", {"n": number}))
    write(delete("a"))
    write(upsert("a", {"n": 9}))
    path = f"{RECORDS}/a/versions"
    found = walk(owner, path, limit=limit)
    assert [(row["version"], row["previous_version"]) for row in found] == [
        (8, 7),
        (7, 5),
        (5, 3),
        (3, 1),
        (1, None),
    ]
    assert [row.get("data", {}).get("n") for row in found] == [9, None, 2, 1, 0]
    assert [row.get("deleted", False) for row in found] == [False, True, False, False, False]
    assert all(TIME.fullmatch(row["ingested_at"]) for row in found)
    write(delete("a"))
    assert walk(owner, path, limit=limit)[0]["deleted"]
    retention.prune(2)
    found = walk(owner, path, limit=limit)
    assert [(row["version"], row["earlier_pruned"]) for row in found] == [(9, False), (8, True)]


def test_a_deleted_record_is_found_by_its_versions_alone(owner: FlaskClient, probe: DatabaseProbe) -> None:
    write(upsert("a"), upsert("b"))
    write(delete("a"))
    assert refused(owner, f"{RECORDS}/a") == (404, "not_found")
    assert keys(walk(owner, RECORDS)) == ["b"]
    assert len(walk(owner, f"{RECORDS}/a/versions")) == 2
    assert refused(owner, f"{RECORDS}/never/versions") == (404, "not_found")
    # If rollups are lost, they are derived again before the answer is 404.
    probe("DELETE FROM retained_size_record")
    probe("UPDATE retained_size_stream SET dirty = TRUE, rollups_dirty = TRUE")
    probe("UPDATE retained_size_connection SET dirty = TRUE")
    probe("UPDATE retained_size_global SET dirty = TRUE")
    assert len(walk(owner, f"{RECORDS}/a/versions")) == 2


def test_what_cannot_be_derived_now_is_503(owner: FlaskClient, probe: DatabaseProbe) -> None:
    write(upsert("a"))
    write(delete("a"))
    probe("DELETE FROM retained_size_record")
    probe("UPDATE retained_size_stream SET dirty = TRUE, rollups_dirty = TRUE")
    probe("UPDATE retained_size_global SET dirty = TRUE")
    probe.fail_reconcile()
    response = owner.get(f"{RECORDS}/a/versions")
    assert (response.status_code, response.get_json()["error"]["code"]) == (503, "storage_unavailable")
    assert int(response.headers["Retry-After"]) > 0


# ---- connections ---------------------------------------------------------------------------------


def two_connections() -> None:
    store(data("a", '{"f":1}'), data("c", '{"f":2}'), data("both", "{}"))
    store(data("b", '{"f":1}'), data("both", "{}"), connection="phone")


def test_several_connections_are_read_together_without_a_cursor(owner: FlaskClient) -> None:
    two_connections()
    body = read(owner, RECORDS, connector_id="files", order="asc", count="exact")
    assert [(row["id"], row["connection_id"]) for row in body["data"]] == [
        ("a", "laptop"),
        ("b", "phone"),
        ("both", "laptop"),
        ("both", "phone"),
        ("c", "laptop"),
    ]
    assert (body["has_more"], body["meta"]) == (
        False,
        {"count": {"kind": "exact", "value": 5}, "warnings": []},
    )
    part = read(owner, RECORDS, limit=2)
    assert keys(part["data"]) == ["c", "both"]
    assert (part["has_more"], part["links"]["next"]) == (True, None)
    assert "next_cursor" not in part
    (warning,) = part["meta"]["warnings"]
    assert (warning["code"], warning["param"]) == ("partial_results", "connection_id")
    filtered = read(owner, RECORDS, **{"filter[f]": "1", "count": "exact"})
    assert keys(filtered["data"]) == ["b", "a"]
    assert filtered["meta"]["count"] == {"kind": "none"}
    assert [each["code"] for each in filtered["meta"]["warnings"]] == ["count_downgraded"]


def test_what_needs_one_connection_names_those_to_choose_from(owner: FlaskClient) -> None:
    two_connections()
    for path in (
        f"{RECORDS}/both",
        f"{RECORDS}/both/versions",
        "/v1/streams/notes",
        f"{RECORDS}?changes_since=beginning",
    ):
        response = owner.get(path)
        error = response.get_json()["error"]
        assert (response.status_code, error["code"]) == (409, "ambiguous_connection")
        assert error["retry_with"] == "connection_id"
        assert error["available_connections"] == [
            {"connection_id": name, "display_name": name} for name in ("laptop", "phone")
        ]
        joined = "&" if "?" in path else "?"
        assert owner.get(f"{path}{joined}connection_id=phone").status_code == 200
    assert read(owner, f"{RECORDS}/a")["connection_id"] == "laptop"
    assert len(walk(owner, f"{RECORDS}/b/versions")) == 1


def test_a_walk_stays_in_its_connection_when_another_one_appears(owner: FlaskClient) -> None:
    fill(5)
    following = read(owner, RECORDS, limit=2, order="asc")["links"]["next"]
    fill(5, connection="phone")
    assert keys(walk(owner, following)) == ["0000002", "0000003", "0000004"]


def test_the_older_name_of_a_connection_is_understood_and_warned_of(owner: FlaskClient) -> None:
    two_connections()
    body = read(owner, RECORDS, connector_instance_id="phone")
    assert keys(body["data"]) == ["both", "b"]
    assert [each["code"] for each in body["meta"]["warnings"]] == ["deprecated_alias_used"]
    assert read(owner, RECORDS, connection_id="phone")["meta"]["warnings"] == []
    both = {"connection_id": "phone", "connector_instance_id": "laptop"}
    assert refused(owner, RECORDS, **both) == (400, "invalid_request")


def test_unknown_things_are_404(owner: FlaskClient) -> None:
    write(upsert("a"))
    for path in ("/v1/streams/x", "/v1/streams/x/records", "/v1/streams/x/records/a", f"{RECORDS}/x"):
        assert refused(owner, path) == (404, "not_found")
    assert refused(owner, RECORDS, connector_id="other") == (404, "not_found")
    for query in ({"connection_id": "x"}, {"connection_id": "laptop", "connector_id": "other"}):
        for path in ("/v1/streams", "/v1/streams/notes", RECORDS, f"{RECORDS}/a", f"{RECORDS}/a/versions"):
            if path != "/v1/streams" or query["connection_id"] == "x":
                assert refused(owner, path, **query) == (404, "connector_instance_not_found")


def test_who_may_not_read_gets_nothing(client: FlaskClient) -> None:
    write(upsert("a"))
    paths = (
        "/v1/streams",
        "/v1/streams/notes",
        RECORDS,
        f"{RECORDS}/a",
        f"{RECORDS}/a/versions",
        "/v1/records?stream=notes",
    )
    for path in paths:
        assert client.get(path).status_code == 401
        operator = client.get(path, headers={"Authorization": f"Bearer {TOKEN}"})
        assert (operator.status_code, operator.get_json()["error"]["code"]) == (403, "insufficient_scope")


def test_a_restricted_caller_reads_its_connection_alone(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_connections()
    monkeypatch.setattr(auth, "_caller", lambda: Caller(frozenset({READ}), "phone"))
    assert [each["connection_id"] for each in read(client, "/v1/streams")["data"]] == ["phone"]
    assert keys(walk(client, RECORDS)) == ["both", "b"]
    assert read(client, f"{RECORDS}/both")["connection_id"] == "phone"
    assert refused(client, f"{RECORDS}/a") == (404, "not_found")
    assert refused(client, f"{RECORDS}/a/versions") == (404, "not_found")
    for path in ("/v1/streams", "/v1/streams/notes", RECORDS, f"{RECORDS}/a", f"{RECORDS}/a/versions"):
        for name in ("connection_id", "connector_instance_id"):
            assert refused(client, path, **{name: "laptop"}) == (403, "insufficient_scope")
    monkeypatch.setattr(auth, "_caller", lambda: Caller(frozenset({READ}), "not there yet"))
    assert read(client, "/v1/streams")["data"] == []


# ---- addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [NAMES[::2], NAMES[1::2]], ids=["even", "odd"])
def test_every_name_can_be_read_by_path_and_by_query(owner: FlaskClient, names: tuple[str, ...]) -> None:
    for name in names:
        store(Change("s", name, '{"n":1}'), Change(name, "k", '{"n":2}'))
    for name in names:
        for stream, key, number in (("s", name, 1), (name, "k", 2)):
            by_query = read(owner, "/v1/records", stream=stream, key=key)
            assert (by_query["id"], by_query["stream"], by_query["data"]) == (key, stream, {"n": number})
            listed = walk(owner, "/v1/records", stream=stream, limit=100)
            assert key in keys(listed)
            if name != "..":
                path = f"/v1/streams/{encoded(stream)}"
                assert read(owner, path)["name"] == stream
                assert walk(owner, f"{path}/records", limit=100) == listed
                assert read(owner, f"{path}/records/{encoded(key)}")["data"] == {"n": number}
                assert len(walk(owner, f"{path}/records/{encoded(key)}/versions")) == 1


def test_a_decoded_path_with_several_meanings_is_409(app: Flask, owner: FlaskClient) -> None:
    write(upsert("a"), upsert("k", stream="a/records"))
    for path in ("/v1/streams/a/records", "/v1/streams/a/records/k", "/v1/streams/a/records/k/versions"):
        environ = owner.get(path).request.environ
        for name in ("REQUEST_URI", "RAW_URI"):
            environ.pop(name, None)
        with app.request_context(environ):
            response = app.full_dispatch_request()
        assert (response.status_code, response.get_json()["error"]["code"]) == (409, "ambiguous_address")


def test_lists_take_no_parameters_of_lists_for_one_record(owner: FlaskClient) -> None:
    write(upsert("a"))
    for query in (
        {"limit": "1"},
        {"cursor": "x"},
        {"order": "asc"},
        {"filter[a]": "1"},
        {"changes_since": "x"},
    ):
        response = owner.get("/v1/records", query_string={"stream": "notes", "key": "a", **query})
        assert response.status_code == 400


# ---- bad input -----------------------------------------------------------------------------------

PATHS = (
    "/v1/streams",
    "/v1/streams/notes",
    RECORDS,
    f"{RECORDS}/a",
    f"{RECORDS}/a/versions",
    "/v1/records?stream=notes",
    "/v1/blobs/x",
)


UNKNOWN = (
    "bogus",
    "Limit",
    "filters[a]",
    "filter[a",
    "[]",
    "view",
    "sort",
    "window",
    "expand_limit[r]",
    "é",
)


def test_unknown_parameters_are_refused_by_name(owner: FlaskClient) -> None:
    write(upsert("a"))
    for name, path in zip(UNKNOWN * 7, cycle(PATHS), strict=False):
        response = owner.get(f"{path}{'&' if '?' in path else '?'}{encoded(name)}=1")
        error = response.get_json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (400, "invalid_request", name)


BAD = [
    ("order=up", "invalid_request"),
    ("order=", "invalid_request"),
    ("count=many", "invalid_request"),
    ("filter=x", "invalid_request"),
    ("filter=x&filter[a]=1", "invalid_request"),
    ("filter[a][gte]=1", "invalid_request"),
    ("filter[a][b]=1", "invalid_request"),
    ("expand[]=author", "invalid_expand"),
    ("expand=author", "invalid_request"),
    ("cursor=x", "invalid_cursor"),
    ("cursor=", "invalid_cursor"),
    ("changes_since=x", "invalid_cursor"),
    ("changes_since=beginning&filter[a]=1", "invalid_request"),
    ("changes_since=beginning&order=desc", "invalid_request"),
    ("connection_id=", "connector_instance_not_found"),
    ("connection_id=%00", "invalid_request"),
    ("limit=%FF", "invalid_request"),
]


def test_bad_parameters_are_reported(owner: FlaskClient) -> None:
    write(upsert("a"))
    for query, code in BAD:
        status, found = refused(owner, f"{RECORDS}?{query}")
        assert (status < 500, found) == (True, code), query


HOSTILE = [
    "",
    "\0",
    "é" * 2_000,
    "x" * 9_000,
    "%",
    "-1",
    "9" * 400,
    "[]",
    "{}",
    "'\"--;",
    "\u202e",
    "..",
    "null",
]


def test_no_value_of_any_parameter_is_a_failure_of_the_server(owner: FlaskClient) -> None:
    write(upsert("a"))
    names = ("connector_id", "connection_id", "connector_instance_id", "fields", "limit", "cursor", "order")
    names += (
        "filter[a]",
        "filter[]",
        "filter[a][gt]",
        "expand[]",
        "count",
        "changes_since",
        "stream",
        "key",
    )
    # Each parameter meets every path and every value; there are as many values as it takes.
    for (name, value), path in zip(product(names, HOSTILE), cycle(PATHS), strict=False):
        joined = "&" if "?" in path else "?"
        response = owner.get(f"{path}{joined}{encoded(name)}={encoded(value)}")
        assert response.status_code < 500, (path, name, value)
    for value in HOSTILE[1:]:
        for path in (
            "/v1/streams/{}",
            "/v1/streams/{}/records",
            f"{RECORDS}/{{}}",
            f"{RECORDS}/{{}}/versions",
            "/v1/blobs/{}",
        ):
            assert owner.get(path.format(encoded(value))).status_code < 500
