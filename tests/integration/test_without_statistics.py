"""On PostgreSQL, a part of a stream costs the part, although the planner knows nothing of the stream yet.

Statistics are collected by autovacuum, up to some minutes after an import.  A plan that reads all of a stream
for each page of it makes a walk of the whole stream take hours.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import psycopg
import pytest
from flask.testing import FlaskClient

from pdpp_ref.canonical import activation, blobs, deletion, erasure, importer, records, retention
from pdpp_ref.canonical.erased import Names
from pdpp_ref.database import execute, fetch_all
from pdpp_ref.operations import export_pages, verify, verify_records
from pdpp_ref.parsing.messages import Change
from pdpp_ref.projection import record_rollups
from pdpp_ref.queries import contents
from pdpp_ref.services import reconcile
from tests.support import exports
from tests.support.factories import (
    TOKEN,
    DatabaseProbe,
    delete,
    mark,
    remove_deleted,
    upsert,
    write,
)
from tests.support.reading import RECORDS, Follower, pages, read

pytestmark = [pytest.mark.usefixtures("app"), pytest.mark.only("postgres")]

KEYS, VERSIONS = 4_000, 2
PART = 100
# A statement is prepared when it has run five times, and has a plan for any values after as many again.
TIMES = 14
# Rows and entries of indexes: a row is often counted twice, and there are two versions.
MOST_READ = 10 * PART

READ = """
    SELECT SUM(pg_stat_get_xact_tuples_returned(oid) + pg_stat_get_xact_tuples_fetched(oid))
    FROM pg_class
    WHERE relkind IN ('r', 'i') AND relnamespace = 'public'::regnamespace
    """


@contextmanager
def parts_read() -> Iterator[None]:
    """Every statement reads a part of a stream or of a list, on average over its runs.

    The first run also reads what replaced rows have left in indexes.
    """
    rows, runs = Counter[str](), Counter[str]()
    execute = psycopg.Cursor.execute

    def read(cursor: Any) -> int:
        return int(execute(cursor.connection.cursor(), READ).fetchone()[0])

    def watched(cursor: Any, query: Any, *values: Any, **options: Any) -> Any:
        text = " ".join(str(query).split())
        if not text.startswith(("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")):
            return execute(cursor, query, *values, **options)
        before = read(cursor)
        done = execute(cursor, query, *values, **options)
        rows[text] += read(cursor) - before
        runs[text] += 1
        return done

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(psycopg.Cursor, "execute", watched)
        yield
    assert max(runs.values()) >= TIMES
    means = {sql: rows[sql] // runs[sql] for sql in rows if not sql.startswith(WHOLE)}
    assert {sql: mean for sql, mean in means.items() if mean > MOST_READ} == {}


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_pages, "PAGE_ROWS", PART)
    monkeypatch.setattr(reconcile, "CHUNK_VERSIONS", PART)
    monkeypatch.setattr(retention, "KEYS_PER_TRANSACTION", PART)
    monkeypatch.setattr(activation, "KEYS_PER_PAGE", PART)
    monkeypatch.setattr(importer, "BATCH_LINES", PART)
    for name in ("CHUNK_VERSIONS", "CHUNK_ROWS", "CHUNK_KEYS"):
        monkeypatch.setattr(record_rollups, name, PART)


def walk(client: FlaskClient) -> None:
    list(islice(pages(client, RECORDS, limit=PART), TIMES + 1))


def walk_up(client: FlaskClient) -> None:
    list(islice(pages(client, RECORDS, limit=PART, order="asc"), TIMES + 1))


def follow(client: FlaskClient) -> None:
    Follower(client, limit=PART).follow()


def write_again(_: FlaskClient) -> None:
    for number in range(TIMES):
        keys = [key_of(PART * number + each) for each in range(PART)]
        write(*(upsert(key, {"n": VERSIONS - 1}) for key in keys))
        write(*(upsert(key, {"n": "another"}) for key in keys))
        write(*(delete(key) for key in keys))


def list_contents(_: FlaskClient) -> None:
    assert sum(map(len, contents.record_batches(1, PART))) == KEYS


def attach_one_file_to_all() -> None:
    digest = blobs.store("laptop", "notes", key_of(KEYS - 1), iter([b"file"])).sha256
    execute(
        "INSERT INTO blob_bindings (stream_id, key, sha256, version, byte_length, bound_at) "
        f"SELECT stream_id, key, '{digest}', version, 4, '' FROM records ON CONFLICT DO NOTHING"
    )


def rebuild(_: FlaskClient) -> None:
    attach_one_file_to_all()
    for _ in range(2):  # the second finds what the first has left in indexes
        reconcile.begin_rebuild()
        assert reconcile.run_until_fresh(reconcile.Limits(seconds=0)).fresh


def prune(_: FlaskClient) -> None:
    retention.prune(1, "laptop", "notes")


def write_export(_: FlaskClient) -> None:
    attach_one_file_to_all()
    assert exports.written().data.count(b'"files":[{') == KEYS


def send_files_first(_: FlaskClient) -> None:
    target = records.Target("laptop", "files")
    for number in range(PART * TIMES):
        blobs.store_early(target, "notes", f"early {number:04}", iter([b"file"]))
    for number in range(TIMES):
        write(*(upsert(f"early {each:04}") for each in range(number, PART * TIMES, TIMES)))


def read_single_records(client: FlaskClient) -> None:
    for number in range(TIMES + 1):
        path = f"{RECORDS}/{key_of(number)}"
        assert read(client, path)["id"] == key_of(number)
        assert len(read(client, f"{path}/versions")["data"]) == VERSIONS


def attach_and_read_files(client: FlaskClient) -> None:
    for number in range(TIMES + 1):
        data = str(number).encode()
        blobs.store("laptop", "notes", key_of(number), iter([data]))
        digest = hashlib.sha256(data).hexdigest()
        assert client.get(f"/v1/blobs/blob_sha256_{digest}").data == data


def attach_the_same_file(_: FlaskClient) -> None:
    """A plan that was made while few records had it is kept when many have."""
    target = records.Target("laptop", "files")
    for begin in (0, 100):
        for number in range(begin, begin + TIMES):
            key = key_of(number)
            for _ in range(2):
                blobs.store("laptop", "notes", key, iter([b"file"]))
                blobs.store_early(target, "notes", f"early {number}", iter([b"file"]))
            write(upsert(f"early {number}"))
            erasure.erase(Names("laptop", "notes", f"early {number}"))
        attach_one_file_to_all()


def erase(_: FlaskClient) -> None:
    for number in range(TIMES + 1):
        names = Names("laptop", "notes", key_of(number))
        assert erasure.erase(names).versions == VERSIONS


def activate(_: FlaskClient) -> None:
    target = records.Target("laptop", "files")
    for start in range(0, KEYS, PART):
        keys = map(key_of, range(start, start + PART))
        records.write(target, [Change("notes", key, "{}", table_version=1) for key in keys])
    assert activation.activate_version(target, "notes", 2).removed == KEYS


def import_an_export(_: FlaskClient) -> None:
    exported = exports.written().data
    for _ in range(2):
        assert exports.read(exported, connection="copy").rejected == []


def send_older_events(_: FlaskClient) -> None:
    for number in range(TIMES):
        keys = [key_of(PART * number + each) for each in range(PART)]
        for day in (3, 2, 1, 2):
            emitted_at = f"2026-01-{day:02}T00:00:00.000Z"
            changes = [Change("notes", key, f"[{day}]", emitted_at) for key in keys]
            records.write(records.Target("laptop", "files"), changes)


def remove(_: FlaskClient) -> None:
    deletion.delete_stream("laptop", "notes")
    remove_deleted()


def key_of(number: int) -> str:
    """In another order than the numbers have."""
    return f"{number * 7919 % KEYS:06}"


# What looks at a whole stream, once; and what looks for the first and the last record, which reads what
# deleted ones have left in the index, for as long as anybody in the database has an older snapshot.
WHOLE = (
    "UPDATE retained_size_stream SET generation",
    "SELECT COALESCE(SUM(record_count), 0)",  # before it is pruned: whether its rollups can be right
    "SELECT COUNT(*) FROM record_changes WHERE stream_id",  # before it is exported
    "INSERT INTO blob_bindings (stream_id, key, sha256, version, byte_length, bound_at) SELECT",  # above
    "DELETE FROM streams WHERE id",  # its foreign keys, after all rows were removed
)


WORK = [
    walk,
    walk_up,
    follow,
    read_single_records,
    write_again,
    attach_and_read_files,
    attach_the_same_file,
    erase,
    activate,
    list_contents,
    rebuild,
    prune,
    write_export,
    send_files_first,
    import_an_export,
    send_older_events,
    remove,
]


@pytest.mark.parametrize("work", WORK, ids=lambda work: work.__name__)
@pytest.mark.usefixtures("small_parts")
def test_a_part_of_a_stream_costs_the_part(work: Callable[[FlaskClient], None], owner: FlaskClient) -> None:
    for version in range(VERSIONS):
        write(*(upsert(key_of(number), {"n": version}) for number in range(KEYS)))
    with parts_read():
        work(owner)


def test_verifying_compares_no_row_with_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads a part as a whole, so that the rows it reads say nothing; but in a plan that compares all with
    all, the keys are no condition of an index, a hash or a merge.
    """
    changes = [upsert(key_of(number)) for number in range(5 * KEYS)]
    for _ in range(VERSIONS):
        write(*changes)
    plans = []

    def explained(sql: str, values: tuple[int, ...]) -> list[Any]:
        plans.append("\n".join(line for (line,) in fetch_all(f"EXPLAIN {sql}", values)))
        return []

    monkeypatch.setattr(verify_records, "fetch_lazily", explained)
    assert list(verify.differences()) == []
    assert len(plans) == 3
    assert [plan for plan in plans if "Join Filter" in plan] == []


def test_the_totals_of_many_streams_cost_few_of_their_rows(
    owner: FlaskClient, probe: DatabaseProbe
) -> None:
    write(upsert("a"))
    numbers = f"generate_series(1, {KEYS}) AS number"
    probe(
        "INSERT INTO streams (connection_id, name, last_version, created_at) "
        f"SELECT 1, 'stream ' || number, 0, '' FROM {numbers}"
    )
    probe(
        "INSERT INTO retained_size_stream "
        "(stream_id, connection_id, connection_name, stream_name, computed_at) "
        "SELECT id, connection_id, 'laptop', name, '' FROM streams WHERE last_version = 0"
    )
    write(upsert("a"), connection="phone")
    metrics = {"path": "/_ref/metrics", "headers": {"Authorization": f"Bearer {TOKEN}"}}
    with parts_read():
        for _ in range(TIMES):
            for marked in ((), ("phone", "notes")):
                mark(*marked)
                assert reconcile.run_pass(reconcile.Limits()).fresh
            assert owner.get("/dashboard/hero").status_code == 200
            assert owner.get("/dashboard").status_code == 200
            assert owner.get(**metrics).status_code == 200
