"""The owner's lists: their order, what is found and left out, and the largest of one stream."""

import itertools
import os
import random
from typing import Any

import pytest

from pdpp_ref.canonical import blobs
from pdpp_ref.database import read_snapshot
from pdpp_ref.models.measures import MEASURE_NAMES, TOTAL
from pdpp_ref.queries import contents, listings
from pdpp_ref.queries.listings import GROWTH, NAME, Order
from tests.support.factories import DatabaseProbe, delete, fill, ids, statements, upsert, write

LONG = os.environ.get("PDPP_TEST_LONG") == "1"
pytestmark = pytest.mark.usefixtures("app")


def names(found: listings.List) -> list[str]:
    return [row.name for row in found.rows]


@pytest.fixture
def several() -> list[str]:
    """Connections that differ in each measure, and two that are equal in all."""
    for number, name in enumerate(("b", "a", "Mail home", "mail WORK", "z", "y")):
        fill(number // 2 * 3 + 1, connection=name, size=10 + number // 2)
        write(*(upsert("0", {"v": each}) for each in range(1 + number // 2)), connection=name)
    blobs.store("b", "notes", "0000000", iter([b"12345"]))
    return sorted(("b", "a", "Mail home", "mail WORK", "z", "y"))


TIMES = (listings.CONTACT, listings.SILENCE, listings.ARRIVAL)


@pytest.mark.parametrize("sort", [each for each in listings.SORTS if each not in TIMES])
def test_any_column_sorts_and_equals_stand_by_name(several: list[str], sort: str) -> None:
    rows = listings.connections(Order()).rows
    rising = listings.connections(Order(sort, descending=False)).rows
    falling = listings.connections(Order(sort, descending=True)).rows
    assert rising == sorted(rows, key=lambda row: (getattr(row, sort), row.name))
    if sort == NAME:
        assert falling == rising[::-1]
    else:
        assert falling == sorted(rows, key=lambda row: (-getattr(row, sort), row.name))


def test_what_is_not_known_comes_last_either_way(several: list[str], probe: DatabaseProbe) -> None:
    probe("DELETE FROM retained_size_connection WHERE connection_id = ?", ids("a")["connection"])
    for sort, descending in itertools.product((TOTAL, GROWTH, "record_count"), (True, False)):
        assert names(listings.connections(Order(sort, descending)))[-1] == "a"
    found = listings.connections(Order())
    assert (found.complete, found.rows[-1].share, found.rows[-1].growth) == (False, None, None)


@pytest.mark.parametrize(
    ("search", "expected"),
    [("MAIL", {"Mail home", "mail WORK"}), ("work", {"mail WORK"}), ("none", set()), ("files", "all")],
)
def test_a_part_of_a_name_or_of_the_connector_is_found(
    several: list[str], search: str, expected: set[str]
) -> None:
    found = listings.connections(Order(search=search))
    assert set(names(found)) == (set(several) if expected == "all" else expected)
    assert found.matching == len(found.rows)


@pytest.mark.parametrize(
    "order", [Order(limit=2), Order(search="mail"), Order(search="a", limit=1), Order()]
)
def test_what_is_shown_and_what_is_left_out_add_up(
    several: list[str], order: Order, probe: DatabaseProbe
) -> None:
    found = listings.connections(order)
    assert len(found.rows) + found.others == len(several)
    ((total,),) = probe(
        "SELECT current_record_json_bytes + record_history_json_bytes + blob_bytes FROM retained_size_global"
    )
    assert (
        sum(row.total_retained_bytes for row in found.rows) + found.left_out.total_retained_bytes
        == total
        == found.counted_bytes
    )
    for name in MEASURE_NAMES:
        ((whole,),) = probe(f"SELECT {name} FROM retained_size_global")
        assert sum(getattr(row, name) for row in found.rows) + getattr(found.left_out, name) == whole
    everything = listings.connections(Order()).rows
    assert sum(row.share or 0 for row in everything) == pytest.approx(1)


def test_nothing_at_all_is_a_list_too() -> None:
    found = listings.connections(Order())
    assert (found.rows, found.others, found.counted_bytes, found.complete) == ([], 0, 0, True)


def test_a_list_costs_the_same_statements_however_long_it_is() -> None:
    counts = []
    for number in (2, 60):
        for each in range(number):
            write(upsert("a"), connection=f"c{each}")
            write(upsert("a", stream=f"s{each}"))
        with read_snapshot(), statements() as seen:
            listings.connections(Order())
            listings.connection("laptop", Order(), 90)
        counts.append(len(seen))
    assert counts[0] == counts[1] <= 13


@pytest.mark.parametrize(
    "read", [lambda: listings.connection("no", Order(), 90), lambda: listings.stream("no", "x", 90)]
)
def test_of_what_is_not_there_nothing_is_reported(read: Any) -> None:
    assert read() is None


# ---- the largest of one stream -----------------------------------------------------------------


def everything(probe: DatabaseProbe, stream_id: int) -> dict[str, int]:
    """What is kept of each key, from the stored texts."""
    found: dict[str, int] = {}
    for table in ("records", "record_changes"):
        for key, data in probe(f"SELECT key, data FROM {table} WHERE stream_id = ?", stream_id):
            found[key] = found.get(key, 0) + len((data or "").encode())
    for key, size in probe("SELECT key, byte_length FROM blob_bindings WHERE stream_id = ?", stream_id):
        found[key] += size
    return found


@pytest.mark.parametrize("seed", range(12 if LONG else 4))
def test_the_largest_records_are_those_that_sorting_all_gives(probe: DatabaseProbe, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(150):
        key, what = str(chance.randrange(40)), chance.random()
        stream = chance.choice(["notes", "notes", "other"])
        if what < 0.7:
            write(upsert(key, {"t": "x" * chance.choice([1, 5, 5, 5, 60])}, stream))
        elif what < 0.85:
            write(delete(key, stream))
        elif probe(
            "SELECT 1 FROM records r JOIN streams s ON s.id = r.stream_id WHERE key = ? AND name = ?",
            key,
            stream,
        ):
            blobs.store("laptop", stream, key, iter([b"y" * chance.randrange(200)]))
    stream_id = ids("laptop", "notes")["id"]
    stored_of = everything(probe, stream_id)
    for limit in (1, 5, 10):
        found = contents.largest_records(stream_id, limit)
        assert [row.total_retained_bytes for row in found] == sorted(stored_of.values(), reverse=True)[
            :limit
        ]
        assert all(stored_of[row.key or ""] == row.total_retained_bytes for row in found)
        assert len({row.key for row in found}) == len(found)
        files = contents.largest_files(stream_id, limit)
        sizes = probe("SELECT byte_length FROM blob_bindings WHERE stream_id = ?", stream_id)
        assert [row.blob_bytes for row in files] == sorted((size for (size,) in sizes), reverse=True)[
            :limit
        ]


def test_of_a_very_long_stream_the_newest_are_scanned(monkeypatch: pytest.MonkeyPatch) -> None:
    write(*(upsert(str(number), {"t": "x" * (100 - number)}) for number in range(20)))
    stream_id = ids("laptop", "notes")["id"]
    assert contents.is_searched_whole(stream_id)
    assert [row.key for row in contents.largest_records(stream_id, 2)] == ["0", "1"]
    monkeypatch.setattr(contents, "SEARCHED_VERSIONS", 5)
    assert not contents.is_searched_whole(stream_id)
    assert [row.key for row in contents.largest_records(stream_id, 2)] == ["15", "16"]


@pytest.mark.only("sqlite")
def test_no_index_is_made_for_it_and_none_is_missed(probe: DatabaseProbe) -> None:
    fill(100)
    with statements() as seen:
        contents.largest_records(ids("laptop", "notes")["id"], 10)
    (largest,) = [sql for sql in seen if "ORDER BY json_bytes" in sql]
    plan = " ".join(row[-1] for row in probe(f"EXPLAIN QUERY PLAN {largest}", 1, 1, 10))
    assert "COVERING INDEX" in plan
