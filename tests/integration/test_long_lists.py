"""Lists of all streams and sizes: small ones are sent at once, large ones in parts, out of one snapshot."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from pdpp_ref.database import db
from tests.support.factories import DatabaseProbe, make_connections, statements, upsert, write

pytestmark = pytest.mark.slow  # each list is of megabytes
SIZES = "/_ref/dataset/size?grain=stream"
CONNECTIONS = "/_ref/dataset/size?grain=connection"
STREAMS = "/v1/streams"
LONG = [SIZES, CONNECTIONS, STREAMS, f"{SIZES}&format=csv"]


def make_streams(probe: DatabaseProbe, number: int, length: int = 1_000) -> None:
    """As many connections, with names of some length, with a stream of one record each."""
    make_connections(probe, number, name=f"'c' || i || '-{'x' * length}'")
    time = "'2026-01-01T00:00:00.000Z'"
    probe(
        "INSERT INTO streams (connection_id, name, last_version, created_at, incarnation) "
        f"SELECT id, 's', 1, {time}, 'i' || id FROM connections"
    )
    probe(
        "INSERT INTO retained_size_stream (stream_id, connection_id, connection_name, stream_name, "
        "record_count, current_record_json_bytes, record_history_count, record_history_json_bytes, computed_at) "
        "SELECT s.id, r.connection_id, connection_name, 's', record_count, current_record_json_bytes, "
        f"record_history_count, record_history_json_bytes, {time} "
        "FROM streams s JOIN retained_size_connection r ON r.connection_id = s.connection_id"
    )


def begun(client: FlaskClient, path: str) -> tuple[TestResponse, Iterator[bytes]]:
    """A response that is read only as far as asked for."""
    response = FlaskClient.open(client, path)
    assert response.status_code == 200
    return response, response.iter_encoded()


def connections_in(path: str, body: bytes) -> list[str]:
    if "csv" in path:
        rows: list[Any] = list(csv.DictReader(io.StringIO(body.decode(), newline=""), strict=True))
    else:
        read = json.loads(body)
        rows = read["data" if path == STREAMS else "rows"]
        if path != STREAMS:
            assert list(read) == ["object", "grain", "rows", "projection"]
    return [row["connector_instance_id"] for row in rows]


@pytest.mark.parametrize("path", LONG)
def test_a_long_list_is_of_one_moment_and_in_the_order_of_names(
    owner: FlaskClient, probe: DatabaseProbe, path: str
) -> None:
    make_streams(probe, 1_200)
    expected = sorted(name for (name,) in probe("SELECT connector_instance_id FROM connections"))
    response, parts = begun(owner, path)
    body = next(parts)
    assert response.content_length is None
    probe("UPDATE retained_size_stream SET blob_bytes = 5000")
    probe("DELETE FROM connections WHERE id % 2 = 0")
    body += b"".join(parts)
    assert connections_in(path, body) == expected
    assert b"5000" not in body
    assert not db.in_transaction()


@pytest.mark.parametrize("path", LONG)
def test_a_client_that_leaves_a_long_list_ends_its_snapshot(
    owner: FlaskClient, probe: DatabaseProbe, path: str
) -> None:
    make_streams(probe, 1_200)
    response, parts = begun(owner, path)
    next(parts)
    assert db.in_transaction()
    response.close()
    assert not db.in_transaction()


@pytest.mark.parametrize("path", LONG)
def test_a_short_list_is_sent_at_once(owner: FlaskClient, path: str) -> None:
    write(upsert("a"))
    response = FlaskClient.open(owner, path)
    assert not db.in_transaction()
    assert response.content_length == len(response.data)
    assert connections_in(path, response.data) == ["laptop"]


@pytest.mark.parametrize("path", LONG[:3])
def test_an_empty_list_is_a_list(owner: FlaskClient, path: str) -> None:
    assert connections_in(path, owner.get(path).data) == []


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("path", LONG)
def test_a_long_list_is_read_while_it_is_sent(owner: FlaskClient, probe: DatabaseProbe, path: str) -> None:
    make_streams(probe, 2_500)
    with statements() as seen:
        _, parts = begun(owner, path)
        sizes, before = [len(next(parts))], len(seen)
        sizes += map(len, parts)
    assert len(seen) > before + 1  # a batch, and the end of the snapshot
    assert max(sizes) < sum(sizes) * 3 / 4
